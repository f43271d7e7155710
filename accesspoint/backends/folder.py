"""The folder backend: one file per message, written beside, synced, and renamed into place, so nobody sees half of one."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path
from typing import Final

from accesspoint.backends.base import DeliveryRefused
from accesspoint.failpoints import failpoint
from accesspoint.stations.document import Document
from accesspoint.store.payloads import PayloadStore

CHUNK_BYTES: Final = 64 * 1024
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

    def path_of(self, document: Document) -> Path:
        """Where a message stands once it is delivered.

        The name is the message's FHIR id, whose alphabet has no separator; the suffix keeps `.` and `..` harmless.
        """
        return (
            self._directory
            / f"{document.message_identifier}{_SUFFIXES.get(document.media_type, '.bin')}"
        )

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """Write the message; raises `DeliveryRefused` when the directory does not take it."""
        try:
            await asyncio.to_thread(self._write, delivery_id, document, payloads)
        except OSError as error:
            raise DeliveryRefused(error.strerror or type(error).__name__) from error

    def _write(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        temporary = self._directory / f".{delivery_id}.part"
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with (
            os.fdopen(descriptor, "wb") as target,
            payloads.open(document.stored.payload, sha256=document.stored.payload_sha256) as source,
        ):
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)
                failpoint("D2")
            target.flush()
            os.fsync(target.fileno())
        with self._naming:
            path = self.path_of(document)
            if path.exists() and _sha256(path) != document.stored.payload_sha256:
                path = path.with_name(f"{path.stem}.{delivery_id}{path.suffix}")
            failpoint("D5")
            temporary.rename(path)
        failpoint("D6")
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
