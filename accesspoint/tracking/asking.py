"""What a reader may ask for: the fields of a search, what a session may see, and the messages found with their findings.

Everything that a query of the store needs is made here, so that no page can forget whom it is for.

Spec: EHMI delivery status 1.0.2, access rules and search.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from markupsafe import Markup
from multidict import MultiMapping

from accesspoint.clock import Clock, from_microseconds, to_microseconds
from accesspoint.status_component import queries
from accesspoint.status_component.access import Seen
from accesspoint.status_component.queries import Filters, Step, Whereabouts
from accesspoint.status_component.resource import identifier
from accesspoint.status_component.store import EventStore
from accesspoint.tracking import charts, permissions, words
from accesspoint.tracking.culprit import PATIENCE, Case, Finding, find_culprit
from accesspoint.tracking.journey import LAST_PLACE, Exchange, Kind, build_exchange
from accesspoint.tracking.overview import midnight
from accesspoint.tracking.report import Party, Report, read_report
from accesspoint.tracking.sessions import Role, Session
from accesspoint.tracking.sign_in import read_cpr
from accesspoint.tracking.texts import Texts

PAGE: Final = 50
MOST_EXPORTED: Final = 5_000
_EXPORT_PAGE: Final = queries.MAXIMUM_LISTED
_EARLIEST: Final = date(2000, 1, 1)
_LATEST: Final = date(2199, 12, 31)
_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields of a search as the address has them; what cannot be read is left out."""

    identifier: str = ""
    organisation: str = ""
    role: str = ""
    type: str = ""
    state: Whereabouts | None = None
    start: date | None = None
    end: date | None = None
    unit: Step = Step.DAY
    after: tuple[datetime, int] | None = None

    @property
    def names_a_patient(self) -> bool:
        """Whether a patient number was typed where its address would show it."""
        return any(read_cpr(text) for text in (self.identifier, self.organisation))

    def query(self, **changes: object) -> dict[str, str]:
        """The fields as an address has them, some of them changed; empty ones are left out."""
        fields: dict[str, object] = {
            "id": self.identifier,
            "organisation": self.organisation,
            "role": self.role,
            "type": self.type,
            "state": self.state,
            "from": self.start,
            "until": self.end,
            **changes,
        }
        return {name: str(value) for name, value in fields.items() if value}


def read_asked(query: MultiMapping[str]) -> Asked:
    """Read the fields; a value that is none is as if it were not there."""
    state, unit, role = (query.get(name, "") for name in ("state", "by", "role"))
    return Asked(
        identifier=query.get("id", "").strip()[:200],
        organisation=query.get("organisation", "").strip()[:200],
        role=role if role in ("sender", "receiver") else "",
        type=query.get("type", "").strip()[:100],
        state=Whereabouts(state) if state in list(Whereabouts) else None,
        start=_day(query.get("from", "")),
        end=_day(query.get("until", "")),
        unit=Step(unit) if unit in list(Step) else Step.DAY,
        after=_position(query.get("after", "")),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One message with what is the matter."""

    exchange: Exchange
    finding: Finding
    patient: str | None
    position: str = ""

    def __repr__(self) -> str:
        return f"Found({self.exchange.message!r}, {self.finding.case!r})"

    @property
    def took(self) -> timedelta:
        """From the first report until it was accepted, else to the last report."""
        is_accepted = self.finding.case is Case.COMPLETE
        return (self.finding.since if is_accepted else self.exchange.latest) - self.exchange.started

    @property
    def received(self) -> datetime | None:
        """When the receiver's system had the message, as far as anything tells."""
        message = self.exchange.current(Kind.MESSAGE)
        answer = self.exchange.current(Kind.ANSWER)
        ended = None if message is None else message.ended
        return ended or (None if answer is None else answer.started)

    def track(self) -> Markup:
        """The six places as dots."""
        seen = {
            place
            for leg in self.exchange.of(Kind.MESSAGE)
            for visit in leg.visits
            for place in range(visit.first, visit.last + 1)
        }
        is_wrong = self.finding.kind is Kind.MESSAGE and self.finding.needs_a_person
        return charts.track(
            [place in seen for place in range(LAST_PLACE + 1)],
            self.finding.place if is_wrong else None,
        )

    def sentence(self, now: datetime, texts: Texts) -> str:
        """The culprit in one sentence."""
        return words.sentence(self.exchange, self.finding, now, texts)


class Reader:
    """One session's eyes on the store."""

    def __init__(self, store: EventStore, session: Session, clock: Clock) -> None:
        self._store, self._session = store, session
        self.now = clock.now()
        self.is_citizen = session.role is Role.CITIZEN

    async def search(
        self, asked: Asked, *, patient: str | None = None, limit: int = PAGE
    ) -> list[Found]:
        """The newest messages that fit, at most `limit`, with all their reports."""
        filters, seen = await self.filters(asked, patient=patient, limit=limit)
        if asked.identifier:
            identifiers = await self._by_identifier(asked.identifier)
            found = [await self.message(one) for one in identifiers]
            return [one for one in found if one is not None]
        messages = await self._page(filters, seen)
        positions = {m.identifier: f"{to_microseconds(m.first_at)}-{m.position}" for m in messages}
        return await self._found(positions)

    async def export(
        self, asked: Asked, *, patient: str | None = None
    ) -> Sequence[tuple[queries.Message, Whereabouts]]:
        """The newest messages that fit, without their reports, newest first."""
        rows: list[tuple[queries.Message, Whereabouts]] = []
        for place in Whereabouts if asked.state is None else [asked.state]:
            after, taken = None, 0
            while taken < MOST_EXPORTED:
                filters, seen = await self.filters(
                    asked, patient=patient, limit=_EXPORT_PAGE, place=place, after=after
                )
                page = await self._page(filters, seen)
                rows += [(message, place) for message in page]
                taken += len(page)
                if len(page) < _EXPORT_PAGE:
                    break
                after = (page[-1].first_at, page[-1].position)
        return sorted(rows, key=lambda row: row[0].first_at, reverse=True)[:MOST_EXPORTED]

    async def _page(self, filters: Filters, seen: Seen | None) -> list[queries.Message]:
        return await self._store.database.read(
            lambda tx: queries.list_messages(tx, filters, seen=seen)
        )

    async def _root(self, identifier: str) -> str | None:
        return await self._store.database.read(lambda tx: queries.find_root(tx, identifier))

    async def message(self, identifier: str) -> Found | None:
        """The exchange that a message belongs to; None when there is none or it is not to be seen."""
        root = await self._root(identifier)
        found = [] if root is None else await self._found({root: ""})
        return found[0] if found and await self._may_see(found[0]) else None

    async def hours(self, asked: Asked, *, patient: str | None = None) -> list[queries.HourCount]:
        """Count by hour, type and where they are."""
        filters, seen = await self.filters(asked, patient=patient, limit=1)
        return await self._store.database.read(
            lambda tx: queries.count_whereabouts(tx, filters, seen=seen)
        )

    async def answers(self, since: datetime) -> list[queries.AnswerCount]:
        """Count acknowledgements by hour, standard and verdict."""
        _, seen = await self.filters(Asked(), limit=1)
        return await self._store.database.read(
            lambda tx: queries.count_answers(tx, Filters(start=since), seen=seen)
        )

    async def parties(self) -> list[Party]:
        """Organisations to choose from; only support is told of all."""
        if not self._session.sees_all:
            return []
        found = await self._store.database.read(queries.list_organisations)
        return [Party(one.sor, one.glns[0] if one.glns else "", one.name) for one in found]

    async def types(self) -> list[str]:
        """Every type of message that is no acknowledgement."""
        known = await self._store.database.read(queries.list_standards)
        return [one for one in known if "acknowledgement" not in one]

    async def relatives(self) -> list[str]:
        """The patients who let this citizen look."""
        return await permissions.given_to(self._store.database, self._session.cpr or "")

    async def filters(
        self,
        asked: Asked,
        *,
        limit: int,
        patient: str | None = None,
        place: Whereabouts | None = None,
        after: tuple[datetime, int] | None = None,
    ) -> tuple[Filters, Seen | None]:
        """What to ask the store, and what may be seen of it.

        An organisation's own side is its role in the search; the field names the other side then.
        """
        own = self._session.gln
        sender = receiver = party = None
        if own and asked.role:
            sender, receiver = own, asked.organisation or None
            if asked.role == "receiver":
                sender, receiver = receiver, sender
        elif asked.organisation and asked.role:
            sender = asked.organisation if asked.role == "sender" else None
            receiver = asked.organisation if asked.role == "receiver" else None
        else:
            party = asked.organisation or None
        filters = Filters(
            start=None if asked.start is None else midnight(asked.start),
            end=None if asked.end is None else midnight(asked.end + _ONE_DAY),
            standard=asked.type or None,
            whereabouts=place or asked.state,
            silent_since=self.now - PATIENCE,
            sender=sender,
            receiver=receiver,
            party=party,
            patient=patient,
            after=after or asked.after,
            limit=limit,
        )
        return filters, await self._seen(patient)

    async def _seen(self, patient: str | None) -> Seen | None:
        match self._session.role:
            case Role.SUPPORT:
                return None
            case Role.ORGANISATION:
                return self._own
            case Role.CITIZEN:
                own = self._session.cpr or ""
                is_permitted = patient is not None and patient in await self.relatives()
                return Seen(patient=patient if is_permitted else own)

    @property
    def _own(self) -> Seen:
        return Seen(gln=self._session.gln or "")

    async def _may_see(self, found: Found) -> bool:
        match self._session.role:
            case Role.SUPPORT:
                return True
            case Role.ORGANISATION:
                message = found.exchange.message
                return await self._store.database.read(
                    lambda tx: queries.is_seen(tx, message, self._own)
                )
            case Role.CITIZEN:
                patients = [self._session.cpr, *await self.relatives()]
                return found.patient is not None and found.patient in patients

    async def _by_identifier(self, text: str) -> list[str]:
        messages = await self._store.database.read(
            lambda tx: queries.find_messages_by_envelope(tx, text)
        )
        roots = [await self._root(one) for one in messages]
        return list(dict.fromkeys(root for root in roots if root))

    async def _found(self, positions: dict[str, str]) -> list[Found]:
        """The exchanges of these messages, in their order."""
        stored = await self._store.of_exchange(list(positions))
        parents: dict[str, str | None] = {}
        patients: dict[str, str] = {}
        reports: list[Report] = []
        for one in stored:
            report = read_report(one.resource, received_at=one.received_at)
            if report is None:
                continue
            reports.append(report)
            parents.setdefault(report.message, report.answers)
            if number := identifier(one.resource, "ehmiPatient"):
                patients[report.message] = number
        by_root: dict[str, list[Report]] = {}
        for report in reports:
            by_root.setdefault(_climb(report.message, parents, positions), []).append(report)
        found = []
        for root, position in positions.items():
            exchange = build_exchange(by_root.get(root, ()))
            if exchange is not None:
                finding = find_culprit(exchange, self.now)
                found.append(Found(exchange, finding, patients.get(exchange.message), position))
        return found


def _climb(message: str, parents: dict[str, str | None], roots: Iterable[str]) -> str:
    """The one of these messages that a message answers, over as many answers as it takes."""
    passed: set[str] = set()
    while message not in roots and message not in passed:
        passed.add(message)
        message = parents.get(message) or message
    return message


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if _EARLIEST <= day <= _LATEST else None


def _position(text: str) -> tuple[datetime, int] | None:
    microseconds, _, number = text.partition("-")
    try:
        at, position = from_microseconds(int(microseconds)), int(number)
    except (ValueError, OverflowError):
        return None
    # A greater one the store could not even compare.
    return (at, position) if abs(position) < 1 << 63 else None
