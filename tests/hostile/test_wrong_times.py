"""Times that cannot be true, or are of no use any more, in messages that are well signed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Author, Tree, Wire, add_timestamp
from attack_rows import row
from lxml import etree

from accesspoint.clock import timestamp
from envelope import names
from envelope.messaging import UserMessage
from envelope.names import q

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AHEAD, LATER, LONG_AGO = 6 * MINUTE, 11 * MINUTE, 183 * DAY
FORM = Verdict("G5", "ts.form", "EBMS:0009")
Change = Callable[[Tree], None]


def refused(reason: str) -> Verdict:
    """The sender is known by then, so the answer is signed."""
    return Verdict("G6", reason, "EBMS:0101", signed=True)


def stamped(author: Author, created: timedelta, expires: timedelta, *changes: Change) -> Wire:
    """A message with a signed Timestamp whose times are so far from now."""
    now = datetime.now(UTC)

    def change(tree: Tree) -> None:
        add_timestamp(tree, now + created, now + expires)
        for one in changes:
            one(tree)

    return author.resigned(author.compose(), change)


@pytest.mark.parametrize(
    ("created", "expires", "reason"),
    [
        row("TIM-01", AHEAD, LATER, "ts.future"),
        row("TIM-01", 200 * DAY, 201 * DAY, "ts.future"),
        row("TIM-02", -3 * DAY, -3 * DAY + 5 * MINUTE, "ts.expired"),
        row("TIM-02", -200 * DAY, 5 * MINUTE, "ts.expired"),
        row("TIM-03", -1 * MINUTE, -2 * MINUTE, "ts.order"),
    ],
    ids=["6 min ahead", "half a year ahead", "expired", "older than memory", "turned"],
)
async def test_lifetime_that_does_not_fit(
    arena: Arena, created: timedelta, expires: timedelta, reason: str
) -> None:
    twin = stamped(arena.author, -MINUTE, 4 * MINUTE)
    attack = stamped(arena.author, created, expires)
    await arena.refuses(attack, refused(reason), twin=twin)


@pytest.mark.attack("TIM-02", "RPL-11")
@pytest.mark.parametrize(
    ("created", "expires"),
    [(4 * MINUTE, 9 * MINUTE), (-20 * timedelta(hours=1), -19 * timedelta(hours=1))],
    ids=["4 min ahead", "a repetition"],
)
async def test_lifetime_of_an_honest_sender(
    arena: Arena, created: timedelta, expires: timedelta
) -> None:
    """A clock that is a little fast, and a retry that carries the times of its first attempt a day ago."""
    await arena.accepts(stamped(arena.author, created, expires))


@pytest.mark.attack("TIM-02")
async def test_expired_message_that_is_known(arena: Arena) -> None:
    """What was accepted once is answered as then, whatever its times: that is how a lost receipt is found again."""
    wire = arena.author.compose(unique="known-and-old")
    await arena.accepts(wire)
    long_ago = datetime.now(UTC) - 300 * DAY
    again = arena.author.resigned(
        wire, lambda tree: add_timestamp(tree, long_ago, long_ago + 5 * MINUTE)
    )
    answer = await arena.client.post(again)
    assert b"Receipt" in answer.body


def written(local: str, text: str) -> Change:
    return lambda tree: tree.find(names.WSU, local).__setattr__("text", text)


def second_created(tree: Tree) -> None:
    stamp = tree.find(names.WSU, "Timestamp")
    etree.SubElement(stamp, q(names.WSU, "Created")).text = "2026-11-22T00:00:00Z"


def another_child(tree: Tree) -> None:
    etree.SubElement(tree.find(names.WSU, "Timestamp"), "{urn:example:x}Other")


@pytest.mark.attack("TIM-04")
@pytest.mark.parametrize(
    "change",
    [
        written("Created", "2026-11-22T00:00:00"),
        written("Created", "2026-12-31T23:59:60Z"),
        written("Created", "2026-11-22T00:00:00.123456789Z"),
        written("Created", "-0001-01-01T00:00:00Z"),
        written("Created", "12026-01-01T00:00:00Z"),
        written("Created", "2026-02-30T00:00:00Z"),
        written("Created", "2026-11-22"),
        written("Created", "２０２６-11-22T00:00:00Z"),
        written("Created", ""),
        written("Expires", "never"),
        second_created,
        another_child,
    ],
    ids=[
        "no zone", "leap second", "nine decimals", "negative year", "five digits", "no such day", "a day",
        "full width", "nothing", "never", "two Created", "something else",
    ],
)  # fmt: skip
async def test_form_of_a_time(arena: Arena, change: Change) -> None:
    twin = stamped(arena.author, -MINUTE, 4 * MINUTE)
    await arena.refuses(stamped(arena.author, -MINUTE, 4 * MINUTE, change), FORM, twin=twin)


@pytest.mark.attack("TIM-04")
async def test_year_9999(arena: Arena) -> None:
    """A time like any other, to which nothing may be added."""
    end = "9999-12-31T23:59:59.999-14:00"
    attack = stamped(arena.author, MINUTE, MINUTE, written("Created", end), written("Expires", end))
    await arena.refuses(attack, refused("ts.future"), twin=arena.author.compose())


def sent_at(text: str) -> Callable[[UserMessage], UserMessage]:
    return lambda message: replace(message, timestamp=text)


@pytest.mark.parametrize(
    ("age", "reason"),
    [row("RPL-12", LONG_AGO, "ts.expired"), row("TIM-01", -LONG_AGO, "ts.future")],
    ids=["too old", "too new"],
)
async def test_header_beyond_what_is_remembered(arena: Arena, age: timedelta, reason: str) -> None:
    """MessageIds are remembered for a year: whatever is dated within half of it dies before its id is forgotten."""
    twin = arena.author.compose()
    when = timestamp(datetime.now(UTC) - age)
    attack = arena.author.compose(message=sent_at(when))
    await arena.refuses(attack, refused(reason), twin=twin)


@pytest.mark.attack("TIM-04")
@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f123Z"])
async def test_header_as_products_write_it(arena: Arena, form: str) -> None:
    """phase4 of 2019 left out the zone, others write more decimals: the header's own time is a note, not a limit."""
    now = datetime.now(UTC)
    await arena.accepts(arena.author.compose(message=sent_at(now.strftime(form))))


@pytest.mark.attack("TIM-05")
async def test_two_timestamps(arena: Arena) -> None:
    def second(tree: Tree) -> None:
        stamp = etree.SubElement(tree.security, q(names.WSU, "Timestamp"))
        stamp.set(q(names.WSU, "Id"), "TS-2")

    attack = stamped(arena.author, -MINUTE, 4 * MINUTE, second)
    await arena.refuses(
        attack, Verdict("G5", "sec.schema", "EBMS:0101"), twin=arena.author.compose()
    )
