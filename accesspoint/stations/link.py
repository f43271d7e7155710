"""How a station passes something on: straight into the next one's commit, or as a durable hand-over row.

Stations built together are joined by `Joined`: the next station prepares, and its commit runs inside
ours. Stations that stand apart are joined by `Apart`: a row waits in `handovers` until the relay has
brought it across with a sealed manifest (decision D10) and the other side has taken it over.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

from accesspoint.clock import to_microseconds
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.ids import Ids
from accesspoint.stations import Bell, Commit
from accesspoint.stations.document import Document, Envelope, Stored
from accesspoint.stations.reporting import Act, Reporter, facts_to_json
from accesspoint.store.database import Transaction

BACKEND: Final = "backend"
"""The target of what goes to the organisation's own system; where it has several, `backend:` and a name for each."""
T = TypeVar("T", Document, Envelope)
T_contra = TypeVar("T_contra", Document, Envelope, contravariant=True)


class Link(Protocol[T_contra]):
    """Passes documents or envelopes to the next station."""

    async def pass_on(
        self, item: T_contra, *, act: Act, facts: DeliveryFacts, at: datetime
    ) -> Commit:
        """Prepare passing `item` on; the commit also reports `act` once the next station has it."""
        ...


class Joined(Generic[T]):
    """The next station stands in this process: it takes over in the same commit."""

    def __init__(self, take: Callable[[T], Awaitable[Commit]], reporter: Reporter) -> None:
        self._take: Callable[[T], Awaitable[Commit]] = take
        self._reporter = reporter

    async def pass_on(self, item: T, *, act: Act, facts: DeliveryFacts, at: datetime) -> Commit:
        """Let the next station prepare, and report our act in its commit."""
        taken = await self._take(item)

        async def work(tx: Transaction) -> None:
            await self._reporter.report(tx, act, facts)

        return Commit(work, frozenset({Bell.OUTBOX})).then(taken)


@dataclass(frozen=True, slots=True)
class Handover:
    """One row of the hand-over table."""

    id: str
    target: str
    kind: str
    message_identifier: str
    item: str
    act: str
    facts: str
    media_type: str
    stored: Stored


class Apart(Generic[T]):
    """The next station stands elsewhere: a durable row waits for the relay, which reports once it is taken."""

    def __init__(self, target: str, ids: Ids) -> None:
        self._target = target
        self._ids = ids

    async def pass_on(self, item: T, *, act: Act, facts: DeliveryFacts, at: datetime) -> Commit:
        """Prepare the row; the commit rings for the relay."""
        is_document = isinstance(item, Document)
        handover = Handover(
            id=self._ids.uuid(),
            target=self._target,
            kind="document" if is_document else "envelope",
            message_identifier=item.message_identifier,
            item=item.to_json() if isinstance(item, Document) else "{}",
            act=act,
            facts=facts_to_json(facts),
            media_type=item.media_type if isinstance(item, Document) else "application/xml",
            stored=item.stored,
        )

        async def work(tx: Transaction) -> None:
            await insert_handover(tx, handover, at=at)

        return Commit(work, frozenset({Bell.RELAY}))


def owed_document(document: Document, *, id_: str, target: str, act: Act) -> Handover:
    """The hand-over of a message as it stands, without an envelope; `act` is what its confirmation reports."""
    return Handover(
        id=id_,
        target=target,
        kind="document",
        message_identifier=document.message_identifier,
        item=document.to_json(),
        act=act,
        facts=facts_to_json(document.delivery_facts()),
        media_type=document.media_type,
        stored=document.stored,
    )


def is_backend(target: str) -> bool:
    """Whether a hand-over goes to one of the organisation's own systems."""
    return target == BACKEND or target.startswith(f"{BACKEND}:")


async def insert_handover(
    tx: Transaction,
    handover: Handover,
    *,
    at: datetime,
    set_aside: str | None = None,
    due_at: int | None = None,
) -> None:
    """Store a hand-over that is due at once, or one that nobody is brought, for the problem `set_aside`.

    `due_at` is another time to be due at, in microseconds since the epoch.
    """
    stored = handover.stored
    await tx.execute(
        "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload,"
        " payload_bytes, payload_sha256, state, problem, next_at, created_at)"
        " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)",
        handover.id, handover.target, handover.kind, handover.message_identifier,
        tx.sealed("item", handover.id, handover.item), handover.act, tx.sealed("facts", handover.id, handover.facts),
        handover.media_type, stored.payload, stored.payload_bytes, stored.payload_sha256,
        "waiting" if set_aside is None else "set-aside", set_aside, to_microseconds(at) if due_at is None else due_at,
        to_microseconds(at),
    )  # fmt: skip
