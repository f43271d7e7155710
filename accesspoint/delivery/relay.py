"""Sends the outbox to the status component: many messages at a time, each message's events in order.

An answer decides the event's fate: 200 and 201 mean sent. 400, 413 and 422 judge the event itself: it is
parked with a problem, the rest goes on, and each start of the node tries it once more. Everything else (no
answer, no token, any other status, an error of ours) may pass and is tried again after a delay that
doubles, with jitter so that nodes do not march in step. While nobody answers at all, one event at a time is
tried, after delays that double, to find out; a status component that is away for days, or has moved, only
makes the table longer.

Spec: reliability section 2.2; EHMI delivery status, create interaction.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import aiohttp
import orjson
import structlog

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.clock import Clock
from accesspoint.delivery.outbox import ClaimedEvent, Fate, Outbox, Settlement
from accesspoint.delivery.token import TokenError, TokenRefused, TokenSource
from accesspoint.failpoints import failpoint

LONGEST_SLEEP: Final = 30.0
"""Seconds after which the table is looked at anyway: what other nodes commit is announced, this is the net below."""
_ANSWER_LIMIT: Final = 64 * 1024
_ELEMENT: Final = re.compile(
    r"(?:AuditEvent|token)[A-Za-z\[\].:_-]*(?:\[[0-9]{1,2}\][A-Za-z\[\].:_-]*)*", re.ASCII
)
_MOST_NAMED: Final = 8
_JUDGES_THE_EVENT: Final = frozenset({400, 413, 422})
_NOBODY_THERE: Final = frozenset({None, 429, 502, 503, 504})
"""No answer, or that of something in front of the component: nothing is said of the event."""
_AWAY: Final = frozenset({"status-unreachable", "token-unreachable"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BackOff:
    """Delays that double from `first` to `longest` seconds, each shortened by up to half at random."""

    first: float = 1.0
    longest: float = 300.0

    def delay(self, attempts: int, draw: float) -> timedelta:
        """The delay after this many attempts (1 and up); `draw` is a random number in [0, 1)."""
        # The exponent is bounded because 2.0 ** 2000 is not a number.
        whole = min(self.longest, self.first * 2.0 ** min(attempts - 1, 40))
        return timedelta(seconds=whole * (1.0 - draw / 2.0))


class Relay:
    """Moves events from the outbox to the status component until it is cancelled."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        endpoint: str,
        tokens: Mapping[str, TokenSource],
        ssl_context: ssl.SSLContext,
        session: Callable[[], aiohttp.ClientSession],
        clock: Clock,
        random: Callable[[], float],
        back_off: BackOff | None = None,
        concurrency: int = 8,
        timeout: float = 20.0,
    ) -> None:
        """`endpoint` is the FHIR base, `tokens` has the source of each reporting device.

        `ssl_context` presents the certificate that the tokens are bound to. `timeout` seconds are all that one
        attempt gets, its token included: less than the lease of an event.
        """
        self._outbox = outbox
        self._url = endpoint.rstrip("/") + "/AuditEvent"
        self._tokens = tokens
        self._ssl_context = ssl_context
        self._session = session
        self._clock = clock
        self._random = random
        self._back_off = back_off or BackOff()
        self._concurrency = concurrency
        self._attempt_seconds = timeout
        self._failures = 0
        self._probe_at = 0.0

    async def run(self) -> None:
        """Send for ever; ends only by cancellation or with the database's StorageFailure."""
        await self._outbox.resume()
        # What made the component refuse an event may have been mended while we were down, here or there.
        await self._outbox.release_parked()
        await self._send(until_idle=False)

    async def drain(self) -> None:
        """Send what is due now, and what becomes due through that, then return."""
        await self._send(until_idle=True)

    async def _send(self, *, until_idle: bool) -> None:
        flights: set[asyncio.Task[Settlement]] = set()
        settled: list[Settlement] = []
        try:
            while True:
                self._outbox.woken.clear()
                claimed, wait = await self._outbox.exchange(settled, limit=self._free(len(flights)))
                failpoint("O5")
                flights |= {asyncio.create_task(self._attempt(event)) for event in claimed}
                if until_idle and not flights:
                    return
                settled, flights = await self._wait(flights, self._until_probe(wait, flights))
        finally:
            # What is under way has a lease; it is sent again when nobody has settled it by then.
            for flight in flights:
                flight.cancel()
            await asyncio.gather(*flights, return_exceptions=True)

    def _free(self, flying: int) -> int:
        """How many events may be claimed: while nobody answers, one at a time when its time has come, to find out."""
        if not self._failures:
            return self._concurrency - flying
        return 1 if flying == 0 and self._clock.monotonic() >= self._probe_at else 0

    def _until_probe(self, wait: timedelta | None, flights: Collection[object]) -> timedelta | None:
        """How long to wait at most: while nobody answers, for the probe under way, or until the next one."""
        if not self._failures:
            return wait
        if flights:
            return None
        until_probe = self._probe_at - self._clock.monotonic()
        if until_probe <= 0.0:
            # The time has come, and no event is due: another node may have sent the last one.
            return wait
        # Never a moment too early, by which nothing would be claimed: hence rounded up. The event that would
        # be tried may have to wait longer than the component.
        return max(wait or timedelta(), timedelta(seconds=until_probe + 0.001))

    def _learn(self, settlement: Settlement, status: int | None) -> Settlement:
        """Take from what one event met whether the component is there, and for how long to leave it alone."""
        problem = settlement.problem or "status-took-it"
        if problem not in _AWAY or status not in _NOBODY_THERE:
            # A refused token says nothing of the component.
            self._failures = 0 if problem.startswith("status-") else self._failures
        elif self._clock.monotonic() >= self._probe_at:
            # What was under way together fails together and counts once.
            self._failures += 1
            delay = self._back_off.delay(self._failures, self._random())
            self._probe_at = self._clock.monotonic() + delay.total_seconds()
        return settlement

    async def _wait(
        self, flights: set[asyncio.Task[Settlement]], wait: timedelta | None
    ) -> tuple[list[Settlement], set[asyncio.Task[Settlement]]]:
        """Wait for an answer, a new event, or the next due time."""
        seconds = LONGEST_SLEEP if wait is None else min(LONGEST_SLEEP, wait.total_seconds())
        alarm = asyncio.create_task(self._outbox.woken.wait())
        try:
            full = len(flights) >= self._concurrency
            done, _ = await asyncio.wait(
                flights if full else {*flights, alarm},
                timeout=None if full else seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            alarm.cancel()
        finished = {flight for flight in flights if flight in done}
        return [flight.result() for flight in finished], flights - finished

    async def _attempt(self, event: ClaimedEvent) -> Settlement:
        try:
            failpoint("O1")
            async with asyncio.timeout(self._attempt_seconds):
                status, named = await self._post(event)
            failpoint("O4")
        except TokenError as error:
            return self._postpone(event, error.problem, error.status, error.detail)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("delivery_event_unanswered", error=type(error).__name__)
            return self._postpone(event, "status-unreachable", None)
        except Exception as error:  # noqa: BLE001 - the seam of a flight: one event never ends the others, nor the node
            log.error(
                "delivery_event_internal", event_id=event.event_id, error=type(error).__name__
            )
            return self._postpone(event, "internal", None)
        if status in (200, 201):
            log.info("delivery_event_sent", event_id=event.event_id, attempts=event.attempts)
            return self._learn(Settlement(event, Fate.SENT), status)
        if status == 401:
            self._source(event).drop(event.sor, event.gln)
        if status in _JUDGES_THE_EVENT:
            log.error("delivery_event_parked", event_id=event.event_id, status=status, named=named)
            parked = Settlement(event, Fate.PARKED, "status-refused", detail=named)
            return self._learn(parked, status)
        problem = "status-refused" if 400 <= status < 500 else "status-unreachable"
        return self._postpone(event, problem, status, named)

    def _postpone(
        self, event: ClaimedEvent, problem: str, status: int | None, named: str | None = None
    ) -> Settlement:
        delay = self._back_off.delay(event.attempts, self._random())
        log.warning(
            "delivery_event_postponed",
            event_id=event.event_id,
            problem=problem,
            status=status,
            named=named,
            attempts=event.attempts,
            seconds=round(delay.total_seconds(), 3),
        )
        return self._learn(Settlement(event, Fate.POSTPONED, problem, delay, named), status)

    def _source(self, event: ClaimedEvent) -> TokenSource:
        """The tokens of the device that reports; an event outlives the configuration it was made under."""
        source = self._tokens.get(event.device_id)
        if source is None:
            raise TokenRefused(f"the device {event.device_id} has no client in the configuration")
        return source

    async def _post(self, event: ClaimedEvent) -> tuple[int, str]:
        """The status of the answer, and in words what it named."""
        token = await self._source(event).token(event.sor, event.gln)
        failpoint("O2")
        async with self._session().post(
            self._url,
            data=event.body,
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/fhir+json",
                "Accept": "application/fhir+json",
            },
            ssl=self._ssl_context,
            allow_redirects=False,
        ) as response:
            failpoint("O3")
            # Read to its end so that the connection can be used again.
            try:
                body = await read_bounded(response, _ANSWER_LIMIT)
            except AnswerTooLong:
                body = b""
            return response.status, f"status {response.status}{_elements(body)}"


def _elements(body: bytes) -> str:
    """The elements that an OperationOutcome names: of its texts nothing is taken, they may repeat a value."""
    try:
        issues = orjson.loads(body)["issue"]
        named = [path for issue in issues for path in issue.get("expression", [])]
        paths = [path for path in named if _ELEMENT.fullmatch(path)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "".join(f", {path}" for path in dict.fromkeys(paths[:_MOST_NAMED]))
