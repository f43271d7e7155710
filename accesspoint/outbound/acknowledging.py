"""What a verified receipt does to the message it is for, and what the journal says of an outbound message.

One commit: the last step, the receipt as it came, the delivery event. The receipt may come as the answer
to our request or later, as a request of the partner's own; it is the same commit either way, so a message
has one outcome and reports it once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from accesspoint.stations.reporting import Act, Reporter, facts_from_json, subject_of
from accesspoint.store.database import Row, Transaction
from accesspoint.store.evidence import record_receipt
from accesspoint.store.messages import advance
from accesspoint.store.outcomes import record_outcome
from envelope.sending import State


async def acknowledge(
    tx: Transaction,
    row: Row,
    path: Sequence[str],
    *,
    receipt: bytes,
    signer: str,
    reporter: Reporter,
    at: datetime,
    late: bool = False,
) -> None:
    """Take a message along `path` to ACKNOWLEDGED, store the receipt that proves it, report and show it.

    Without a path the message stays where it is, since its submitter was told another end; the receipt is kept with it
    and the submitter is told of it. A receipt that is `late` counts whoever holds the message meanwhile; else the
    caller must still hold it.

    Raises: StateMoved when somebody else was first.
    """
    await advance(
        tx, row, path, at=at, fenced=not late, note="late-receipt" if late else None,
        columns={"problem": None, "arrival_possible": 1},
    )  # fmt: skip
    if not path:
        await record_outcome(tx, {**row, "problem": None}, State.ACKNOWLEDGED, at=at)
    await record_receipt(tx, row["id"], receipt, signer=signer, at=at)
    await reporter.report(tx, Act.AP_SENT, facts_from_json(row["facts"]))
    # Long enough that digits of it are never taken for a patient number.
    detail: dict[str, object] = {"signer": signer[:32]}
    if late:
        detail["late_after"] = str(row["state"])
    await note(tx, row, "receipt", reporter=reporter, detail=detail)


async def note(
    tx: Transaction,
    row: Row,
    event: str,
    *,
    reporter: Reporter,
    detail: Mapping[str, object],
    problem: str | None = None,
) -> None:
    """Write one line about an outbound message into the journal."""
    await reporter.note(
        tx,
        event,
        station="AP",
        message_identifier=row["message_identifier"],
        subject=subject_of(row),
        standard=row["standard"],
        problem=problem,
        detail={"message": row["id"], **detail},
    )
