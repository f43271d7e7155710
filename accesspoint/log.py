"""The log: one JSON object per event, or coloured lines for a developer, and no patient in either.

Every record passes one chain, ours and that of other libraries (the root logger is routed into it).
Rules in the order they apply:

* Of one event only so many lines a second are written, the others are counted; see `accesspoint.log_storm`.
* An exception is written as its type, our own reason slug, and the names of the frames; never as text
  made by somebody else, and never with arguments, because those may be the message.
* What stands under a key that is not on the list of `accesspoint.log_keys` is removed.
* Values under keys that sound secret, and octets, are replaced by their length.
* Patient numbers (CPR, with and without hyphen), PEM blocks, JWTs and bearer tokens are cut out of every
  text as the second net. GLN, SOR ids, times and UUIDs stay readable.
* Line breaks, escape codes and other control characters are written as escapes, so that nobody can
  forge a line; texts are capped.

Other libraries log warnings and worse, whatever the level of their loggers is, since the handler asks again; of
a text with places to fill in only the text is written, not what it was to be filled with. `signxml` logs nothing,
since it logs what it verified. There is no access log: each exchange has its events, and none tells an address
with its query.

Spec: reliability section 6.9; experience section 9.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TextIO

import orjson
import structlog

from accesspoint.clock import Clock, SystemClock
from accesspoint.log_keys import KEYS
from accesspoint.log_storm import WINDOW_SECONDS, Brake

LONGEST_TEXT: Final = 1_000
"""How many characters of one text are kept."""
MOST_ITEMS: Final = 50
DEEPEST: Final = 4
_FRAMES: Final = 12

_REMOVED: Final = "[removed {0}]"
_UNLISTED: Final = "[removed]"
_PLAIN_KEY: Final = re.compile(r"[a-z][a-z_]{0,39}")

# Ten digits are a patient number when they begin with a day and a month; a replacement number adds 60 to
# the day or has letters near the end. GLNs (13 digits) and SOR ids (15 to 18) have more digits in a row.
_CPR: Final = re.compile(
    r"(?<![0-9])(?:0[1-9]|[12][0-9]|3[01]|6[1-9]|[78][0-9]|9[01])(?:0[1-9]|1[0-2])[0-9]{2}[- ]?"
    r"(?:[0-9]{4}|[0-9][A-Za-z]{2}[0-9])(?![0-9])"
)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_UUID: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])", re.IGNORECASE
)
_UUID_LENGTH: Final = 36
_WORD: Final = re.compile(r"[0-9A-Za-z]*")
_LONGEST_WORD: Final = 20
"""Ten digits inside a longer word than this are a piece of a digest or of an id of ours."""
_MEASURE: Final = re.compile(
    r"(bytes|seconds|milliseconds|microseconds|size|count|total|port|status|line|attempts?|pid)$"
)
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL
)
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3}")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic|dpop)\s+[A-Za-z0-9._~+/=-]{6,}")
_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SECRET_KEY: Final = re.compile(
    r"password|secret|authorization|cookie|payload$|^body$|private|credential|assertion|access_token|^token$",
    re.IGNORECASE,
)
_THIRD_PARTY: Final = ("aiohttp", "asyncio", "asyncpg", "dns", "urllib3", "lxml", "hypothesis")
_SILENT: Final = ("signxml",)
_STORM: Final = "repeated"


class Format(StrEnum):
    """How lines look."""

    JSON = "json"
    CONSOLE = "console"


def configure(
    level: str = "info",
    format: Format = Format.JSON,  # noqa: A002 (the word of the command line)
    *,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Route everything that is logged in this process through the chain to `stream` (standard error).

    `level` is for our own events; other libraries stay at warning.

    Raises: ValueError for an unknown level.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"{level!r} is no log level")
    chosen = stream or sys.stderr
    stamp = _Stamp(clock or SystemClock())
    brake = Brake(clock or SystemClock(), _tell_storm)
    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
        describe_exception,
        redact,
    ]
    renderer: Any = (
        _json
        if format is Format.JSON
        else structlog.dev.ConsoleRenderer(colors=chosen.isatty(), sort_keys=False)
    )
    handler = _Lines(chosen, brake)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            use_get_message=False,  # what another library fills its texts with may be a message
            foreign_pre_chain=[_foreign, *chain],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    ours = logging.getLogger("accesspoint")
    ours.setLevel(threshold)
    for name in _THIRD_PARTY:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers.clear()
        library.propagate = True
    for name in _SILENT:
        library = logging.getLogger(name)
        library.handlers[:] = [logging.NullHandler()]
        library.propagate = False
        library.disabled = True
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # what cannot be written would be shown with everything in it
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _Storms(brake),
            *chain,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one part, for example `logger("outbound")`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"accesspoint.{name}")
    return bound


def catch_crashes() -> None:
    """Log what would end this process or a thread of it, without its text, instead of printing it with its text."""

    def crashed(error: BaseException | None) -> None:
        logger("crash").error("crashed", exc_info=error)

    sys.excepthook = lambda _type, error, _trace: crashed(error)
    threading.excepthook = lambda told: crashed(told.exc_value)
    sys.unraisablehook = lambda told: crashed(told.exc_value)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove what is not on the list of keys, and clean every other value of a record; a structlog processor."""
    for key, value in list(event.items()):
        if key in KEYS:
            event[key] = _clean(key, value, 0)
        elif not key.startswith("_"):  # those are structlog's own
            del event[key]
            event[_key(key)] = _UNLISTED
    return event


def describe_exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace exception information by type, reason and frames; a structlog processor."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error: BaseException | None = None
    if isinstance(info, BaseException):
        error = info
    elif isinstance(info, tuple):
        error = info[1]
    elif info:
        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = type(error).__name__
        reason = getattr(error, "reason", None)
        if isinstance(reason, str):
            event["reason"] = reason
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        event["frames"] = [
            f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames
        ]
    return event


def scrub(text: str) -> str:
    """Return a text without patient numbers, keys and tokens, on one line and not too long."""
    # The cap comes first, so that no rule sees more than that; digits that the cut may have split go too.
    shortened = len(text) > LONGEST_TEXT
    if shortened:
        text = text[:LONGEST_TEXT].rstrip("0123456789- ")
    text = _PEM.sub(_REMOVED.format("key"), text)
    text = _JWT.sub(_REMOVED.format("token"), text)
    text = _BEARER.sub(_REMOVED.format("token"), text)
    text = without_controls(without_patient_numbers(text))
    return f"{text}…" if shortened else text


def without_patient_numbers(text: str) -> str:
    """Return a text of any length without what looks like a patient number, for whoever may see everything else."""
    return _CPR.sub(_without_number, text)


def without_controls(text: str) -> str:
    """Return a text whose control characters are written out: none reaches a terminal or ends a line."""
    return _CONTROL.sub(_escape, text)


def holds_patient_number(text: str) -> bool:
    """Say whether a text of any length holds what looks like a patient number, whose date exists.

    Digests and ids that happen to hold ten such digits are none, as for `scrub`.
    """
    return any(
        _without_number(match) != match[0] and _has_date(match[0]) for match in _CPR.finditer(text)
    )


def _has_date(number: str) -> bool:
    """Whether a number of patient-number shape begins with a day that its month has."""
    day, month = int(number[:2]), int(number[2:4])
    return (day - 60 if day > 60 else day) <= _DAYS[month - 1]


def _clean(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    if _SECRET_KEY.search(key):
        return f"[removed {_length(value)}]"
    if isinstance(value, str):
        return scrub(str(value))
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            return scrub(str(value))  # JSON numbers of the log have 64 bits
        if _MEASURE.search(key):
            return value
        text = str(value)
        cleaned = scrub(text.rjust(10, "0"))
        return value if cleaned == text.rjust(10, "0") else cleaned
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, BaseException):
        return type(value).__name__
    if depth >= DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        items = [(str(name), item) for name, item in list(value.items())[:MOST_ITEMS]]
        return {
            _key(name): _clean(name, item, depth + 1) if name in KEYS else _UNLISTED
            for name, item in items
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(key, item, depth + 1) for item in list(value)[:MOST_ITEMS]]
    return type(value).__name__  # the repr of anything else may hold a message


def _without_number(match: re.Match[str]) -> str:
    """Cut out a patient number, but leave a digest or an id that happens to hold ten such digits."""
    text = match.string
    before = _WORD.match(text[: match.start()][::-1])
    after = _WORD.match(text, match.end())
    around = (len(before[0]) if before else 0) + (len(after[0]) if after else 0)
    if around + len(match[0]) > _LONGEST_WORD:
        return match[0]
    begin, end = max(0, match.start() - _UUID_LENGTH), match.end() + _UUID_LENGTH
    if any(
        uuid.start() <= match.start() and match.end() <= uuid.end()
        for uuid in _UUID.finditer(text, begin, end)
    ):
        return match[0]
    return _REMOVED.format("number")


def _key(name: str) -> str:
    """The name of a key as it is written; one that is not a plain word may be somebody's data."""
    return name if _PLAIN_KEY.fullmatch(name) else _UNLISTED


def _length(value: Any) -> str:
    try:
        return f"{len(value)} characters" if isinstance(value, str) else f"{len(value)} bytes"
    except TypeError:
        return "value"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {10: "\\n", 13: "\\r", 9: "\\t"}.get(code, f"\\u{code:04x}")


def _is_ours(record: logging.LogRecord) -> bool:
    return hasattr(record, "_logger") and hasattr(record, "_name")  # as structlog hands them on


def _may_speak(record: logging.LogRecord, brake: Brake) -> bool:
    """Whether another library's record is written."""
    silent = record.name.partition(".")[0] in _SILENT
    place = f"{record.name}:{record.lineno}"
    return not silent and record.levelno >= logging.WARNING and brake.lets_pass(place)


def _tell_storm(event: str, count: int) -> None:
    logger("log").warning(_STORM, of=event, count=count, seconds=WINDOW_SECONDS)


def _foreign(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Give a record of another library a fixed event name; its own text becomes a cleaned value."""
    record = event.get("_record")
    # Only the first line: asyncio puts the repr of a task, and with it of an exception, on the second.
    event["text"] = str(event.get("event", "")).partition("\n")[0]
    event["event"] = "library"
    if isinstance(record, logging.LogRecord):
        event["logger"] = record.name
        if record.exc_info and record.exc_info[1] is not None:
            event["exc_info"] = record.exc_info
            record.exc_info = None
            record.exc_text = None
    return event


def _module(file_name: str) -> str:
    """Return the end of a path that names a module, without where it is installed."""
    parts = file_name.replace("\\", "/").split("/")
    return "/".join(parts[-2:])


def _json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(dict(event), default=lambda value: type(value).__name__).decode()


class _Lines(logging.StreamHandler[TextIO]):
    """Writes what may be written; when it is closed, as at the end of the process, also what was held back."""

    def __init__(self, stream: TextIO, brake: Brake) -> None:
        super().__init__(stream)
        self._brake = brake

    def filter(self, record: logging.LogRecord) -> bool:
        """Ask again what another library may write, since anybody may set the level of a logger."""
        return _is_ours(record) or _may_speak(record, self._brake)

    def close(self) -> None:
        """Write how often something was held back."""
        self._brake.flush()
        super().close()


class _Storms:
    """Drops the lines of a storm before anything is spent on them."""

    def __init__(self, brake: Brake) -> None:
        self._brake = brake

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        name = event.get("event")
        if name != _STORM and not self._brake.lets_pass(str(name)):
            raise structlog.DropEvent
        return event


class _Stamp:
    """Adds the time of the injected clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["at"] = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event
