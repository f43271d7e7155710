"""The lexical forms of FHIR R4 primitives and of MedCom's identifiers, as functions that say yes or no.

Spec: HL7 FHIR R4 datatypes; medcom-fhir.md 4, 5, 7.
"""

import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

_DATE: Final = r"[0-9]{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12][0-9]|3[01]))?)?"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DAY: Final = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_DDMM: Final = (
    r"(?:(?:0[1-9]|[12][0-9]|3[01])(?:01|03|05|07|08|10|12)"
    r"|(?:0[1-9]|[12][0-9]|30)(?:04|06|09|11)"
    r"|(?:0[1-9]|[12][0-9])02)"
)
_INSTANT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_WHITE_SPACE: Final = {ord(blank): None for blank in " \t\r\n"}
_PIECE: Final = 1024 * 1024
_MAX_STRING: Final = 1_048_576
_LEAP: Final = 60
_INT_MAX: Final = 2_147_483_647

_PATTERNS: Final = {
    "canonical": re.compile(r"\S+"),
    "code": re.compile(r"\S+(?: \S+)*"),
    "date": re.compile(_DATE),
    "dateTime": re.compile(rf"{_DATE}|{_DAY}T{_TIME}{_ZONE}"),
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "instant": re.compile(rf"{_DAY}T{_TIME}{_ZONE}"),
    "oid": re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"),
    "time": re.compile(_TIME),
    "uri": re.compile(r"\S+"),
    "url": re.compile(r"\S+"),
    "uuid": re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
}
_CPR: Final = re.compile(_DDMM + r"[0-9]{6}")
_X_ECPR: Final = re.compile(_DDMM + r"[0-9]{2}[17][A-Z]{2}[0-9]")
_D_ECPR: Final = re.compile(_DDMM + r"[0-9]{2}[056][A-Z]{2}[0-9]")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_V5: Final = re.compile(
    r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
_CVR_WEIGHTS: Final = (2, 7, 6, 5, 4, 3, 2, 1)
_SOR: Final = re.compile(r"[0-9]{11,}")


def is_primitive(kind: str, value: Any) -> bool:
    """Say whether a JSON value has the form of this FHIR primitive."""
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "positiveInt", "unsignedInt"):
        least = {"integer": -_INT_MAX - 1, "positiveInt": 1, "unsignedInt": 0}[kind]
        return type(value) is int and least <= value <= _INT_MAX
    if kind == "decimal":
        return type(value) in (int, float)
    if not isinstance(value, str):
        return False
    if kind in ("date", "dateTime", "instant"):
        return _PATTERNS[kind].fullmatch(value) is not None and _is_calendar_day(value[:10])
    if kind == "base64Binary":
        return is_base64(value)
    pattern = _PATTERNS.get(kind)
    return pattern.fullmatch(value) is not None if pattern is not None else not value.isspace()


def is_too_long(kind: str, value: Any) -> bool:
    """Say whether a string or markdown value is over FHIR's 1 048 576 characters."""
    return kind in ("string", "markdown") and isinstance(value, str) and len(value) > _MAX_STRING


def is_base64(text: str) -> bool:
    """Say whether text is base64 of some bytes, white space allowed."""
    rest = ""
    try:
        # In pieces: a large text in one would hold up every other thread. Padding stands in the last one only.
        for begin in range(0, len(text), _PIECE):
            rest += text[begin : begin + _PIECE].translate(_WHITE_SPACE)
            whole = max(0, len(rest) - 1) // 4 * 4
            if "=" in rest[:whole]:
                return False
            binascii.a2b_base64(rest[:whole], strict_mode=True)
            rest = rest[whole:]
        binascii.a2b_base64(rest, strict_mode=True)
    except ValueError:
        return False
    return True


def _is_calendar_day(day: str) -> bool:
    if len(day) < len("2000-01-01"):
        return True
    try:
        datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def has_time_and_zone(value: str) -> bool:
    """Say whether a dateTime carries date, time with seconds, and zone."""
    return is_primitive("instant", value)


def parse_instant(value: str) -> datetime:
    """Read an `instant`; a leap second counts as the last second. Raises `ValueError`."""
    match = _INSTANT.fullmatch(value)
    if match is None:
        raise ValueError("not an instant")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    micro = int((match[7] or ".0")[1:7].ljust(6, "0"))
    try:
        zone = UTC
        if match[8] is not None:
            offset = timedelta(hours=int(match[9]), minutes=int(match[10]))
            zone = timezone(-offset if match[8] == "-" else offset)
        return datetime(
            year, month, day, hour, minute, 59 if second == _LEAP else second, micro, tzinfo=zone
        )
    except ValueError:
        raise ValueError("not an instant") from None


def format_instant(at: datetime) -> str:
    """Write an aware time as an `instant` with seconds (fractions only where there are any)."""
    if at.tzinfo is None:
        raise ValueError("a time without zone")
    text = at.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def is_gln(value: str) -> bool:
    """Say whether text is thirteen digits with a right GS1 check digit."""
    return is_thirteen_digits(value) and has_gs1_check_digit(value)


def is_thirteen_digits(value: str) -> bool:
    """Say whether text has the length and alphabet of a GLN."""
    return len(value) == 13 and value.isascii() and value.isdigit()


def has_gs1_check_digit(value: str) -> bool:
    """Say whether the digits sum to a multiple of ten with weights 1 and 3 from the right."""
    return (
        sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(value)))
        % 10
        == 0
    )


def is_sor(value: str) -> bool:
    """Say whether text is a SOR id: eleven digits or more."""
    return value.isascii() and _SOR.fullmatch(value) is not None


def is_cvr(value: str) -> bool:
    """Say whether text is a CVR number: eight digits whose weighted sum is a multiple of eleven."""
    if len(value) != len(_CVR_WEIGHTS) or not (value.isascii() and value.isdigit()):
        return False
    return sum(w * int(digit) for w, digit in zip(_CVR_WEIGHTS, value, strict=True)) % 11 == 0


def is_uuid(value: str) -> bool:
    """Say whether text is a lower-case UUID."""
    return _UUID.fullmatch(value) is not None


def is_uuid_urn(value: str) -> bool:
    """Say whether text is `urn:uuid:` and a lower-case UUID."""
    return _PATTERNS["uuid"].fullmatch(value) is not None


def is_uuid5_urn(value: str) -> bool:
    """Say whether text is `urn:uuid:` and a name-based UUID of version 5."""
    return _UUID_V5.fullmatch(value) is not None


PATIENT_ID_FORMS: Final[dict[str, Callable[[str], bool]]] = {
    "cpr": lambda value: _CPR.fullmatch(value) is not None,
    "x-ecpr": lambda value: _X_ECPR.fullmatch(value) is not None,
    "d-ecpr": lambda value: _D_ECPR.fullmatch(value) is not None,
}
"""The three kinds of patient number; none has a modulus check."""
