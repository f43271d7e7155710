"""Faults that a careless change could make, to plant in the nodes: under each of them some seed must break a promise."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

import accesspoint.inbound.receiver
import accesspoint.outbound.sender
import accesspoint.store.heartbeat
import accesspoint.store.sqlite
from accesspoint.delivery.outbox import ClaimedEvent, Outbox
from accesspoint.inbound.receiver import Receiver
from accesspoint.inbound.refusal import SOAP_TYPE, Answer
from accesspoint.outbound.answers import Outcome, Verdict
from accesspoint.outbound.picking import Picking
from accesspoint.stations.relay import HandoverRelay
from accesspoint.stations.reporting import Act, Reporter
from accesspoint.store.sqlite import SqliteDatabase
from keys.certificate import fingerprint
from tests.simulation.disk import Disk


@contextmanager
def dedupe_off() -> Iterator[None]:
    """A repeated request is a new message, and the table that would object is without its index."""
    start = SqliteDatabase.start.__func__  # type: ignore[attr-defined]

    async def without_index(cls: type, *arguments: Any, **options: Any) -> SqliteDatabase:
        database: SqliteDatabase = await start(cls, *arguments, **options)
        database._writer.execute("DROP INDEX IF EXISTS messages_outbound_id")
        return database

    async def nothing(*_: object, **__: object) -> None:
        return None

    receiver = accesspoint.inbound.receiver
    with (
        patch.object(receiver, "find_duplicate", nothing),
        patch.object(receiver, "record_duplicate_key", nothing),
        patch.object(SqliteDatabase, "start", classmethod(without_index)),
    ):
        yield


@contextmanager
def receipt_before_commit() -> Iterator[None]:
    """The receipt leaves, and the message becomes durable a moment later."""
    commit = Receiver._commit

    async def early(self: Receiver, *arguments: Any, **options: Any) -> Answer:
        async def later() -> None:
            await asyncio.sleep(0.05)
            await commit(self, *arguments, **options)

        self._later = asyncio.create_task(later())  # type: ignore[attr-defined]
        return Answer(200, SOAP_TYPE, arguments[2])

    with patch.object(Receiver, "_commit", early):
        yield


@contextmanager
def no_fsync() -> Iterator[None]:
    """Files and database are written and never synchronised."""
    pragmas = tuple(
        ("synchronous", "OFF", 0) if name == "synchronous" else (name, value, expected)
        for name, value, expected in accesspoint.store.sqlite._WRITER_PRAGMAS
    )
    with (
        patch.object(accesspoint.store.sqlite, "_WRITER_PRAGMAS", pragmas),
        patch.object(Disk, "fsync", lambda *_: None),
    ):
        yield


@contextmanager
def no_fsync_of_payloads() -> Iterator[None]:
    """The database is synchronised, the files that its rows point at are not."""
    with patch.object(Disk, "fsync", lambda *_: None):
        yield


@contextmanager
def outbox_marked_before_post() -> Iterator[None]:
    """An event counts as sent as soon as somebody takes it up."""
    claim = Outbox._claim

    async def marking(self: Outbox, tx: Any, now: int, limit: int) -> list[ClaimedEvent]:
        claimed = await claim(self, tx, now, limit)
        for event in claimed:
            await tx.execute(
                "UPDATE outbox SET state = 'sent', sent_at = $2 WHERE seq = $1", event.seq, now
            )
        return claimed

    with patch.object(Outbox, "_claim", marking):
        yield


@contextmanager
def lease_ignored() -> Iterator[None]:
    """What another worker holds is taken from it before its time is over."""
    release = accesspoint.store.heartbeat.release_leases

    async def greedy(tx: Any, **options: Any) -> int:
        return await release(tx, **{**options, "sole_node": True})

    take = Picking.take

    async def take_held_too(self: Picking, free: int, busy: Collection[str]) -> Any:
        waiting = await self._database.fetch("SELECT id FROM messages WHERE state = 'RETRY_WAIT'")
        return await take(self, free, tuple(set(busy) - {row["id"] for row in waiting}))

    with (
        patch.object(accesspoint.store.heartbeat, "release_leases", greedy),
        patch.object(Picking, "take", take_held_too),
    ):
        yield


@contextmanager
def acknowledged_without_verification() -> Iterator[None]:
    """Any friendly answer counts as the receipt."""
    judge = accesspoint.outbound.sender.judge

    def trusting(answer: Any, **options: Any) -> Verdict:
        if answer.status == 200:
            signer = fingerprint(options["check"]._expected)
            return Verdict(Outcome.ACKNOWLEDGED, receipt=answer.body, signer=signer)
        return judge(answer, **options)

    with patch.object(accesspoint.outbound.sender, "judge", trusting):
        yield


@contextmanager
def event_dropped() -> Iterator[None]:
    """One station forgets to report that it received a message."""
    report = Reporter.report

    async def forgetful(self: Reporter, tx: Any, act: Act, *arguments: Any, **options: Any) -> None:
        if act is not Act.AP_RECEIVED:
            await report(self, tx, act, *arguments, **options)

    with patch.object(Reporter, "report", forgetful):
        yield


@contextmanager
def delivered_again() -> Iterator[None]:
    """A delivery that the backend confirmed is not noted as done the first time."""
    done = HandoverRelay._done
    seen: set[str] = set()

    def doubting(self: HandoverRelay, handover: Any) -> Any:
        if handover.id in seen:
            return done(self, handover)
        seen.add(handover.id)
        raise RuntimeError("planted")

    with patch.object(HandoverRelay, "_done", doubting):
        yield


FAULTS: Final[Mapping[str, Callable[[], AbstractContextManager[None]]]] = MappingProxyType(
    {
        "dedupe off": dedupe_off,
        "receipt before commit": receipt_before_commit,
        "no fsync": no_fsync,
        "no fsync of payloads": no_fsync_of_payloads,
        "outbox mark before post": outbox_marked_before_post,
        "lease ignored": lease_ignored,
        "acknowledged without verification": acknowledged_without_verification,
        "event dropped": event_dropped,
        "delivered again": delivered_again,
    }
)
"""Each planted fault by name."""
