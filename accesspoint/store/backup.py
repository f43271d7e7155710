"""A backup that a node can be started from: the database as it was at one moment, and every payload it refers to.

The order is what makes it whole. Payloads are copied first, then the database by SQLite's own backup, then the
payloads that were published in between; last goes what the copied rows do not refer to. So a row of the copy
never points at a file that is not there, although the node goes on all the while: what retention deletes
meanwhile was copied in the first round.

Payloads are copied as they stand, encrypted where they are: the keys are not in the backup and belong into
another one. Everything is synchronised before the manifest is renamed into place; a directory without one is
no backup, and an earlier backup beside it is not touched.

Spec: reliability sections 2.4 point M3 and 6.11.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import apsw

from accesspoint.failpoints import failpoint
from accesspoint.store.database import StorageFailure, StorageRefused
from accesspoint.store.filesystem import fsync_directory
from accesspoint.store.places import NAME, PayloadMissing, Place, Source
from accesspoint.store.references import REFERENCES

MANIFEST: Final = "backup.json"
DATABASE: Final = "accesspoint.db"
PAGES_AT_ONCE: Final = 1024
_CHUNK: Final = 256 * 1024


class PlaceUsed(StorageRefused):
    """There is something already where the backup was to go."""


async def back_up(database: Path, place: Place, target: Path, *, at: datetime) -> dict[str, int]:
    """Write a backup into the empty or missing directory `target`; return how many payloads and octets it holds.

    Raises: PlaceUsed when there is something already, StorageRefused when there is no database, StorageFailure when it cannot be read or written.
    """
    return await asyncio.to_thread(_back_up, database, place, target, at)


def _back_up(database: Path, place: Place, target: Path, at: datetime) -> dict[str, int]:
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise PlaceUsed(f"{target} is not empty; a backup goes into a directory of its own")
        payloads = target / "payloads"
        payloads.mkdir(mode=0o700)
        copied = {
            entry.id: facts
            for entry in place.entries()
            if (facts := _copy(place, entry.id, payloads))
        }
        _copy_database(database, target / DATABASE)
        referenced = set(_referenced(target / DATABASE))
        for name in referenced - copied.keys():
            if facts := _copy(place, name, payloads):
                copied[name] = facts
        for name in copied.keys() - referenced:
            (payloads / name[:2] / name).unlink()
            del copied[name]
        failpoint("M3")
        missing = sorted(referenced - copied.keys())
        counts = {"payloads": len(copied), "octets": sum(size for size, _ in copied.values()),
                  "missing": len(missing)}  # fmt: skip
        _write_manifest(target, {
            "made_at": at.isoformat(), **counts, "missing_payloads": missing,
            "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in sorted(copied.items())},
        })  # fmt: skip
    except OSError as error:
        raise StorageFailure(f"the backup cannot be written: {error.strerror}") from error
    except apsw.Error as error:
        raise StorageFailure(f"the database cannot be copied: {error}") from error
    return counts


def _copy(place: Place, name: str, payloads: Path) -> tuple[int, str] | None:
    """Copy one payload as it stands; its size and digest, or None where it was deleted meanwhile."""
    try:
        source = place.open(name)
    except PayloadMissing:
        return None
    directory = payloads / name[:2]
    directory.mkdir(mode=0o700, exist_ok=True)
    digest = hashlib.sha256()
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    with source, os.fdopen(os.open(directory / name, flags, 0o600), "wb") as file:
        for chunk in _chunks(source):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(directory)
    return source.size, digest.hexdigest()


def _chunks(source: Source) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk


def _copy_database(database: Path, target: Path) -> None:
    """Copy the database by SQLite's own backup, which sees one moment of it, beside the process that has it."""
    if not database.is_file():
        raise StorageRefused(f"there is no database {database}")
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    source = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    copy = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # A read transaction holds the moment: a backup in steps would begin anew with each commit of the node.
        source.execute("BEGIN; SELECT COUNT(*) FROM sqlite_master").fetchall()
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(PAGES_AT_ONCE)
        source.execute("COMMIT")
        finding = copy.execute("PRAGMA integrity_check(1)").fetchall()[0][0]
        if finding != "ok":
            raise StorageFailure(f"the copy of the database is damaged: {finding}")
    finally:
        copy.close(True)
        source.close(True)
    descriptor = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _referenced(database: Path) -> Iterator[str]:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for table, column in REFERENCES:
            text = f"SELECT {column} FROM {table} WHERE {column} <> ''"  # noqa: S608 (names of ours)
            for (name,) in connection.execute(text):
                if NAME.fullmatch(name):
                    yield name
    finally:
        connection.close(True)


def _write_manifest(target: Path, manifest: dict[str, object]) -> None:
    beside = target / f".{MANIFEST}"
    descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(target / MANIFEST)
    fsync_directory(target / "payloads")
    fsync_directory(target)
