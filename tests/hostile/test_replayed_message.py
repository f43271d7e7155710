"""The same message again: answered with the receipt of the first time, delivered once, and nothing else under its name."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from as4_arena import Arena, Verdict
from as4_peer import Client, Server, verify_receipt
from as4_stage import THIRD_PARTY, LogLines, Partner, Pki, Stage
from as4_wire import Author, Tree, Wire

from accesspoint.clock import timestamp
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.store.retention import RetentionKeeper
from envelope import names
from envelope.messaging import UserMessage

COPIES = 20
LEAVING_PARTY = "forlader-ap-test"
PAYLOADS = (
    ("messages", "payload"),
    ("documents", "payload"),
    ("handovers", "payload"),
    ("wires", "part"),
)
OTHER_CONTENT = Verdict("G7", "duplicate.content", "EBMS:0003")


async def check_delivered_once(arena: Arena, wire: Wire, *, deliveries: int = 1) -> None:
    """One message, one duplicate key, one receipt, one document at the backend, one file for each of them."""
    await arena.node.idle()
    message = await arena.node.message(wire.message_id)
    assert message["state"] == "DELIVERED"
    for sql in (
        "SELECT * FROM duplicates WHERE message = $1",
        "SELECT * FROM receipts WHERE message = $1",
    ):
        assert len(await arena.node.rows(sql, message["id"])) == 1, sql
    documents = await arena.node.rows(
        "SELECT * FROM documents WHERE message_identifier = $1", wire.message_identifier
    )
    assert len(documents) == deliveries
    handovers = await arena.node.rows(
        "SELECT * FROM handovers WHERE message_identifier = $1 AND target = 'backend'",
        wire.message_identifier,
    )
    assert len(handovers) == deliveries


def duplicates(arena: Arena, mark: int) -> list[str]:
    return [
        event["message_id"]
        for event in arena.log.since(mark)
        if event["event"] == "as4.in.duplicate"
    ]


@pytest.mark.attack("RPL-01")
async def test_identical_octets_again(arena: Arena) -> None:
    wire = arena.author.compose()
    first = await arena.accepts(wire)
    before, files, mark = await arena.node.counts(), arena.node.files(), arena.log.mark
    again = await arena.client.post(wire)
    assert (again.status, again.body) == (200, first.body), "not the stored receipt"
    assert duplicates(arena, mark) == [wire.message_id]
    assert len(arena.log.since(mark)) == 1
    assert await arena.node.counts() == before
    assert arena.node.files() == files
    await check_delivered_once(arena, wire)


async def test_encrypted_anew(arena: Arena) -> None:
    """The same signed content in another cipher text, as after a change of our certificate."""
    wire = arena.author.compose()
    first = await arena.accepts(wire)
    other = arena.author.compose()
    changed = wire.with_part(0, lambda octets: octets[:-1] + bytes([octets[-1] ^ 1]))
    changed = replace(changed, content_key=other.content_key)
    again = await arena.client.post(changed)
    assert again.body == first.body
    await check_delivered_once(arena, wire)


@pytest.mark.parametrize("kind", ["business", "test"])
async def test_copies_in_parallel(arena: Arena, kind: str) -> None:
    """Twenty at once through the gates, on twenty connections: one is accepted, all get the same receipt."""
    compose = arena.author.compose if kind == "business" else arena.author.test_message
    wire = compose()
    await arena.node.idle()
    files = arena.node.files()
    mark = arena.log.mark
    answers = await asyncio.gather(*(arena.client.post(wire) for _ in range(COPIES)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1, "receipts differ"
    verify_receipt(answers[0], wire, arena.node.certificate)
    await check_delivered_once(arena, wire, deliveries=int(kind == "business"))
    assert duplicates(arena, mark) == [wire.message_id] * (COPIES - 1)
    known = {
        row[column]
        for table, column in PAYLOADS
        for row in await arena.node.rows(f"SELECT {column} FROM {table}")
    }
    orphans = {name for name in arena.node.files() - files if Path(name).name not in known}
    assert orphans == set(), "copies left files"


@pytest.mark.attack("RPL-02")
async def test_two_contents_in_parallel(arena: Arena) -> None:
    """Two messages race for one MessageId: one wins, the other is refused, whichever it is."""
    first = arena.author.compose()
    second = arena.author.compose(message_id=first.message_id)
    await arena.node.idle()
    mark = arena.log.mark
    answers = await asyncio.gather(*(arena.client.post(wire) for wire in (first, second) * 4))
    receipts = [answer for answer in answers if b"Receipt" in answer.body]
    assert {answer.status for answer in answers} == {200}
    assert len(receipts) == 4
    assert len({answer.body for answer in receipts}) == 1
    for answer in answers:
        if answer not in receipts:
            _, signal = answer.signal()
            assert [error.code for error in signal.errors] == ["EBMS:0003"]
    events = [event["event"] for event in arena.log.since(mark)]
    assert events.count("as4.in.refused") == events.count("as4.in.duplicate_content") == 4
    await arena.node.idle()
    assert (await arena.node.message(first.message_id))["state"] == "DELIVERED"


@pytest.mark.attack("RPL-02")
async def test_other_content_under_the_same_id(arena: Arena) -> None:
    """EBMS:0003 and an alarm; the message accepted first is untouched and still has its receipt."""
    wire = arena.author.compose()
    first = await arena.accepts(wire)
    before, files, delivered = (
        await arena.node.counts(),
        arena.node.files(),
        arena.node.delivered(),
    )
    mark = arena.log.mark
    answer = await arena.client.post(arena.author.compose(message_id=wire.message_id))
    _, signal = answer.signal()
    assert [error.code for error in signal.errors] == ["EBMS:0003"]
    events = {event["event"]: event for event in arena.log.since(mark)}
    assert set(events) == {"as4.in.duplicate_content", "as4.in.refused"}
    assert events["as4.in.duplicate_content"]["level"] == "error"
    assert (events["as4.in.refused"]["stage"], events["as4.in.refused"]["reason"]) == (
        OTHER_CONTENT.gate,
        OTHER_CONTENT.reason,
    )
    after = await arena.node.counts()
    # The refusal itself, and the alarm in the journal that people follow.
    more = {name: before[name] + 1 for name in ("refusals", "journal")}
    assert after == {**before, **more}
    *_, noted = await arena.node.rows(
        "SELECT * FROM journal WHERE problem = 'duplicate-content' ORDER BY seq"
    )
    assert (noted["station"], noted["event"]) == ("AP", "conflict-refused")
    assert (arena.node.files(), arena.node.delivered()) == (files, delivered)
    assert (await arena.client.post(wire)).body == first.body


async def test_signed_anew(arena: Arena) -> None:
    """A partner that signs its retries anew gets a receipt for what it sent now; nothing is delivered again."""
    wire = arena.author.compose(unique="first-signature")
    await arena.accepts(wire)

    def resign(tree: Tree) -> None:
        tree.find(names.EB, "Timestamp").text = "2026-01-01T00:00:00.000Z"

    # The same part under the same name; the header, and so the signature, is another one.
    other = arena.author.resigned(wire, resign)
    answer = await arena.client.post(other)
    verify_receipt(answer, other, arena.node.certificate)
    await check_delivered_once(arena, wire)


@pytest.mark.attack("RPL-02")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"0088:{CLINIC.address.gln}", f"0088:{MUNICIPALITY.address.gln}"),
        (f"0088:{MUNICIPALITY.address.gln}", f"0088:{CLINIC.address.gln}"),
        ("homecareobservation", "carecommunication"),
    ],
    ids=["for another organisation", "from another organisation", "as another document"],
)
async def test_same_parts_on_another_errand(arena: Arena, old: str, new: str) -> None:
    """A receipt says that its signer has what was signed: a header that was never looked at gets none."""
    wire = arena.author.compose()
    first = await arena.accepts(wire)

    def redirect(tree: Tree) -> None:
        texts = [one for one in tree.messaging.iter() if old in (one.text or "")]
        assert texts
        for one in texts:
            one.text = one.text.replace(old, new)

    answer = await arena.client.post(arena.author.resigned(wire, redirect))
    _, signal = answer.signal()
    assert signal.receipt is None
    assert [error.code for error in signal.errors] == ["EBMS:0003"]
    *_, refusal = await arena.node.rows("SELECT gate, reason FROM refusals ORDER BY seq")
    assert (refusal["gate"], refusal["reason"]) == (OTHER_CONTENT.gate, OTHER_CONTENT.reason)
    assert (await arena.client.post(wire)).body == first.body
    await check_delivered_once(arena, wire)


@pytest.mark.attack("RPL-03")
async def test_message_id_of_another_party(arena: Arena) -> None:
    """Nobody can occupy the ids of others: the key is sender and MessageId."""
    wire = arena.author.compose()
    await arena.accepts(wire)
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    squatted = third.compose(message_id=wire.message_id)
    answer = await arena.client.post(squatted)
    verify_receipt(answer, squatted, arena.node.certificate)
    await arena.node.idle()
    rows = await arena.node.rows(
        "SELECT party, state FROM messages WHERE message_id = $1 ORDER BY party", wire.message_id
    )
    assert rows == [
        {"party": party, "state": "DELIVERED"}
        for party in sorted((MUNICIPALITY.access_point, THIRD_PARTY))
    ]
    assert {f"{one.message_identifier}.json" for one in (wire, squatted)} <= arena.node.delivered()


async def test_stranger_replays(arena: Arena) -> None:
    """Somebody else's signature over a known MessageId never gets that message's receipt."""
    twin = arena.author.compose()
    stranger = Author(
        arena.pki.certify(
            MUNICIPALITY.access_point, authority=arena.pki.untrusted_authority
        ).signer(),
        arena.node.certificate,
    )
    attack = stranger.compose(message_id=twin.message_id)
    verdict = Verdict("G6", "cert.untrusted", "EBMS:0101")
    await arena.refuses(attack, verdict, twin=twin)
    await arena.refuses(attack, verdict, twin=arena.author.compose())


async def test_envelope_again_in_a_new_message(arena: Arena) -> None:
    """A new MessageId around a known envelope is another transfer: receipted, but the backend is not asked again."""
    wire = arena.author.compose(unique="envelope-again")
    await arena.accepts(wire)
    again = arena.author.resigned(
        wire, lambda tree: tree.find(names.EB, "MessageId").__setattr__("text", "again@x.example")
    )
    verify_receipt(await arena.client.post(again), again, arena.node.certificate)
    await check_delivered_once(arena, wire)


@pytest.mark.attack("RPL-08")
async def test_after_the_payload_was_let_go_of(arena: Arena) -> None:
    """What is remembered of a message outlives its payload: it is known again, and not delivered again."""
    wire = arena.author.compose()
    first = await arena.accepts(wire)
    point = arena.node.point
    moment = timedelta(microseconds=1)
    periods = point.configuration.retention.model_copy(update={"delivered": moment})
    await RetentionKeeper(
        point.database, point.payloads, clock=point.clock, periods=periods
    ).apply()
    message = await arena.node.message(wire.message_id)
    assert (message["state"], message["payload"]) == ("PURGED", None)
    delivered, mark = arena.node.delivered(), arena.log.mark
    again = await arena.client.post(wire)
    assert (again.status, again.body) == (200, first.body)
    assert duplicates(arena, mark) == [wire.message_id]
    await arena.node.idle()
    assert (await arena.node.message(wire.message_id))["state"] == "PURGED"
    assert arena.node.delivered() == delivered


@pytest.mark.attack("RPL-09")
async def test_message_for_another_access_point(arena: Arena) -> None:
    """A message that the clinic was never meant to have is posted to it, as it left the sender."""
    elsewhere = Author(
        arena.pki.municipality.signer(), arena.pki.third.certificate, to_party=THIRD_PARTY
    )
    verdict = Verdict("G7", "enc.failed", "EBMS:0102")
    await arena.refuses(elsewhere.compose(), verdict, twin=arena.author.compose())
    readable = replace(elsewhere, recipient=arena.node.certificate)
    verdict = Verdict("G10", "pmode.to", "EBMS:0010")
    await arena.refuses(readable.compose(), verdict, twin=arena.author.compose())


@pytest.mark.attack("RPL-10")
async def test_after_the_certificate_was_revoked(arena: Arena) -> None:
    """Whose certificate is revoked gets nothing any more, not even the receipt of a message that was good then."""
    issued = arena.pki.certify(LEAVING_PARTY, serial=4712)
    leaving = Author(issued.signer(), arena.node.certificate, party=LEAVING_PARTY)
    wire = leaving.compose()
    await arena.accepts(wire)
    arena.pki.authority.revoke(issued.certificate, at=datetime.now(UTC))
    arena.pki.lists_made += timedelta(seconds=1)
    await arena.node.point.refresh_revocation()
    verdict = Verdict("G6", "cert.revoked", "EBMS:0101")
    await arena.refuses(wire, verdict, twin=arena.author.compose())


@pytest.mark.attack("RPL-07")
async def test_after_a_restart(pki: Pki, tmp_path: Path, log_lines: LogLines) -> None:
    """What was promised stands in the store: another process answers as the first one did."""
    stage = Stage(pki, tmp_path)
    as_client, as_server = pki.tls_contexts("municipality")
    async with AsyncExitStack() as stack:
        municipality = await stack.enter_async_context(
            Server.start(pki.municipality.signer(), as_server)
        )
        configuration = stage.write_node(
            CLINIC,
            pki.clinic,
            partners={"municipality": Partner(MUNICIPALITY, pki.municipality, municipality.url)},
        )
        answers = []
        for run in range(3):
            async with (
                stage.run(configuration) as node,
                Client.connect(node.url, as_client) as client,
            ):
                arena = Arena(pki, node, client, log_lines, municipality)
                if run == 0:
                    wire = arena.author.compose()
                    await arena.accepts(wire)
                mark = log_lines.mark
                answers.append(await client.post(wire))
                assert duplicates(arena, mark) == [wire.message_id]
                await check_delivered_once(arena, wire)
                assert len(list(node.delivered())) == 1
        assert len({answer.body for answer in answers}) == 1


@pytest.mark.attack("RPL-11")
async def test_old_timestamp(arena: Arena) -> None:
    """A retransmission carries its first time, and may come a day later."""
    first = datetime.now(UTC) - timedelta(hours=20)

    def yesterday(message: UserMessage) -> UserMessage:
        return replace(message, timestamp=timestamp(first))

    await arena.accepts(arena.author.compose(message=yesterday))


@pytest.mark.attack("RPL-06")
async def test_ids_are_compared_exactly(arena: Arena) -> None:
    """Two ids that differ in case only are two messages."""
    wire = arena.author.compose(message_id="Case@hostile.example")
    other = arena.author.compose(message_id="case@hostile.example")
    await arena.accepts(wire)
    await arena.accepts(other)
