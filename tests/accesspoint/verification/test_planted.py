"""For each invariant a corruption of a real store that breaks that one and no other."""

import base64
import os
import uuid

import pytest

from accesspoint.demo.scenery import CLINIC
from accesspoint.store.configured import build_columns
from keys.certificate import der

SENT = "SELECT id FROM messages WHERE direction = 'out' AND standard <> 'ehmisbdh-acknowledgement' ORDER BY id"
GOT = SENT.replace("'out'", "'in'")
LONG_AGO = 1_600_000_000


def flip_receipt(node, direction, change):
    """Change the octets of one stored receipt."""
    message = node.one(
        f"SELECT m.id FROM messages AS m JOIN receipts AS r ON r.message = m.id WHERE direction = '{direction}'"
    )
    body = bytes(node.one(f"SELECT body FROM receipts WHERE message = '{message}'"))
    changed = change(body)
    assert changed != body
    node.execute(f"UPDATE receipts SET body = x'{changed.hex()}' WHERE message = '{message}'")


def change_value(body: bytes, element: bytes) -> bytes:
    """Change the first character of the text of an element."""
    start = body.index(b"<" + element) + 1
    start = body.index(b">", start) + 1
    return body[:start] + (b"A" if body[start : start + 1] != b"A" else b"B") + body[start + 1 :]


def other_digest(body: bytes) -> bytes:
    return change_value(body, b"ds:DigestValue")


def other_signature(body: bytes) -> bytes:
    return change_value(body, b"ds:SignatureValue")


def submission_lost(node):
    """The document is there, the envelope is not: it was never made."""
    name = node.one("SELECT message_identifier FROM documents WHERE direction = 'out'")
    new = uuid.uuid4()
    node.execute(f"UPDATE documents SET message_identifier = '{new}' WHERE direction = 'out'"
                 f" AND message_identifier = '{name}'")  # fmt: skip


def end_without_reason(node):
    message = node.one(SENT)
    node.execute(
        f"UPDATE history SET to_state = 'REFUSED' WHERE message = '{message}' AND to_state = 'ACKNOWLEDGED'",
        f"DELETE FROM history WHERE message = '{message}' AND to_state = 'NOTIFIED'",
        f"UPDATE messages SET state = 'REFUSED' WHERE id = '{message}'",
    )


def delivery_doubled(node):
    ((id_, item, facts),) = node.execute(
        "SELECT id, item, facts FROM handovers WHERE target = 'backend' LIMIT 1"
    )
    columns = build_columns(node.configuration, to_read=True)
    row = columns.opened({"id": id_, "item": item, "facts": facts})
    item, facts = (row[column].replace("'", "''") for column in ("item", "facts"))
    node.execute(
        f"INSERT INTO handovers SELECT 'second', target, kind, message_identifier, '{item}', act, '{facts}', media_type, payload,"
        " payload_bytes, payload_sha256, 'waiting', 0, next_at, NULL, NULL, NULL, created_at, NULL, 0"
        f" FROM handovers WHERE id = '{id_}'"
    )


def facts_of_another(node):
    """The facts of one message, put where those of another stand."""
    node.execute(
        "UPDATE messages SET facts = (SELECT facts FROM messages AS o WHERE o.id <> messages.id LIMIT 1)"
        f" WHERE id = ({SENT} LIMIT 1)"
    )


def header_of_another(node):
    node.execute(
        "UPDATE envelopes SET header = (SELECT header FROM envelopes AS o WHERE o.envelope_id <> envelopes.envelope_id"
        " LIMIT 1) WHERE envelope_id = (SELECT envelope_id FROM envelopes LIMIT 1)"
    )


def content_differs(node):
    digest = "0" * 64
    envelope = node.one("SELECT envelope_id FROM envelopes WHERE direction = 'in' LIMIT 1")
    node.execute(
        f"UPDATE envelopes SET payload_sha256 = '{digest}' WHERE envelope_id = '{envelope}'"
    )


def confirmation_lost(node):
    node.execute("UPDATE documents SET delivered_at = NULL WHERE direction = 'in'")


def signature_lost(node):
    node.execute(f"DELETE FROM signatures WHERE message = ({GOT} LIMIT 1)")


def signature_altered(node):
    """One digest in what the sender signed is another one."""
    message = node.one(GOT)
    signed = bytes(node.one(f"SELECT signed_info FROM signatures WHERE message = '{message}'"))
    changed = change_value(signed, b"ds:DigestValue")
    node.execute(
        f"UPDATE signatures SET signed_info = x'{changed.hex()}' WHERE message = '{message}'"
    )


def signature_of_another_message(node):
    """A good signature of the same sender, over the digests of another message."""
    one, other = (row[0] for row in node.execute(f"{GOT} LIMIT 2"))
    node.execute(
        f"UPDATE signatures SET (signed_info, value) = (SELECT signed_info, value FROM signatures"
        f" WHERE message = '{other}') WHERE message = '{one}'"
    )


def signer_exchanged(node):
    """The certificate on record is that of somebody else: of the node itself."""
    own = node.certificate.hex()
    node.execute(f"UPDATE signers SET certificate = x'{own}'")


def receipt_altered(node):
    flip_receipt(node, "out", other_signature)


def receipt_over_others(node):
    """The receipt of another message: a good signature over digests that are not ours."""
    one, other = (row[0] for row in node.execute(f"{SENT} LIMIT 2"))
    node.execute(
        f"UPDATE receipts SET body = (SELECT body FROM receipts WHERE message = '{other}') WHERE message = '{one}'"
    )


def receipt_of_another_signer(node):
    node.execute(f"UPDATE receipts SET signer = '{'0' * 64}' WHERE message = ({SENT} LIMIT 1)")


def receipt_from_another_time(node):
    """Ten years later the certificate is no longer good."""
    node.execute(f"UPDATE receipts SET at = at + 315360000000000 WHERE message = ({SENT} LIMIT 1)")


def own_receipt_altered(node):
    flip_receipt(node, "in", other_digest)


def own_receipt_over_others(node):
    """The receipt that was given for another message."""
    one, other = (row[0] for row in node.execute(f"{GOT} LIMIT 2"))
    node.execute(
        f"UPDATE receipts SET body = (SELECT body FROM receipts WHERE message = '{other}') WHERE message = '{one}'"
    )


def duplicate_key_lost(node):
    node.execute(f"UPDATE duplicates SET message_id = 'another@x' WHERE message = ({GOT} LIMIT 1)")


def message_doubled(node):
    node.execute(
        "DROP INDEX messages_outbound_id",
        "UPDATE messages SET message_id = (SELECT MIN(message_id) FROM messages WHERE direction = 'in')"
        " WHERE id = (SELECT id FROM messages WHERE direction = 'in' AND message_id <> (SELECT MIN(message_id)"
        " FROM messages WHERE direction = 'in') LIMIT 1)",
    )


def event_lost(node):
    node.execute(
        "DELETE FROM outbox WHERE seq = (SELECT seq FROM outbox WHERE subtype = 'msg-sent' LIMIT 1)"
    )


def events_swapped(node):
    """The event of the end stands before that of the beginning."""
    node.execute(
        "UPDATE outbox SET seq = -seq WHERE aggregate = (SELECT aggregate FROM outbox GROUP BY aggregate"
        " HAVING COUNT(*) > 2 LIMIT 1)"
    )


def event_overtaken(node):
    node.execute(
        "UPDATE outbox SET attempts = 0, state = 'waiting'",
        "UPDATE outbox SET state = 'sent', sent_at = 1 WHERE seq = (SELECT MAX(seq) FROM outbox WHERE aggregate ="
        " (SELECT aggregate FROM outbox GROUP BY aggregate HAVING COUNT(*) > 1 LIMIT 1))",
    )


def lease_without_owner(node):
    message = node.one(SENT)
    node.execute(
        f"DELETE FROM history WHERE message = '{message}' AND to_state IN ('ACKNOWLEDGED', 'NOTIFIED')",
        f"DELETE FROM receipts WHERE message = '{message}'",
        "DELETE FROM journal WHERE event = 'receipt' AND seq = (SELECT MAX(seq) FROM journal WHERE event = 'receipt')",
        f"UPDATE messages SET state = 'SENDING' WHERE id = '{message}'",
    )


def payload_gone(node):
    node.file_of(node.one("SELECT payload FROM documents WHERE payload <> ''")).unlink()


def payload_changed(node):
    file = node.file_of(node.one("SELECT payload FROM documents WHERE payload <> ''"))
    octets = bytearray(file.read_bytes())
    octets[-1] ^= 1
    file.write_bytes(octets)


def payload_exchanged(node):
    """Good octets of another row."""
    one, other = (
        row[0] for row in node.execute("SELECT payload FROM documents WHERE payload <> '' LIMIT 2")
    )
    node.execute(f"UPDATE documents SET payload = '{other}' WHERE payload = '{one}'")


def payload_orphaned(node):
    name = uuid.uuid4().hex
    file = node.file_of(name)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_bytes(b"nobody's")
    os.utime(file, (LONG_AGO, LONG_AGO))


def database_damaged(node):
    """An index that says something else than its table."""
    node.execute(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX messages_identifier ON messages (conversation_id)'"
        " WHERE name = 'messages_identifier'",
        "PRAGMA writable_schema = OFF",
    )


def history_cut(node):
    node.execute(f"DELETE FROM history WHERE to_state = 'READY' AND message = ({SENT} LIMIT 1)")


def history_ends_elsewhere(node):
    node.execute("UPDATE messages SET state = 'ACKNOWLEDGED' WHERE state = 'NOTIFIED'"
                 " AND id = (SELECT id FROM messages WHERE state = 'NOTIFIED' LIMIT 1)")  # fmt: skip


def table_widened(node):
    node.execute("INSERT INTO transitions VALUES ('out', 'REFUSED', 'ACKNOWLEDGED')")


def number_in_the_journal(node):
    node.execute("UPDATE journal SET detail = 'patient 251248-9996' WHERE seq = 1")


def number_left_over(node):
    """What a killed process without encryption had half written: a document, in base64 as an envelope has it."""
    left = node.payloads / "tmp" / "0123456789abcdef"
    left.mkdir(mode=0o700)
    (left / uuid.uuid4().hex).write_bytes(
        b"<BinaryContent>" + base64.b64encode(b' "value": "2512489996" '.center(150))
    )


def step_untold(node):
    node.execute(
        "DELETE FROM journal WHERE seq = (SELECT MAX(seq) FROM journal WHERE event = 'opened')"
    )


def lease_left(node):
    node.execute(
        f"UPDATE messages SET lease_owner = 'somebody', lease_until = 1 WHERE id = ({SENT} LIMIT 1)"
    )


def lease_after_stop(node):
    node.execute(
        "UPDATE handovers SET lease_owner = 'somebody', lease_until = 1, state = 'waiting' WHERE kind = 'outcome'"
    )


PLANTED = [
    ("I1", "sender", submission_lost, "submission-lost"),
    ("I1", "sender", end_without_reason, "end-without-reason"),
    ("I2", "receiver", delivery_doubled, "delivery-doubled"),
    ("I2", "receiver", content_differs, "content-differs"),
    ("I2", "receiver", confirmation_lost, "confirmation-differs"),
    ("I3", "receiver", signature_lost, "signature-missing"),
    ("I3", "receiver", signature_altered, "signature-invalid"),
    ("I3", "receiver", signature_of_another_message, "signature-digest"),
    ("I3", "receiver", signer_exchanged, "signature-signer"),
    ("I4", "sender", receipt_altered, "receipt-signature"),
    ("I4", "sender", receipt_over_others, "receipt-invalid"),
    ("I4", "sender", receipt_of_another_signer, "receipt-signer"),
    ("I4", "sender", receipt_from_another_time, "receipt-signer"),
    ("I5", "receiver", own_receipt_altered, "own-receipt-signature"),
    ("I5", "receiver", own_receipt_over_others, "own-receipt-invalid"),
    ("I6", "receiver", duplicate_key_lost, "duplicate-key-missing"),
    ("I7", "sender", event_lost, "event-missing"),
    ("I7", "sender", events_swapped, "event-order"),
    ("I7", "sender", event_overtaken, "event-overtaken"),
    ("I7 I10", "sender", facts_of_another, "unreadable"),
    ("I8", "sender", lease_without_owner, "lease-without-owner"),
    ("I9", "receiver", payload_gone, "payload-missing"),
    ("I9", "receiver", payload_changed, "payload-damaged"),
    ("I9", "receiver", payload_exchanged, "payload-differs"),
    ("I9", "sender", payload_orphaned, "payload-orphaned"),
    ("I10", "sender", database_damaged, "database-damaged"),
    ("I10", "sender", header_of_another, "row-damaged"),
    ("I11", "sender", history_cut, "history-breaks"),
    ("I11", "sender", history_ends_elsewhere, "history-ends-elsewhere"),
    ("I11", "sender", table_widened, "table-differs"),
    ("I12", "sender", number_in_the_journal, "journal-personal"),
    ("I12", "receiver", number_left_over, "temporary-file-personal"),
    ("I13", "sender", step_untold, "journal-differs"),
    ("I14", "sender", lease_left, "lease-left"),
    ("I14", "sender", lease_after_stop, "lease-after-stop"),
]


@pytest.mark.parametrize(("invariant", "where", "plant", "slug"), PLANTED, ids=lambda each: getattr(each, "__name__", str(each)))  # fmt: skip
async def test_a_planted_fault_breaks_its_invariant_and_no_other(
    nodes, invariant, where, plant, slug
):
    node = nodes[where == "receiver"]
    plant(node)
    report = await node.verify()
    assert report.broken == tuple(invariant.split()), report.render()
    assert slug in {finding.slug for finding in report.findings}
    assert all(finding.ids for finding in report.findings)
    assert "251248" not in report.render()


async def test_other_digests_agree_neither_with_the_signature_nor_with_the_receipt(receiver):
    receiver.execute(
        f"UPDATE duplicates SET signed_digest = '{'0' * 64}' WHERE message = ({GOT} LIMIT 1)"
    )
    report = await receiver.verify()
    assert report.broken == ("I3", "I5")
    slugs = [finding.slug for finding in report.findings]
    assert slugs == ["signature-digest", "own-receipt-digest"]


async def test_messages_from_before_signatures_were_kept_are_counted_and_no_finding(receiver):
    receiver.execute(
        "UPDATE signatures SET signer = NULL, algorithm = NULL, signed_info = NULL, value = NULL"
    )
    report = await receiver.verify()
    report.check()
    assert report.of("I3").notes[0].startswith("6 came before signatures were kept")


async def test_a_receipt_signed_with_a_renewed_certificate_of_the_receiver_holds_and_that_is_said(
    sender, pki
):
    """The directory still gave the old one; a namesake, or the same name by another issuer, is somebody else."""
    name, own = CLINIC.access_point, pki.clinic.certificate
    renewed = pki.certify(name, serial=823).certificate
    assert (renewed.subject, renewed == own) == (own.subject, False)
    elsewhere = pki.certify(name, authority=pki.untrusted_authority).certificate
    said = "signed with a renewed certificate of the same holder"
    assert said not in (await sender.verify()).render()
    for found, broken in (
        (renewed, ()),
        (pki.namesake(name).certificate, ("I4",)),
        (elsewhere, ("I4",)),
    ):
        sender.execute(
            f"UPDATE wires SET certificate = x'{der(found).hex()}' WHERE message = ({SENT} LIMIT 1)"
        )
        report = await sender.verify()
        assert report.broken == broken, report.render()
        assert {finding.slug for finding in report.findings} <= {"receipt-signer"}
        assert report.of("I4").notes == (() if broken else (f"1 {said}",))


async def test_what_cannot_be_read_is_a_finding_and_not_the_end(sender):
    """A page of the table of receipts is overwritten; what stands elsewhere is still judged."""
    page_bytes = sender.one("PRAGMA page_size")
    sender.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = sender.one("SELECT rootpage FROM sqlite_master WHERE name = 'receipts'")
    with sender.database.open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)
    report = await sender.verify()
    assert {"I4", "I10"} <= set(report.broken)
    assert "I11" not in report.broken
