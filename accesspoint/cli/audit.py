"""`accesspoint audit`: the audit log as lines of JSON, and whether any is missing."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from accesspoint.cli.current import load_given
from accesspoint.problems import ExitStatus
from accesspoint.store.audit import (
    AuditBroken,
    Line,
    Verified,
    person_digest,
    read_audit,
    verify_audit,
    verify_chain,
)
from accesspoint.store.configured import build_payload_store, database_url
from accesspoint.store.database import Database, Transaction, Work


def export(config: Path, *, since: datetime | None, until: datetime | None, person: bool) -> int:
    """Write the lines; the exit status."""
    digests: frozenset[str] | None = None
    if person:
        try:
            digests = _digests(config, sys.stdin.readline())
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            return ExitStatus.USAGE

    async def write(tx: Transaction) -> None:
        async for line in read_audit(tx, since=_utc(since), until=_utc(until)):
            if digests is None or line.person in digests:
                sys.stdout.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")

    asyncio.run(_read(config, write))
    return ExitStatus.OK


def verify(config: Path | None, exported: Path | None) -> int:
    """Say whether the log is whole; the exit status."""
    try:
        earlier = [] if exported is None else _lines(exported)
        if config is None:
            found, _ = asyncio.run(verify_chain(_each(earlier)))
        else:
            found = asyncio.run(_verify_both(config, earlier))
        if exported is not None and not earlier:
            # An export that failed leaves such a file behind: holding a log against nothing finds nothing.
            sys.stderr.write(
                f"0 lines of the export were compared: {exported} holds none; write it again\n"
            )
            return ExitStatus.FAILED
    except AuditBroken as broken:
        sys.stderr.write(f"the audit log is broken: {broken}\n")
        return ExitStatus.FAILED
    lines = f"lines {found.first} to {found.last}" if found.last else "no lines"
    sys.stdout.write(f"whole: {lines}, the last one {found.digest}\n")
    return ExitStatus.OK


async def _verify_both(config: Path, earlier: Sequence[Line]) -> Verified:
    """An export that was changed is not one to hold a log against."""
    await verify_chain(_each(earlier))
    found: list[Verified] = []

    async def work(tx: Transaction) -> None:
        found.append(await verify_audit(tx, earlier))

    await _read(config, work)
    return found[0]


async def _read(config: Path, work: Work[None]) -> None:
    database = await Database.open(database_url(load_given(config)), read_only=True)
    try:
        await database.read(work)
    finally:
        await database.close()


def _digests(config: Path, number: str) -> frozenset[str]:
    payloads = build_payload_store(load_given(config), to_read=True)
    try:
        return frozenset(person_digest(key, number) for key in payloads.person_keys)
    finally:
        payloads.close()


def _lines(path: Path) -> list[Line]:
    """The lines of an export; AuditBroken names one that is none."""
    found: list[Line] = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            found.append(Line(**json.loads(text)))
        except (ValueError, TypeError) as error:
            raise AuditBroken(f"line {number} of {path.name} is none of an export") from error
    return found


async def _each(lines: Sequence[Line]) -> AsyncIterator[Line]:
    for line in lines:
        yield line


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
