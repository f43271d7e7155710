"""P-Modes at work on what comes in: the one that fits decides, and a refusal names the nearest to us alone."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from as4_peer import HttpAnswer
from as4_wire import CANARY

from accesspoint.demo.scenery import MUNICIPALITY
from accesspoint.identity import Agreements
from accesspoint.inbound.refusal import Intake
from envelope import names
from envelope.errors import ProcessingModeMismatch
from envelope.messaging import CollaborationInfo, Service, UserMessage
from envelope.pmode import DOMIBUS_LIKE

if TYPE_CHECKING:
    from inbound_parts import Inbound

LETTERS = replace(DOMIBUS_LIKE, id="municipality.letters", service="urn:letters")


def agreed(inbound: "Inbound", *, also_this: bool) -> Agreements:
    """Agreements with the sender: letters, and the kind of message that is sent when `also_this`."""
    info = sample(inbound)
    this = replace(
        DOMIBUS_LIKE, id="municipality.this", service=info.service.value, action=info.action
    )
    modes = (LETTERS, this) if also_this else (LETTERS,)
    return Agreements(exchanges={MUNICIPALITY.access_point: modes})


def sample(inbound: "Inbound") -> CollaborationInfo:
    seen: list[UserMessage] = []

    def look(message: UserMessage) -> UserMessage:
        seen.append(message)
        return message

    inbound.author.compose(message=look)
    return seen[0].collaboration_info


async def test_a_message_of_one_of_the_p_modes_is_accepted(inbound: "Inbound") -> None:
    receiver = inbound.receiver(agreements=agreed(inbound, also_this=True))
    assert (await inbound.receive(inbound.author.compose(), receiver=receiver)).status == 200


async def test_the_test_service_is_open_whatever_is_agreed(inbound: "Inbound") -> None:
    receiver = inbound.receiver(agreements=agreed(inbound, also_this=False))
    assert (await inbound.receive(inbound.author.test_message(), receiver=receiver)).status == 200


async def test_a_refusal_keeps_the_nearest_p_mode_and_tells_the_sender_the_code_alone(
    inbound: "Inbound",
) -> None:
    receiver = inbound.receiver(agreements=agreed(inbound, also_this=False))
    intake = Intake("127.0.0.9")
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(inbound.author.compose(), receiver=receiver, intake=intake)
    answer = await inbound.refuser.refuse(refused.value, intake)
    (row,) = await inbound.parts.rows("SELECT * FROM refusals")
    info = sample(inbound)
    assert row["detail"] == (
        f"no P-Mode for service {info.service.value}, action {info.action}"
        f" from party {MUNICIPALITY.access_point}; nearest: municipality.letters differs in service"
    )
    assert (row["code"], row["gate"], row["reason"]) == ("EBMS:0010", "G10", "pmode.service")
    _, signal = HttpAnswer(answer.status, answer.content_type, answer.body).signal()
    assert signal.errors[0].code == "EBMS:0010"
    for secret in (b"letters", info.action.encode(), CANARY.encode()):
        assert secret not in answer.body


async def test_what_looks_like_a_patient_number_in_a_service_is_not_kept(
    inbound: "Inbound",
) -> None:
    def odd(message: UserMessage) -> UserMessage:
        info = replace(message.collaboration_info, service=Service("urn:2512489996"))
        return replace(message, collaboration_info=info)

    receiver = inbound.receiver(agreements=agreed(inbound, also_this=False))
    intake = Intake("127.0.0.9")
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(inbound.author.compose(message=odd), receiver=receiver, intake=intake)
    await inbound.refuser.refuse(refused.value, intake)
    (row,) = await inbound.parts.rows("SELECT detail FROM refusals")
    assert "nearest: municipality.letters" in row["detail"]
    assert "2512489996" not in row["detail"]


async def test_party_ids_of_another_type_need_the_quirk(inbound: "Inbound") -> None:
    def typed(message: UserMessage) -> UserMessage:
        sender, receiver = message.from_party, message.to_party
        return replace(
            message,
            from_party=replace(
                sender, party_id=replace(sender.party_id, type=names.PARTY_PEPPOL_AP)
            ),
            to_party=replace(receiver, party_id=replace(receiver.party_id, type="urn:t")),
        )

    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(inbound.author.compose(message=typed))
    assert refused.value.reason == "pmode.party"
    assert await inbound.stored_nothing()
