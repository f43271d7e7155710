import pytest

from keys import errors


def subclasses(kind):
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


EXPECTED = {
    "UntrustedCertificate": "cert.untrusted",
    "UnknownIssuer": "cert.untrusted",
    "Expired": "cert.time",
    "NotYetValid": "cert.time",
    "Revoked": "cert.revoked",
    "RevocationUnknown": "cert.revocation-unknown",
    "WrongUsage": "cert.usage",
    "WrongPolicy": "cert.policy",
    "WrongSubject": "cert.party",
    "BadPath": "cert.path",
    "UnknownExtension": "cert.extension",
    "UnreadableCertificate": "cert.parse",
    "WeakKey": "cert.key",
}


@pytest.mark.parametrize(("name", "reason"), EXPECTED.items())
def test_certificate_errors_carry_their_stable_slug(name, reason):
    error = getattr(errors, name)("somebody")
    assert isinstance(error, errors.UntrustedCertificate)
    assert error.reason == reason
    assert str(error) == f"{reason}: somebody"


def test_every_certificate_error_is_in_the_table():
    found = {kind.__name__ for kind in subclasses(errors.UntrustedCertificate)}
    assert found | {"UntrustedCertificate"} == set(EXPECTED)


def test_reason_can_be_made_more_precise():
    assert errors.CrlRefused("a list", reason="crl.delta").reason == "crl.delta"
    assert errors.CrlRefused("a list").reason == "crl.invalid"
