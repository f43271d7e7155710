"""The folder backend: a file per message, and beside it, last, a manifest that says that the file is whole.

Every file is written aside, synced, and renamed into place; then the directory is synced. The manifest
(`NAME.manifest.json`) comes when all of that is done for its message, so whoever reads the folder takes what has
a manifest, and nothing else. It holds the id of the delivery, which a repetition repeats: after a crash the
same delivery may put the same two files there again, also when they were taken away in the meantime.

What became of messages that were sent is put into `outcomes/`, one file each, by the same steps.

Spec: reliability section 2.2 (file drop), points D5 and D6.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from accesspoint.backends.base import DeliveryRefused, manifest_of
from accesspoint.failpoints import failpoint
from accesspoint.stations.document import Document
from accesspoint.store.filesystem import fsync_directory
from accesspoint.store.payloads import PayloadReader, PayloadStore

LEFT_OVER_SECONDS: Final = 24 * 3600.0
CHUNK_BYTES: Final = 64 * 1024
MANIFEST: Final = ".manifest.json"
OUTCOMES: Final = "outcomes"
_SUFFIXES: Final = {"application/fhir+json": ".json", "application/fhir+xml": ".xml"}


class FolderBackend:
    """Drops received messages into a directory; a repeated delivery replaces the same file with the same bytes.

    A message never replaces another one: where two senders use one identifier, the later file also bears the
    id of its delivery.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._naming = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(directory)
        (directory / OUTCOMES).mkdir(mode=0o700, exist_ok=True)

    def path_of(self, document: Document) -> Path:
        """Where a message stands once it is delivered.

        The name is the message's FHIR id, whose alphabet has no separator; the suffix keeps `.` and `..` harmless.
        """
        name = _shown(document.message_identifier)
        return self._directory / f"{name}{_SUFFIXES.get(document.media_type, '.bin')}"

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """Write the message and its manifest; raises `DeliveryRefused` when the directory does not take them."""
        await self._in_thread(self._write_delivery, delivery_id, document, payloads)

    async def tell(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """Write the outcome; raises `DeliveryRefused` when the directory does not take it."""
        path = self._directory / OUTCOMES / f"{_shown(message_identifier)}.{outcome_id}.json"
        await self._in_thread(_write, path, (outcome,))

    async def close(self) -> None:
        """Nothing is open."""

    async def _in_thread(self, write: Callable[..., None], *arguments: object) -> None:
        try:
            await asyncio.to_thread(write, *arguments)
        except OSError as error:
            raise DeliveryRefused(error.strerror or type(error).__name__) from error

    def _write_delivery(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        manifest = manifest_of(delivery_id, document)
        stored = document.stored
        with payloads.open(stored.payload, sha256=stored.payload_sha256) as source:
            temporary = _write_aside(self._directory, delivery_id, _chunks(source))
        # A name is free or not for message and manifest together.
        with self._naming:
            path = self.path_of(document)
            # A sender chooses the identifier: what it names must not pass for the manifest of another message.
            is_manifest = path.name.endswith(MANIFEST)
            if is_manifest or _is_taken(path, delivery_id, document.stored.payload_sha256):
                path = path.with_name(f"{path.stem}.{delivery_id}{path.suffix}")
            failpoint("D5")
            temporary.rename(path)
            failpoint("D6")
            fsync_directory(self._directory)
            text = json.dumps({**manifest, "file": path.name}, indent=1).encode()
            _write(path.with_name(path.name + MANIFEST), (text,))


def _chunks(source: PayloadReader) -> Iterator[bytes]:
    while chunk := source.read(CHUNK_BYTES):
        yield chunk
        failpoint("D2")


def _is_taken(path: Path, delivery_id: str, sha256: str) -> bool:
    """Whether another delivery has this name; without a manifest the content tells."""
    try:
        manifest = path.with_name(path.name + MANIFEST).read_bytes()
    except FileNotFoundError:
        return path.exists() and _sha256(path) != sha256
    try:
        return bool(json.loads(manifest)["delivery"] != delivery_id)
    except (ValueError, TypeError, LookupError):
        return True


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """Have a whole file under this name, durably, or none."""
    _write_aside(path.parent, path.name, chunks).rename(path)
    fsync_directory(path.parent)


def _shown(identifier: str) -> str:
    """The identifier as a name begins with it: one that begins with a point is hidden from whoever lists the folder."""
    return f"_{identifier}" if identifier.startswith(".") else identifier


def _write_aside(directory: Path, name: str, chunks: Iterable[bytes]) -> Path:
    """Write a file that nobody else writes: a node that was paused in the middle may wake beside its successor."""
    temporary = directory / f".{name}.{secrets.token_hex(4)}.part"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with os.fdopen(descriptor, "wb") as target:
            for chunk in chunks:
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sweep(directory: Path) -> None:
    """Remove what nodes that died had half written; what may be another node's is left alone."""
    for leftover in directory.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > LEFT_OVER_SECONDS:
                leftover.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
