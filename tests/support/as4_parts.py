"""What the sending and the receiving side of an access point are made from: identity, trust, agreements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from as4_stage import Pki
from cryptography import x509

from accesspoint.clock import ManualClock
from accesspoint.demo.scenery import CLINIC
from accesspoint.discovery.directory import Directory
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from accesspoint.identity import Identity
from accesspoint.trust import MessageTrust
from keys.certificate import der
from keys.crl import CrlStore
from keys.devca import IssuedCertificate
from keys.errors import KeyUnavailable
from keys.path import Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.trust import Purpose, TrustStore

UNCHECKED = RevocationPolicy(RevocationMode.OFF, "no lists in this test")


@dataclass(frozen=True)
class GoneSigner:
    """The signer of a key whose hardware module was taken out."""

    certificate: x509.Certificate
    chain: Sequence[x509.Certificate] = ()

    def sign(self, data: bytes, algorithm: str) -> bytes:
        raise KeyUnavailable("the token ap does not answer: DeviceRemoved")


def identity_of(issued: IssuedCertificate) -> Identity:
    name = issued.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    return Identity(issued.signer(), issued.decrypter(), str(name))


def trust_in(
    pki: Pki,
    clock: ManualClock,
    *,
    lists: bool = False,
    partners: dict[str, Sequence[x509.Certificate]] | None = None,
) -> MessageTrust:
    """Trust in the authority of the stage; `lists` asks for its revocation lists and has them."""
    trust = TrustStore(Purpose.MESSAGE, pki.authority.anchors, pki.authority.intermediates)
    if not lists:
        validator = Validator(trust, revocation=UNCHECKED)
    else:
        crls = CrlStore(trust.authorities)
        # The lists are a little older than the certificates that the stage revokes on the way.
        for made in (pki.authority.crl, pki.authority.root_crl):
            crls.add(made(pki.now), at=clock.now() + timedelta(seconds=1))
        validator = Validator(trust, crls=crls)
    return MessageTrust(validator, clock=clock, partners=partners or {}, unknown_senders=True)


def directory_of(url: str, certificate: x509.Certificate, **changes: Any) -> Directory:
    """A directory that knows the clinic, here at `url` with `certificate`."""
    gln = changes.pop("gln", CLINIC.address.gln)
    return StaticDirectory([StaticPartner("clinic", gln, url, der(certificate))])
