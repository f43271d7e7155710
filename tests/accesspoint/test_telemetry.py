from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from accesspoint.clock import ManualClock
from accesspoint.telemetry import (
    Direction,
    DuplicateKind,
    ErrorOrigin,
    LookupKind,
    Outcome,
    Result,
    Source,
    Stage,
    Telemetry,
)
from envelope.sending import State

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def telemetry(clock: ManualClock) -> Telemetry:
    return Telemetry(clock=clock, version="26.11.0", profile="dev", partners=["clinic"])


def samples(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(telemetry.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(telemetry: Telemetry, name: str, **labels: str) -> float:
    return samples(telemetry)[f"accesspoint_{name}", frozenset(labels.items())]


def test_the_documented_names_are_there(telemetry: Telemetry) -> None:
    families = {
        family.name for family in text_string_to_metric_families(telemetry.render().decode())
    }
    assert families == {
        f"accesspoint_{name}"
        for name in (
            "messages", "exchange_duration_seconds", "stage_duration_seconds", "attempts", "queue_messages",
            "queue_oldest_age_seconds", "ebms_errors", "problems", "duplicates", "payload_bytes", "receipts",
            "delivery_events_pending", "delivery_events_oldest_age_seconds", "delivery_events",
            "backend_deliveries", "lookups", "revocation_checks", "certificate_expiry_timestamp_seconds",
            "event_loop_lag_seconds", "store_operation_seconds", "build_info", "profile_info",
        )
    }  # fmt: skip


def test_counters_count(telemetry: Telemetry) -> None:
    for _ in range(3):
        telemetry.message(Direction.OUT, Outcome.ACKNOWLEDGED)
    telemetry.receipt(Result.OK)
    telemetry.duplicate(DuplicateKind.AS4)
    telemetry.delivery_event(Result.RETRY)
    telemetry.backend_delivery(Result.OK)
    telemetry.lookup(LookupKind.SMP, Result.OK, Source.CACHE)
    telemetry.revocation_check(Result.UNKNOWN)
    assert value(telemetry, "messages_total", direction="out", outcome="acknowledged") == 3
    assert value(telemetry, "receipts_total", result="ok") == 1
    assert value(telemetry, "duplicates_total", kind="as4") == 1
    assert value(telemetry, "delivery_events_total", result="retry") == 1
    assert value(telemetry, "backend_deliveries_total", result="ok") == 1
    assert value(telemetry, "lookups_total", kind="smp", result="ok", source="cache") == 1
    assert value(telemetry, "revocation_checks_total", method="crl", result="unknown") == 1


def test_what_peers_write_cannot_make_new_series(telemetry: Telemetry) -> None:
    telemetry.attempt("clinic", Result.OK)
    for number in range(100):
        telemetry.attempt(f"stranger-{number}", Result.RETRY)
        telemetry.ebms_error(f"EBMS:{number + 5000}", ErrorOrigin.REMOTE)
        telemetry.problem(f"slug-{number}")
    telemetry.ebms_error("EBMS:0101", ErrorOrigin.LOCAL)
    telemetry.problem("peer-tls")
    assert value(telemetry, "attempts_total", partner="clinic", result="ok") == 1
    assert value(telemetry, "attempts_total", partner="other", result="retry") == 100
    assert value(telemetry, "ebms_errors_total", code="other", origin="remote") == 100
    assert value(telemetry, "ebms_errors_total", code="EBMS:0101", origin="local") == 1
    assert value(telemetry, "problems_total", slug="internal") == 100
    assert value(telemetry, "problems_total", slug="peer-tls") == 1
    assert "stranger" not in telemetry.render().decode()


def test_a_stage_is_measured_even_when_it_fails(telemetry: Telemetry, clock: ManualClock) -> None:
    def fails() -> None:
        with telemetry.stage(Stage.VERIFY):
            clock.advance(timedelta(seconds=0.25))
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    with telemetry.store_operation("receive"):
        clock.advance(timedelta(milliseconds=2))
    assert value(telemetry, "stage_duration_seconds_sum", stage="verify") == pytest.approx(0.25)
    assert value(telemetry, "stage_duration_seconds_count", stage="verify") == 1
    assert value(telemetry, "store_operation_seconds_sum", operation="receive") == pytest.approx(
        0.002
    )


def test_sizes_and_durations_fall_into_buckets(telemetry: Telemetry) -> None:
    telemetry.payload(Direction.IN, 20_000)
    telemetry.exchange(Direction.OUT, 0.2)
    telemetry.loop_lag(0.02)
    assert value(telemetry, "payload_bytes_bucket", direction="in", le="16384.0") == 0
    assert value(telemetry, "payload_bytes_bucket", direction="in", le="65536.0") == 1
    assert value(telemetry, "exchange_duration_seconds_bucket", direction="out", le="0.3") == 1
    assert value(telemetry, "event_loop_lag_seconds_bucket", le="0.01") == 0
    assert value(telemetry, "event_loop_lag_seconds_bucket", le="0.03") == 1


def test_the_queue_is_set_from_the_tables_and_empty_states_are_zero(telemetry: Telemetry) -> None:
    telemetry.queue(Direction.OUT, State, {State.READY: (4, 12.5), State.SENDING: (1, 0.5)})
    telemetry.queue(Direction.OUT, State, {State.SENDING: (5, 1.0)})
    assert value(telemetry, "queue_messages", direction="out", state="READY") == 0
    assert value(telemetry, "queue_messages", direction="out", state="SENDING") == 5
    assert value(telemetry, "queue_oldest_age_seconds", direction="out", state="SENDING") == 1.0
    counted = [key for key in samples(telemetry) if key[0] == "accesspoint_queue_messages"]
    assert len(counted) == len(State)


def test_the_outbox_and_the_certificates_are_gauges(telemetry: Telemetry) -> None:
    telemetry.delivery_events_waiting(7, 90.0)
    telemetry.certificate("message", START)
    assert value(telemetry, "delivery_events_pending") == 7
    assert value(telemetry, "delivery_events_oldest_age_seconds") == 90.0
    assert (
        value(telemetry, "certificate_expiry_timestamp_seconds", role="message")
        == START.timestamp()
    )
    assert value(telemetry, "build_info", version="26.11.0") == 1
    assert value(telemetry, "profile_info", profile="dev") == 1


def test_two_nodes_in_one_process_count_apart(telemetry: Telemetry, clock: ManualClock) -> None:
    other = Telemetry(clock=clock, version="26.11.0", profile="test")
    other.receipt(Result.OK)
    assert value(other, "receipts_total", result="ok") == 1
    assert ("accesspoint_receipts_total", frozenset({("result", "ok")})) not in samples(telemetry)
