"""Files: every row has the payload it speaks of, every payload its row, and nothing personal lies about. I9 and I12.

A payload is read to its end and held against size and digest of each row that refers to it. One that is encrypted
proves itself chunk by chunk; without its key only its presence can be told. Files without a row are what a crash
leaves between publishing and commit: the sweeper removes them after its grace, so younger ones are only counted.
"""

import base64
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from accesspoint.clock import from_microseconds
from accesspoint.log import holds_patient_number
from accesspoint.store.encryption import PayloadKeyMissing
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing, PayloadStore
from accesspoint.verification.evidence import Evidence, Tally

CHUNK_BYTES: Final = 1 << 20
OVERLAP_BYTES: Final = 128
"""How much of a chunk is read again with the next one, so that no number hides on the border."""
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")


@dataclass(frozen=True, slots=True)
class _Column:
    """Where rows refer to payloads, what they say of them, and which rows refer to none and still owe it to somebody.

    A document may be without its payload at any time after its hand-over and its message are done; they tell.
    """

    table: str
    select: str
    owing: str | None = None


_COLUMNS: Final = (
    _Column(
        "messages",
        "SELECT id, payload, payload_bytes AS octets, payload_sha256 AS sha256 FROM messages WHERE id > $1"
        " ORDER BY id LIMIT $2",
        "SELECT id FROM messages WHERE state <> 'PURGED' AND standard <> 'test-service'"
        " AND COALESCE(payload, '') = '' AND id > $1 ORDER BY id LIMIT $2",
    ),
    _Column(
        "documents",
        "SELECT id, payload, payload_bytes AS octets, payload_sha256 AS sha256 FROM documents WHERE id > $1"
        " ORDER BY id LIMIT $2",
    ),
    _Column(
        "handovers",
        "SELECT id, payload, payload_bytes AS octets, payload_sha256 AS sha256 FROM handovers WHERE id > $1"
        " ORDER BY id LIMIT $2",
        "SELECT id FROM handovers WHERE state = 'waiting' AND kind IN ('document', 'envelope')"
        " AND COALESCE(payload, '') = '' AND id > $1 ORDER BY id LIMIT $2",
    ),
    _Column(
        "wires",
        "SELECT message AS id, part AS payload, part_bytes AS octets, NULL AS sha256 FROM wires WHERE message > $1"
        " ORDER BY message LIMIT $2",
        "SELECT w.message AS id FROM wires AS w JOIN messages AS m ON m.id = w.message WHERE m.state <> 'PURGED'"
        " AND w.part IS NULL AND w.part_octets IS NULL AND w.part_bytes > 0 AND w.message > $1"
        " ORDER BY w.message LIMIT $2",
    ),
)


@dataclass(frozen=True, slots=True)
class _Read:
    """What a payload holds, or why it cannot be read."""

    octets: int = 0
    sha256: str = ""
    slug: str | None = None
    sealed: bool = False


async def check_files(evidence: Evidence, tally: Tally) -> None:
    """I9: rows and payloads are the same ones, in size and content."""
    if evidence.payloads is None:
        tally.not_applicable("the payloads were not given")
        return
    written = {entry.id: entry.modified_at for entry in evidence.payloads.entries()}
    read: dict[str, _Read] = {}
    closed = 0
    for column in _COLUMNS:
        if column.owing is not None:
            async for row in evidence.rows(column.owing):
                tally.find("payload-let-go", **{column.table: row["id"]})
        async for row in evidence.rows(column.select):
            name = row["payload"]
            if not name:
                continue
            if name not in read:
                read[name] = _read(evidence.payloads, name)
            ids = {column.table: row["id"], "payload": name}
            found = read[name]
            if found.sealed:
                tally.miss()
                closed += 1
                continue
            tally.count()
            if found.slug is not None:
                tally.find(found.slug, **ids)
            elif found.octets != int(row["octets"]) or row["sha256"] not in (None, found.sha256):
                tally.find("payload-differs", **ids)
    if closed:
        tally.note(f"{closed} are encrypted under a key that was not given and could not be read")
    _find_orphans(evidence, tally, {n: at for n, at in written.items() if n not in read})


def _find_orphans(evidence: Evidence, tally: Tally, orphans: Mapping[str, datetime]) -> None:
    before = from_microseconds(evidence.now) - evidence.setting.orphan_grace
    young = 0
    for name, modified_at in orphans.items():
        tally.count()
        if modified_at <= before:
            tally.find("payload-orphaned", payload=name)
        else:
            young += 1
    if young:
        tally.note(f"{young} without a row are young: on their way, or the sweeper's")


def _read(payloads: PayloadStore, name: str) -> _Read:
    digest, octets = hashlib.sha256(), 0
    try:
        with payloads.open(name) as reader:
            while chunk := reader.read():
                digest.update(chunk)
                octets += len(chunk)
    except PayloadMissing:
        return _Read(slug="payload-missing")
    except PayloadDamaged:
        return _Read(slug="payload-damaged")
    except PayloadKeyMissing:
        return _Read(sealed=True)
    return _Read(octets, digest.hexdigest())


async def check_personal_data(evidence: Evidence, tally: Tally) -> None:
    """I12: no temporary file, no log and no line of the journal holds what looks like a patient number."""
    places = [*evidence.setting.temporary]
    if evidence.payloads is not None:
        places.append(evidence.payloads.temporary_directory)
    for place in places:
        for path in _left_over(place):
            tally.count()
            if _holds_number(path):
                tally.find("temporary-file-personal", file=f"{path.parent.name}/{path.name}")
    for path in evidence.setting.logs:
        tally.count()
        if _holds_number(path):
            tally.find("log-personal", file=path.name)
    for table, column in (
        ("journal", "detail"),
        ("history", "note"),
        ("refusals", "reason"),
        ("refusals", "detail"),
        ("refusals", "peer"),
    ):
        async for row in evidence.rows(
            f"SELECT seq, {column} AS text FROM {table} WHERE seq > $1 ORDER BY seq LIMIT $2",  # noqa: S608 (names of ours)
            after=0,
            key="seq",
        ):
            tally.count()
            if row["text"] and holds_patient_number(row["text"]):
                tally.find("journal-personal", table=table, seq=row["seq"])
    if not evidence.setting.logs:
        tally.note("no log file was given")


def _left_over(place: Path) -> Iterator[Path]:
    """The files below a place that no living process has; a directory that is locked is in use."""
    for directory, _, names in os.walk(place):
        if not _is_in_use(Path(directory)):
            yield from (Path(directory, name) for name in sorted(names))


def _is_in_use(directory: Path) -> bool:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holds_number(path: Path) -> bool:
    """Whether a file holds what looks like a patient number, as it stands or in base64."""
    before = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                octets = before + chunk
                texts = [octets, *(_decoded(run[0]) for run in _BASE64.finditer(octets))]
                if any(holds_patient_number(text.decode("latin-1")) for text in texts):
                    return True
                before = octets[-OVERLAP_BYTES:]
    except (FileNotFoundError, IsADirectoryError):
        return False
    return False


def _decoded(run: bytes) -> bytes:
    """What a run of base64 says, without the group that the end of a chunk may have cut."""
    text = run.rstrip(b"=")
    return base64.b64decode(text[: len(text) // 4 * 4])
