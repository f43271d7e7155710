"""The audit log in each dialect: a line that is changed, taken out or cut off is found; lines go after six months only."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accesspoint.clock import ManualClock
from accesspoint.config import Retention
from accesspoint.store.audit import (
    FIRST,
    AuditBroken,
    Line,
    Verified,
    expire_audit,
    person_digest,
    read_audit,
    record_audit,
    verify_audit,
)
from accesspoint.store.database import Database, Dialect, IntegrityViolation, Transaction
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.retention import RetentionKeeper

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
KEY = bytes(range(32))


async def write(database: Database, count: int, *, at: datetime = AT, **others: Any) -> None:
    async def work(tx: Transaction) -> None:
        for number in range(count):
            await record_audit(
                tx, at=at + timedelta(seconds=number), actor="anna@login.example",
                action="payload.viewed", object=f"m{number}", **others,
            )  # fmt: skip

    await database.run(work)


async def lines(database: Database) -> list[Line]:
    async def work(tx: Transaction) -> list[Line]:
        return [line async for line in read_audit(tx)]

    return await database.read(work)


async def verify(database: Database, exported: list[Line] | None = None) -> Verified:
    return await database.read(lambda tx: verify_audit(tx, exported or []))


async def tamper(database: Database, *statements: str) -> None:
    """Change the tables as somebody does who may also switch their triggers off."""

    async def work(tx: Transaction) -> None:
        if tx.dialect is Dialect.SQLITE:
            await tx.execute("DROP TRIGGER IF EXISTS audit_written")
            await tx.execute("DROP TRIGGER IF EXISTS audit_kept")
        else:
            await tx.execute("ALTER TABLE audit DISABLE TRIGGER ALL")
        for statement in statements:
            await tx.execute(statement)

    await database.run(work)


@pytest.mark.attack("LOG-08")
async def test_a_line_says_when_who_what_to_which_object_about_whom_and_why(
    packaged: Database,
) -> None:
    person = person_digest(KEY, "010190-1234")
    await write(packaged, 1, person=person, reason="complaint of 010190-1234, case 17")
    [line] = await lines(packaged)
    assert (line.at, line.actor, line.action) == (
        "2026-11-21T09:30:00.000000+00:00", "anna@login.example", "payload.viewed",
    )  # fmt: skip
    assert (line.object, line.person) == ("m0", person)
    assert line.reason == "complaint of [removed number], case 17"


@pytest.mark.attack("LOG-08")
async def test_a_person_is_found_by_number_and_key_and_never_written_down(
    packaged: Database,
) -> None:
    assert person_digest(KEY, "0101901234") == person_digest(KEY, "010190-1234")
    assert person_digest(KEY, "0101901234") != person_digest(KEY[::-1], "0101901234")
    with pytest.raises(ValueError, match="digest"):
        await write(packaged, 1, person="0101901234")
    with pytest.raises(ValueError, match="no patient number"):
        person_digest(KEY, " \n")
    assert await lines(packaged) == []


@pytest.mark.attack("LOG-07")
@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM audit WHERE seq = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE seq BETWEEN 2 AND 4", "lines 2 to 4 are missing"),
        ("DELETE FROM audit WHERE seq = 1", "line 1 is missing"),
        ("DELETE FROM audit WHERE seq = 6", "line 6 is missing"),
        ("DELETE FROM audit", "lines 1 to 6 are missing"),
        ("UPDATE audit SET reason = 'none' WHERE seq = 4", "line 4 was changed"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 6", "line 6 was changed"),
        ("UPDATE audit SET previous = 'x' WHERE seq = 5", "line 5 does not follow line 4"),
        ("UPDATE audit_head SET digest = ''", "line 6 is not the last one"),
        ("UPDATE audit_head SET expired = 5", None),
    ],
)
async def test_a_line_taken_out_or_changed_is_found(
    packaged: Database, statement: str, finding: str | None
) -> None:
    await write(packaged, 6)
    assert (await verify(packaged)).last == 6
    await tamper(packaged, statement)
    if finding is None:  # which lines are over is what the lines say
        assert (await verify(packaged)).first == 1
        return
    with pytest.raises(AuditBroken, match=finding):
        await verify(packaged)


@pytest.mark.attack("LOG-07")
async def test_the_tables_refuse_to_change_or_delete_a_line(packaged: Database) -> None:
    await write(packaged, 2)
    for statement in ("UPDATE audit SET actor = 'b'", "DELETE FROM audit WHERE seq = 1"):
        with pytest.raises(IntegrityViolation):
            await packaged.run(lambda tx, s=statement: tx.execute(s))  # type: ignore[misc]
    assert len(await lines(packaged)) == 2


@pytest.mark.attack("LOG-07")
async def test_a_log_computed_anew_differs_from_an_earlier_export(packaged: Database) -> None:
    await write(packaged, 3)
    exported = await lines(packaged)
    await tamper(
        packaged, "DELETE FROM audit", f"UPDATE audit_head SET seq = 0, digest = '{FIRST}'"
    )  # fmt: skip
    await write(packaged, 4, reason="another story")
    assert (await verify(packaged)).last == 4
    with pytest.raises(AuditBroken, match="line 1 is not the one that was exported"):
        await verify(packaged, exported)
    with pytest.raises(AuditBroken, match="line 5 is missing"):
        await verify(packaged, [replace(exported[0], seq=5)])


@pytest.mark.attack("LOG-08")
async def test_lines_go_when_their_time_is_over_and_the_chain_says_so(
    packaged: Database, tmp_path: Path
) -> None:
    payloads, clock = PayloadStore(tmp_path / "payloads"), ManualClock(AT)
    keeper = RetentionKeeper(packaged, payloads, clock=clock, periods=Retention())
    await write(packaged, 120)
    clock.advance(timedelta(days=183) - timedelta(seconds=1))
    await write(packaged, 2, at=clock.now())
    assert [count for count in await keeper.apply() if count.rows] == []
    clock.advance(timedelta(seconds=120))
    assert [(count.rule.name, count.rows) for count in await keeper.preview() if count.rows] == [
        ("audit log", 120)
    ]
    assert [(count.rule.name, count.rows) for count in await keeper.apply() if count.rows] == [
        ("audit log", 120)
    ]
    payloads.close()
    left = await lines(packaged)
    assert [line.seq for line in left] == [121, 122, 123, 124, 125]
    assert [line.object for line in left if line.action == "audit.expired"] == ["50", "100", "120"]
    assert left[-1].actor == "system"
    assert await verify(packaged) == Verified(121, 125, left[-1].digest)
    await tamper(packaged, "DELETE FROM audit WHERE seq = 121")
    with pytest.raises(AuditBroken, match="line 121 is missing"):
        await verify(packaged)


async def test_of_lines_that_are_over_none_may_be_kept_back_or_put_in(packaged: Database) -> None:
    await write(packaged, 2)
    await packaged.run(lambda tx: expire_audit(tx, up_to=1, at=AT))
    await tamper(packaged, "UPDATE audit_head SET expired = 0")
    assert (await verify(packaged)).first == 2
    await tamper(packaged, "UPDATE audit SET previous = 'x' WHERE seq = 2")
    with pytest.raises(AuditBroken, match="line 2 was changed"):
        await verify(packaged)
    with pytest.raises(AuditBroken, match="line 1 is missing"):
        await packaged.run(lambda tx: expire_audit(tx, up_to=1, at=AT))


async def test_works_that_write_at_once_make_one_chain(packaged: Database) -> None:
    import asyncio

    await asyncio.gather(*(write(packaged, 1) for _ in range(12)))
    assert (await verify(packaged)).last == 12


async def test_a_line_is_there_only_with_what_it_tells_of(packaged: Database) -> None:
    async def work(tx: Transaction) -> None:
        await record_audit(tx, at=AT, actor="a", action="b", object="c")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await packaged.run(work)
    assert await verify(packaged) == Verified(0, 0, FIRST)
