"""KEY: certificates, and the ways in which a message names its own."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case("KEY-01", "A self-signed certificate", "G6", "cert.untrusted", "EBMS:0101"),
    Case(
        "KEY-02",
        "A certificate of an authority that is not trusted, or that is trusted for TLS only",
        "G6",
        "cert.untrusted",
        "EBMS:0101",
    ),
    Case(
        "KEY-03",
        "A certificate that has expired, is not valid yet, or whose authority has expired",
        "G6",
        "cert.time",
        "EBMS:0101",
    ),
    Case("KEY-04", "A revoked certificate", "G6", "cert.revoked", "EBMS:0101"),
    Case(
        "KEY-05",
        "Revocation information that is absent, stale, of another signer or issuer, or dated ahead",
        "G6",
        "cert.revocation-unknown",
        "EBMS:0101",
        "a list that cannot be believed counts as none; configured partners may be given a bounded grace, "
        "strangers never",
    ),
    Case(
        "KEY-06",
        "A certificate whose keyUsage does not allow the use",
        "G6",
        "cert.usage",
        "EBMS:0101",
        "without keyEncipherment nothing is encrypted for it and nothing is sent",
    ),
    Case(
        "KEY-07",
        "A certificate whose extendedKeyUsage or policies exclude the use",
        "G6",
        "cert.policy",
        "EBMS:0101",
    ),
    Case("KEY-08", "A good certificate of another party", "G6", "cert.party", "EBMS:0101"),
    Case(
        "KEY-09",
        "A leaf as authority, a path that is too long, a name outside the constraints",
        "G6",
        "cert.path",
        "EBMS:0101",
    ),
    Case(
        "KEY-10",
        "An unknown critical extension",
        "G6",
        "cert.extension",
        "EBMS:0101",
    ),
    Case(
        "KEY-11",
        "A KeyInfo that names two keys",
        "G5",
        "key.ambiguous",
        "EBMS:0101",
    ),
    Case(
        "KEY-12",
        "Two certificates where one belongs, or a path in another order or with strangers in it",
        "G5",
        "key.ambiguous",
        "EBMS:0101",
        "the leaf of a path is its last certificate, whichever of them would verify: a path in another order "
        "fails as sig.value at G6",
    ),
    Case(
        "KEY-13",
        "A key identifier that two known certificates answer to",
        "G6",
        "key.ambiguous",
        "EBMS:0101",
    ),
    Case(
        "KEY-14",
        "RetrievalMethod, a reference to elsewhere, a reference to nothing",
        "G5",
        "key.reference",
        "EBMS:0103",
    ),
    Case(
        "KEY-15",
        "A token of another type or encoding, too large, or with octets after the certificate",
        "G5",
        "cert.parse",
        "EBMS:0101",
    ),
    Case(
        "KEY-16",
        "The token holds another certificate than the one that signed",
        "G6",
        "sig.value",
        "EBMS:0101",
        "the signature is held against the certificate that the reference names, so this is a false signature",
    ),
    Case(
        "KEY-17",
        "The subject of a partner on another key",
        "G6",
        "cert.party",
        "EBMS:0101",
    ),
    Case(
        "KEY-18",
        "A partner's old certificate after it was replaced",
        "G6",
        "cert.party",
        "EBMS:0101",
        "while both are agreed, both are accepted",
    ),
    Case(
        "KEY-19",
        "The directory names a new certificate while a message is on its way",
        expected="the next attempt asks the directory and not its memory, and encrypts for the new certificate",
    ),
    Case(
        "KEY-20",
        "A user name or a SAML assertion in the Security header",
        "G5",
        "sec.token",
        "EBMS:0103",
    ),
)
