"""Contents: what was delivered is what was submitted, once, and nothing else goes by the same name. I2 and I6."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from accesspoint.store.database import Row
from accesspoint.verification.evidence import Evidence, Tally, name_message

_SEALED: Final = ("", "")


async def check_deliveries(evidence: Evidence, tally: Tally) -> None:
    """I2: each received document was brought to the backend under one id, with the content that was submitted."""
    await _check_received(evidence, tally)
    await _check_sent(evidence, tally)
    async for row in evidence.rows(
        "SELECT id, message_identifier FROM handovers AS h WHERE target LIKE 'backend%' AND kind = 'document' AND id > $1"
        " AND payload <> '' AND NOT EXISTS (SELECT 1 FROM documents AS d WHERE d.direction = 'in'"
        " AND d.message_identifier = h.message_identifier) ORDER BY id LIMIT $2"
    ):
        tally.find(
            "delivery-unknown", delivery=row["id"], message_identifier=row["message_identifier"]
        )
    await _check_passed_on(evidence, tally)


async def _check_received(evidence: Evidence, tally: Tally) -> None:
    async for page in evidence.pages(
        "SELECT id, message_identifier, sender, receiver, payload, payload_bytes, payload_sha256, delivered_at"
        " FROM documents WHERE direction = 'in' AND id > $1 ORDER BY id LIMIT $2"
    ):
        names = sorted({row["message_identifier"] for row in page})
        deliveries = await _by_parties(
            evidence,
            "SELECT id, target, message_identifier, payload_bytes, payload_sha256, state, done_at, facts FROM handovers",
            "target LIKE 'backend%' AND kind = 'document'",
            names,
        )
        envelopes = await _by_parties(
            evidence,
            "SELECT message_identifier, sender, receiver, envelope_id, payload_sha256 FROM envelopes",
            "direction = 'in' AND repetition = 0",
            names,
        )
        for row in page:
            tally.count()
            parties = (row["message_identifier"], row["sender"], row["receiver"])
            if (row["message_identifier"], *_SEALED) not in deliveries:
                _check_delivery(tally, row, deliveries.get(parties, ()))
            for wrapped in envelopes.get(parties, ()):
                if wrapped["payload_sha256"] != row["payload_sha256"]:
                    tally.find("content-differs", **_ids(row), envelope=wrapped["envelope_id"])


def _check_delivery(tally: Tally, row: Row, deliveries: Iterable[Row]) -> None:
    found = list(deliveries)
    if len({delivery["target"] for delivery in found}) < len(found):
        tally.find("delivery-doubled", **_ids(row), deliveries=" ".join(d["id"] for d in found))
        return
    if not found:
        # What retention has let go of has no delivery any more.
        if row["payload"]:
            tally.find("delivery-missing", **_ids(row))
        return
    for delivery in found:
        if any(delivery[name] != row[name] for name in ("payload_sha256", "payload_bytes")):
            tally.find("content-differs", **_ids(row), delivery=delivery["id"])
    states = {delivery["state"] for delivery in found}
    # With several systems the message is delivered once each of them has it.
    if (states == {"done"}) != (row["delivered_at"] is not None):
        tally.find("confirmation-differs", **_ids(row), delivery=" ".join(d["id"] for d in found))


async def _check_sent(evidence: Evidence, tally: Tally) -> None:
    async for row in evidence.rows(
        "SELECT d.id, d.message_identifier, e.envelope_id FROM documents AS d JOIN envelopes AS e"
        " ON e.direction = 'out' AND e.message_identifier = d.message_identifier"
        " WHERE d.direction = 'out' AND e.payload_sha256 <> d.payload_sha256 AND d.id > $1 ORDER BY d.id LIMIT $2"
    ):
        tally.find("content-differs", **_ids(row), envelope=row["envelope_id"])
    tally.count(await evidence.number("SELECT COUNT(*) FROM documents WHERE direction = 'out'"))


async def _check_passed_on(evidence: Evidence, tally: Tally) -> None:
    """What the access point calls delivered stands at the next station, or waits on its way there."""
    async for page in evidence.pages(
        "SELECT id, message_id, message_identifier, envelope_id, payload FROM messages AS m WHERE direction = 'in'"
        " AND state = 'DELIVERED' AND standard NOT IN ('test-service', 'ehmisbdh-acknowledgement') AND id > $1"
        " AND NOT EXISTS (SELECT 1 FROM envelopes AS e WHERE e.direction = 'in' AND e.envelope_id = m.envelope_id)"
        " ORDER BY id LIMIT $2"
    ):
        names = sorted({row["message_identifier"] for row in page})
        passed = {
            (row["message_identifier"], row["payload"])
            for row in await evidence.fetch_in(
                "SELECT message_identifier, payload FROM handovers WHERE target = 'up' AND message_identifier",
                names,
            )
        }
        for row in page:
            if (row["message_identifier"], row["payload"]) not in passed:
                tally.find("delivered-nowhere", message=row["id"], message_id=row["message_id"])


async def check_contents(evidence: Evidence, tally: Tally) -> None:
    """I6: of one MessageId of one sender there is one content, and the key that recognises its repetition."""
    for row in await evidence.tx.fetch(
        "SELECT party, message_id FROM messages WHERE direction = 'in' GROUP BY party, message_id HAVING COUNT(*) > 1"
    ):
        tally.find("message-doubled", party=row["party"], message_id=row["message_id"])
    async for row in evidence.rows(
        "SELECT m.id, m.party, m.message_id, d.message FROM messages AS m LEFT JOIN duplicates AS d"
        " ON d.party = m.party AND d.message_id = m.message_id"
        " WHERE m.direction = 'in' AND m.id > $1 ORDER BY m.id LIMIT $2"
    ):
        tally.count()
        ids = name_message(row)
        if row["message"] is None:
            tally.find("duplicate-key-missing", **ids)
        elif row["message"] != row["id"]:
            tally.find("duplicate-key-differs", **ids, key_of=row["message"])
    for row in await evidence.tx.fetch(
        "SELECT message_identifier, sender, receiver FROM envelopes WHERE direction = 'in'"
        " AND acknowledgement = 'positive' GROUP BY message_identifier, sender, receiver, bundle_identifier"
        " HAVING COUNT(DISTINCT payload_sha256) > 1"
    ):
        tally.find("contents-accepted", message_identifier=row["message_identifier"])


async def _by_parties(
    evidence: Evidence, select: str, condition: str, names: list[str]
) -> Mapping[tuple[str, str, str], list[Row]]:
    """Rows by message identifier, GLN of the sender and GLN of the receiver, both empty where they are sealed."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    sql = f"{select} WHERE {condition} AND message_identifier"
    for row in await evidence.fetch_in(sql, names):
        if "facts" in row and row["facts"] is None:
            parties = _SEALED
        elif "facts" in row:
            facts = orjson.loads(row["facts"])
            parties = facts["sender_gln"], facts["receiver_gln"]
        else:
            parties = _gln(row["sender"]), _gln(row["receiver"])
        found[(row["message_identifier"], *parties)].append(row)
    return found


def _gln(participant: str) -> str:
    return participant.rpartition(":")[2]


def _ids(row: Row) -> dict[str, str]:
    return {"document": row["id"], "message_identifier": row["message_identifier"]}
