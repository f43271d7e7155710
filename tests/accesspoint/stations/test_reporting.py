"""The reporting table literally, and how many events a full exchange makes: 8 or 16 for each organisation."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from station_parts import BUNDLE, MESSAGE, RECEIVER, SENDER, Parts, header_for

from accesspoint.delivery.events import DeliveryFacts
from accesspoint.stations.reporting import (
    Act,
    Reporter,
    facts_from_json,
    facts_to_json,
    find_report,
    station_of,
    without_envelope,
)
from accesspoint.store.database import Transaction

FACTS = DeliveryFacts.from_header(header_for(), with_envelope=True)
ACKNOWLEDGEMENT = replace(
    FACTS,
    standard="ehmisbdh-acknowledgement",
    type_version="ebbp-signals-2.0",
    patient_id=None,
    orig_message_identifier=MESSAGE,
    orig_standard="homecareobservation-message",
    orig_version="1.1",
    orig_envelope_identifier="e",
)

# Station by station: 1.1, 2.1, 2.2, 3.1, 3.2, 4.1, 4.2, 5.1, 5.2, 6.1 of the station table; 7.1 and 10.1 beside them.
APART = [
    ("eua-sent", "EUA", "msg-created-and-sent", False),
    ("msh-taken", "MSH", "msg-received", False),
    ("msh-passed-down", "MSH", "msg-sent", True),
    ("ap-taken", "AP", "msg-received", True),
    ("ap-sent", "AP", "msg-sent", True),
    ("ap-received", "AP", "msg-received", True),
    ("ap-passed-up", "AP", "msg-sent", True),
    ("msh-opened", "MSH", "msg-received", True),
    ("msh-passed-up", "MSH", "msg-sent", False),
    ("eua-finalized", "EUA", "msg-received-and-finalized", False),
    ("ack-created", "MSH", "msg-created-and-sent", True),
    ("ack-finalized", "MSH", "msg-received-and-finalized", True),
]
TOGETHER = [
    ("eua-sent", "EUA", "msg-created-and-sent", False),
    ("msh-taken", "AP-MSH", "msg-received", False),
    ("ap-sent", "AP-MSH", "msg-sent", True),
    ("ap-received", "AP-MSH", "msg-received", True),
    ("msh-passed-up", "AP-MSH", "msg-sent", False),
    ("eua-finalized", "EUA", "msg-received-and-finalized", False),
]
TOGETHER_ACKNOWLEDGEMENT = [
    ("ap-sent", "AP-MSH", "msg-created-and-sent", True),
    ("ack-finalized", "AP-MSH", "msg-received-and-finalized", True),
]

# What the two organisations of a full exchange do: the message, its acknowledgement, the FHIR Acknowledgement, and its.
SENDS = ("eua-created", "eua-sent", "msh-taken", "msh-passed-down", "ap-taken", "ap-sent")
RECEIVES = ("ap-received", "ap-passed-up", "msh-opened", "msh-passed-up", "eua-finalized")
ACKNOWLEDGES = ("ack-created", "ap-taken", "ap-sent")
IS_ACKNOWLEDGED = ("ap-received", "ap-passed-up", "ack-finalized")
FIRST_SENDER = [(SENDS, False), (IS_ACKNOWLEDGED, True), (RECEIVES, False), (ACKNOWLEDGES, True)]
FIRST_RECEIVER = [(RECEIVES, False), (ACKNOWLEDGES, True), (SENDS, False), (IS_ACKNOWLEDGED, True)]


@pytest.mark.parametrize(("act", "station", "subtype", "with_envelope"), APART)
@pytest.mark.parametrize("acknowledgement", [False, True])
def test_stations_apart_report_every_act(
    act: str, station: str, subtype: str, with_envelope: bool, acknowledgement: bool
) -> None:
    report = find_report(Act(act), acknowledgement=acknowledgement, together=False)
    assert report is not None
    assert (report.station, report.subtype, report.with_envelope) == (
        station,
        subtype,
        with_envelope,
    )
    assert station_of(Act(act)) == station


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize(
    ("acknowledgement", "rows"), [(False, TOGETHER), (True, TOGETHER_ACKNOWLEDGEMENT)]
)
def test_stations_together_report_what_leaves_or_enters_both(
    act: Act, acknowledgement: bool, rows: list[tuple[str, str, str, bool]]
) -> None:
    expected = {row[0]: row[1:] for row in rows}.get(str(act))
    report = find_report(act, acknowledgement=acknowledgement, together=True)
    found = None if report is None else (report.station, report.subtype, report.with_envelope)
    assert found == expected


def test_the_table_has_a_row_for_every_act() -> None:
    assert {row[0] for row in APART} | {"eua-created"} == set(map(str, Act))


@pytest.mark.parametrize("together", [False, True])
def test_creating_and_sending_are_told_apart_only_by_configuration(together: bool) -> None:
    def found(act: str, *, created_apart: bool) -> str | None:
        report = find_report(
            Act(act), acknowledgement=False, together=together, created_apart=created_apart
        )
        return None if report is None else f"{report.station} {report.subtype}"

    assert found("eua-created", created_apart=True) == "EUA msg-created"
    assert found("eua-sent", created_apart=True) == "EUA msg-sent"
    assert found("eua-created", created_apart=False) is None
    assert found("eua-sent", created_apart=False) == "EUA msg-created-and-sent"


@pytest.mark.parametrize("organisation", [FIRST_SENDER, FIRST_RECEIVER])
@pytest.mark.parametrize(
    ("together", "created_apart", "owed"),
    [(True, False, 8), (False, False, 16), (False, True, 17), (True, True, 9)],
)
async def test_a_full_exchange_makes_16_or_32_events_or_34_with_creating_apart(
    parts: Parts,
    organisation: list[tuple[tuple[str, ...], bool]],
    together: bool,
    created_apart: bool,
    owed: int,
) -> None:
    reporter = Reporter(
        clock=parts.clock,
        outbox=parts.reporter._outbox,
        device_ids=parts.reporter._device_ids,
        together=together,
        created_apart=created_apart,
    )
    for number, (acts, acknowledgement) in enumerate(organisation):
        facts = replace(
            ACKNOWLEDGEMENT if acknowledgement else FACTS,
            message_identifier=f"m{number}",
            transport_envelope_identifier=f"e{number}",
        )

        async def work(
            tx: Transaction, acts: tuple[str, ...] = acts, facts: DeliveryFacts = facts
        ) -> None:
            for act in acts:
                await reporter.report(tx, Act(act), facts)

        await parts.database.run(work)
    assert len(await parts.events()) == owed


async def report(parts: Parts, act: Act, facts: DeliveryFacts, *, failed: bool = False) -> str:
    await parts.database.run(lambda tx: parts.reporter.report(tx, act, facts, failed=failed))
    return str((await parts.one("SELECT body FROM outbox"))["body"])


async def test_an_event_of_a_station_inside_does_not_know_the_envelope(parts: Parts) -> None:
    body = await report(parts, Act.MSH_TAKEN, FACTS)
    assert MESSAGE in body
    assert BUNDLE in body
    assert FACTS.transport_envelope_identifier not in body


async def test_an_event_on_the_network_names_the_envelope(parts: Parts) -> None:
    body = await report(parts, Act.AP_SENT, FACTS)
    assert FACTS.transport_envelope_identifier in body
    assert json.loads(body)["outcome"] == "0"
    assert SENDER.gln in body
    assert RECEIVER.gln in body
    assert "ap-1" in body


async def test_what_was_not_delivered_is_reported_as_a_failure(parts: Parts) -> None:
    assert json.loads(await report(parts, Act.AP_SENT, FACTS, failed=True))["outcome"] == "8"


async def test_an_act_reported_again_is_the_same_event(parts: Parts) -> None:
    await report(parts, Act.AP_SENT, FACTS)
    await report(parts, Act.AP_SENT, FACTS)
    assert len(await parts.events()) == 1


async def test_without_a_status_component_nothing_is_recorded(parts: Parts) -> None:
    silent = Reporter(clock=parts.clock, outbox=None, device_ids={}, together=True)
    await parts.database.run(lambda tx: silent.report(tx, Act.EUA_SENT, FACTS))
    assert await parts.events() == []


async def test_what_is_owed_by_nobody_needs_no_device(parts: Parts) -> None:
    await parts.database.run(lambda tx: parts.reporter.report(tx, Act.AP_TAKEN, FACTS))
    assert await parts.events() == []


async def test_a_line_of_the_journal_has_its_time_and_place(parts: Parts) -> None:
    await parts.database.run(
        lambda tx: parts.reporter.note(
            tx,
            "sent",
            station="AP",
            message_identifier="m",
            subject="o",
            standard="s",
            problem="internal",
            detail="{}",
        )
    )
    row = await parts.one("SELECT * FROM journal")
    assert [row[key] for key in ("station", "event", "message_identifier", "subject", "standard")]
    assert (row["subject"], row["problem"], row["detail"]) == ("o", "internal", "{}")
    assert row["at"] == 1795253400_000000


@given(
    st.builds(
        replace,
        st.just(FACTS),
        sender_name=st.none() | st.text(),
        patient_id=st.none() | st.text(),
        statistical_information=st.none() | st.text(),
    )
)
def test_facts_survive_the_store(facts: DeliveryFacts) -> None:
    assert facts_from_json(facts_to_json(facts)) == facts
    inside = without_envelope(facts)
    assert inside.transport_envelope_identifier is None
    assert inside.message_envelope_identifier == facts.message_envelope_identifier
