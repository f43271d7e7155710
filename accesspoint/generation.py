"""Which generation of eDelivery AS4 is spoken with whom: what endpoints publish, what keys we hold, what is agreed.

An endpoint says by its transport profile that it speaks 2.0, and by the kind of key in its certificate which of the
two sets of algorithms. A partner that configuration names knows the generations of its own table; everybody else
those that our directory looks for and our key directory holds keys of. Nothing is tried out: where what is
published, agreed and held do not meet, nothing is sent.

Spec: eDelivery AS4 1.15 and 2.0; OASIS SMP 1.0 (transportProfile); decision D15.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cryptography import x509

from accesspoint.config import Configuration, Station
from accesspoint.discovery.directory import Endpoint, LookupFailed, LookupProblem
from accesspoint.identity import Agreements, build_agreements
from envelope import names
from envelope.pmode import SUITES, Generation, PMode
from keys.certificate import agrees_only, describe_key
from keys.errors import KeyStoreError
from keys.private import signs_with
from keys.store import KeyStore

_ENCRYPTS: Final[Mapping[Generation, str]] = {
    Generation.V1_15: "RSA",
    Generation.V2_0: "X25519",
    Generation.V2_0_P256: "EC secp256r1",
}
"""How the kind of key that a content key is wrapped for begins its description."""
KEY_ROLES: Final[Mapping[Generation, tuple[str, str]]] = {
    Generation.V2_0: ("signing-ed25519", "decryption-x25519"),
    Generation.V2_0_P256: ("signing-p256", "decryption-p256"),
}
"""The files of a key directory that hold a newer generation's keys, beside `message`: what signs, what decrypts."""


def encryption_certificate(
    certificates: Iterable[x509.Certificate], generation: Generation
) -> x509.Certificate | None:
    """The first certificate that a content key can be wrapped for in this generation."""
    for certificate in certificates:
        if describe_key(certificate).startswith(_ENCRYPTS[generation]) and (
            generation is Generation.V1_15 or agrees_only(certificate)
        ):
            return certificate
    return None


def transport_profile_of(generation: Generation) -> str:
    """The transport profile under which an endpoint of this generation is published."""
    return names.TRANSPORT_AS4_V1 if generation is Generation.V1_15 else names.TRANSPORT_AS4_V2


def mode_towards(mode: PMode, endpoint: Endpoint, certificate: x509.Certificate) -> PMode:
    """The agreement in the one generation that this endpoint speaks; raises LookupFailed when it is not agreed."""
    for generation in Generation:
        published = transport_profile_of(generation) == names.TRANSPORT_AS4_V2
        if (endpoint.transport_profile == names.TRANSPORT_AS4_V2) is not published:
            continue
        # What 1.15 cannot use has always been told when it is wrapped for; nothing else is published under 1.15.
        if generation is Generation.V1_15 or encryption_certificate([certificate], generation):
            if generation in mode.generations:
                return mode.under(generation)
            agreed = ", ".join(mode.generations)
            raise _not_agreed(f"the endpoint speaks {generation}, agreed is {agreed}")
    raise _not_agreed(f"an endpoint of 2.0 with a certificate for {describe_key(certificate)}")


def _not_agreed(detail: str) -> LookupFailed:
    return LookupFailed(LookupProblem.GENERATION, detail, permanent=False)


def generations_held(keystore: KeyStore) -> tuple[Generation, ...]:
    """The generations that we can sign and decrypt in."""
    return tuple(
        generation
        for generation in Generation
        if any(
            signs_with(signer.certificate, SUITES[generation].signature_algorithm)
            for signer in (keystore.signing, *keystore.others)
        )
        and encryption_certificate(keystore.decryption.certificates, generation) is not None
    )


def default_generations(
    keystore: KeyStore, transport_profiles: Sequence[str] | None
) -> tuple[Generation, ...]:
    """What is spoken with access points that the configuration does not name, preferred ones first.

    Without a directory that is the generation of our message key. Raises KeyStoreError when the directory looks for
    endpoints of a generation that we hold no keys of.
    """
    held = generations_held(keystore)
    if transport_profiles is None:
        return held[:1] or (Generation.V1_15,)
    found: list[Generation] = []
    for profile in transport_profiles:
        newer = profile == names.TRANSPORT_AS4_V2
        fitting = [one for one in held if (one is not Generation.V1_15) is newer]
        if not fitting:
            raise _missing(keystore, Generation.V2_0 if newer else Generation.V1_15, profile)
        found += [one for one in fitting if one not in found]
    return tuple(found)


def agreements_of(
    configuration: Configuration, keystore: KeyStore
) -> tuple[Agreements, dict[str, tuple[x509.Certificate, ...]]]:
    """The agreements of a node, and the certificates agreed with its partners, by party id.

    A node that does not run the access point itself needs no keys for what it agrees.
    Raises KeyStoreError when we hold no keys of a generation that is agreed, KeysError for a certificate that cannot
    be read.
    """
    if Station.AP not in configuration.stations.runs:
        return build_agreements(configuration.partners)
    directory = configuration.directory
    default = default_generations(
        keystore, None if directory is None else directory.transport_profiles
    )
    agreements, certificates = build_agreements(configuration.partners, default)
    require_keys(keystore, agreements.by_party)
    return agreements, certificates


def require_keys(keystore: KeyStore, agreed: Mapping[str, PMode]) -> None:
    """Refuse a partner of a generation that we hold no keys of; raises KeyStoreError."""
    held = generations_held(keystore)
    for party, mode in agreed.items():
        for generation in mode.generations:
            if generation not in held:
                raise _missing(keystore, generation, party)


def _missing(keystore: KeyStore, generation: Generation, wanted_by: str) -> KeyStoreError:
    roles = " and ".join(f"{role}.*" for role in KEY_ROLES.get(generation, ("message",)))
    return KeyStoreError(
        f"{keystore.directory}: no keys for eDelivery AS4 {generation}, which {wanted_by} asks for;"
        f" add {roles}"
    )
