"""What is published, agreed and held must meet: which generation is spoken with whom, and when none is."""

from pathlib import Path

import pytest
from as4_generations import NEW, KeySet, key_set
from as4_parts import trust_in
from as4_stage import Partner, Pki, Stage
from cryptography import x509

from accesspoint.app import start
from accesspoint.clock import ManualClock
from accesspoint.config import load
from accesspoint.config_partner import Partner as Table
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.discovery.directory import Endpoint, LookupFailed
from accesspoint.generation import (
    default_generations,
    encryption_certificate,
    generations_held,
    mode_towards,
    require_keys,
)
from accesspoint.problems import find_problem
from envelope.errors import CertificateRefused
from envelope.names import TRANSPORT_AS4_V1, TRANSPORT_AS4_V2
from envelope.pmode import DOMIBUS_LIKE, POLICIES, SUITES, Generation
from keys.certificate import agrees_only, der
from keys.errors import KeyStoreError
from keys.store import KeyStore, write_keystore

ALL = tuple(Generation)
EVERYTHING = DOMIBUS_LIKE.knowing(ALL)


@pytest.fixture
def sets(pki: Pki) -> dict[Generation, KeySet]:
    return {one: key_set(pki, MUNICIPALITY.access_point, one) for one in NEW}


def keystore(pki: Pki, directory: Path, *sets: KeySet) -> KeyStore:
    """A key directory with an RSA key and these sets."""
    write_keystore(directory, message=pki.municipality, tls=pki.tls("municipality"))
    for one in sets:
        one.write(directory)
    return KeyStore.load(directory)


def endpoint(profile: str, certificate: x509.Certificate) -> Endpoint:
    return Endpoint("0088:1", "d", "p", "https://127.0.0.1:9/as4", der(certificate), profile, None)


def test_a_generation_is_held_when_something_signs_and_something_decrypts(
    pki: Pki, sets: dict[Generation, KeySet], tmp_path: Path
) -> None:
    old = keystore(pki, tmp_path / "old")
    assert generations_held(old) == (Generation.V1_15,)
    both = keystore(pki, tmp_path / "both", *sets.values())
    assert generations_held(both) == ALL
    assert default_generations(both, None) == (Generation.V1_15,)
    assert default_generations(both, (TRANSPORT_AS4_V1,)) == (Generation.V1_15,)
    newer_first = (TRANSPORT_AS4_V2, TRANSPORT_AS4_V1)
    assert default_generations(both, newer_first) == (*NEW, Generation.V1_15)
    assert default_generations(old, None) == (Generation.V1_15,)


def test_nothing_is_agreed_that_we_hold_no_keys_of(
    pki: Pki, sets: dict[Generation, KeySet], tmp_path: Path
) -> None:
    old = keystore(pki, tmp_path / "old")
    with pytest.raises(KeyStoreError, match=r"add signing-ed25519\.\* and decryption-x25519\.\*"):
        default_generations(old, (TRANSPORT_AS4_V2,))
    agreed = {"clinic": DOMIBUS_LIKE.knowing((Generation.V2_0_P256,))}
    with pytest.raises(KeyStoreError, match=r"which clinic asks for; add signing-p256\.\*"):
        require_keys(old, agreed)
    require_keys(keystore(pki, tmp_path / "new", sets[Generation.V2_0_P256]), agreed)


async def test_a_node_does_not_start_with_an_agreement_it_cannot_keep(
    pki: Pki, tmp_path: Path
) -> None:
    settings = {"generations": ["2.0"]}
    partner = Partner(CLINIC, pki.clinic, "https://127.0.0.1:9/as4", settings)
    path = Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )
    with pytest.raises(KeyStoreError, match="no keys for eDelivery AS4"):
        async with start(load(path, {})):
            raise AssertionError("started")
    for one in NEW:
        key_set(pki, MUNICIPALITY.access_point, one).write(path.parent / "keys")
    with pytest.raises(KeyStoreError, match="no certificate to encrypt for"):
        async with start(load(path, {})):
            raise AssertionError("started")


def test_the_endpoint_decides_by_its_profile_and_its_key(
    pki: Pki, sets: dict[Generation, KeySet]
) -> None:
    certificates = {Generation.V1_15: pki.clinic.certificate}
    certificates |= {one: keys.agreement.certificate for one, keys in sets.items()}
    for generation, certificate in certificates.items():
        old = generation is Generation.V1_15
        there = endpoint(TRANSPORT_AS4_V1 if old else TRANSPORT_AS4_V2, certificate)
        mode = mode_towards(EVERYTHING, there, certificate)
        assert mode.generations == (generation,)
        assert (mode.policy, mode.suite) == (POLICIES[generation], SUITES[generation])
        others = tuple(one for one in ALL if one is not generation)
        with pytest.raises(LookupFailed, match=f"speaks {generation}, agreed is") as failed:
            mode_towards(DOMIBUS_LIKE.knowing(others), there, certificate)
        assert not failed.value.permanent
        assert find_problem(failed.value.slug).slug == "generation-not-agreed"


def test_an_endpoint_of_the_newer_profile_with_another_key_is_sent_nothing(
    pki: Pki, sets: dict[Generation, KeySet]
) -> None:
    for certificate in (pki.clinic.certificate, sets[Generation.V2_0].signing.certificate):
        with pytest.raises(LookupFailed, match="with a certificate for"):
            mode_towards(EVERYTHING, endpoint(TRANSPORT_AS4_V2, certificate), certificate)


def test_what_is_encrypted_for_is_a_certificate_for_just_that(
    pki: Pki, sets: dict[Generation, KeySet]
) -> None:
    shown = [pki.clinic.certificate]
    for keys in sets.values():
        shown += [keys.signing.certificate, keys.agreement.certificate]
    for generation, keys in sets.items():
        assert encryption_certificate(shown, generation) == keys.agreement.certificate
        assert agrees_only(keys.agreement.certificate)
        assert not agrees_only(keys.signing.certificate)
        assert encryption_certificate([keys.signing.certificate], generation) is None
    assert encryption_certificate(shown, Generation.V1_15) == pki.clinic.certificate
    assert not agrees_only(pki.clinic.certificate)


def test_a_partner_names_each_generation_once() -> None:
    assert Table.model_validate({"generations": ["2.0", "1.15"]}).generations == (
        Generation.V2_0, Generation.V1_15
    )  # fmt: skip
    for wrong in (["2.0", "2.0"], ["3.0"]):
        with pytest.raises(ValueError, match="generations"):
            Table.model_validate({"generations": wrong})


def test_a_receipt_of_who_agrees_with_one_key_is_signed_by_another_of_the_same_party(
    pki: Pki, sets: dict[Generation, KeySet]
) -> None:
    """The configured one where the party is configured, else any of that name; never a stranger's."""
    clock = ManualClock(pki.now)
    keys, renewed = (key_set(pki, CLINIC.access_point, Generation.V2_0) for _ in range(2))
    agreed = (keys.signing.certificate, keys.agreement.certificate)
    configured = trust_in(pki, clock, partners={CLINIC.access_point: agreed})
    known_by_name = trust_in(pki, clock)
    for trust, accepted in ((configured, {0}), (known_by_name, {0, 1})):
        check = trust.pinned(der(keys.agreement.certificate))
        for number, signer in enumerate((keys, renewed, sets[Generation.V2_0])):
            issued = signer.signing
            if number in accepted:
                assert check.check(issued.certificate, issued.chain, party=None)
                continue
            with pytest.raises(CertificateRefused) as refused:
                check.check(issued.certificate, issued.chain, party=None)
            assert refused.value.reason == "cert.party"
        with pytest.raises(CertificateRefused, match="keyUsage does not allow signing"):
            check.check(keys.agreement.certificate, keys.agreement.chain, party=None)
