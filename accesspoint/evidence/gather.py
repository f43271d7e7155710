"""What proves one message, collected from the store of a node: signatures, receipts, certificates, lists, history.

For a message that we sent these are the signed envelope and the receipt that came; for one that we received, the
SignedInfo of its sender with the value over it, and the receipt as we sent it. Envelopes hold no payload, and what
was encrypted is not among the files. Events and history are told by ids, states and times; a payload only where it
is asked for and still kept.

Spec: experience section 4; decision D8.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from accesspoint.clock import from_microseconds
from accesspoint.evidence.bundle import Item, pack
from accesspoint.explain.means import GivenTrust
from accesspoint.explain.report import build_report
from accesspoint.explain.text import render_text
from accesspoint.identity import Identity
from accesspoint.log import scrub
from accesspoint.store.audit import person_digest
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.evidence import Wire, find_wire
from accesspoint.store.payloads import PayloadStore
from accesspoint.trust import MessageTrust
from envelope.errors import EnvelopeError
from envelope.explain import Means, SentMessage
from envelope.security_header import read_signer
from envelope.security_token import TokenReference
from envelope.soap import parse_soap
from envelope.xml import scan
from keys.certificate import fingerprint, load_certificate, pem
from keys.errors import KeysError
from keys.reference import find_certificate

EXPORTED: Final = "evidence-exported"
"""What the journal says of each bundle that was handed out; it is in none, so that the same message gives the same bundle."""
_EVENTS: Final = "SELECT event_id, station, subtype, state, attempts, created_at, sent_at FROM outbox WHERE aggregate = $1 ORDER BY seq"
_JOURNAL: Final = "SELECT at, node, station, event, problem FROM journal WHERE message_identifier = $1 AND event <> $2 ORDER BY seq"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Everything that the store knows of one message, read in one view."""

    message: Row
    wire: Wire | None
    receipt: Row | None
    signature: Row | None
    history: Sequence[Row]
    events: Sequence[Row]
    journal: Sequence[Row]


class Bundles:
    """Makes evidence bundles of the messages of one access point."""

    def __init__(
        self, *, database: Database, payloads: PayloadStore, identity: Identity, trust: MessageTrust
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._identity = identity
        self._trust = trust

    async def build(self, id_: str, *, with_payload: bool = False) -> bytes | None:
        """The bundle of a message, or None where no message has this id; held in memory, as is the payload in it.

        A payload that was let go is left out, and the manifest then has no such file.
        """
        rows = await self._database.read(lambda tx: _read(tx, id_))
        if rows is None:
            return None
        return await asyncio.to_thread(self._pack, rows, with_payload)

    def person_in(self, message: Row) -> str | None:
        """How the audit log writes down whom a message is about; None where that is not told, or without a key."""
        number = json.loads(message["facts"]).get("patient_id")
        keys = self._payloads.person_keys
        return person_digest(keys[0], number) if number and keys else None

    def _pack(self, rows: _Rows, with_payload: bool) -> bytes:
        message = rows.message
        at = from_microseconds(int((rows.receipt or {"at": message["created_at"]})["at"]))
        items = [*self._prove_message(rows, at), *self._prove_receipt(rows, at)]
        own = self._identity.signer
        # Its certificate may be newer than the message, and no authority signed it before it was there.
        then = max(at, own.certificate.not_valid_before_utc)
        issuers = self._trust.issuers(own.certificate, own.chain, then)
        items.append(_certificates("exporter", own.certificate, issuers, "who exported this"))
        items += self._lists(items)
        items += [
            Item("history.json", "the states of the message", _as_json(rows.history)),
            Item(
                "events.json",
                "delivery events about it, without their content",
                _as_json(rows.events),
            ),
            Item("journal.json", "what the stations wrote down about it", _as_json(rows.journal)),
            Item(
                "explanation.txt",
                "what the signed documents say, in words",
                self._explain(rows, items),
            ),
        ]
        if with_payload and message["payload"]:
            items.append(self._payload(message))
        facts = {
            name: message[name]
            for name in ("id", "direction", "state", "message_id", "party", "envelope_id",
                         "message_identifier", "payload_bytes", "payload_sha256")
        }  # fmt: skip
        return pack(items, message=facts, at=at.isoformat(), exporter=own)

    def _prove_message(self, rows: _Rows, at: datetime) -> list[Item]:
        if rows.wire is not None:
            what = "the SOAP part as it was sent: header and signature"
            items = [Item("message.xml", what, rows.wire.soap, "message")]
            recipient = load_certificate(rows.wire.certificate)
            items.append(_certificates("recipient", recipient, (), "for whom it was encrypted"))
            return [*items, *self._signer("message", rows.wire.soap, at, [recipient])]
        row = rows.signature
        if row is None or row["signer"] is None:
            return []
        signer = load_certificate(bytes(row["certificate"]))
        value = {
            "algorithm": row["algorithm"],
            "value": b64encode(bytes(row["value"])).decode("ascii"),
        }
        return [
            Item("message.xml", "the SignedInfo of the message", bytes(row["signed_info"]), "message"),
            Item("message-signature.json", "the sender's value over it", _as_json(value), "message_signature"),
            self._path("message", signer, (), at),
        ]  # fmt: skip

    def _prove_receipt(self, rows: _Rows, at: datetime) -> list[Item]:
        if rows.receipt is None:
            return []
        body = bytes(rows.receipt["body"])
        known = [] if rows.wire is None else [load_certificate(rows.wire.certificate)]
        items = [Item("receipt.xml", "the receipt, byte for byte", body, "receipt")]
        return [*items, *self._signer("receipt", body, at, known)]

    def _signer(
        self, role: str, soap: bytes, at: datetime, known: Sequence[x509.Certificate]
    ) -> list[Item]:
        """The certificate that the signature of an envelope names, with its path; nothing where nobody has it."""
        try:
            token = read_signer(parse_soap(scan(soap)))
            found = token.certificate or self._find(token, known)
        except (EnvelopeError, KeysError):
            return []
        return [] if found is None else [self._path(role, found, token.chain, at)]

    def _find(
        self, token: TokenReference, known: Sequence[x509.Certificate]
    ) -> x509.Certificate | None:
        return find_certificate(token, [*self._identity.certificates, *known]) or self._trust.find(
            token
        )

    def _path(
        self, role: str, leaf: x509.Certificate, chain: Sequence[x509.Certificate], at: datetime
    ) -> Item:
        issuers = self._trust.issuers(leaf, chain, at)
        what = f"who signed the {role}, and the path to an anchor"
        return _certificates(f"{role}-signer", leaf, issuers, what, f"{role}_signer")

    def _lists(self, items: Sequence[Item]) -> list[Item]:
        """The revocation lists at hand of the authorities in the paths, each once."""
        issuers: dict[str, x509.Certificate] = {}
        for item in items:
            if item.name.startswith("certificates/"):
                for one in x509.load_pem_x509_certificates(item.octets)[1:]:
                    issuers[fingerprint(one)] = one
        found = {octets for one in issuers.values() for octets in self._trust.revocation_lists(one)}
        return [
            Item(f"revocation/list-{number}.crl", "a revocation list that was at hand", octets)
            for number, octets in enumerate(sorted(found), 1)
        ]

    def _explain(self, rows: _Rows, items: Sequence[Item]) -> bytes:
        """The text of `accesspoint explain` on the signed documents of the bundle."""
        given = [
            one
            for item in items
            if item.name.startswith("certificates/")
            for one in x509.load_pem_x509_certificates(item.octets)
        ]
        wire = rows.wire
        sent = None
        if wire is not None and wire.references:
            sent = SentMessage(str(rows.message["message_id"]), wire.references)
        trust = GivenTrust(self._trust.authorities, known=list(dict.fromkeys(given)))
        means = Means(trust, sent=sent)
        texts = [
            render_text(build_report(item.octets, means, name=item.name))
            for item in items
            if item.name in ("message.xml", "receipt.xml")
        ]
        return "\n".join(texts).encode()

    def _payload(self, message: Row) -> Item:
        reader = self._payloads.open(str(message["payload"]), sha256=message["payload_sha256"])
        try:
            pieces = []
            while piece := reader.read():
                pieces.append(piece)
        finally:
            reader.close()
        what = "the StandardBusinessDocument, which is about a patient"
        return Item("payload.xml", what, b"".join(pieces), "payload")


async def _read(tx: Transaction, id_: str) -> _Rows | None:
    message = await tx.fetch_one("SELECT * FROM messages WHERE id = $1", id_)
    if message is None:
        return None
    identifier = message["message_identifier"]
    return _Rows(
        message=message,
        wire=await find_wire(tx, id_),
        receipt=await tx.fetch_one("SELECT body, signer, at FROM receipts WHERE message = $1", id_),
        signature=await tx.fetch_one(
            "SELECT s.*, c.certificate FROM signatures AS s LEFT JOIN signers AS c ON c.fingerprint = s.signer"
            " WHERE s.message = $1",
            id_,
        ),
        history=await tx.fetch(
            "SELECT from_state, to_state, at, note FROM history WHERE message = $1 ORDER BY seq",
            id_,
        ),
        events=await tx.fetch(_EVENTS, identifier),
        journal=await tx.fetch(_JOURNAL, identifier, EXPORTED),
    )


def _certificates(
    name: str,
    leaf: x509.Certificate,
    issuers: Sequence[x509.Certificate],
    what: str,
    role: str | None = None,
) -> Item:
    octets = pem(leaf, *(one for one in issuers if one != leaf))
    return Item(f"certificates/{name}.pem", what, octets, role or name)


def _as_json(value: Any) -> bytes:
    """Rows or an object as JSON; times as text, and no text that was not cleaned."""

    def cell(name: str, content: Any) -> Any:
        if name in ("at", "created_at", "sent_at") and isinstance(content, int):
            return from_microseconds(content).isoformat()
        return scrub(content) if isinstance(content, str) and name != "value" else content

    rows = [value] if isinstance(value, dict) else [dict(row) for row in value]
    cleaned = [{name: cell(name, content) for name, content in row.items()} for row in rows]
    shown = cleaned[0] if isinstance(value, dict) else cleaned
    return json.dumps(shown, ensure_ascii=False, indent=2).encode() + b"\n"
