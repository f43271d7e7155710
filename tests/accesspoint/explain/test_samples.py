"""`explain` on captures of other products: the verdict that the gates give, and the quirks that would change it."""

import os
from pathlib import Path

import pytest

from accesspoint.explain.means import GivenTrust, build_means
from accesspoint.explain.page import render_html
from accesspoint.explain.report import build_report
from accesspoint.explain.text import render_text
from envelope.explain import Means

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
pytestmark = pytest.mark.skipif(
    not FIXTURES, reason="ACCESSPOINT_FIXTURES does not name the folder with the samples"
)
SAMPLES = Path(FIXTURES or ".") / "as4" / "samples"
MERGED = "oaep-mgf1p, rsa-sha384"


@pytest.mark.parametrize(
    ("sample", "reason", "quirks"),
    [
        ("phase4/dump-raw.as4out", None, None),
        ("phase4/helger.as4in", None, None),
        ("phase4/dataport1-mustunderstand.as4in", None, None),
        ("phase4/dataport1.as4in", "sig.digest", None),
        ("phase4/TwoUserMessages.xml", "xml.comment", None),
        ("phase4/WrongCompression.mime", "mime.delimiter", "bare-line-feeds"),
        ("as4net/rssbus_message.as4", None, None),
        ("as4net/as4-encrypted-signed-keyidentifier.as4", "alg.signature", MERGED),
        ("as4net/8.1.22-message.as4", "alg.signature", MERGED),
        ("as4net/signed_holodeck_message.as4", "alg.signature", "rsa-sha384, unencrypted"),
        ("as4net/as4-soap-signed-message.txt", "alg.key", "small-rsa"),
        ("as4net/as4-soap-untrusted-signed-message.txt", "sig.value", None),
        ("as4net/as4-soap-wrong-signed-message.txt", "sig.reference", None),
        ("as4net/as4_flame_envelope.as4", "header.uri", None),
        ("as4net/receipt.xml", "sec.missing", None),
        ("as4net/receipt_with_invalid_signature.as4", "sig.coverage", "unsigned-body"),
        ("as4net/BizTalkUserMessage.xml", "xml.encoding", "byte-order-mark"),
        ("domibus/SOAPFaultResponse.xml", None, None),
        ("domibus/bst_x509v3_incoming_message.xml", "sig.value", None),
    ],
)
def test_the_verdict_on_a_sample(sample: str, reason: str | None, quirks: str | None) -> None:
    report = build_report((SAMPLES / sample).read_bytes(), Means(GivenTrust()), name=sample)
    assert (report.broken and report.broken.reason) == reason, render_text(report)
    otherwise = dict(report.lines).get("otherwise", "")
    assert (quirks or "") in otherwise


def test_certificates_make_a_named_signer_known() -> None:
    """The key identifier leads to the certificate only when somebody gives it; then the signature is looked at."""
    sample = (SAMPLES / "as4net" / "as4-encrypted-signed-keyidentifier.as4").read_bytes()
    means = build_means(
        key=None, trust=[SAMPLES / "keys" / "as4net-AccessPointA.cert.pem"], at=None
    )
    before = render_text(build_report(sample, Means(GivenTrust()), name="sample"))
    after = render_text(build_report(sample, means, name="sample"))
    assert "signature value  not looked at" in before
    assert "✓ signature value" in after
    assert "✓ chain" in after


@pytest.mark.parametrize(
    "path", sorted(SAMPLES.rglob("*.*")) if FIXTURES else [], ids=lambda p: p.name
)
def test_every_sample_is_explained_to_its_end(path: Path) -> None:
    report = build_report(path.read_bytes(), Means(GivenTrust()), name=path.name)
    assert render_text(report)
    assert render_html(report)
