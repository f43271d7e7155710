from dataclasses import dataclass

import pytest
from cryptography import x509

from keys.certificate import subject_key_identifier
from keys.errors import AmbiguousReference
from keys.reference import find_certificate, reference_names


@dataclass
class Reference:
    kind: str
    certificate: x509.Certificate | None = None
    key_identifier: bytes | None = None
    issuer: str | None = None
    serial: int | None = None


def references(certificate):
    return [
        Reference("x509v3", certificate=certificate),
        Reference("pkipath", certificate=certificate),
        Reference("ski", key_identifier=subject_key_identifier(certificate)),
        Reference(
            "issuer-serial",
            issuer=certificate.issuer.rfc4514_string(),
            serial=certificate.serial_number,
        ),
    ]


def test_every_form_names_its_certificate_and_no_other(pki):
    ours = pki.leaf().certificate
    other = pki.leaf(key=pki.other_key).certificate
    for reference in references(ours):
        assert reference_names(reference, ours)
        assert not reference_names(reference, other)
        assert find_certificate(reference, [other, ours]) == ours
        assert find_certificate(reference, [other]) is None


@pytest.mark.parametrize(
    "reference",
    [
        Reference("x509v3"),
        Reference("pkipath"),
        Reference("ski"),
        Reference("ski", key_identifier=b""),
        Reference("issuer-serial", serial=1),
        Reference("issuer-serial", issuer="CN=x"),
        Reference("thumbprint", key_identifier=b"x"),
    ],
)
def test_incomplete_or_unknown_reference_names_nothing(pki, reference):
    assert not reference_names(reference, pki.authority.root)


@pytest.mark.attack("KEY-13")
def test_key_13_key_identifier_resolving_to_two_certificates(pki):
    first, second = pki.leaf(name="one").certificate, pki.leaf(name="two").certificate
    reference = Reference("ski", key_identifier=subject_key_identifier(first))
    with pytest.raises(AmbiguousReference) as caught:
        find_certificate(reference, [first, second])
    assert caught.value.reason == "key.ambiguous"
    assert find_certificate(reference, [first, first]) == first


def test_key_17_serial_of_another_authority(pki):
    ours = pki.leaf().certificate
    reference = Reference(
        "issuer-serial",
        issuer=pki.stranger.issuing.subject.rfc4514_string(),
        serial=ours.serial_number,
    )
    assert find_certificate(reference, [ours]) is None
