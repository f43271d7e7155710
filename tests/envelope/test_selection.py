"""Which P-Mode a message belongs to: by agreement, roles, service, action and party type, and the nearest when none fits."""

from dataclasses import replace
from typing import Any

import pytest

from envelope import names
from envelope.errors import Gate, ProcessingModeMismatch
from envelope.messaging import (
    AgreementRef,
    CollaborationInfo,
    Party,
    PartyId,
    Service,
    UserMessage,
)
from envelope.pmode import DOMIBUS_LIKE, PMode, Quirk, SecurityPolicy
from envelope.selection import differences, is_test_service, select_mode

RESULTS = replace(DOMIBUS_LIKE, id="clinic.results", service="urn:results", action="urn:send")
LETTERS = replace(DOMIBUS_LIKE, id="clinic.letters", service="urn:letters", action="urn:send")


def message(
    *,
    type_: str | None = names.PARTY_UNREGISTERED,
    roles: tuple[str, str] = (names.EB_INITIATOR, names.EB_RESPONDER),
    **info: Any,
) -> UserMessage:
    values = {"service": Service("urn:results"), "action": "urn:send", "conversation_id": "c"}
    return UserMessage(
        message_id="m@a.example",
        timestamp="2026-11-21T10:00:00Z",
        from_party=Party(PartyId("clinic-ap", type_), roles[0]),
        to_party=Party(PartyId("our-ap", type_), roles[1]),
        collaboration_info=CollaborationInfo(**{**values, **info}),
    )


def test_the_p_mode_with_this_service_and_action_is_chosen() -> None:
    assert select_mode([LETTERS, RESULTS], message()) is RESULTS
    assert select_mode([LETTERS, RESULTS], message(service=Service("urn:letters"))) is LETTERS


def test_what_a_p_mode_leaves_open_fits_every_message() -> None:
    assert (
        select_mode([DOMIBUS_LIKE], message(service=Service("urn:any"), action="x")) is DOMIBUS_LIKE
    )


@pytest.mark.parametrize(
    ("mode", "changes", "found", "reason"),
    [
        (RESULTS, {"service": Service("urn:other")}, ("service",), "pmode.service"),
        (RESULTS, {"action": "urn:other"}, ("action",), "pmode.action"),
        (replace(RESULTS, service_type="t"), {}, ("service type",), "pmode.service"),
        (replace(RESULTS, agreement="urn:a"), {}, ("agreement",), "pmode.agreement"),
        (
            replace(RESULTS, agreement="a", agreement_type="t"),
            {"agreement_ref": AgreementRef("a", "u")},
            ("agreement type",),
            "pmode.agreement",
        ),
        (RESULTS, {"type_": "urn:type"}, ("party id type",), "pmode.party"),
        (RESULTS, {"roles": ("urn:x", names.EB_RESPONDER)}, ("initiator role",), "pmode.role"),
        (RESULTS, {"roles": (names.EB_INITIATOR, "urn:x")}, ("responder role",), "pmode.role"),
    ],
)
def test_each_parameter_is_compared_and_named(
    mode: PMode, changes: dict[str, Any], found: tuple[str, ...], reason: str
) -> None:
    assert differences(mode, message(**changes)) == found
    with pytest.raises(ProcessingModeMismatch) as refused:
        select_mode([mode], message(**changes))
    assert (refused.value.reason, refused.value.gate) == (reason, Gate.G10)
    assert refused.value.ebms.code == "EBMS:0010"


def test_the_nearest_is_named_with_what_differs() -> None:
    """LETTERS differs in one value, the other P-Mode in two."""
    far = replace(RESULTS, id="clinic.far", action="urn:fetch", agreement="urn:a")
    with pytest.raises(ProcessingModeMismatch) as refused:
        select_mode([far, LETTERS], message())
    assert refused.value.detail == (
        "no P-Mode for service urn:results, action urn:send from party clinic-ap;"
        " nearest: clinic.letters differs in service"
    )


def test_a_party_type_is_free_under_its_quirk_or_where_none_is_agreed() -> None:
    free = replace(RESULTS, policy=SecurityPolicy(quirks=frozenset({Quirk.ANY_PARTY_TYPE})))
    for mode in (free, replace(RESULTS, party_id_type=None)):
        assert differences(mode, message(type_="urn:type")) == ()


def test_a_party_type_may_be_missing_under_its_quirk_and_not_be_another() -> None:
    quirks = frozenset({Quirk.UNTYPED_NAMES})
    mode = replace(RESULTS, policy=SecurityPolicy(quirks=quirks))
    assert differences(RESULTS, message(type_=None)) == ("party id type",)
    assert differences(mode, message(type_=None)) == ()
    assert differences(mode, message(type_="urn:type")) == ("party id type",)


def test_the_test_service_belongs_to_every_p_mode_whose_agreement_it_names() -> None:
    ping = message(service=Service(names.EB_TEST_SERVICE), action=names.EB_TEST_ACTION)
    assert is_test_service(ping)
    assert select_mode([RESULTS], ping) is RESULTS
    assert differences(replace(RESULTS, agreement="urn:a"), ping) == ("agreement",)
    assert not is_test_service(message(service=Service(names.EB_TEST_SERVICE)))
