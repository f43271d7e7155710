"""Where the bytes of a message that was sent still stand, so that it can go out once more.

The message service handler keeps no copy of its own: where the end-user application is built with it the message
itself is stored, else the StandardBusinessDocument that it wrote, in the access point beside it or in the hand-over
that brought it there. Whatever is found must have the digest that the first envelope carried. Retention keeps one of
them for as long as an acknowledgement is awaited.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Final

from accesspoint.stations import Published
from accesspoint.stations.document import Stored
from accesspoint.stations.sbd_file import open_sbd
from accesspoint.store.database import Database, Row
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing, PayloadStore
from envelope.errors import SbdRefused
from envelope.limits import Limits

_DOCUMENT: Final = (
    "SELECT payload, payload_bytes, payload_sha256 FROM documents WHERE direction = 'out'"
    " AND message_identifier = $1 AND payload_sha256 = $2 AND payload <> ''"
)
_ENVELOPES: Final = (
    "SELECT payload, payload_bytes, payload_sha256 FROM messages WHERE direction = 'out'"
    " AND message_identifier = $1 AND payload <> ''"
    " UNION ALL SELECT payload, payload_bytes, payload_sha256 FROM handovers WHERE target = 'down'"
    " AND kind = 'envelope' AND message_identifier = $1 AND payload <> ''"
)


class ContentGone(LookupError):
    """The content of a message is not stored any more."""


@asynccontextmanager
async def stored_content(
    database: Database, payloads: PayloadStore, sent: Row, limits: Limits
) -> AsyncIterator[Stored]:
    """The content of an envelope that we sent, for the length of the context; `sent` is its row.

    Raises ContentGone when no file has it any more.
    """
    identifier, digest = sent["message_identifier"], sent["payload_sha256"]
    row = await database.fetch_one(_DOCUMENT, identifier, digest)
    if row is not None:
        yield _stored(row)
        return
    for row in await database.fetch(_ENVELOPES, identifier):
        with ExitStack() as stack:
            opening = open_sbd(payloads, _stored(row), limits=limits)
            try:
                opened = await payloads.aside(
                    partial(stack.enter_context, opening), int(row["payload_bytes"])
                )
            except (SbdRefused, PayloadDamaged, PayloadMissing):
                continue
            if opened.sha256 != digest:
                continue
            content = await payloads.aside(opened.publish)
            try:
                yield content
            finally:
                Published(payloads, content.payload).delete()
            return
    raise ContentGone(identifier)


def _stored(row: Row) -> Stored:
    return Stored(row["payload"], int(row["payload_bytes"]), row["payload_sha256"])
