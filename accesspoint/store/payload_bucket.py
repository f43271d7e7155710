"""Payloads in an S3-compatible object store, through obstore: for several nodes that share no disk.

An object appears under its name only when its upload is complete, so a row never points at half of one. A
small payload is one PUT; a large one goes up in parts while it is written, at most a few of which are in
memory. What an upload that was given up left behind is invisible; a lifecycle rule of the bucket removes it.

The store being away is no broken disk: nothing was written and what waits is tried again, as with a full
disk. Errors are told without the store's own text, which holds addresses and may hold more.

Who we are stands where the tools of S3 look for it (`AWS_ACCESS_KEY_ID` and so on), never in the configuration.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from accesspoint.store.database import StorageBusy, StorageRefused
from accesspoint.store.filesystem import private_directory
from accesspoint.store.places import (
    NAME,
    Draft,
    PayloadEntry,
    PayloadMissing,
    Place,
    Source,
    checked_name,
)
from accesspoint.store.spool import Spool

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import S3Config

PART_BYTES: Final = 5 * 1024 * 1024
"""The least that S3 takes as one part."""
PARTS_AT_ONCE: Final = 2
READ_BYTES: Final = 64 * 1024
T = TypeVar("T")


class ObjectDraft(Draft):
    """An upload that is not complete."""

    def __init__(self, store: S3Store, name: str) -> None:
        self._file: WritableFile | None = _ask(
            "begun",
            lambda: obstore.open_writer(
                store, name, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            ),
        )

    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """Append octets; see `Draft.write`."""
        file = self._open_file()
        _ask("written", lambda: file.write(bytes(octets)))

    def publish(self) -> None:
        """Complete the upload; see `Draft.publish`."""
        file = self._open_file()
        self._file = None
        _ask("completed", file.close)

    def abort(self) -> None:
        """Never complete the upload."""
        self._file = None

    def _open_file(self) -> "WritableFile":
        if self._file is None:
            raise ValueError("the object is published or was dropped")
        return self._file


class ObjectSource(Source):
    """An object that is being downloaded; it comes in one stream, read as it is wanted."""

    def __init__(self, store: S3Store, name: str) -> None:
        result = _ask("opened", lambda: obstore.get(store, name), name)
        self.size = int(result.meta["size"])
        self._chunks: Iterator[bytes] = iter(result.stream(min_chunk_size=READ_BYTES))
        self._pending = bytearray()

    def read(self, count: int) -> bytes:
        """Return `count` octets, fewer only at the end; see `Source.read`."""
        pending = self._pending
        while len(pending) < count:
            chunk = _ask("read", lambda: next(self._chunks, None))
            if chunk is None:
                break
            pending += chunk
        octets = bytes(pending[:count])
        del pending[:count]
        return octets

    def close(self) -> None:
        """Let go of the connection."""
        self._chunks = iter(())
        self._pending = bytearray()


class BucketPlace(Place):
    """The objects below one prefix of one bucket."""

    remote = True

    def __init__(
        self,
        url: str,
        local: Path,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        timeout_seconds: int = 30,
        retries: int = 3,
        spool: Spool | None = None,
    ) -> None:
        """Open `s3://bucket/prefix`; `local` is a directory for what is put aside, `endpoint` another store than Amazon's.

        With a `spool` from elsewhere that directory is left as it is.

        Raises: StorageRefused when the URL is none, StorageBusy when the bucket cannot be reached.
        """
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise StorageRefused(f"write the place of payloads as s3://bucket/prefix, not {url}")
        config: S3Config = {}
        if endpoint is not None:
            config["endpoint"] = endpoint
        if region is not None:
            config["region"] = region
        self._store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=config,
            client_options={
                "timeout": f"{timeout_seconds}s",
                "allow_http": endpoint is not None and endpoint.startswith("http://"),
            },
            retry_config={"max_retries": retries},
        )
        _ask("reached", lambda: next(iter(obstore.list(self._store, chunk_size=1)), None))
        if spool is None:
            private_directory(local)
            spool = Spool(local / "tmp")
        self.spool = spool

    def create(self, name: str) -> ObjectDraft:
        """Begin an upload; see `Place.create`."""
        return ObjectDraft(self._store, name)

    def open(self, name: str) -> ObjectSource:
        """Begin a download; see `Place.open`."""
        return ObjectSource(self._store, checked_name(name))

    def delete(self, name: str) -> bool:
        """Remove an object; see `Place.delete`. The store tells only whether one was there when asked before."""
        checked_name(name)
        try:
            _ask("looked for", lambda: obstore.head(self._store, name), name)
        except PayloadMissing:
            return False
        _ask("deleted", lambda: obstore.delete(self._store, name), name)
        return True

    def entries(self) -> Iterator[PayloadEntry]:
        """Go through all objects; see `Place.entries`."""
        pages = iter(obstore.list(self._store))
        while (page := _ask("listed", lambda: next(pages, None))) is not None:
            for entry in page:
                if NAME.fullmatch(entry["path"]) is not None:
                    yield PayloadEntry(entry["path"], entry["size"], entry["last_modified"])

    def close(self) -> None:
        """Let go of the local directory."""
        self.spool.close()


def _ask(what: str, question: Callable[[], T], name: str = "") -> T:
    """Ask the object store.

    Raises: PayloadMissing when it has no such object, StorageBusy when it does not do what it was asked.
    """
    try:
        return question()
    except FileNotFoundError as error:
        if name:
            raise PayloadMissing(f"there is no payload {name}") from error
        raise StorageBusy(f"a payload cannot be {what}: the bucket does not exist") from error
    except (BaseError, OSError) as error:
        raise StorageBusy(f"a payload cannot be {what}: {type(error).__name__}") from None
