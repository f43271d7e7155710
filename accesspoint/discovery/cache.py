"""Remembers what a directory answered: for a while, and longer when the directory cannot be reached.

* An endpoint is fresh for `fresh_for`, never longer than the name server said or beyond its own expiry.
* A permanent refusal is remembered for `refused_for`, or for as long as the name server says when that is less, so that
  a wrong receiver costs one look-up.
* When the directory is unreachable, an endpoint up to `stale_for` old still answers, and the directory is left alone for
  half a minute, so that not every message waits for a time-out. A signature that does not verify is not unreachability:
  it is never papered over with an old answer.
* Many askers for one endpoint share one look-up.

Every answer from memory says how old it is.

Spec: RFC 2308 (absence), RFC 8767 (serving stale data).
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from accesspoint.clock import Clock
from accesspoint.discovery.directory import (
    Directory,
    Endpoint,
    Hop,
    HopKind,
    LookupFailed,
    LookupProblem,
)

CAPACITY: Final = 10_000
PAUSE: Final = 30.0
"""Seconds for which a directory that did not answer is not asked again while there is an old answer."""

_Key = tuple[str, str, str]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found; exactly one of the two is set. On the monotonic clock: when, and until when nobody asks again."""

    at: float
    until: float
    endpoint: Endpoint | None = None
    refusal: LookupFailed | None = None
    stale: bool = False


class CachedDirectory:
    """A directory in front of a slower one."""

    def __init__(
        self,
        directory: Directory,
        *,
        clock: Clock,
        fresh_for: timedelta = timedelta(minutes=5),
        refused_for: timedelta = timedelta(seconds=60),
        stale_for: timedelta = timedelta(hours=24),
        capacity: int = CAPACITY,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._fresh_for = fresh_for.total_seconds()
        self._refused_for = refused_for.total_seconds()
        self._stale_for = stale_for.total_seconds()
        self._capacity = capacity
        self._answers: OrderedDict[_Key, _Answer] = OrderedDict()
        self._flights: dict[_Key, asyncio.Task[Endpoint]] = {}

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """Answer from memory while that is good, else ask; raises LookupFailed."""
        key = (participant, document_id, process_id)
        known = self._answers.get(key)
        now = self._clock.monotonic()
        if known is not None and now < known.until:
            if known.refusal is not None:
                raise known.refusal.after([Hop(HopKind.CACHE, f"refused {_age(known, now)}", 0.0)])
            if known.endpoint is not None and self._is_current(known.endpoint):
                self._answers.move_to_end(key)
                return _remembered(known, now)
        try:
            return await self._ask(key)
        except LookupFailed as failure:
            if failure.slug is LookupProblem.UNREACHABLE and (stale := self._stale(key)):
                log.warning("lookup_answered_from_stale_cache", problem=failure.slug)
                return stale
            raise

    async def find_afresh(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """Ask whatever is remembered, and remember what is answered; no old answer stands in. Raises LookupFailed."""
        return await self._ask((participant, document_id, process_id))

    async def _ask(self, key: _Key) -> Endpoint:
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._look_up(key), name="look up endpoint")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        # One asker that gives up must not take the look-up from the others.
        return await asyncio.shield(flight)

    def _land(self, key: _Key, flight: asyncio.Task[Endpoint]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            # Looked at here, since every asker may have gone.
            flight.exception()

    async def _look_up(self, key: _Key) -> Endpoint:
        try:
            endpoint = await self._directory.find_endpoint(*key)
        except LookupFailed as failure:
            if failure.permanent:
                now = self._clock.monotonic()
                lasts = _lower(self._refused_for, failure.seconds)
                self._keep(key, _Answer(now, now + lasts, refusal=failure))
            raise
        now = self._clock.monotonic()
        lasts = _lower(self._fresh_for, endpoint.seconds)
        self._keep(key, _Answer(now, now + lasts, endpoint=endpoint))
        return endpoint

    def _stale(self, key: _Key) -> Endpoint | None:
        known = self._answers.get(key)
        if known is None or known.endpoint is None or not self._is_current(known.endpoint):
            return None
        now = self._clock.monotonic()
        ends = known.at + self._stale_for
        if now >= ends:
            return None
        old = replace(known, until=min(now + PAUSE, ends), stale=True)
        self._keep(key, old)
        return _remembered(old, now)

    def _is_current(self, endpoint: Endpoint) -> bool:
        return endpoint.expires_at is None or self._clock.now() < endpoint.expires_at

    def _keep(self, key: _Key, answer: _Answer) -> None:
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._capacity:
            self._answers.popitem(last=False)


def _remembered(known: _Answer, now: float) -> Endpoint:
    if known.endpoint is None:
        raise LookupError("only an endpoint can be given out")
    why = "; the directory does not answer" if known.stale else ""
    again = f", asked again in {known.until - now:.0f} s"
    hop = Hop(HopKind.CACHE, f"found {_age(known, now)}{why}{again}", 0.0)
    return replace(known.endpoint, hops=(hop,))


def _age(known: _Answer, now: float) -> str:
    return f"{now - known.at:.0f} s ago"


def _lower(configured: float, said: float | None) -> float:
    return configured if said is None else min(configured, said)
