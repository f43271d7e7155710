"""What became of a message, as something that is owed to whoever submitted it.

A message that comes to an end which C1 can be told about (`envelope.sending.OUTCOMES`) gets an outcome in
the same commit: a hand-over of kind `outcome` whose id follows from the message and the end, so that it
is the same for ever, and whose text is written once and never changes. Confirming it makes the message
NOTIFIED. A message may come to a second end, when a receipt arrives late: that is a second outcome,
unless nobody has been shown the first one yet; then the first one is set aside.

ebMS knows two errors that are raised to the submitter and not to the partner: a missing receipt
(EBMS:0301) is an uncertain end, a failed delivery (EBMS:0202) one of which it is known that the message
did not arrive. Beside the code stands the problem itself: whose it is, and what to do.

An SBDH acknowledgement is submitted by our own message service handler, which reads the states in the
store: it counts as told in the commit that ends it.

Spec: reliability section 2.2 (NOTIFIED), points S15, S16 and S18; decision D4; AS4 Profile 1.0 section 3.2.
"""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from accesspoint.clock import to_microseconds
from accesspoint.log import scrub
from accesspoint.problems import Occurrence
from accesspoint.store.database import Row, Transaction
from envelope.codes import DELIVERY_FAILURE, MISSING_RECEIPT, EbmsCode
from envelope.sending import State

KIND: Final = "outcome"
TARGET: Final = "submitter"
MEDIA_TYPE: Final = "application/json"
OUR_OWN: Final = "ehmisbdh-acknowledgement"
"""The Standard of the envelopes that no user submits."""

_RAISED: Final[Mapping[State, EbmsCode]] = MappingProxyType(
    {
        State.UNCERTAIN: MISSING_RECEIPT,
        State.EXPIRED: DELIVERY_FAILURE,
        State.FAILED: DELIVERY_FAILURE,
        State.REFUSED: DELIVERY_FAILURE,
    }
)
"""The ebMS error that an end is to the submitter; the others are no error of messaging."""

_SUPERSEDE: Final = (
    "UPDATE handovers SET state = 'set-aside', problem = 'superseded'"
    " WHERE id = $1 AND state = 'waiting' AND attempts = 0 AND lease_owner IS NULL"
)
_INSERT: Final = (
    "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload_bytes,"
    " payload_sha256, state, next_at, created_at) VALUES ($1,$2,$3,$4,$5,'','{}',$6,$7,$8,'waiting',$9,$9)"
    " ON CONFLICT (id) DO NOTHING"
)


def outcome_id(message: str, state: State) -> str:
    """Return the id that this end of this message has for ever."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ehmi-accesspoint:outcome:{message}:{state}"))


async def record_outcome(
    tx: Transaction, message: Row, state: State, *, at: datetime, detail: str = ""
) -> None:
    """Owe the submitter this end of a message, in the commit that reaches it; `detail` holds no personal data.

    `message` is the whole row. An earlier end that nobody has been shown yet is set aside.
    """
    supersedes = None
    if state is State.ACKNOWLEDGED:
        earlier = outcome_id(message["id"], State.UNCERTAIN)
        told = await tx.fetch_one("SELECT id FROM handovers WHERE id = $1", earlier)
        if told is not None and await tx.execute(_SUPERSEDE, earlier) == 0:
            supersedes = earlier
    item = describe_outcome(message, state, at=at, detail=detail, supersedes=supersedes)
    await insert_outcome(tx, item, at=at)


async def insert_outcome(tx: Transaction, item: bytes, *, at: datetime) -> None:
    """Store an outcome that is due at once; one that is known already stays as it is."""
    told = orjson.loads(item)
    await tx.execute(
        _INSERT, told["id"], TARGET, KIND, told["message_identifier"], item.decode(), MEDIA_TYPE, len(item),
        hashlib.sha256(item).hexdigest(), to_microseconds(at),
    )  # fmt: skip


def describe_outcome(
    message: Row, state: State, *, at: datetime, detail: str = "", supersedes: str | None = None
) -> bytes:
    """Return the text of an outcome as JSON: which message, what end, and for any but a good one whose and what to do."""
    raised = _RAISED.get(state)
    told: dict[str, Any] = {
        "id": outcome_id(message["id"], state),
        "state": str(state),
        "at": at.isoformat().replace("+00:00", "Z"),
        "message_identifier": message["message_identifier"],
        "standard": message["standard"],
        "sender": message["original_sender"],
        "receiver": message["final_recipient"],
        "exchange": message["id"],
        "message_id": message["message_id"],
        "envelope_id": message["envelope_id"],
        "attempts": int(message["attempt"]),
        "error": None
        if raised is None
        else {"code": raised.code, "short_description": raised.short_description},
        "problem": None,
        "supersedes": supersedes,
    }
    if message["problem"] is not None:
        uncertain = state is State.UNCERTAIN
        met = Occurrence.of(message["problem"], detail)
        told["problem"] = met.problem.to_json(code=met.code, given_up=True, uncertain=uncertain)
        if met.detail:
            told["problem"]["why"] = scrub(met.detail)
    return orjson.dumps(told)
