import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from retention_stage import DAY, HOUR, Kept

from accesspoint import failpoints
from accesspoint.store.audit import verify_audit
from accesspoint.store.database import Database
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.references import REFERENCES
from accesspoint.store.retention import BATCH, BELONGING

SECOND = timedelta(seconds=1)


@pytest.fixture
async def kept(packaged: Database, tmp_path: Path) -> AsyncIterator[Kept]:
    payloads = PayloadStore(tmp_path / "payloads")
    yield Kept(packaged, payloads, tmp_path / "payloads")
    payloads.close()


async def apply(kept: Kept) -> dict[str, int]:
    return {c.rule.name: c.rows for c in await kept.housekeeper.retention.apply() if c.rows}


async def preview(kept: Kept) -> dict[str, tuple[int, int]]:
    counts = await kept.housekeeper.retention.preview()
    return {count.rule.name: (count.rows, count.octets) for count in counts if count.rows}


@pytest.mark.parametrize(("direction", "state"), [("out", "NOTIFIED"), ("in", "DELIVERED")])
async def test_a_day_after_it_was_confirmed_the_payload_goes_and_the_evidence_stays(
    kept: Kept, direction: str, state: str
) -> None:
    payload, part = kept.publish(), kept.publish()
    await kept.message("M1", direction, state, payload)
    await kept.wire("M1", part)
    kept.clock.advance(DAY - SECOND)
    assert await apply(kept) == {}
    kept.clock.advance(SECOND)
    [(name, found)] = (await preview(kept)).items()
    assert found == (1, 6)
    assert (await kept.state("M1"), kept.there(payload), kept.there(part)) == (state, True, True)
    assert await apply(kept) == {name: 1}
    assert (await kept.state("M1"), kept.there(payload), kept.there(part)) == (
        "PURGED",
        False,
        False,
    )
    [row] = await kept.rows("SELECT * FROM messages")
    assert (row["payload"], row["payload_sha256"]) == (None, "00")
    [wire] = await kept.rows("SELECT * FROM wires")
    assert (wire["part"], wire["part_octets"]) == (None, None)
    assert bytes(wire["soap"]) == b"soap"
    assert len(await kept.rows("SELECT * FROM receipts")) == 1
    history = await kept.rows("SELECT to_state, note FROM history ORDER BY seq")
    assert (history[-1]["to_state"], history[-1]["note"]) == ("PURGED", "retention")
    assert await apply(kept) == {}


async def test_a_ciphertext_in_the_row_goes_with_the_payload(kept: Kept) -> None:
    await kept.message("M1", "out", "NOTIFIED", kept.publish())
    await kept.wire("M1", None)
    kept.clock.advance(DAY)
    await apply(kept)
    assert (await kept.rows("SELECT part_octets FROM wires"))[0]["part_octets"] is None


@pytest.mark.parametrize(
    ("direction", "state", "ends"),
    [
        ("out", "NOTIFIED-failed", "PURGED"),
        ("in", "HELD", "PURGED"),
        ("in", "QUARANTINED", "PURGED"),
        # Still being tried, or nobody was told: never.
        ("out", "ACCEPTED", "ACCEPTED"),
        ("out", "UNCERTAIN", "UNCERTAIN"),
        ("out", "ACKNOWLEDGED", "ACKNOWLEDGED"),
        ("in", "RECEIVED", "RECEIVED"),
        ("in", "DELIVERY_WAIT", "DELIVERY_WAIT"),
    ],
)
async def test_what_was_not_delivered_stays_for_sixty_days_and_what_is_open_for_ever(
    kept: Kept, direction: str, state: str, ends: str
) -> None:
    payload = kept.publish()
    await kept.message("M1", direction, state, payload)
    kept.clock.advance(60 * DAY - SECOND)
    assert await apply(kept) == {}
    kept.clock.advance(SECOND)
    await apply(kept)
    assert await kept.state("M1") == ends
    assert kept.there(payload) == (ends != "PURGED")
    kept.clock.advance(3000 * DAY)
    await apply(kept)
    assert await kept.state("M1") == (None if ends == "PURGED" else ends)


async def test_after_a_year_a_message_goes_with_everything_that_belongs_to_it(kept: Kept) -> None:
    await kept.message("M1", "out", "NOTIFIED", kept.publish())
    await kept.wire("M1", None)
    kept.clock.advance(DAY)
    await apply(kept)
    kept.clock.advance(365 * DAY - SECOND)
    assert await apply(kept) == {"audit log": 1}
    kept.clock.advance(SECOND)
    assert await apply(kept) == {"messages with history, receipt, digests and duplicate key": 1}
    for table in ("messages", *BELONGING):
        assert await kept.rows(f"SELECT * FROM {table}") == []


async def test_a_payload_stays_while_any_row_refers_to_it(kept: Kept) -> None:
    payload = kept.publish()
    await kept.document("D1", "in", payload, "ok", delivered=True)
    await kept.handover("H1", payload, "waiting")
    kept.clock.advance(2 * DAY)
    assert await apply(kept) == {"documents delivered to the backend: payload": 1}
    assert kept.there(payload)
    await kept.execute("UPDATE handovers SET state = 'done', done_at = $1", kept.now())
    kept.clock.advance(DAY)
    assert await apply(kept) == {"hand-overs taken: payload": 1}
    assert not kept.there(payload)


async def test_a_document_stays_until_it_is_confirmed_and_nothing_of_it_is_open(kept: Kept) -> None:
    awaited, confirmed, answer, open_ = (kept.publish() for _ in range(4))
    await kept.document("D1", "out", awaited, "awaited")
    await kept.document("D2", "out", confirmed, "ok")
    await kept.document("D3", "out", answer, "none")
    await kept.document("D4", "out", open_, "none")
    await kept.message("D4", "out", "ACCEPTED", None)
    kept.clock.advance(DAY)
    assert await apply(kept) == {"documents sent and confirmed: payload": 2}
    assert [kept.there(one) for one in (awaited, confirmed, answer, open_)] == [
        True,
        False,
        False,
        True,
    ]
    kept.clock.advance(59 * DAY)
    await apply(kept)
    assert [kept.there(one) for one in (awaited, open_)] == [False, True]


async def test_what_was_set_aside_goes_with_the_undelivered(kept: Kept) -> None:
    payload = kept.publish()
    await kept.document("D1", "in", payload, "fatal-error")
    await kept.handover("H1", payload, "set-aside")
    kept.clock.advance(60 * DAY - SECOND)
    assert await apply(kept) == {}
    kept.clock.advance(SECOND)
    await apply(kept)
    assert not kept.there(payload)
    [row] = await kept.rows("SELECT * FROM handovers")
    assert (row["state"], row["payload"]) == ("set-aside", "")


async def test_refusals_journal_events_and_the_rest_go_in_their_time(kept: Kept) -> None:
    at = kept.now()
    await kept.execute(
        "INSERT INTO refusals (at, gate, reason, peer, input_sha256, input_bytes) VALUES ($1,'G1','r','p','0',1)", at
    )  # fmt: skip
    await kept.execute(
        "INSERT INTO journal (at, station, event, message_identifier, subject, standard, detail)"
        " VALUES ($1,'AP','e','m','m','s','')", at
    )  # fmt: skip
    await kept.execute("INSERT INTO handovers_taken (id, at) VALUES ('x', $1)", at)
    for number, state in enumerate(("sent", "parked", "waiting")):
        await kept.execute(
            "INSERT INTO outbox (event_id, aggregate, station, device_id, subtype, sor, gln, body, state, next_at,"
            " created_at, sent_at) VALUES ($1,'a','AP','d','s','1','2','{}',$2,$3,$3,$3)",
            str(number), state, at,
        )  # fmt: skip
    await kept.execute(
        "INSERT INTO envelopes (direction, envelope_id, message_identifier, standard, sender, receiver, header,"
        " payload_sha256, acknowledgement, created_at) VALUES ('in','e','m','s','1','2',$1,'0','none',$2)",
        b"h", at,
    )  # fmt: skip
    await kept.handover("H1", "", "done")
    gone: dict[int, list[str]] = {}
    for day in (29, 30, 182, 183, 364, 365):
        kept.clock.set_wall(kept.clock.now().replace(year=2026, month=11, day=21) + day * DAY)
        gone[day] = list(await apply(kept))
        kept.clock.set_wall(kept.clock.now() - day * DAY)
    assert gone == {
        29: [],
        30: ["refusals"],
        182: [],
        183: ["journal"],
        364: [],
        365: [
            "envelopes",
            "hand-overs",
            "ids of hand-overs taken from neighbours",
            "delivery events sent",
        ],
    }
    left = await kept.rows("SELECT state FROM outbox ORDER BY seq")
    assert [row["state"] for row in left] == ["parked", "waiting"]


async def test_more_than_a_batch_goes_in_one_pass(kept: Kept) -> None:
    for number in range(BATCH + 3):
        await kept.message(f"M{number}", "in", "DELIVERED", None)
    kept.clock.advance(DAY)
    assert await apply(kept) == {"messages received and passed on: payload": BATCH + 3}


async def test_the_audit_log_proves_what_went_by_id_and_digest(kept: Kept) -> None:
    for number in range(BATCH + 1):
        await kept.message(f"M{number:02}", "in", "DELIVERED", kept.publish(b"of Hansen"))
    kept.clock.advance(DAY)
    await preview(kept)
    assert await kept.rows("SELECT * FROM audit") == []
    await apply(kept)
    first, second = await kept.rows("SELECT * FROM audit ORDER BY seq")
    assert (first["actor"], first["action"], first["object"], first["reason"]) == (
        "system", "retention.deleted", "messages received and passed on: payload", "older than 1 d",
    )  # fmt: skip
    assert json.loads(first["detail"]) == [[f"M{number:02}", "00"] for number in range(BATCH)]
    assert json.loads(second["detail"]) == [[f"M{BATCH:02}", "00"]]
    assert "Hansen" not in str([first, second])
    assert (await kept.database.read(verify_audit)).last == 2
    kept.clock.advance(366 * DAY)
    gone = await apply(kept)
    assert gone["messages with history, receipt, digests and duplicate key"] == BATCH + 1
    assert gone["audit log"] == 2
    proved = await kept.rows("SELECT detail FROM audit WHERE action = 'retention.deleted'")
    assert [f"M{BATCH:02}", "00"] in [item for row in proved for item in json.loads(row["detail"])]


async def test_what_is_not_committed_leaves_no_proof(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.message("M1", "in", "DELIVERED", kept.publish())
    kept.clock.advance(DAY)

    async def fail(*_: object) -> set[str]:
        raise RuntimeError

    monkeypatch.setattr("accesspoint.store.retention.find_referenced", fail)
    with pytest.raises(RuntimeError):
        await apply(kept)
    assert await kept.rows("SELECT * FROM audit") == []
    assert await kept.state("M1") == "DELIVERED"


@pytest.mark.parametrize("point", ["S19", "S20"])
async def test_a_crash_between_row_and_file_leaves_an_orphan_and_no_dangling_row(
    kept: Kept, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = kept.publish(age=DAY)
    await kept.message("M1", "in", "DELIVERED", payload)
    kept.clock.advance(DAY)
    monkeypatch.setattr("accesspoint.store.retention.failpoint", _stop_at(point))
    with pytest.raises(failpoints.FailpointReached):
        await apply(kept)
    assert await kept.state("M1") == "PURGED"
    assert (await kept.rows("SELECT payload FROM messages"))[0]["payload"] is None
    assert kept.there(payload) == (point == "S19")
    sweeper = kept.housekeeper.orphans
    await sweeper.sweep()
    kept.clock.advance(HOUR)
    assert await sweeper.sweep() == (point == "S19")
    assert not kept.there(payload)


def _stop_at(point: str):
    def stop(name: str) -> None:
        if name == point:
            raise failpoints.FailpointReached(name)

    return stop


async def test_every_reference_to_a_payload_and_to_a_message_is_known(packaged: Database) -> None:
    """Whoever adds a table has to say here what retention does with it."""
    if packaged.dialect == "postgresql":
        columns = await packaged.fetch(
            "SELECT table_name AS t, column_name AS c FROM information_schema.columns WHERE table_schema = 'public'"
        )
    else:
        columns = await packaged.fetch(
            "SELECT m.name AS t, i.name AS c FROM sqlite_master AS m, pragma_table_info(m.name) AS i WHERE m.type = 'table'"
        )
    found = {(row["t"], row["c"]) for row in columns}
    assert {pair for pair in found if pair[1] in ("payload", "part")} == set(REFERENCES)
    assert {table for table, column in found if column == "message"} == set(BELONGING)
