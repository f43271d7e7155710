"""Who we are and what is agreed with whom, from the configuration of partners."""

from pathlib import Path
from typing import Any

import pytest
from as4_parts import identity_of
from as4_stage import Pki

from accesspoint.config import ConfigurationProblem
from accesspoint.config_partner import Partner
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.identity import Agreements, build_agreements, with_quirks
from envelope import names
from envelope.messaging import Party, PartyId
from envelope.pmode import DOMIBUS_LIKE, PRESETS, Quirk, TokenForm


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
