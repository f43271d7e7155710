"""Remembers what a directory answered: for a while, and longer when the directory cannot be reached.

* An endpoint is fresh for `fresh_for`, never beyond its own expiry.
* A permanent refusal is remembered for `refused_for`, so that a wrong receiver costs one look-up.
* When the directory is unreachable, an endpoint up to `stale_for` old still answers. A signature that
  does not verify is not unreachability: it is never papered over with an old answer.
* Many askers for one endpoint share one look-up.
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

_Key = tuple[str, str, str]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found, and when on the monotonic clock; exactly one of the two is set."""

    at: float
    endpoint: Endpoint | None = None
    refusal: LookupFailed | None = None


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
        if known is not None:
            age = self._clock.monotonic() - known.at
            if (
                known.endpoint is not None
                and age < self._fresh_for
                and self._is_current(known.endpoint)
            ):
                self._answers.move_to_end(key)
                return _remembered(known.endpoint, f"found {age:.0f} s ago")
            if known.refusal is not None and age < self._refused_for:
                hop = Hop(HopKind.CACHE, f"refused {age:.0f} s ago", 0.0)
                raise known.refusal.after([hop])
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
            stale = self._stale(key) if failure.slug is LookupProblem.UNREACHABLE else None
            if stale is not None:
                log.warning("lookup_answered_from_stale_cache", problem=failure.slug)
                return stale
            if failure.permanent:
                self._keep(key, _Answer(self._clock.monotonic(), refusal=failure))
            raise
        self._keep(key, _Answer(self._clock.monotonic(), endpoint=endpoint))
        return endpoint

    def _stale(self, key: _Key) -> Endpoint | None:
        known = self._answers.get(key)
        if known is None or known.endpoint is None or not self._is_current(known.endpoint):
            return None
        age = self._clock.monotonic() - known.at
        if age >= self._stale_for:
            return None
        return _remembered(known.endpoint, f"found {age:.0f} s ago; the directory does not answer")

    def _is_current(self, endpoint: Endpoint) -> bool:
        return endpoint.expires_at is None or self._clock.now() < endpoint.expires_at

    def _keep(self, key: _Key, answer: _Answer) -> None:
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._capacity:
            self._answers.popitem(last=False)


def _remembered(endpoint: Endpoint, detail: str) -> Endpoint:
    return replace(endpoint, hops=(Hop(HopKind.CACHE, detail, 0.0),))
