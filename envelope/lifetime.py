"""What a message says of its own time, held against our clock: refused is what could outlive our memory of it.

Whoever repeats a message carries the signed times of its first attempt, so age alone is no offence. Two rules:

* Every message: its signed `eb:Timestamp` lies at most half of the time away for which MessageIds are remembered, on
  either side. Then a copy that comes when its id is forgotten is refused for its age, and clocks may still be wrong
  by weeks.
* A message with a `wsu:Timestamp`, which the profile does not ask for: it was created by now, give or take `SKEW`;
  it expires after it was created; and once expired it is taken for `RETRANSMISSION` longer, as a repetition.

Pure: the clock is read by the caller. A clock that is set while a message comes in gives two readings, and a message
that fits either of them is as good as on any other day.

Spec: WSS SOAP Message Security 1.1.1 section 10; hostile 1.5; reliability 2.6.
"""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from envelope import names
from envelope.errors import FailedAuthentication, Gate, InvalidHeader
from envelope.names import q

if TYPE_CHECKING:
    from lxml.etree import _Element

    from envelope.verified import AuthenticatedUserMessage

SKEW: Final = timedelta(minutes=5)
"""How far the clock of who writes a `wsu:Timestamp` may be from ours."""

RETRANSMISSION: Final = timedelta(days=2)
"""For how long after its creation an expired message is taken as a repetition: a sender tries for about a day."""

REMEMBERED: Final = timedelta(days=365)
"""For how long MessageIds are remembered where nothing else is said."""

_CREATED: Final = q(names.WSU, "Created")
_EXPIRES: Final = q(names.WSU, "Expires")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,7})?"
    r"(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The `wsu:Timestamp` of a Security header."""

    created: datetime | None
    expires: datetime | None


def read_lifetime(element: "_Element") -> Lifetime:
    """Read a `wsu:Timestamp`: at most one Created, then at most one Expires, each with its time zone.

    Raises: InvalidHeader (`ts.form`, at G5).
    """
    tags = [child.tag for child in element]
    if tags not in ([], [_CREATED], [_EXPIRES], [_CREATED, _EXPIRES]):
        raise _malformed("unexpected content of a Timestamp")
    found = {child.tag: _instant(child.text or "") for child in element}
    return Lifetime(found.get(_CREATED), found.get(_EXPIRES))


def check_lifetime(
    message: "AuthenticatedUserMessage", *, clocks: Collection[datetime], remembered: timedelta
) -> None:
    """Refuse a message whose signed times fit none of the readings of our clock.

    Args:
        message: authenticated, so that its times are the sender's words.
        clocks: aware, at least one; the clock when the request came, and now.
        remembered: for how long MessageIds are remembered.

    Raises: FailedAuthentication (`ts.future`, `ts.expired`, `ts.order`), InvalidHeader (`header.timestamp`).
    """
    *others, last = clocks
    for now in others:
        with suppress(FailedAuthentication):
            _check(message, now, remembered)
            return
    _check(message, last, remembered)


def _check(message: "AuthenticatedUserMessage", now: datetime, remembered: timedelta) -> None:
    sent = _sent(message.user_message.timestamp)
    created, expires = sent, None
    if message.lifetime is not None:
        created, expires = message.lifetime.created or sent, message.lifetime.expires
        if created - now > SKEW:
            raise _refused("the message was created in the future", "ts.future")
        if expires is not None and expires < created:
            raise _refused("the message expires before it was created", "ts.order")
        if expires is not None and now - expires > SKEW and now - created > RETRANSMISSION:
            raise _refused("the message has expired", "ts.expired")
    if max(sent, created) - now > remembered / 2:
        raise _refused("the message is dated too far in the future", "ts.future")
    if now - min(sent, created) > remembered / 2:
        raise _refused("the message is older than what is remembered", "ts.expired")


def _sent(text: str) -> datetime:
    """The instant of an `eb:Timestamp`, whose form G4 has judged; one without a zone is taken as UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidHeader(
            "the Timestamp names no instant", reason="header.timestamp", gate=Gate.G6
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _instant(text: str) -> datetime:
    value = text.strip(" \t\r\n")
    if _INSTANT.fullmatch(value) is None:
        raise _malformed("a time is no instant with its zone")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise _malformed("a time names no day") from None


def _malformed(detail: str) -> InvalidHeader:
    return InvalidHeader(detail, reason="ts.form", gate=Gate.G5)


def _refused(detail: str, reason: str) -> FailedAuthentication:
    return FailedAuthentication(detail, reason=reason, gate=Gate.G6)
