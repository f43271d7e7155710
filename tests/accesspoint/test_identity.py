"""Who we are and what is agreed with whom, from the configuration of partners."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from as4_parts import identity_of
from as4_stage import Pki

from accesspoint.config import ConfigurationProblem
from accesspoint.config_partner import Partner
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.identity import (
    Agreements,
    Identity,
    build_agreements,
    load_identity,
    with_quirks,
)
from accesspoint.trust import common_name
from envelope import names
from envelope.messaging import CollaborationInfo, Party, PartyId, Property, Service, UserMessage
from envelope.pmode import DOMIBUS_LIKE, PRESETS, Quirk, TokenForm
from keys.errors import KeyStoreError
from keys.store import KeyStore, write_keystore


def partner(**settings: Any) -> Partner:
    if "certificate" in settings:
        settings |= {"gln": CLINIC.address.gln, "url": "https://127.0.0.1/as4"}
    return Partner.model_validate({"preset": "domibus-like", **settings})


def test_from_and_to_follow_the_agreement(pki: Pki) -> None:
    identity = identity_of(pki.municipality)
    assert identity.from_party(DOMIBUS_LIKE) == Party(
        PartyId(MUNICIPALITY.access_point, names.PARTY_UNREGISTERED), names.EB_INITIATOR
    )
    peppol = PRESETS["peppol-like"]
    assert identity.to_party(peppol, "partner") == Party(
        PartyId("partner", names.PARTY_PEPPOL_AP), names.EB_RESPONDER
    )


def test_a_party_without_an_agreement_gets_the_default() -> None:
    agreements = Agreements(by_party={"known": PRESETS["peppol-like"]})
    assert agreements.mode_for("known").id == "peppol-like"
    assert agreements.mode_for("stranger") is DOMIBUS_LIKE


def test_a_quirk_belongs_to_the_partner_and_not_to_the_preset() -> None:
    changed = with_quirks(DOMIBUS_LIKE, frozenset({Quirk.UNSIGNED_ERRORS}))
    assert changed.policy.allows(Quirk.UNSIGNED_ERRORS)
    assert not DOMIBUS_LIKE.policy.allows(Quirk.UNSIGNED_ERRORS)


def test_no_partners_no_agreements() -> None:
    assert build_agreements({}) == (Agreements(), {})


def test_a_partner_is_known_by_the_common_name_of_its_certificate(pki: Pki) -> None:
    agreements, certificates = build_agreements(
        {"clinic": partner(certificate=Path(pki.file_of(pki.clinic)), quirks=["unsigned-errors"])}
    )
    assert certificates == {CLINIC.access_point: (pki.clinic.certificate,)}
    mode = agreements.mode_for(CLINIC.access_point)
    assert mode.policy.allows(Quirk.UNSIGNED_ERRORS)
    assert agreements.mode_for("clinic") is agreements.default


def test_a_partner_without_certificate_is_known_by_its_name_in_the_file() -> None:
    agreements, certificates = build_agreements({"some-ap": partner(preset="peppol-like")})
    assert agreements.mode_for("some-ap").id == "peppol-like"
    assert certificates == {"some-ap": ()}


def test_two_receivers_behind_one_access_point_keep_both_certificates(pki: Pki) -> None:
    """During a rollover, or where two organisations share an access point, neither replaces the other."""
    renewed = pki.certify(CLINIC.access_point, serial=817)
    _, certificates = build_agreements(
        {
            "one": partner(certificate=Path(pki.file_of(pki.clinic))),
            "two": partner(certificate=Path(pki.file_of(renewed))),
        }
    )
    assert certificates == {CLINIC.access_point: (pki.clinic.certificate, renewed.certificate)}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_the_configuration_is_a_mode(preset: str) -> None:
    agreements, _ = build_agreements({"ap": partner(preset=preset)})
    assert agreements.mode_for("ap").id == preset


def test_a_partner_says_what_differs_from_its_preset() -> None:
    said = {"party_id_type": "urn:t", "agreement": "urn:a", "initiator_role": "urn:r"}
    suite = {"signing_token": "pkipath", "inclusive_prefixes": True, "signed_errors": False}
    agreements, _ = build_agreements({"ap": partner(**suite, **said)})
    mode = agreements.mode_for("ap")
    assert (mode.party_id_type, mode.agreement, mode.initiator_role) == tuple(said.values())
    assert mode.responder_role == names.EB_RESPONDER
    assert mode.suite.signing_token is TokenForm.PKI_PATH
    assert (mode.suite.inclusive_prefixes, mode.suite.signed_errors) == (True, False)
    assert mode.suite.encryption_token is DOMIBUS_LIKE.suite.encryption_token


def test_p_modes_of_a_partner_take_over_what_its_table_says() -> None:
    pmodes = {"results": {"service": "urn:s", "action": "a"}, "letters": {"service": "urn:l"}}
    agreements, _ = build_agreements({"ap": partner(agreement="urn:a", pmodes=pmodes)})
    results, letters = agreements.agreed_with("ap")
    assert (results.id, letters.id) == ("ap.results", "ap.letters")
    assert results.agreement == letters.agreement == "urn:a"
    assert agreements.mode_to("ap", service="urn:s", action="a") is results
    assert agreements.mode_to("ap", service="urn:l", action="x") is letters
    assert agreements.mode_to("ap", service="urn:s", action="x") is None


def test_two_entries_for_one_access_point_must_agree_about_it(pki: Pki) -> None:
    entry = partner(certificate=Path(pki.file_of(pki.clinic)))
    other = partner(certificate=Path(pki.file_of(pki.clinic)), quirks=["bare-line-feeds"])
    agreements, _ = build_agreements({"one": entry, "two": entry})
    assert [mode.id for mode in agreements.agreed_with(CLINIC.access_point)] == ["one", "two"]
    with pytest.raises(ConfigurationProblem) as caught:
        build_agreements({"one": entry, "two": other})
    assert "two is the access point" in caught.value.render()


TOWN, REGION = "0088:5790000000012", "0088:5790000000036"


def _message(*, sender: str, party: str, recipient: str | None = None) -> UserMessage:
    values = {"originalSender": sender, "finalRecipient": recipient}
    return UserMessage(
        message_id="m@x", timestamp="2026-11-21T10:00:00Z",
        from_party=Party(PartyId(party, None), "role"), to_party=Party(PartyId("to", None), "role"),
        collaboration_info=CollaborationInfo(Service("s", None), "a", "c"),
        message_properties=tuple(Property(name, value, None) for name, value in values.items() if value),
        parts=(),
    )  # fmt: skip


def _hosting(pki: Pki) -> Identity:
    """The municipality's identity, with a region that has the clinic's keys as its own."""
    return replace(identity_of(pki.municipality), hosted={REGION: identity_of(pki.clinic)})


def test_an_organisation_with_keys_of_its_own_acts_under_its_own_name(pki: Pki) -> None:
    identity = _hosting(pki)
    assert identity.acting_for(REGION).party == CLINIC.access_point
    assert identity.acting_for(TOWN) is identity
    assert identity.named(CLINIC.access_point).signer is identity.hosted[REGION].signer
    assert identity.named("somebody else") is identity
    assert set(identity.certificates) == {pki.municipality.certificate, pki.clinic.certificate}


def test_it_is_written_to_by_that_name(pki: Pki) -> None:
    identity = _hosting(pki)
    for recipient, party in ((REGION, CLINIC.access_point), (TOWN, MUNICIPALITY.access_point)):
        message = _message(sender=TOWN, party="p", recipient=recipient)
        assert identity.of_property(message, "finalRecipient").party == party
    assert identity.of_property(_message(sender=TOWN, party="p"), "finalRecipient") is identity


@pytest.mark.parametrize(
    ("sender", "party", "wrote"),
    [
        (TOWN, MUNICIPALITY.access_point, True),
        (REGION, CLINIC.access_point, True),
        (REGION, MUNICIPALITY.access_point, False),
        (TOWN, CLINIC.access_point, False),
        ("0088:5790000000029", MUNICIPALITY.access_point, False),
    ],
)
def test_a_message_from_us_is_one_that_an_organisation_of_ours_wrote_under_its_name(
    pki: Pki, sender: str, party: str, wrote: bool
) -> None:
    identity = _hosting(pki)
    glns = {one.removeprefix("0088:") for one in (TOWN, REGION)}
    message = _message(sender=sender, party=party)
    assert identity.is_own(party)
    assert identity.wrote(message, glns) is wrote


def test_two_names_that_are_one_are_refused(pki: Pki, tmp_path: Path) -> None:
    keys = write_keystore(tmp_path / "keys", message=pki.municipality, tls=pki.clinic)
    other = write_keystore(tmp_path / "other", message=pki.municipality, tls=pki.clinic)
    configuration = _Served((_Organisation("5790000000036", other),))
    with pytest.raises(KeyStoreError, match="one common name"):
        load_identity(configuration, KeyStore.load(keys), common_name)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Organisation:
    gln: str
    keys: Path


@dataclass(frozen=True)
class _Served:
    served: tuple[_Organisation, ...]
