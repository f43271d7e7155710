"""Receipts that come late, as requests of the partner: a verified one wins, and the message has one outcome."""

import asyncio
import codecs
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from as4_parts import directory_of, trust_in
from as4_peer import Arrived, answered
from outbound_steps import until_state

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.identity import Agreements, with_quirks
from accesspoint.outbound.late_receipts import LateReceipts
from accesspoint.stations import Bell
from accesspoint.stations.settling import handover_of, settle
from accesspoint.store.evidence import find_receipt
from envelope import codes, names
from envelope.errors import (
    CertificateRefused,
    InvalidReceipt,
    PolicyNoncompliance,
    ProcessingModeMismatch,
)
from envelope.pmode import DOMIBUS_LIKE, Quirk, SecuritySuite

if TYPE_CHECKING:
    from .conftest import Outbound

SENT = ["ACCEPTED", "RESOLVED", "READY", "SENDING"]


def receipts_of(outbound: "Outbound", agreements: Agreements | None = None) -> LateReceipts:
    parts = outbound.parts
    return LateReceipts(
        database=parts.database,
        agreements=agreements or Agreements(),
        trust=trust_in(outbound.pki, parts.clock),
        reporter=parts.reporter,
        bells=parts.bells,
        clock=parts.clock,
    )


async def take(outbound: "Outbound", octets: bytes) -> tuple[bool, list[str]]:
    """Post a receipt; whether it was taken as one, and whose it was."""
    known: list[str] = []
    taken = await receipts_of(outbound).take(octets, lambda _, party, __: known.append(party))
    return taken, known


def receipt(outbound: "Outbound", **changes: Any) -> bytes:
    return outbound.server.answers.receipt(outbound.server.arrived[-1], **changes)


async def state_of(outbound: "Outbound", id_: str) -> str:
    return str((await outbound.row(id_))["state"])


async def waits(outbound: "Outbound", id_: str) -> None:
    """Have the partner take the message and answer nothing: it waits for the next attempt."""

    async def silent(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(b"", status=202)

    outbound.server.behaviour = silent
    async with outbound.running(), asyncio.timeout(10):
        while await state_of(outbound, id_) != "RETRY_WAIT":
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)


async def is_uncertain(outbound: "Outbound", id_: str) -> None:
    """Spend all attempts at a partner that takes the message and answers nothing."""
    await waits(outbound, id_)
    outbound.parts.clock.advance(timedelta(seconds=61))
    async with outbound.running(), asyncio.timeout(10):
        while await state_of(outbound, id_) != "UNCERTAIN":
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)


async def last_note(outbound: "Outbound") -> tuple[str, str | None]:
    _, event, problem = (await outbound.parts.journal())[-1]
    return event, problem


async def test_uncertain_is_called_uncertain_and_a_late_receipt_frees_it(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    await is_uncertain(outbound, id_)
    assert await last_note(outbound) == ("uncertain", "peer-answer")
    assert await outbound.parts.outcomes() == ["0"]
    octets = receipt(outbound)
    assert await take(outbound, octets) == (True, [CLINIC.access_point])
    assert (await outbound.states(id_))[-2:] == ["UNCERTAIN", "ACKNOWLEDGED"]
    row = await outbound.row(id_)
    assert (row["problem"], row["lease_owner"]) == (None, None)
    assert await outbound.parts.database.read(lambda tx: find_receipt(tx, id_)) == octets
    assert await outbound.parts.outcomes() == ["0", "0"]
    assert await last_note(outbound) == ("receipt", None)
    detail = (await outbound.parts.rows("SELECT detail FROM journal ORDER BY seq"))[-1]["detail"]
    assert json.loads(detail)["late_after"] == "UNCERTAIN"


async def test_a_receipt_ends_the_waiting_and_nothing_is_sent_again(outbound: "Outbound") -> None:
    id_ = await outbound.accept()
    await waits(outbound, id_)
    assert await take(outbound, receipt(outbound)) == (True, [CLINIC.access_point])
    assert await outbound.states(id_) == [*SENT, "RETRY_WAIT", "UNCERTAIN", "ACKNOWLEDGED"]
    outbound.parts.clock.advance(timedelta(days=2))
    async with outbound.running():
        await asyncio.sleep(0.05)
    assert len(outbound.server.arrived) == 1
    assert await outbound.parts.outcomes() == ["0", "0"]


async def test_the_same_receipt_again_and_another_true_one_change_nothing(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    await waits(outbound, id_)
    first, second = receipt(outbound), receipt(outbound)
    for octets in (first, first, second):
        assert (await take(outbound, octets))[0]
    assert await outbound.parts.database.read(lambda tx: find_receipt(tx, id_)) == first
    assert len(await outbound.states(id_)) == 7
    assert await outbound.parts.outcomes() == ["0", "0"]


@pytest.mark.parametrize("first", ["receipt", "answer", "together"])
@pytest.mark.parametrize("answer", ["give up", "receipt"])
async def test_a_late_receipt_races_the_end_of_the_last_attempt(
    outbound: "Outbound", first: str, answer: str
) -> None:
    """S18: whoever is first, it ends ACKNOWLEDGED, with one receipt and one report."""
    id_ = await outbound.accept()
    await waits(outbound, id_)
    outbound.parts.clock.advance(timedelta(seconds=61))
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        reached.set()
        await go.wait()
        return (
            answered(outbound.server.answers.receipt(arrived))
            if answer == "receipt"
            else answered(b"", status=503)
        )

    outbound.server.behaviour = slow
    sender = outbound.sender()
    async with outbound.running(sender) as task, asyncio.timeout(10):
        await reached.wait()
        octets = receipt(outbound)
        if first == "receipt":
            await take(outbound, octets)
        go.set()
        if first == "answer":
            while await state_of(outbound, id_) == "SENDING":
                await asyncio.sleep(0.002)
        if first != "receipt":
            await take(outbound, octets)
        while sender._driving:
            await asyncio.sleep(0.002)
        assert not task.done()
    states = await outbound.states(id_)
    assert states.count("ACKNOWLEDGED") == 1
    assert states[-1] == "ACKNOWLEDGED"
    assert len(await outbound.parts.rows("SELECT * FROM receipts")) == 1
    assert await outbound.parts.outcomes() == ["0", "0"]
    events = [event for _, event, _ in await outbound.parts.journal()]
    assert events.count("receipt") == 1


async def test_a_receipt_that_proves_nothing_of_our_message_is_refused(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    await is_uncertain(outbound, id_)
    pki, references = outbound.pki, outbound.server.arrived[-1].references
    other = (*references[:-1], replace(references[-1], xml=references[0].xml))
    stranger = pki.certify(CLINIC.access_point, authority=pki.untrusted_authority)
    namesake = pki.namesake(CLINIC.access_point)
    for octets, error, reason in (
        (receipt(outbound, signed=False), PolicyNoncompliance, "sec.missing"),
        (receipt(outbound, signer=stranger.signer()), CertificateRefused, "cert.untrusted"),
        (receipt(outbound, signer=pki.municipality.signer()), InvalidReceipt, "rcp.other"),
        (receipt(outbound, signer=namesake.signer()), InvalidReceipt, "rcp.other"),
        (receipt(outbound, message_id="nobody@a.example"), InvalidReceipt, "rcp.other"),
        (receipt(outbound, references=references[1:]), InvalidReceipt, "rcp.missing"),
        (receipt(outbound, references=other), InvalidReceipt, "rcp.extra"),
    ):
        with pytest.raises(error) as refused:
            await take(outbound, octets)
        assert refused.value.reason == reason
    assert await state_of(outbound, id_) == "UNCERTAIN"
    assert await outbound.parts.rows("SELECT * FROM receipts") == []


@pytest.mark.attack("RCP-02")
async def test_a_receipt_that_comes_before_its_message_was_sent_is_refused(
    outbound: "Outbound",
) -> None:
    """Who guesses MessageIds ahead acknowledges nothing, whether no attempt was made yet or none got through."""
    await outbound.accept(1)
    async with outbound.running(), asyncio.timeout(10):
        while not outbound.server.arrived:
            await asyncio.sleep(0.002)
    id_ = await outbound.accept(2)
    message_id = (await outbound.row(id_))["message_id"]
    octets = receipt(outbound, message_id=message_id)
    with pytest.raises(InvalidReceipt) as refused:
        await take(outbound, octets)
    assert (refused.value.gate, refused.value.reason) == ("G10", "rcp.other")
    assert await outbound.states(id_) == ["ACCEPTED"]
    nobody = directory_of("https://127.0.0.1:1/as4", outbound.pki.clinic.certificate)
    async with outbound.running(outbound.sender(directory=nobody)):
        await until_state(outbound, id_, "RETRY_WAIT")
    before = await outbound.row(id_)
    with pytest.raises(InvalidReceipt) as refused:
        await take(outbound, octets)
    assert refused.value.reason in {"rcp.missing", "rcp.extra"}
    assert await outbound.row(id_) == before
    assert await outbound.parts.database.read(lambda tx: find_receipt(tx, id_)) is None


@pytest.mark.parametrize("form", [Quirk.RSA_SHA384, Quirk.BYTE_ORDER_MARK])
@pytest.mark.parametrize("whose", [CLINIC.access_point, MUNICIPALITY.access_point])
async def test_a_late_receipt_is_read_by_the_agreement_with_its_signer(
    outbound: "Outbound", form: Quirk, whose: str
) -> None:
    """The quirk of the partner that signs lets its receipt in; that of another partner does not."""
    id_ = await outbound.accept()
    await waits(outbound, id_)
    if form is Quirk.RSA_SHA384:
        outbound.server.answers.suite = SecuritySuite(signature_algorithm=names.RSA_SHA384)
        octets = receipt(outbound)
    else:
        octets = codecs.BOM_UTF8 + receipt(outbound)
    agreements = Agreements(by_party={whose: with_quirks(DOMIBUS_LIKE, frozenset({form}))})
    receipts = receipts_of(outbound, agreements)
    if whose == CLINIC.access_point:
        assert await receipts.take(octets, lambda *_: None)
        assert await state_of(outbound, id_) == "ACKNOWLEDGED"
        return
    with pytest.raises((PolicyNoncompliance, ProcessingModeMismatch)) as refused:
        await receipts.take(octets, lambda *_: None)
    assert refused.value.reason in {"alg.signature", "pmode.quirk"}
    assert await state_of(outbound, id_) == "RETRY_WAIT"


async def test_another_signal_is_none_of_ours(outbound: "Outbound") -> None:
    id_ = await outbound.accept()
    await is_uncertain(outbound, id_)
    answers = outbound.server.answers
    for message_id in (outbound.server.arrived[-1].message_id, None):
        octets = answers.error(codes.OTHER, message_id=message_id)
        assert await take(outbound, octets) == (False, [])
    assert await state_of(outbound, id_) == "UNCERTAIN"


async def test_an_outcome_that_says_the_contrary_stays(outbound: "Outbound") -> None:
    async def refuse(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        code = codes.VALUE_NOT_RECOGNIZED
        return answered(outbound.server.answers.error(code, message_id=arrived.message_id))

    outbound.server.behaviour = refuse
    id_ = await outbound.accept()
    async with outbound.running(), asyncio.timeout(10):
        while await state_of(outbound, id_) != "REFUSED":
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
    with pytest.raises(InvalidReceipt) as refused:
        await take(outbound, receipt(outbound))
    assert refused.value.reason == "rcp.settled"
    assert await outbound.parts.outcomes() == ["0", "8"]


async def test_where_c1_was_told_that_it_is_uncertain_the_receipt_is_kept_and_shown(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    await is_uncertain(outbound, id_)
    parts = outbound.parts
    first = handover_of(await parts.one("SELECT * FROM handovers WHERE kind = 'outcome'"))
    await parts.database.run(
        lambda tx: settle(tx, first, reporter=parts.reporter, at=parts.clock.now())
    )
    octets = receipt(outbound)
    for _ in range(2):
        assert (await take(outbound, octets))[0]
    second = await parts.one("SELECT * FROM handovers WHERE kind = 'outcome' AND state = 'waiting'")
    told = json.loads(second["item"])
    assert (told["state"], told["supersedes"]) == ("ACKNOWLEDGED", first.id)
    assert (told["error"], told["problem"]) == (None, None)
    assert await state_of(outbound, id_) == "NOTIFIED"
    assert await outbound.parts.database.read(lambda tx: find_receipt(tx, id_)) == octets
    assert await outbound.parts.outcomes() == ["0", "0"]
    assert await last_note(outbound) == ("receipt", None)
