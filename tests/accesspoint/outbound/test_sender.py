"""The sender against a real partner on loopback: every way a message can go, and that none is lost on the way."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from aiohttp import web
from as4_parts import GoneSigner, directory_of, trust_in
from as4_peer import Arrived, Behaviour, answered
from cryptography import x509
from outbound_steps import pass_time, until_attempt, until_given_up, until_state

from accesspoint.as4.client import As4Client
from accesspoint.aside import LARGE_BYTES
from accesspoint.clock import to_microseconds
from accesspoint.demo.scenery import CLINIC
from accesspoint.discovery.directory import Directory, Endpoint, LookupFailed, LookupProblem
from accesspoint.discovery.static import StaticDirectory
from accesspoint.stations import Bell
from accesspoint.store.database import StorageFailure, Transaction
from accesspoint.store.evidence import Wire, find_receipt, find_wire, record_wire
from accesspoint.store.lanes import DUE_STATES
from accesspoint.store.leases import LEASE, Leases
from accesspoint.store.messages import advance, claim_due, find_message, release_leases
from envelope import codes
from envelope.sending import TRANSITIONS, State
from keys.devca import key_usage, system_name

if TYPE_CHECKING:
    from .conftest import Outbound

SENT = ["ACCEPTED", "RESOLVED", "READY", "SENDING"]


class Lookups:
    """A directory that fails as told, then asks the next one."""

    def __init__(self, after: Directory, *failures: Exception) -> None:
        self._after, self._failures = after, list(failures)

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        if self._failures:
            raise self._failures.pop(0)
        return await self._after.find_endpoint(participant, document_id, process_id)


def always(status: int) -> Behaviour:
    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(b"", status=status, content_type="text/plain")

    return behave


def nobody_listens(outbound: "Outbound") -> Directory:
    """A port of loopback that nothing listens on."""
    return directory_of("https://127.0.0.1:1/as4", outbound.pki.clinic.certificate)


def clinic(outbound: "Outbound") -> Directory:
    return directory_of(outbound.server.url, outbound.pki.clinic.certificate)


# To the end in one attempt


async def test_a_verified_receipt_acknowledges_and_is_kept_octet_for_octet(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    async with outbound.running():
        row = await until_state(outbound, id_, "ACKNOWLEDGED")
    assert await outbound.states(id_) == [*SENT, "ACKNOWLEDGED"]
    assert (row["attempt"], row["party"], row["problem"]) == (1, CLINIC.access_point, None)
    assert (row["lease_owner"], row["lease_until"]) == (None, None)
    receipt = await outbound.parts.database.read(lambda tx: find_receipt(tx, id_))
    assert receipt is not None
    assert b"NonRepudiationInformation" in receipt
    assert await outbound.parts.events() == [("AP", "msg-received"), ("AP", "msg-sent")]
    assert [event for _, event, _ in await outbound.parts.journal()] == [
        "accepted",
        "looked-up",
        "sending",
        "receipt",
    ]


async def test_a_verified_permanent_error_refuses_and_is_reported_as_a_failure(
    outbound: "Outbound",
) -> None:
    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(
            outbound.server.answers.error(codes.VALUE_NOT_RECOGNIZED, message_id=arrived.message_id)
        )

    outbound.server.behaviour = behave
    id_ = await outbound.accept()
    async with outbound.running():
        row = await until_state(outbound, id_, "REFUSED")
    assert (row["problem"], row["arrival_possible"]) == ("peer-refused", 1)
    assert await outbound.parts.outcomes() == ["0", "8"]
    assert (await outbound.parts.journal())[-1] == ("AP", "refused", "peer-refused")
    detail = json.loads((await outbound.parts.rows("SELECT detail FROM journal"))[-1]["detail"])
    assert detail["why"] == "EBMS:0001 ValueNotRecognized"


async def test_a_large_message_goes_out_as_well(outbound: "Outbound") -> None:
    id_ = await outbound.accept(attachment=b" " * LARGE_BYTES)
    assert (await outbound.row(id_))["payload_bytes"] > LARGE_BYTES
    async with outbound.running():
        await until_state(outbound, id_, "ACKNOWLEDGED")


async def test_many_messages_share_few_slots(outbound: "Outbound") -> None:
    ids = [await outbound.accept(number) for number in range(6)]
    async with outbound.running(outbound.sender(concurrency=2)):
        for id_ in ids:
            await until_state(outbound, id_, "ACKNOWLEDGED")
    assert len({arrived.message_id for arrived in outbound.server.arrived}) == 6


# Retries


async def test_a_retry_is_the_same_message_octet_for_octet(outbound: "Outbound") -> None:
    outbound.server.behaviour = always(503)
    id_ = await outbound.accept()
    async with outbound.running():
        row = await until_state(outbound, id_, "RETRY_WAIT")
        now = outbound.parts.clock.now()
        assert row["problem"] == "peer-unavailable"
        assert (
            to_microseconds(now) <= row["next_at"] <= to_microseconds(now + timedelta(seconds=10))
        )
        outbound.server.behaviour = None
        await pass_time(outbound, 10)
        row = await until_state(outbound, id_, "ACKNOWLEDGED")
    first, *_, last = outbound.server.arrived
    assert first.body == last.body
    assert (row["attempt"], row["problem"]) == (len(outbound.server.arrived), None)


@pytest.mark.parametrize("size", [0, 70_000], ids=["in the row", "in a file"])
async def test_a_new_certificate_keeps_the_message_and_drops_the_old_ciphertext(
    outbound: "Outbound", size: int
) -> None:
    outbound.server.behaviour = always(503)
    id_ = await outbound.accept(attachment=b" " * size)
    async with outbound.running():
        await until_state(outbound, id_, "RETRY_WAIT")
    before = await outbound.parts.database.read(lambda tx: find_wire(tx, id_))
    files = outbound.parts.files()
    renewed = outbound.pki.certify(CLINIC.access_point, serial=816)
    outbound.server.behaviour = None
    outbound.server.answers = replace(outbound.server.answers, signer=renewed.signer())
    outbound.parts.clock.advance(timedelta(seconds=10))
    directory = directory_of(outbound.server.url, renewed.certificate)
    async with outbound.running(outbound.sender(directory=directory)):
        await until_state(outbound, id_, "ACKNOWLEDGED")
    after = await outbound.parts.database.read(lambda tx: find_wire(tx, id_))
    assert before is not None
    assert after is not None
    assert after.references == before.references
    assert (before.part is None) == (size == 0)
    assert (after.part, after.part_octets) != (before.part, before.part_octets)
    first, *_, last = outbound.server.arrived
    assert (first.message_id, first.references) == (last.message_id, last.references)
    assert first.body != last.body
    assert outbound.parts.files() == files


async def test_a_partner_that_moved_gets_the_same_image(outbound: "Outbound") -> None:
    id_ = await outbound.accept()
    async with outbound.running(outbound.sender(directory=nobody_listens(outbound))):
        await until_state(outbound, id_, "RETRY_WAIT")
    before = await outbound.parts.database.read(lambda tx: find_wire(tx, id_))
    outbound.parts.clock.advance(timedelta(seconds=10))
    async with outbound.running():
        await until_state(outbound, id_, "ACKNOWLEDGED")
    after = await outbound.parts.database.read(lambda tx: find_wire(tx, id_))
    assert before is not None
    assert after == replace(before, url=outbound.server.url)


@pytest.mark.parametrize(
    ("reached", "end", "outcomes"),
    [(False, "EXPIRED", ["0", "8"]), (True, "UNCERTAIN", ["0"])],
)
async def test_spent_retries_end_honestly(
    outbound: "Outbound", reached: bool, end: str, outcomes: list[str]
) -> None:
    """Provably never connected is EXPIRED; a message that may have arrived is never called undelivered."""
    outbound.server.behaviour = always(503)
    directory = clinic(outbound) if reached else nobody_listens(outbound)
    id_ = await outbound.accept()
    accepted_at = outbound.parts.clock.now()
    async with outbound.running(outbound.sender(directory=directory)):
        row = await until_given_up(outbound, id_, "EXPIRED", "UNCERTAIN", "FAILED")
    assert (row["state"], row["arrival_possible"]) == (end, int(reached))
    assert (await outbound.states(id_))[-2:] == ["RETRY_WAIT", end]
    assert row["attempt"] > 1
    assert outbound.parts.clock.now() >= accepted_at + timedelta(seconds=60)
    assert await outbound.parts.outcomes() == outcomes


async def test_one_possible_arrival_is_remembered_to_the_end(outbound: "Outbound") -> None:
    outbound.server.behaviour = always(503)
    id_ = await outbound.accept()
    async with outbound.running():
        await until_state(outbound, id_, "RETRY_WAIT")
    async with outbound.running(outbound.sender(directory=nobody_listens(outbound))):
        row = await until_given_up(outbound, id_, "EXPIRED", "UNCERTAIN", "FAILED")
    assert (row["state"], row["problem"]) == ("UNCERTAIN", "peer-unreachable")


async def test_a_partner_that_answers_a_repetition_with_an_error_leaves_it_uncertain(
    outbound: "Outbound",
) -> None:
    outbound.server.behaviour = always(503)
    id_ = await outbound.accept()
    async with outbound.running():
        await until_state(outbound, id_, "RETRY_WAIT")

        async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
            return answered(
                outbound.server.answers.error(codes.OTHER, message_id=arrived.message_id)
            )

        outbound.server.behaviour = behave
        await pass_time(outbound, 10)
        row = await until_state(outbound, id_, "UNCERTAIN", "REFUSED")
    assert (row["state"], row["problem"]) == ("UNCERTAIN", "receipt-missing")
    # Nobody knows that it failed, so nobody says so.
    assert await outbound.parts.outcomes() == ["0"]


# Look-ups


def unreachable() -> LookupFailed:
    return LookupFailed(LookupProblem.UNREACHABLE, "no answer", permanent=False)


async def test_a_look_up_that_may_succeed_later_waits_where_it_is(outbound: "Outbound") -> None:
    id_ = await outbound.accept()
    lookups = Lookups(clinic(outbound), unreachable())
    async with outbound.running(outbound.sender(directory=lookups)):
        await outbound.parts.until("waiting")
        row = await outbound.row(id_)
        assert (row["state"], row["problem"], row["attempt"]) == (
            "ACCEPTED",
            "lookup-unreachable",
            1,
        )
        assert row["lease_owner"] is None
        await pass_time(outbound, 10)
        await until_state(outbound, id_, "ACKNOWLEDGED")


@pytest.mark.parametrize("permanent", [True, False])
async def test_a_look_up_that_never_succeeds_fails_the_message(
    outbound: "Outbound", permanent: bool
) -> None:
    class Nowhere:
        async def find_endpoint(
            self, participant: str, document_id: str, process_id: str
        ) -> Endpoint:
            raise LookupFailed(LookupProblem.NO_PARTICIPANT, "unknown", permanent=permanent)

    id_ = await outbound.accept()
    async with outbound.running(outbound.sender(directory=Nowhere())):
        row = await until_given_up(outbound, id_, "FAILED")
    assert row["problem"] == "lookup-no-participant"
    assert await outbound.states(id_) == ["ACCEPTED", "FAILED"]
    assert await outbound.parts.outcomes() == ["0", "8"]
    assert outbound.server.arrived == []


@pytest.mark.parametrize(("reached", "end"), [(False, "EXPIRED"), (True, "UNCERTAIN")])
async def test_a_participant_that_is_gone_on_a_retry_ends_what_was_begun(
    outbound: "Outbound", reached: bool, end: str
) -> None:
    outbound.server.behaviour = always(503)
    id_ = await outbound.accept()
    directory = clinic(outbound) if reached else nobody_listens(outbound)
    async with outbound.running(outbound.sender(directory=directory)):
        await until_state(outbound, id_, "RETRY_WAIT")
    outbound.parts.clock.advance(timedelta(seconds=10))
    async with outbound.running(outbound.sender(directory=StaticDirectory([]))):
        await until_state(outbound, id_, end)


@pytest.mark.attack("KEY-06")
@pytest.mark.parametrize(
    ("which", "problem"),
    [
        ("revoked", "certificate-revoked"),
        ("expired", "certificate-expired"),
        ("untrusted", "certificate-untrusted"),
        ("for signing", "certificate-unsuitable"),
    ],
)
async def test_nothing_is_encrypted_for_a_certificate_that_is_not_good(
    outbound: "Outbound", which: str, problem: str
) -> None:
    pki, now = outbound.pki, outbound.parts.clock.now()
    certificates: dict[str, Any] = {
        "revoked": lambda: pki.revoked,
        "expired": lambda: pki.certify(
            "gone", not_before=now - timedelta(minutes=50), not_after=now - timedelta(minutes=1)
        ),
        "untrusted": lambda: pki.certify("nobody", authority=pki.untrusted_authority),
        "for signing": lambda: pki.authority.issue(
            system_name("signs", "Eksempel", "10000009", "1"),
            pki.spare_key,
            not_before=now,
            not_after=now + timedelta(days=1),
            extensions=[(key_usage(digital_signature=True), True)],
        ),
    }
    certificate: x509.Certificate = certificates[which]().certificate
    id_ = await outbound.accept()
    sender = outbound.sender(
        directory=directory_of(outbound.server.url, certificate),
        trust=trust_in(pki, outbound.parts.clock, lists=which == "revoked"),
    )
    async with outbound.running(sender):
        await outbound.parts.until("waiting")
        row = await outbound.row(id_)
    assert (row["state"], row["problem"]) == ("ACCEPTED", problem)
    assert outbound.server.arrived == []
    assert await outbound.parts.rows("SELECT * FROM wires") == []


# Leases


async def test_a_worker_that_lost_its_lease_stores_nothing(outbound: "Outbound") -> None:
    """S17: the zombie's answer comes when another worker has the message."""
    id_ = await outbound.accept()
    answer = asyncio.Event()

    async def slow(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        if len(outbound.server.arrived) == 1:
            await answer.wait()
        return answered(outbound.server.answers.receipt(arrived))

    outbound.server.behaviour = slow
    parts = outbound.parts
    sender = outbound.sender()
    async with outbound.running(sender):
        await until_state(outbound, id_, "SENDING")
        async with asyncio.timeout(10):
            while not outbound.server.arrived:
                await parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.02)
        parts.clock.advance(LEASE)  # no heartbeat has renewed it
        later = parts.clock.now()
        await parts.database.run(lambda tx: release_leases(tx, at=later, sole_node=False))

        async def take_over(tx: Transaction) -> None:
            await claim_due(
                tx, direction="out", states=["RETRY_WAIT"], now=later, limit=1, owner="worker-2",
                lease=LEASE,
            )  # fmt: skip

        await parts.database.run(take_over)
        answer.set()
        async with asyncio.timeout(10):
            while sender._driving:
                await asyncio.sleep(0.005)
        row = await outbound.row(id_)
    assert (row["state"], row["lease_owner"]) == ("RETRY_WAIT", "worker-2")
    assert await parts.rows("SELECT * FROM receipts") == []


async def test_a_restart_sends_the_same_message_again_and_ends_acknowledged(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    reached = asyncio.Event()

    async def stall(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        reached.set()
        await asyncio.sleep(60)
        raise AssertionError

    outbound.server.behaviour = stall
    async with outbound.running(), asyncio.timeout(10):
        await reached.wait()
    assert (await outbound.row(id_))["state"] == "SENDING"
    outbound.server.behaviour = None
    now = outbound.parts.clock.now()
    released = await outbound.parts.database.run(
        lambda tx: release_leases(tx, at=now, sole_node=True)
    )
    assert released == 1
    async with outbound.running(outbound.sender(leases=Leases("worker-2"))):
        row = await until_state(outbound, id_, "ACKNOWLEDGED")
    assert row["attempt"] == 2
    assert "RETRY_WAIT" in await outbound.states(id_)
    first, second = outbound.server.arrived
    assert first.body == second.body


async def test_a_message_that_an_operator_withdraws_meanwhile_is_not_sent(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    parts = outbound.parts

    class Withdrawing:
        async def find_endpoint(
            self, participant: str, document_id: str, process_id: str
        ) -> Endpoint:
            row = await parts.database.read(lambda tx: find_message(tx, id_))
            assert row is not None
            await parts.database.run(lambda tx: advance(tx, row, "CANCELLED", at=parts.clock.now()))
            return await clinic(outbound).find_endpoint(participant, document_id, process_id)

    async with outbound.running(outbound.sender(directory=Withdrawing())) as task:
        await until_state(outbound, id_, "CANCELLED")
        await outbound.accept(2)
        parts.bells.ring(Bell.SENDER)
        await asyncio.sleep(0.05)
        assert not task.done()
    assert outbound.server.arrived == []


@pytest.mark.parametrize("permanent", [True, False])
async def test_a_failed_look_up_is_fenced_like_an_answer(
    outbound: "Outbound", permanent: bool
) -> None:
    id_ = await outbound.accept()
    parts = outbound.parts

    class TakenOver:
        async def find_endpoint(
            self, participant: str, document_id: str, process_id: str
        ) -> Endpoint:
            async def work(tx: Transaction) -> None:
                await tx.execute(
                    "UPDATE messages SET lease_owner = 'worker-2', lease_until = 9000000000000000"
                )

            await parts.database.run(work)
            raise LookupFailed(LookupProblem.UNREACHABLE, "no answer", permanent=permanent)

    async with outbound.running(outbound.sender(directory=TakenOver())) as task:
        async with asyncio.timeout(10):
            while (await outbound.row(id_))["lease_owner"] != "worker-2":
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        assert not task.done()
    row = await outbound.row(id_)
    assert (row["state"], row["attempt"], row["problem"]) == ("ACCEPTED", 0, None)
    assert [event for _, event, _ in await parts.journal()] == ["accepted"]


# Errors of ours


async def test_a_message_whose_payload_is_gone_does_not_stop_the_others(
    outbound: "Outbound",
) -> None:
    poisoned, good = await outbound.accept(1), await outbound.accept(2)
    outbound.parts.payloads.delete((await outbound.row(poisoned))["payload"])
    async with outbound.running() as task:
        await until_state(outbound, good, "ACKNOWLEDGED")
        await outbound.parts.until("waiting")
        assert not task.done()
    row = await outbound.row(poisoned)
    assert (row["state"], row["problem"], row["lease_owner"]) == (
        "ACCEPTED",
        "payload-damaged",
        None,
    )


@pytest.mark.parametrize("attachment", [b"", b" " * LARGE_BYTES], ids=["small", "large"])
async def test_a_key_that_is_away_lets_the_message_wait_and_leaves_nothing_behind(
    outbound: "Outbound", attachment: bytes
) -> None:
    id_ = await outbound.accept(attachment=attachment)
    before, signer = outbound.parts.files(), outbound.identity.signer
    outbound.identity.signer = GoneSigner(signer.certificate)
    async with outbound.running():
        for attempt, seconds in ((1, 0), (2, 10)):
            await pass_time(outbound, seconds)
            row = await until_attempt(outbound, id_, attempt)
            assert (row["state"], row["problem"]) == ("ACCEPTED", "key-unavailable")
            assert (outbound.parts.files(), outbound.parts.unpublished()) == (before, 0)
        assert outbound.server.arrived == []
        outbound.identity.signer = signer
        await pass_time(outbound, 20)
        await until_state(outbound, id_, "ACKNOWLEDGED")
    assert outbound.parts.files() == before + bool(attachment)


async def test_an_error_in_the_middle_of_an_attempt_is_tried_again(outbound: "Outbound") -> None:
    id_ = await outbound.accept()

    class Stumbling(As4Client):
        async def post(self, url: str, **request: Any) -> Any:
            raise RecursionError

    sender = outbound.sender()
    sender._client = Stumbling(outbound.pki.tls_contexts("municipality")[0])
    async with outbound.running(sender) as task:
        row = await until_state(outbound, id_, "RETRY_WAIT")
        assert not task.done()
    assert (row["problem"], row["arrival_possible"]) == ("internal", 1)


async def test_an_error_after_the_lease_was_lost_changes_nothing(outbound: "Outbound") -> None:
    id_ = await outbound.accept()
    parts = outbound.parts

    class TakenOver:
        async def find_endpoint(
            self, participant: str, document_id: str, process_id: str
        ) -> Endpoint:
            async def work(tx: Transaction) -> None:
                await tx.execute(
                    "UPDATE messages SET lease_owner = 'worker-2', lease_until = 9000000000000000"
                )

            await parts.database.run(work)
            raise RecursionError

    async with outbound.running(outbound.sender(directory=TakenOver())) as task:
        async with asyncio.timeout(10):
            while (await outbound.row(id_))["lease_owner"] != "worker-2":
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        assert not task.done()
    row = await outbound.row(id_)
    assert (row["state"], row["problem"], row["attempt"]) == ("ACCEPTED", None, 0)


async def test_an_attempt_that_another_worker_made_meanwhile_is_fenced_and_no_error_of_ours(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    parts = outbound.parts
    image = Wire("https://there", b"other", "2026-11-02T08:15:00Z", b"soap", None, None, 0, ())

    class TakenOver:
        async def find_endpoint(
            self, participant: str, document_id: str, process_id: str
        ) -> Endpoint:
            async def work(tx: Transaction) -> None:
                await record_wire(tx, id_, image)
                await tx.execute(
                    "UPDATE messages SET attempt = 1, lease_owner = 'worker-2', lease_until = 9000000000000000"
                )

            await parts.database.run(work)
            return await clinic(outbound).find_endpoint(participant, document_id, process_id)

    with structlog.testing.capture_logs() as logs:
        async with outbound.running(outbound.sender(directory=TakenOver())), asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.005)
    assert [line["event"] for line in logs] == ["outbound_fenced"]
    assert await parts.database.read(lambda tx: find_wire(tx, id_)) == image
    assert outbound.server.arrived == []


async def test_a_store_that_fails_ends_the_sender(outbound: "Outbound") -> None:
    await outbound.accept()
    lookups = Lookups(clinic(outbound), StorageFailure("the disk is gone"))
    async with outbound.running(outbound.sender(directory=lookups)) as task:
        with pytest.raises(ExceptionGroup) as ended:
            async with asyncio.timeout(10):
                await task
    assert ended.group_contains(StorageFailure)


def test_every_state_that_waits_can_be_driven() -> None:
    waiting: Sequence[State] = [
        state
        for state in TRANSITIONS
        if TRANSITIONS[state] & {State.SENDING, State.RESOLVED, State.READY}
    ]
    # An uncertain message waits as well, for a person or a receipt, and goes out once more when asked for.
    assert set(DUE_STATES) == {*waiting, State.UNCERTAIN}
