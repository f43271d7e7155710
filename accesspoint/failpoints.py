"""Named places at which the node can be made to fail, so that what holds after a crash is proved and not hoped.

A place is one line, `failpoint("R13")`, in the code that does the real work. Without the environment
variable `AP_FAILPOINTS` it calls a function that does nothing. With it, the place fails as told:

    AP_FAILPOINTS="R13=kill"                  SIGKILL at the first hit
    AP_FAILPOINTS="S9=raise@3;O3=stall:2.5"   an exception at the third hit; 2.5 s of silence at the first
    AP_FAILPOINTS="R12=eio@R11"               an I/O error at the first hit after R11 was hit

Each failure happens once and is told on standard error before it happens. A node outside the profile
`dev` does not start with the variable set.

`POINTS` is the whole list, with what must hold afterwards. Some names are no place in the code but a
circumstance (an outage of three days, an answer cut in half): those are brought about from outside.

Spec: reliability section 2.4.
"""

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

VARIABLE: Final = "AP_FAILPOINTS"


class Fault(StrEnum):
    """How a place can fail."""

    KILL = "kill"
    """The process is gone, as after SIGKILL or a power cut."""
    RAISE = "raise"
    """An exception that nobody expects."""
    EIO = "eio"
    """The disk or the connection answers with an input/output error."""
    ENOSPC = "enospc"
    """There is no space left."""
    STALL = "stall"
    """The whole process stands still for some seconds, as when the machine is suspended."""


@dataclass(frozen=True, slots=True)
class Point:
    """One crash point: its name, the moment it stands for, what must hold afterwards; `line` is False for a circumstance."""

    name: str
    where: str
    holds: str
    line: bool = True


class FailpointReached(Exception):
    """What `raise` raises: no part of the node expects it."""


_ONCE: Final = "the submitter asks again with the same message and there is one message"
_SAME_ID: Final = "the attempt is made again with the same MessageId and the same signed image"
_DUPLICATE: Final = (
    "the retry is recognised and answered with the stored receipt, or the end is UNCERTAIN"
)
_NOTHING: Final = "nothing durable, and no temporary file after the next start"
_ORPHAN: Final = "a file without a row is swept, and no row points at a file that is not there"
_ALL_OR_NOTHING: Final = "message, duplicate key, receipt and events are all there, or none is"
_RECEIPT: Final = "the retry gets the identical receipt, and there is one delivery"
_DELIVERY: Final = "the backend sees the same delivery id again, or for the first time"
_EVENT: Final = "the event arrives at least once, with the same id"

_ALL: Final = (
    Point("S1", "submission: the file is published, the transaction not begun", _ONCE),
    Point("S2", "submission: every row is written, nothing committed", _ONCE),
    Point("S3", "submission: committed, the submitter not answered", _ONCE),
    Point("S4", "sending: a due message was taken up", _SAME_ID),
    Point("S5", "sending: the receiver's address and certificate are known", _SAME_ID),
    Point("S6", "sending: the signed image is built and not stored", _SAME_ID),
    Point("S7", "sending: image and attempt are stored, nothing sent", _SAME_ID),
    Point("S8", "sending: connected, nothing of the body sent", _SAME_ID),
    Point("S9", "sending: a part of the body is sent", "the peer sees at most a broken request"),
    Point("S10", "sending: the whole body is sent, no answer", _DUPLICATE),
    Point("S11", "sending: a part of the answer is read", _DUPLICATE),
    Point("S12", "sending: the answer is read, not verified", "the retry is harmless"),
    Point("S13", "sending: the receipt is verified, not stored", "the retry is harmless"),
    Point("S14", "sending: the receipt is written, not committed", "the retry is harmless"),
    Point("S15", "outcome committed, the submitter not told", "told at least once, same outcome"),
    Point("S16", "the submitter told, that not stored", "told at least once, with the same id"),
    Point(
        "S17", "the lease ran out while its worker lives", "the late worker changes no row", False
    ),
    Point(
        "S18",
        "a late receipt meets the giving up",
        "it ends ACKNOWLEDGED, and the submitter is told once",
        False,
    ),
    Point("S19", "purge: the row says purged, the file is there", "no file is left for long"),
    Point("S20", "purge: the file is gone", "no row points at it"),
    Point("R1", "receiving: a part of the payload is spooled", _NOTHING),
    Point("R2", "receiving: everything is spooled, not verified", _NOTHING),
    Point("R3", "receiving: verified, not opened", _NOTHING),
    Point("R4", "receiving: a part of the document is written into its unpublished file", _NOTHING),
    Point("R5", "payload file: written, not synced", _ORPHAN),
    Point("R6", "payload file: synced, not renamed", _ORPHAN),
    Point("R7", "payload file: renamed, its directory not synced", _ORPHAN),
    Point("R8", "receiving: the payload is published, the transaction not begun", _ALL_OR_NOTHING),
    Point("R9", "receiving: the message is inserted", _ALL_OR_NOTHING),
    Point("R10", "receiving: the duplicate key is inserted", _ALL_OR_NOTHING),
    Point("R11", "receiving: every row is written, nothing committed", _ALL_OR_NOTHING),
    Point(
        "R12",
        "any commit: on its way to the disk",
        "fail stop; after the restart the rows are there or not, and the retry decides",
    ),
    Point("R13", "receiving: committed, nothing answered", _RECEIPT),
    Point("R14", "receiving: half of the receipt is answered", _RECEIPT, False),
    Point("R15", "receiving: answered", _RECEIPT, False),
    Point("R16", "the orphan sweeper looks while a payload is between R6 and R11", _ORPHAN),
    Point("D1", "delivery: a due hand-over was taken up", _DELIVERY),
    Point("D2", "delivery: the backend has a part of the message", _DELIVERY),
    Point("D3", "delivery: confirmed, that not committed", _DELIVERY),
    Point("D4", "delivery: done", "delivered once"),
    Point("D5", "folder: written and synced, not renamed", "the backend sees no half file"),
    Point("D6", "folder: renamed, the directory not synced", "the backend sees one whole file"),
    Point("D7", "pull: fetched, not confirmed", "it can be fetched again, with the same id"),
    Point("D8", "pull: confirmed, that not committed", "it can be fetched and confirmed again"),
    Point("O1", "delivery event: claimed", _EVENT),
    Point("O2", "delivery event: the token is there", _EVENT),
    Point("O3", "delivery event: posted, the answer not read", _EVENT),
    Point("O4", "delivery event: taken by the status component", _EVENT),
    Point("O5", "delivery event: marked as sent", _EVENT),
    Point("O6", "an event is refused for good", "the others flow, and it is kept", False),
    Point("O7", "the status component is away for 72 hours", "the table grows, then drains", False),
    Point("O8", "many events of one message and of many", "each message's order is kept", False),
    Point("M1", "migration: between two statements of a step", "old or new schema, never between"),
    Point("M2", "checkpoint: the log is about to be folded into the file", "nothing is lost"),
    Point("M3", "backup: copied, not finished", "the previous backup is restorable"),
    Point("M4", "keys are replaced", "what was sealed for the old key is still opened", False),
    Point("M5", "the configuration is read anew by a restart", "no request is lost", False),
    Point("M6", "the log is rotated under the running node", "no request is lost", False),
    Point("M7", "stopping: the workers are told to end", "as after SIGKILL"),
    Point("M8", "the kernel ends the process for its memory", "as after SIGKILL", False),
)
POINTS: Final[Mapping[str, Point]] = MappingProxyType({point.name: point for point in _ALL})
"""Every crash point by name, in the order of a message's way."""


@dataclass(slots=True)
class _Trap:
    """A failure that waits at a place: `hits` more hits are let through, none before `after` was hit."""

    fault: Fault
    seconds: float
    hits: int
    after: str | None


_traps: dict[str, _Trap] = {}


def arm(text: str) -> None:
    """Replace what is armed by the failures that `text` names.

    Raises: ValueError for a text of another shape, or one that names no place in the code.
    """
    clauses = filter(None, (part.strip() for part in text.split(";")))
    traps = dict(_read_clause(clause) for clause in clauses)
    _traps.clear()
    _traps.update(traps)


def _read_clause(clause: str) -> tuple[str, _Trap]:
    """Read `NAME=FAULT[:SECONDS][@HIT or @NAME]`."""
    name, _, action = clause.partition("=")
    what, _, when = action.partition("@")
    word, _, seconds = what.partition(":")
    after = when if when in POINTS else None
    try:
        if not all(POINTS[place].line for place in (name, after or name)):
            raise ValueError("this is a circumstance, no place in the code")
        hits = 0 if after else int(when or 1) - 1
        return name, _Trap(Fault(word), float(seconds or 0), hits, after)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{VARIABLE} has {clause!r}, which cannot be armed") from error


def is_armed() -> bool:
    """Whether this process was started with failures in mind."""
    return failpoint is _reach


def _pass(name: str) -> None:
    """Go on: nothing is armed in this process."""


def _reach(name: str) -> None:
    """Fail here if that is armed, otherwise go on."""
    for trap in _traps.values():
        if trap.after == name:
            trap.after = None
    trap_here = _traps.get(name)
    if trap_here is None or trap_here.after is not None:
        return
    if trap_here.hits > 0:
        trap_here.hits -= 1
        return
    del _traps[name]
    # By hand, because after the next line there may be nobody to flush a log.
    told = {"event": "failpoint", "point": name, "fault": str(trap_here.fault)}
    os.write(2, json.dumps(told).encode() + b"\n")
    _fail(name, trap_here)


def _fail(name: str, trap: _Trap) -> None:
    match trap.fault:
        case Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Fault.RAISE:
            raise FailpointReached(name)
        case Fault.EIO:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        case Fault.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case Fault.STALL:
            time.sleep(trap.seconds)


failpoint: Callable[[str], None] = _pass
"""Call with the name of a point at the place it stands for; decided once, at import."""
if VARIABLE in os.environ:
    arm(os.environ[VARIABLE])
    failpoint = _reach
