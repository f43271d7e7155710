"""The metrics of a node: names, labels and the text that a Prometheus server collects.

Every label has a bounded set of values: enumerations, the slugs of the problem catalogue, the ebMS
codes, and the partners of the configuration; everything else counts as `other`. No label ever holds a
message id, a participant or anything a peer wrote, so that nobody can fill the memory or leave a trace
of a patient here.

Counters rise in the code that commits; gauges of the queue are set from the tables by whoever counts
them, so that they tell what is stored and not what was meant (invariant I13).

Spec: experience section 9; reliability section 2.6.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from accesspoint.clock import Clock
from accesspoint.problems import PROBLEMS
from envelope.codes import CODES

E = TypeVar("E", bound=StrEnum)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"

_PREFIX: Final = "accesspoint"
_FAST: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_LONG: Final = (
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1_000.0,
    3_600.0,
    86_400.0,
)
_SIZES: Final = tuple(float(1024 * 4**power) for power in range(10))


class Direction(StrEnum):
    """Which way a message goes."""

    IN = "in"
    OUT = "out"


class Stage(StrEnum):
    """The parts of an exchange whose time is measured."""

    LOOKUP = "lookup"
    SIGN = "sign"
    ENCRYPT = "encrypt"
    POST = "post"
    PARSE = "parse"
    DECRYPT = "decrypt"
    VERIFY = "verify"
    STORE = "store"
    RECEIPT = "receipt"
    DISPATCH = "dispatch"


class Outcome(StrEnum):
    """How a message ended, or what one step of it came to."""

    ACCEPTED = "accepted"
    ACKNOWLEDGED = "acknowledged"
    RECEIVED = "received"
    DELIVERED = "delivered"
    REFUSED = "refused"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    UNCERTAIN = "uncertain"
    CANCELLED = "cancelled"


class Result(StrEnum):
    """What one attempt, check or call came to."""

    OK = "ok"
    RETRY = "retry"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


class DuplicateKind(StrEnum):
    """Which table found a duplicate (decision D8)."""

    AS4 = "as4"
    MSH = "msh"
    EUA = "eua"


class LookupKind(StrEnum):
    """What was looked up."""

    SML = "sml"
    SMP = "smp"


class Source(StrEnum):
    """Where an answer came from."""

    NETWORK = "network"
    CACHE = "cache"
    STALE = "stale"


class ErrorOrigin(StrEnum):
    """Who raised an ebMS error."""

    LOCAL = "local"
    REMOTE = "remote"


class Telemetry:
    """The metrics of one node, in a registry of their own; several nodes may live in one process."""

    def __init__(
        self, *, clock: Clock, version: str, profile: str, partners: Iterable[str] = ()
    ) -> None:
        """Make all metrics; `partners` are the names of the configuration."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._clock = clock
        self._partners = frozenset(partners)
        self.registry = CollectorRegistry(auto_describe=False)
        self._messages = self._counter(
            "messages_total", "Messages by their outcome.", "direction", "outcome"
        )
        self._exchanges = self._histogram(
            "exchange_duration_seconds", "From acceptance to outcome.", _LONG, "direction"
        )
        self._stages = self._histogram(
            "stage_duration_seconds", "Time of one stage.", _FAST, "stage"
        )
        self._attempts = self._counter("attempts_total", "Attempts to send.", "partner", "result")
        self._queue = self._gauge("queue_messages", "Messages in a state.", "direction", "state")
        self._queue_age = self._gauge(
            "queue_oldest_age_seconds", "Age of the oldest message.", "direction", "state"
        )
        self._ebms = self._counter(
            "ebms_errors_total", "ebMS errors raised or received.", "code", "origin"
        )
        self._problems = self._counter("problems_total", "Problems by catalogue slug.", "slug")
        self._duplicates = self._counter("duplicates_total", "Duplicates found.", "kind")
        self._payloads = self._histogram("payload_bytes", "Size of payloads.", _SIZES, "direction")
        self._receipts = self._counter(
            "receipts_total", "Receipts received, by what they came to.", "result"
        )
        self._events_pending = self._gauge(
            "delivery_events_pending", "Delivery events not reported yet."
        )
        self._events_age = self._gauge(
            "delivery_events_oldest_age_seconds", "Age of the oldest of them."
        )
        self._events = self._counter("delivery_events_total", "Delivery events reported.", "result")
        self._backend = self._counter(
            "backend_deliveries_total", "Hand-overs to the backend.", "result"
        )
        self._lookups = self._counter("lookups_total", "Look-ups.", "kind", "result", "source")
        self._revocations = self._counter(
            "revocation_checks_total", "Revocation checks.", "method", "result"
        )
        self._expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "End of our certificates.", "role"
        )
        self._lag = self._histogram("event_loop_lag_seconds", "How late the loop turned.", _FAST)
        self._store = self._histogram(
            "store_operation_seconds", "Time of a durable unit of work.", _FAST, "operation"
        )
        self._gauge("build_info", "The program.", "version").labels(version).set(1)
        self._gauge("profile_info", "The profile.", "profile").labels(profile).set(1)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text form (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Measure one stage, also when it fails."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._stages.labels(stage).observe(self._clock.monotonic() - began)

    @contextmanager
    def store_operation(self, operation: str) -> Iterator[None]:
        """Measure one durable unit of work; `operation` is a constant of the code, never data."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._store.labels(operation).observe(self._clock.monotonic() - began)

    def message(self, direction: Direction, outcome: Outcome) -> None:
        """Count a message that reached an outcome."""
        self._messages.labels(direction, outcome).inc()

    def exchange(self, direction: Direction, seconds: float) -> None:
        """Record how long a message took from acceptance to its outcome."""
        self._exchanges.labels(direction).observe(seconds)

    def attempt(self, partner: str, result: Result) -> None:
        """Count an attempt; a partner that is not configured counts as `other`."""
        self._attempts.labels(partner if partner in self._partners else OTHER, result).inc()

    def ebms_error(self, code: str, origin: ErrorOrigin) -> None:
        """Count an ebMS error; a code that is in no table counts as `other`."""
        self._ebms.labels(code if code in CODES else OTHER, origin).inc()

    def problem(self, slug: str) -> None:
        """Count a problem; a slug without an entry counts as `internal`."""
        self._problems.labels(slug if slug in PROBLEMS else "internal").inc()

    def duplicate(self, kind: DuplicateKind) -> None:
        """Count a duplicate."""
        self._duplicates.labels(kind).inc()

    def payload(self, direction: Direction, size_bytes: int) -> None:
        """Record the size of a payload."""
        self._payloads.labels(direction).observe(size_bytes)

    def receipt(self, result: Result) -> None:
        """Count an answer to one of our messages."""
        self._receipts.labels(result).inc()

    def delivery_event(self, result: Result) -> None:
        """Count a report to the delivery status component."""
        self._events.labels(result).inc()

    def delivery_events_waiting(self, count: int, oldest_age_seconds: float) -> None:
        """Set what the outbox holds."""
        self._events_pending.set(count)
        self._events_age.set(oldest_age_seconds)

    def backend_delivery(self, result: Result) -> None:
        """Count a hand-over to the backend."""
        self._backend.labels(result).inc()

    def lookup(self, kind: LookupKind, result: Result, source: Source) -> None:
        """Count a look-up."""
        self._lookups.labels(kind, result, source).inc()

    def revocation_check(self, result: Result, *, method: str = "crl") -> None:
        """Count a revocation check; `method` is a constant of the code."""
        self._revocations.labels(method, result).inc()

    def certificate(self, role: str, expires_at: datetime) -> None:
        """Set the end of one of our certificates; `role` is message or tls."""
        self._expiry.labels(role).set(expires_at.timestamp())

    def loop_lag(self, seconds: float) -> None:
        """Record how much later than asked the event loop came round."""
        self._lag.observe(seconds)

    def queue(
        self, direction: Direction, states: type[E], counted: Mapping[E, tuple[int, float]]
    ) -> None:
        """Set the queue from the tables: for each state the number of messages and the age of the oldest.

        A state that is not among `counted` is empty, which is a value and not a gap.
        """
        for state in states:
            count, age = counted.get(state, (0, 0.0))
            self._queue.labels(direction, state).set(count)
            self._queue_age.labels(direction, state).set(age)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=_PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace=_PREFIX, registry=self.registry, buckets=buckets
        )
