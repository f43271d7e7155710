"""The clock may be set while a message comes in: no honest message is refused for it, and no other one gets in."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest
from as4_parts import trust_in
from as4_stage import THIRD_PARTY
from as4_wire import Author, Wire, add_timestamp
from inbound_parts import PEER, Inbound

from accesspoint.inbound.receiver import Receiver
from accesspoint.inbound.refusal import Answer, Intake
from envelope.errors import FailedAuthentication
from envelope.mime import parse_content_type

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


async def receive_while(
    inbound: Inbound, wire: Wire, happens: Callable[[], None], receiver: Receiver | None = None
) -> Answer:
    """Let a message in; between its first octets and the rest something happens."""

    async def chunks() -> AsyncIterator[bytes]:
        yield wire.body[:100]
        happens()
        yield wire.body[100:]

    content_type = parse_content_type(wire.content_type)
    return await (receiver or inbound.receiver()).receive(content_type, chunks(), Intake(PEER))


def created_at(inbound: Inbound, created: datetime) -> Wire:
    author = inbound.author
    return author.resigned(
        author.compose(), lambda tree: add_timestamp(tree, created, created + 5 * MINUTE)
    )


@pytest.mark.attack("TIM-06")
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("right", ["before", "after"])
async def test_a_clock_that_is_set_meanwhile_was_right_before_or_after(
    inbound: Inbound, jump: timedelta, right: str
) -> None:
    clock = inbound.parts.clock
    before = clock.now()
    created = before if right == "before" else before + jump
    wire = created_at(inbound, created)
    answer = await receive_while(inbound, wire, lambda: clock.set_wall(before + jump))
    assert answer.status == 200
    assert len(await inbound.messages()) == 1


@pytest.mark.attack("TIM-06")
async def test_a_time_that_fits_neither_reading_is_refused(inbound: Inbound) -> None:
    clock = inbound.parts.clock
    before = clock.now()
    wire = created_at(inbound, before + 2 * HOUR)
    with pytest.raises(FailedAuthentication) as refused:
        await receive_while(inbound, wire, lambda: clock.set_wall(before + HOUR))
    assert refused.value.reason == "ts.future"
    assert await inbound.stored_nothing()


@pytest.mark.attack("TIM-07")
async def test_a_certificate_is_judged_at_the_instant_at_which_its_message_came(
    inbound: Inbound,
) -> None:
    clock, pki = inbound.parts.clock, inbound.pki
    ends = clock.now() + MINUTE
    issued = pki.certify(THIRD_PARTY, not_after=ends)
    author = Author(issued.signer(), pki.clinic.certificate, party=THIRD_PARTY)
    receiver = inbound.receiver(check=trust_in(pki, clock))
    wire = author.compose()
    answer = await receive_while(
        inbound, wire, lambda: clock.set_wall(ends + timedelta(seconds=1)), receiver
    )
    assert answer.status == 200
    with pytest.raises(FailedAuthentication) as refused:
        await receive_while(inbound, author.compose(), lambda: None, receiver)
    assert refused.value.reason == "cert.time"
