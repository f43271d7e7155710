"""What a directory is asked and what it answers: the endpoint for a receiver, a document and a process.

Every answer and every failure carries the hops that led to it, so that a person can see which step of the
look-up said what.

Spec: EHMI SMP usage: the look-up key is receiver, DOCUMENTID and PROCESSID, and the answer is unique.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable


class HopKind(StrEnum):
    """One step of a look-up."""

    STATIC = "static"
    CACHE = "cache"
    SML = "sml"
    SMP = "smp"
    REDIRECT = "smp-redirect"
    SIGNATURE = "smp-signature"


class LookupProblem(StrEnum):
    """Why a look-up failed; the values are slugs of the problem catalogue."""

    NO_PARTICIPANT = "lookup-no-participant"
    NO_ENDPOINT = "lookup-no-endpoint"
    UNREACHABLE = "lookup-unreachable"
    SIGNATURE = "smp-signature"
    REFUSED = "smp-refused"
    FORBIDDEN_NETWORK = "lookup-forbidden-network"
    GENERATION = "generation-not-agreed"
    PMODE = "pmode-missing"


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a look-up: what was asked of whom, and how long the answer took."""

    kind: HopKind
    detail: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the receiver's access point takes this document, and its certificate (DER).

    `seconds` is for how long the directory says so, None when it does not say; `signing_certificate` (DER) is set
    where it names another certificate that the receiver signs with.
    """

    participant: str
    document_id: str
    process_id: str
    url: str
    certificate: bytes
    transport_profile: str
    expires_at: datetime | None
    hops: tuple[Hop, ...] = ()
    seconds: float | None = None
    signing_certificate: bytes | None = None


class LookupFailed(Exception):
    """There is no endpoint; `permanent` says that asking again will not help.

    `slug` names the problem, `detail` says what was found (addresses and identifiers, never a person),
    `hops` are the steps that were taken, `seconds` for how long the directory says that it is so.
    """

    def __init__(
        self,
        slug: LookupProblem,
        detail: str,
        *,
        permanent: bool,
        hops: Sequence[Hop] = (),
        seconds: float | None = None,
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail
        self.permanent = permanent
        self.hops = tuple(hops)
        self.seconds = seconds

    def after(self, hops: Sequence[Hop]) -> "LookupFailed":
        """The same failure with these hops in front of its own."""
        return LookupFailed(
            self.slug, self.detail, permanent=self.permanent, hops=(*hops, *self.hops),
            seconds=self.seconds,
        )  # fmt: skip


class Directory(Protocol):
    """Anything that finds endpoints."""

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """Find the endpoint of `participant` (`0088:` and GLN) for this document and process.

        Raises: LookupFailed.
        """


@runtime_checkable
class RememberingDirectory(Directory, Protocol):
    """A directory that answers from memory where it can, and not when it is told not to."""

    async def find_afresh(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """Ask anew whatever is remembered, and remember the answer.

        Raises: LookupFailed.
        """
