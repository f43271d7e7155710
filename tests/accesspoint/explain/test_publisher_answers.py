"""`explain` reads the answer of a publisher in each of its three forms, and says when its signature does not hold."""

from typing import Any

import pytest
from as4_stage import Pki

from accesspoint.explain.means import GivenTrust
from accesspoint.explain.report import build_report
from accesspoint.explain.text import render_text
from envelope import names
from envelope.ehmi import SBDH_ACKNOWLEDGEMENT
from envelope.explain import Mark, Means
from envelope.smp import (
    Endpoint,
    MetadataContent,
    Process,
    Redirect,
    ServiceMetadata,
    SmpForm,
    SmpIdentifier,
    build_metadata_2,
    build_signed_service_metadata,
)
from keys.certificate import der

PARTICIPANT = SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000000029")
DOCUMENT = SmpIdentifier("busdox-docid-qns", SBDH_ACKNOWLEDGEMENT.document_id)
ADDRESS = "https://ap.example/as4"
FORMS = {
    SmpForm.OASIS_1: "OASIS SMP 1.0",
    SmpForm.BUSDOX: "Busdox",
    SmpForm.OASIS_2: "OASIS SMP 2.0",
}


@pytest.fixture(scope="module")
def means(pki: Pki) -> Means:
    return Means(GivenTrust([*pki.authority.anchors, *pki.authority.intermediates]), None)


def written(pki: Pki, form: SmpForm, redirect: Redirect | None = None) -> bytes:
    signing: dict[str, Any] = {"key": pki.clinic.private_key, "certificate": pki.clinic.certificate}
    endpoint = Endpoint(names.TRANSPORT_AS4_V1, ADDRESS, der(pki.clinic.certificate))
    process = SmpIdentifier("dk-messaging-procid", names.EHMI_PROCESS)
    content: MetadataContent = redirect or ServiceMetadata(
        PARTICIPANT, DOCUMENT, (Process(process, (endpoint,)),)
    )
    if form is SmpForm.OASIS_2:
        return build_metadata_2(content, participant=PARTICIPANT, document_id=DOCUMENT, **signing)
    return build_signed_service_metadata(content, form=form, **signing)


@pytest.mark.parametrize("form", SmpForm)
def test_an_answer_is_read_in_each_form(pki: Pki, means: Means, form: SmpForm) -> None:
    report = build_report(written(pki, form), means, name="answer.xml")

    text = render_text(report)
    assert FORMS[form] in text
    assert names.TRANSPORT_AS4_V1 in text
    assert ADDRESS in text
    assert PARTICIPANT.value in text
    assert "✓ signature  verifies" in text
    assert report.mark is Mark.HOLDS


@pytest.mark.parametrize("form", SmpForm)
def test_an_address_that_was_changed_is_shown_and_the_signature_does_not_hold(
    pki: Pki, means: Means, form: SmpForm
) -> None:
    moved = written(pki, form).replace(b"ap.example", b"ap.evil.ex")

    report = build_report(moved, means, name="answer.xml")

    text = render_text(report)
    assert "smp.signature" in text
    assert "ap.evil.ex" in text
    assert report.mark is Mark.BROKEN


def test_a_redirect_by_certificate_says_so(pki: Pki, means: Means) -> None:
    redirect = Redirect("http://smp.example/x", certificates=(der(pki.clinic.certificate),))

    text = render_text(
        build_report(written(pki, SmpForm.OASIS_2, redirect), means, name="answer.xml")
    )

    assert "http://smp.example/x, signed by the certificate that it holds" in text
