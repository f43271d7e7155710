"""How long a certificate still lives, as a number for gauges and as a sentence for people.

A certificate is due for renewal in the last tenth of its life, or in the last thirty days when that is
more; an OCES system certificate of three years is due about sixteen weeks before its end.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509

from keys.certificate import subject_facts

MIN_RENEWAL_WINDOW: Final = timedelta(days=30)
URGENT: Final = timedelta(days=7)


class Life(StrEnum):
    """Where in its life a certificate stands."""

    NOT_YET_VALID = "not-yet-valid"
    VALID = "valid"
    RENEW = "renew"
    URGENT = "urgent"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of a certificate's life.

    Attributes:
        life: where it stands.
        seconds: until its end; negative after it.
        renew_from: when renewal becomes due.
        sentence: the same for people, without a full stop.
    """

    life: Life
    seconds: float
    renew_from: datetime
    sentence: str


def remaining(certificate: x509.Certificate, at: datetime) -> Remaining:
    """Return what is left of a certificate's life at an aware time."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    left = end - at
    renew_from = max(begin, end - max((end - begin) / 10, MIN_RENEWAL_WINDOW))
    who = subject_facts(certificate).common_name or certificate.subject.rfc4514_string()
    if at < begin:
        life, sentence = Life.NOT_YET_VALID, f"{who} is not valid before {_day(begin)}"
    elif at > end:
        life, sentence = Life.EXPIRED, f"{who} expired on {_day(end)}, {_days(-left)} ago"
    else:
        until = f"{who} is valid until {_day(end)}, {_days(left)} from now"
        if left <= URGENT:
            life, sentence = Life.URGENT, f"{until}; renew it today"
        elif at >= renew_from:
            life, sentence = Life.RENEW, f"{until}; renewal is due since {_day(renew_from)}"
        else:
            life, sentence = Life.VALID, f"{until}; renewal is due from {_day(renew_from)}"
    return Remaining(life, left.total_seconds(), renew_from, sentence)


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _days(span: timedelta) -> str:
    if span < timedelta(days=1):
        hours = int(span.total_seconds() // 3600)
        return f"{hours} hour" if hours == 1 else f"{hours} hours"
    return f"{span.days} day" if span.days == 1 else f"{span.days} days"
