"""The `submissions` table: under which key what was asked and what was answered, in the commit that accepts a message.

The key is the submitter's own name for one request. It is unique, so of two requests with one key that come at
the same moment one is accepted and the other finds its answer. What was refused leaves no key behind: the
submitter may correct it and ask again under the same one.

Spec: reliability section 2.2 (ACCEPTED), points S1 to S3.
"""

from datetime import datetime
from typing import Final

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Row, Transaction

TABLE: Final = "submissions"


async def find_submission(tx: Transaction, key: str) -> Row | None:
    """What was asked and answered under this key (`request_sha256`, `message_identifier`, `answer`), or None."""
    return await tx.fetch_one("SELECT * FROM submissions WHERE idempotency_key = $1", key)


async def record_submission(
    tx: Transaction, key: str, *, request_sha256: str, message_identifier: str, answer: str, at: datetime
) -> None:  # fmt: skip
    """Remember a request and its answer.

    Raises: IntegrityViolation when the key was used before, with whatever request.
    """
    await tx.execute(
        "INSERT INTO submissions (idempotency_key, request_sha256, message_identifier, answer, at)"
        " VALUES ($1,$2,$3,$4,$5)",
        key, request_sha256, message_identifier, answer, to_microseconds(at),
    )  # fmt: skip
