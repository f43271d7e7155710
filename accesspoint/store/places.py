"""Where published payloads stand: the small interface that a directory and an object store have in common.

A place knows names and octets and nothing of what they mean: digests and encryption lie above it, in
`payloads.py`. A draft is seen by nobody until `publish` returns, and whole from then on; a row may refer
to it only after that, so a row never points at half an object. The methods are synchronous: those of a
place that is `remote` wait for a network and belong into a thread.

Spec: reliability sections 2.3 (order on disk) and 2.4 points R5 to R7.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from accesspoint.store.database import StorageError
from accesspoint.store.spool import Spool

SEALED_SUFFIX: Final = ".sealed"
"""Ends the name of an encrypted payload. The name stands in the row, so whoever can only write files cannot pass
plain octets off as an encrypted payload."""

NAME: Final = re.compile(r"[0-9a-f]{32}(?:\.sealed)?")


class PayloadUnreadable(StorageError):
    """A payload that a row refers to cannot be had as it was written; the others can, and the node goes on."""


class PayloadMissing(PayloadUnreadable):
    """There is no payload of this name; it was purged, or the name is not one of ours."""


class PayloadDamaged(PayloadUnreadable):
    """The octets are not those that were written; the text says where that showed and holds none of them."""


@dataclass(frozen=True, slots=True)
class PayloadEntry:
    """A payload as the sweeper sees it: its name, its size in octets at rest, and when it was written."""

    id: str
    size: int
    modified_at: datetime


class Closing(ABC):
    """What is closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the octets."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class Draft(ABC):
    """Octets on their way to one name; each draft ends with `publish` or `abort`."""

    @abstractmethod
    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """Append octets.

        Raises: StorageFailure when the place refuses them.
        """

    @abstractmethod
    def publish(self) -> None:
        """Make the octets durable, then visible under their name.

        Raises: StorageFailure when any step fails; nothing is visible then.
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop what was written."""


class Source(Closing):
    """The octets of one published object, from its start; `size` is how many there are."""

    size: int

    @abstractmethod
    def read(self, count: int) -> bytes:
        """Return `count` octets, fewer only at the end.

        Raises: StorageFailure when the place cannot give them.
        """


class Place(ABC):
    """Holds published payloads by name."""

    remote: bool
    """Whether each call waits for a network, so that it must not be made on the event loop."""

    spool: Spool
    """Where this process puts on local disk what nobody is to see."""

    @abstractmethod
    def create(self, name: str) -> Draft:
        """Begin what will stand under `name`."""

    @abstractmethod
    def open(self, name: str) -> Source:
        """Open what stands under `name`.

        Raises: PayloadMissing when nothing does.
        """

    @abstractmethod
    def delete(self, name: str) -> bool:
        """Remove what stands under `name`, durably; return whether something did."""

    @abstractmethod
    def entries(self) -> Iterator[PayloadEntry]:
        """Go through everything that is published."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the place; drafts that were not published are gone."""


def checked_name(name: str) -> str:
    """Return a name that has the shape of ours, so that it can stand in a path.

    Raises: PayloadMissing for any other.
    """
    if NAME.fullmatch(name) is None:
        raise PayloadMissing("the name of a payload has another shape")
    return name
