"""One throw-away authority for all tests of keys, and certificates in every shape they need."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from keys.crl import CrlStore
from keys.devca import (
    DevelopmentAuthority,
    IssuedCertificate,
    authority_extensions,
    authority_name,
    build_certificate,
    key_usage,
    new_rsa_keys,
    system_name,
)
from keys.trust import Purpose, TrustStore

AT = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
CRL_URL = "http://127.0.0.1:8085/issuing.crl"
UUID = "a262681f-2e94-45c5-aaea-aad4e9bc5768"

Extensions = list[tuple[x509.ExtensionType, bool]]


@dataclass
class Pki:
    """Two authorities that do not know each other, and spare keys; keys are shared, certificates cheap."""

    authority: DevelopmentAuthority
    stranger: DevelopmentAuthority
    leaf_key: rsa.RSAPrivateKey
    other_key: rsa.RSAPrivateKey
    at: dt.datetime = AT
    curve_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def trust(self) -> TrustStore:
        return TrustStore(Purpose.MESSAGE, self.authority.anchors, self.authority.intermediates)

    def leaf(
        self,
        *,
        authority: DevelopmentAuthority | None = None,
        name: str = "ehmi-ap-test",
        cvr: str = "95474483",
        begins: int = -10,
        ends: int = 1000,
        key: object = None,
    ) -> IssuedCertificate:
        """Issue a system certificate valid from `begins` to `ends` days from now."""
        return (authority or self.authority).issue_system_certificate(
            name,
            "Testorganisation",
            cvr,
            uuid=UUID,
            not_before=self.at + dt.timedelta(days=begins),
            not_after=self.at + dt.timedelta(days=ends),
            private_key=key or self.leaf_key,
        )

    def bent_leaf(
        self, bend: Callable[[Extensions], Extensions], *, key: object = None
    ) -> IssuedCertificate:
        """Issue a system certificate after changing its extensions."""
        private_key = key or self.leaf_key
        return self.authority.issue(
            system_name("bent-ap-test", "Testorganisation", "95474483", UUID),
            private_key,
            not_before=self.at - dt.timedelta(days=10),
            not_after=self.at + dt.timedelta(days=100),
            extensions=bend(self.authority.system_extensions(private_key)),
        )

    def intermediate(
        self,
        *,
        name: str = "Third CA",
        issuer: IssuedCertificate | None = None,
        key: object = None,
        path_length: int | None = 0,
        begins: int = -10,
        ends: int = 1000,
        bend: Callable[[Extensions], Extensions] = list,
    ) -> IssuedCertificate:
        """Issue a further authority below the root (or `issuer`)."""
        above = issuer or self.authority.keys[0]
        private_key = key or self.other_key
        certificate = build_certificate(
            subject=authority_name(name),
            public_key=private_key.public_key(),
            issuer=above.certificate.subject,
            issuer_key=above.private_key,
            not_before=self.at + dt.timedelta(days=begins),
            not_after=self.at + dt.timedelta(days=ends),
            extensions=bend(
                authority_extensions(private_key, above.private_key, path_length=path_length)
            ),
        )
        return IssuedCertificate(certificate, private_key, ())

    def below(
        self,
        issuer: IssuedCertificate,
        *,
        bend: Callable[[Extensions], Extensions] = list,
        key: object = None,
    ) -> IssuedCertificate:
        """Issue a system certificate below any certificate, authority or not."""
        private_key = key or self.leaf_key
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            issuer.private_key.public_key()
        )
        extensions = [
            (identifier, critical)
            if isinstance(extension, x509.AuthorityKeyIdentifier)
            else (extension, critical)
            for extension, critical in self.authority.system_extensions(private_key)
        ]
        certificate = build_certificate(
            subject=system_name("below-ap-test", "Testorganisation", "95474483", UUID),
            public_key=private_key.public_key(),
            issuer=issuer.certificate.subject,
            issuer_key=issuer.private_key,
            not_before=self.at - dt.timedelta(days=10),
            not_after=self.at + dt.timedelta(days=100),
            extensions=bend(extensions),
        )
        return IssuedCertificate(certificate, private_key, (issuer.certificate, *issuer.chain))

    def self_signed(self, *, extensions: Extensions | None = None) -> x509.Certificate:
        """Make a certificate that nobody vouches for."""
        name = system_name("self-signed", "Nobody", "00000000", "0")
        usage = key_usage(digital_signature=True, key_encipherment=True)
        return build_certificate(
            subject=name,
            public_key=self.leaf_key.public_key(),
            issuer=name,
            issuer_key=self.leaf_key,
            not_before=self.at - dt.timedelta(days=1),
            not_after=self.at + dt.timedelta(days=1),
            extensions=extensions or [(usage, True)],
        )

    def below_name(self, subject: x509.Name) -> x509.Certificate:
        """Issue a certificate with any subject."""
        return self.authority.issue(
            subject,
            self.leaf_key,
            not_before=self.at,
            not_after=self.at,
            extensions=self.authority.system_extensions(self.leaf_key),
        ).certificate

    def crls(self, *revoked: x509.Certificate, at: dt.datetime | None = None) -> CrlStore:
        """Return a store with fresh lists of both authorities; the leaves named are revoked."""
        issued = at or self.at - dt.timedelta(hours=1)
        authority = DevelopmentAuthority(*self.authority.keys)
        for certificate in revoked:
            authority.revoke(certificate, at=issued - dt.timedelta(days=1))
        store = CrlStore(self.trust.authorities)
        store.add(authority.crl(issued), at=issued)
        store.add(authority.root_crl(issued), at=issued)
        return store


@pytest.fixture(scope="session")
def pki() -> Pki:
    keys = new_rsa_keys(6)
    return Pki(
        authority=DevelopmentAuthority.create(at=AT, crl_url=CRL_URL, private_keys=keys[:2]),
        stranger=DevelopmentAuthority.create(at=AT, name="Stranger", private_keys=keys[2:4]),
        leaf_key=keys[4],
        other_key=keys[5],
    )
