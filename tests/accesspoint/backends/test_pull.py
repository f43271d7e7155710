"""What waits is leased, fetched and confirmed; it keeps its id, and comes again only while it was not confirmed."""

import asyncio
import hashlib
import itertools
from datetime import timedelta

import orjson
import pytest
from unreadable_rows import DAMAGED, HOWEVER, spoil

from accesspoint.backends.pull import (
    LONGEST,
    Confirmed,
    Kind,
    LeaseLost,
    NotHandedOut,
    Unknown,
)
from accesspoint.store.outcomes import outcome_id
from envelope.sending import State

from .conftest import Owed

MINUTE = timedelta(minutes=1)
SENT = ("RESOLVED", "READY", "SENDING")
ENDS = {
    "ACKNOWLEDGED": ((*SENT, "ACKNOWLEDGED"), None, None),
    "REFUSED": ((*SENT, "REFUSED"), "peer-refused", "EBMS:0202"),
    "UNCERTAIN": ((*SENT, "RETRY_WAIT", "UNCERTAIN"), "peer-timeout", "EBMS:0301"),
    "EXPIRED": ((*SENT, "RETRY_WAIT", "EXPIRED"), "peer-unreachable", "EBMS:0202"),
    "FAILED": (("FAILED",), "lookup-no-participant", "EBMS:0202"),
    "REJECTED": (("REJECTED",), "message-not-in-ehmi", None),
    "CANCELLED": (("CANCELLED",), None, None),
}


async def ids(owed: Owed, kind: Kind = Kind.DELIVERY, *, limit: int = 10) -> list[str]:
    leased = await owed.desk.lease(kind, limit=limit, duration=MINUTE)
    return [item["id"] for item in leased.items]


async def test_what_waits_is_handed_out_oldest_first_with_its_manifest(owed: Owed) -> None:
    first = await owed.message("a")
    owed.parts.clock.advance(timedelta(seconds=1))
    second = await owed.message("b")
    leased = await owed.desk.lease(Kind.DELIVERY, limit=1, duration=MINUTE)
    [item] = leased.items
    row = await owed.desk.find(Kind.DELIVERY, first)
    content = b"".join([chunk async for chunk in owed.desk.content(row)])
    assert (item["id"], item["delivery"], item["handed_out"]) == (first, first, 1)
    assert (item["bytes"], item["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert leased.until == owed.parts.clock.now() + MINUTE
    assert await ids(owed) == [second]
    assert await ids(owed) == []


async def test_looking_leases_nothing(owed: Owed) -> None:
    id_ = await owed.message("a")
    for _ in range(2):
        assert [item["id"] for item in await owed.desk.list(Kind.DELIVERY, limit=9)] == [id_]
    assert await ids(owed) == [id_]


@HOWEVER
async def test_what_does_not_open_stands_in_nobodys_way(owed: Owed, fault: str) -> None:
    poisoned = await owed.message("a")
    good = await owed.message("b")
    await spoil(owed.parts.database, "handovers", "item", poisoned, fault)
    assert [item["id"] for item in await owed.desk.list(Kind.DELIVERY, limit=9)] == [good]
    assert await ids(owed) == [good]
    row = await owed.parts.one("SELECT * FROM handovers WHERE id = $1", poisoned)
    assert (row["state"], row["problem"]) == (
        ("set-aside", "payload-damaged") if fault == DAMAGED else ("waiting", None)
    )


async def test_a_lease_that_runs_out_hands_the_same_delivery_out_again(owed: Owed) -> None:
    id_ = await owed.message("a")
    assert await ids(owed) == [id_]
    owed.parts.clock.advance(MINUTE - timedelta(microseconds=1))
    assert await ids(owed) == []
    owed.parts.clock.advance(timedelta(microseconds=1))
    leased = await owed.desk.lease(Kind.DELIVERY, limit=1, duration=MINUTE)
    assert [(item["id"], item["handed_out"]) for item in leased.items] == [(id_, 2)]


async def test_no_lease_is_longer_than_the_longest(owed: Owed) -> None:
    await owed.message("a")
    leased = await owed.desk.lease(Kind.DELIVERY, limit=1, duration=timedelta(days=9))
    assert leased.until == owed.parts.clock.now() + LONGEST


async def test_what_is_released_is_handed_out_at_once(owed: Owed) -> None:
    id_ = await owed.message("a")
    leased = await owed.desk.lease(Kind.DELIVERY, limit=1, duration=MINUTE)
    with pytest.raises(LeaseLost):
        await owed.desk.release(Kind.DELIVERY, id_, "another")
    await owed.desk.release(Kind.DELIVERY, id_, leased.token)
    with pytest.raises(LeaseLost):
        await owed.desk.release(Kind.DELIVERY, id_, leased.token)
    assert await ids(owed) == [id_]


async def test_a_confirmation_is_for_good_and_says_so_again(owed: Owed) -> None:
    id_ = await owed.message("a")
    await ids(owed)
    at = await owed.desk.confirm(Kind.DELIVERY, id_)
    for again in (
        owed.desk.confirm(Kind.DELIVERY, id_),
        owed.desk.find(Kind.DELIVERY, id_),
        owed.desk.release(Kind.DELIVERY, id_, ""),
    ):
        with pytest.raises(Confirmed) as confirmed:
            await again
        assert confirmed.value.at == at
    owed.parts.clock.advance(LONGEST * 2)
    assert await ids(owed) == []
    assert await owed.parts.events() == [("EUA", "msg-received-and-finalized")]
    assert [event for _, event, _ in await owed.parts.journal()] == ["delivered"]


async def test_whoever_has_it_has_it_also_after_the_lease(owed: Owed) -> None:
    id_ = await owed.message("a")
    await ids(owed)
    owed.parts.clock.advance(LONGEST * 2)
    await owed.desk.confirm(Kind.DELIVERY, id_)
    assert await ids(owed) == []


async def test_what_was_never_handed_out_cannot_be_confirmed(owed: Owed) -> None:
    id_ = await owed.message("a")
    with pytest.raises(NotHandedOut):
        await owed.desk.confirm(Kind.DELIVERY, id_)
    assert await ids(owed) == [id_]


async def test_of_many_at_once_each_gets_its_own(owed: Owed) -> None:
    waiting = {await owed.message(f"m-{number}") for number in range(6)}
    taken = await asyncio.gather(*(ids(owed, limit=2) for _ in range(5)))
    assert sorted(itertools.chain(*taken)) == sorted(waiting)


@pytest.mark.parametrize("kind", Kind)
async def test_an_unknown_id_is_unknown(owed: Owed, kind: Kind) -> None:
    other = await owed.message("a") if kind is Kind.OUTCOME else "nothing"
    for call in (owed.desk.confirm(kind, other), owed.desk.find(kind, other)):
        with pytest.raises(Unknown):
            await call


@pytest.mark.parametrize("end", ENDS)
async def test_an_end_is_told_with_whose_it_is_and_what_to_do(owed: Owed, end: str) -> None:
    path, problem, code = ENDS[end]
    row = await owed.outcome("a", *path, problem=problem, detail="because of 251248-9996")
    [told] = (await owed.desk.lease(Kind.OUTCOME, limit=9, duration=MINUTE)).items
    assert told["id"] == outcome_id(row["id"], State(end))
    assert (told["state"], told["message_identifier"]) == (end, "a")
    assert (told["message_id"], told["exchange"]) == (row["message_id"], row["id"])
    assert (told["error"] or {}).get("code") == code
    if problem is None:
        assert told["problem"] is None
    else:
        assert told["problem"]["whose"] in {"ours", "theirs", "network", "unknown"}
        assert told["problem"]["remedy"]
        assert told["problem"]["why"].startswith("because of")
    assert "9996" not in orjson.dumps(told).decode()
    assert (await owed.row("a"))["state"] == end
    await owed.desk.confirm(Kind.OUTCOME, told["id"])
    assert (await owed.row("a"))["state"] == "NOTIFIED"
    assert await owed.desk.list(Kind.OUTCOME, limit=9) == []


async def test_an_outcome_has_one_id_and_one_text_however_often_it_is_handed_out(
    owed: Owed,
) -> None:
    await owed.outcome("a", *SENT, "RETRY_WAIT", "EXPIRED", problem="peer-unreachable")
    texts = []
    for _ in range(3):
        [item] = (await owed.desk.lease(Kind.OUTCOME, limit=1, duration=MINUTE)).items
        texts.append({**item, "handed_out": 0})
        owed.parts.clock.advance(MINUTE)
    assert texts[0] == texts[1] == texts[2]


async def test_s18_a_late_receipt_replaces_what_nobody_was_told(owed: Owed) -> None:
    await owed.outcome("a", *SENT, "RETRY_WAIT", "UNCERTAIN", problem="peer-timeout")
    await owed.advance("a", "ACKNOWLEDGED")
    [told] = (await owed.desk.lease(Kind.OUTCOME, limit=9, duration=MINUTE)).items
    assert (told["state"], told["supersedes"]) == ("ACKNOWLEDGED", None)
    await owed.desk.confirm(Kind.OUTCOME, told["id"])
    assert (await owed.row("a"))["state"] == "NOTIFIED"
    with pytest.raises(Unknown):
        await owed.desk.confirm(Kind.OUTCOME, outcome_id("x-a", State.UNCERTAIN))


async def test_s18_a_late_receipt_follows_what_was_told_and_the_first_confirmation_ends_nothing(
    owed: Owed,
) -> None:
    await owed.outcome("a", *SENT, "RETRY_WAIT", "UNCERTAIN", problem="peer-timeout")
    [first] = (await owed.desk.lease(Kind.OUTCOME, limit=9, duration=MINUTE)).items
    await owed.advance("a", "ACKNOWLEDGED")
    [second] = (await owed.desk.lease(Kind.OUTCOME, limit=9, duration=MINUTE)).items
    assert (first["state"], second["state"]) == ("UNCERTAIN", "ACKNOWLEDGED")
    assert second["supersedes"] == first["id"] != second["id"]
    await owed.desk.confirm(Kind.OUTCOME, first["id"])
    assert (await owed.row("a"))["state"] == "ACKNOWLEDGED"
    await owed.desk.confirm(Kind.OUTCOME, second["id"])
    assert (await owed.row("a"))["state"] == "NOTIFIED"


async def test_our_own_acknowledgements_are_told_to_nobody(owed: Owed) -> None:
    await owed.outcome("a", *SENT, "ACKNOWLEDGED", standard="ehmisbdh-acknowledgement")
    assert (await owed.row("a"))["state"] == "NOTIFIED"
    await owed.outcome(
        "b", *SENT, "RETRY_WAIT", "UNCERTAIN", problem="peer-timeout", standard="ehmisbdh-acknowledgement"
    )  # fmt: skip
    # A late receipt may still free it.
    assert (await owed.row("b"))["state"] == "UNCERTAIN"
    assert await owed.parts.rows("SELECT * FROM handovers") == []


async def test_on_a_shared_database_each_is_handed_out_to_one_and_settled_once(
    shared: Owed,
) -> None:
    waiting = {await shared.message(f"m-{number}") for number in range(6)}
    taken = await asyncio.gather(*(ids(shared, limit=2) for _ in range(6)))
    assert sorted(itertools.chain(*taken)) == sorted(waiting)
    results = await asyncio.gather(
        *(shared.desk.confirm(Kind.DELIVERY, id_) for id_ in waiting for _ in range(3)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Confirmed) for result in results) == 12
    assert len(await shared.parts.events()) == 6
    await shared.outcome("a", *SENT, "RETRY_WAIT", "UNCERTAIN", problem="peer-timeout")
    await shared.advance("a", "ACKNOWLEDGED")
    [told] = (await shared.desk.lease(Kind.OUTCOME, limit=9, duration=MINUTE)).items
    await shared.desk.confirm(Kind.OUTCOME, told["id"])
    assert (told["state"], (await shared.row("a"))["state"]) == ("ACKNOWLEDGED", "NOTIFIED")
