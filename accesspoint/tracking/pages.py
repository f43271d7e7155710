"""The pages of track and trace: list, one message, overview, negative acknowledgements, a patient, a citizen's own.

Rendered here with templates, drawn here as SVG; no script at all. A patient number comes in by the body of a POST and
stays in the session: an address has a handle of it. What stands in an address may be bookmarked.

Spec: EHMI delivery status 1.0.2, user stories; experience sections 5 and 6.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from aiohttp import hdrs, web
from yarl import URL

from accesspoint.clock import Clock, to_microseconds
from accesspoint.config import Retention
from accesspoint.status_component.queries import Step, Whereabouts
from accesspoint.status_component.store import EventStore
from accesspoint.store.audit import OVER, expire_audit, person_digest, record_audit
from accesspoint.store.database import Transaction
from accesspoint.tracking import charts, overview, permissions, words
from accesspoint.tracking.asking import PAGE, Asked, Found, Reader, read_asked
from accesspoint.tracking.door import LIVE, RELOADED, SESSION, TEXTS, NotForThisRole, see_other
from accesspoint.tracking.entrance import Entrance, read_form
from accesspoint.tracking.export import write_csv
from accesspoint.tracking.journey import Kind
from accesspoint.tracking.overview import begin
from accesspoint.tracking.picture import draw
from accesspoint.tracking.sessions import Role, Session
from accesspoint.tracking.sign_in import read_cpr
from accesspoint.tracking.texts import ZONE, Texts

_STATES: Final = (
    Whereabouts.ANSWERED,
    Whereabouts.DELIVERED,
    Whereabouts.UNDERWAY,
    Whereabouts.STOPPED,
    Whereabouts.REFUSED,
)
_SPANS: Final = {Step.DAY: 13, Step.WEEK: 7 * 7, Step.MONTH: 5 * 31}
"""How many days back an overview goes when nothing is said."""
_MOST_PERIODS: Final = 400
_YEAR: Final = timedelta(days=366)
_AUDIT_KEPT: Final = Retention().audit
_LIVE_SECONDS: Final = 5
_BODY_LIMIT: Final = 16 * 1024
_STATIC: Final = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
_EMPLOYEES: Final = (Role.SUPPORT, Role.ORGANISATION)


class Pages:
    """The web application over one store of reports."""

    def __init__(self, store: EventStore, *, clock: Clock, entrance: Entrance) -> None:
        """People sign in by `entrance`."""
        self._store, self._clock, self._entrance = store, clock, entrance
        self._door = entrance.door

    def application(self) -> web.Application:
        """The routes; without an issuer to be served on loopback, and refusing whatever comes over another interface."""
        application = web.Application(
            client_max_size=_BODY_LIMIT, middlewares=[self._door.middleware]
        )
        get, post = web.get, web.post
        application.add_routes(
            [
                get("/", self._home),
                get("/static/{name}", self._static),
                *self._entrance.routes(),
                get("/messages", self._list),
                get("/messages.csv", self._list_csv),
                get("/messages/{id}", self._message),
                get("/messages/{id}/steps.csv", self._message_csv),
                get("/overview", self._overview),
                get("/overview.csv", self._overview_csv),
                get("/negative", self._negative),
                get("/negative.csv", self._negative_csv),
                get("/patient", self._patient_form),
                post("/patient", self._patient),
                get("/patients/{handle}", self._list),
                get("/patients/{handle}/messages.csv", self._list_csv),
                get("/mine", self._mine),
                get("/mine/{id}", self._my_message),
                get("/permissions", self._permissions),
                post("/permissions", self._give_permission),
                post("/permissions/{number:[0-9]{1,15}}/withdraw", self._withdraw_permission),
            ]
        )
        return application

    async def _home(self, request: web.Request) -> web.StreamResponse:
        is_citizen = request[SESSION].role is Role.CITIZEN
        return see_other("/mine" if is_citizen else "/messages")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        kind = _STATIC.get(request.match_info["name"])
        if kind is None:
            raise web.HTTPNotFound
        source = files("accesspoint.tracking") / "static" / request.match_info["name"]
        return web.Response(body=source.read_bytes(), content_type=kind, charset="utf-8")

    def _reader(self, request: web.Request, *roles: Role) -> tuple[Reader, Session, Texts]:
        """What a page needs; raises NotForThisRole."""
        session = request[SESSION]
        if session.role not in roles:
            raise NotForThisRole
        return Reader(self._store, session, self._clock), session, request[TEXTS]

    # -- messages ---------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.StreamResponse:
        reader, session, text = self._reader(request, *_EMPLOYEES)
        asked, patient = read_asked(request.query), _patient_of(request, session)
        if asked.names_a_patient:
            # It stands in an address already; at least nothing is done with it, and nothing repeats it.
            return see_other("/patient")
        found = await reader.search(asked, patient=patient, limit=PAGE + 1)
        here = URL.build(path=request.path)
        older = None
        if len(found) > PAGE:
            found = found[:PAGE]
            older = str(here.with_query(asked.query(after=found[-1].position)))
        today = reader.now.astimezone(ZONE).date()
        quick = {
            "saved_today": {"from": str(today)},
            "saved_week": {"from": str(today - timedelta(days=6))},
            "saved_month": {"from": str(today - timedelta(days=29))},
            "saved_stopped": {"state": Whereabouts.STOPPED.value},
            "saved_refused": {"state": Whereabouts.REFUSED.value},
        }
        csv = f"{request.path}/messages.csv" if patient else "/messages.csv"
        return self._door.page(
            request,
            "list.html",
            title_path="/patient" if patient else "/messages",
            heading=text("patient.result" if patient else "list.title"),
            rows=[_row(one, reader, text) for one in found],
            search=asked,
            patient=patient is not None,
            parties=await reader.parties(),
            types=await reader.types(),
            states=_STATES,
            here_plain=str(here),
            quick=[(name, str(here.with_query(query))) for name, query in quick.items()],
            older=older,
            export=str(URL.build(path=csv).with_query(asked.query())) if found else None,
        )

    async def _list_csv(self, request: web.Request) -> web.StreamResponse:
        reader, session, text = self._reader(request, *_EMPLOYEES)
        asked = read_asked(request.query)
        rows = await reader.export(asked, patient=_patient_of(request, session))
        head = ("list.when", "message.id", "list.what", "message.sender", "message.receiver")
        return _csv(
            "messages",
            [*map(text, head), text("list.where")],
            [
                (m.first_at.isoformat(), m.identifier, m.standard, m.sender.name, m.receiver.name,
                 text(f"state.{place}"))
                for m, place in rows
            ],
        )  # fmt: skip

    async def _message(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, *_EMPLOYEES)
        found = await self._one(request, reader)
        exchange, finding = found.exchange, found.finding
        is_live = LIVE in request.query
        sentence = found.sentence(reader.now, text)
        here = URL.build(path=request.path)
        again = f"{_LIVE_SECONDS}; url={here.with_query({LIVE: RELOADED})}"
        return self._door.page(
            request,
            "message.html",
            title_path="/messages",
            exchange=exchange,
            finding=finding,
            sentence=sentence,
            todo=words.to_do(exchange, finding, text),
            picture=draw(exchange, finding, reader.now, text, sentence),
            kinds=[kind for kind in Kind if exchange.of(kind)],
            has_patient=found.patient is not None,
            envelopes=[leg.envelope for leg in exchange.of(Kind.MESSAGE) if leg.envelope],
            took=found.took,
            slowest=words.slowest(exchange, finding, reader.now, text),
            remarks=list(words.remark_lines(exchange, text)),
            steps=_steps(found, text),
            refresh=again if is_live else None,
            follow=str(here if is_live else here.with_query({LIVE: "1"})),
            export=f"{request.path}/steps.csv",
        )

    async def _message_csv(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, *_EMPLOYEES)
        found = await self._one(request, reader)
        head = ("at", "leg", "organisation", "station", "device", "step", "outcome")
        return _csv(
            "steps",
            [text(f"message.{name}") for name in head],
            [
                (step["at"].isoformat(), step["kind"], step["owner"], step["station"], step["device"],
                 step["subtype"], "8" if step["failed"] else "0")
                for step in _steps(found, text)
            ],
        )  # fmt: skip

    async def _one(self, request: web.Request, reader: Reader) -> Found:
        found = await reader.message(request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound
        return found

    async def _audit(self, session: Session, action: str, number: str) -> None:
        """Write down who did what about a person, before it is done."""
        at, actor = self._clock.now(), session.person.actor
        person = person_digest(self._store.person_key, number)

        async def work(tx: Transaction) -> None:
            over = await tx.fetch_one(
                f"SELECT MAX(seq) AS seq FROM audit WHERE {OVER}",  # noqa: S608 (a condition of ours)
                to_microseconds(at - _AUDIT_KEPT),
            )
            if over is not None and over["seq"] is not None:
                await expire_audit(tx, up_to=over["seq"], at=at)
            await record_audit(
                tx, at=at, actor=actor, action=action, object="track-and-trace", person=person
            )

        await self._store.database.run(work)

    # -- overviews --------------------------------------------------------------------------------

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, *_EMPLOYEES)
        asked = _with_period(read_asked(request.query), reader)
        if asked.names_a_patient:
            return see_other("/patient")
        counts = await reader.hours(asked)
        periods = _periods(counts, asked, text)
        types = overview.by_type(counts)
        messages = URL.build(path="/messages")
        names = [overview.short_name_of(_day_of(line), asked.unit, text) for line in periods]
        return self._door.page(
            request,
            "overview.html",
            search=asked,
            periods=[
                _line(
                    line,
                    messages.with_query(asked.query(**{"from": line.start, "until": line.end})),
                )
                for line in periods
            ]
            if counts
            else [],
            by_type=[
                _line(line, messages.with_query(asked.query(type=line.name))) for line in types
            ],
            states=_STATES,
            totals=overview.totals(types),
            tiles={s: str(messages.with_query(asked.query(state=s.value))) for s in _STATES},
            chart=charts.columns(
                [(name, line.counts) for name, line in zip(names, periods, strict=True)],
                _STATES,
                text,
            ),
            chart_types=charts.bars(
                [(_type_name(line.name, text), line.counts) for line in types], _STATES, text
            ),
            parties=await reader.parties(),
            types=await reader.types(),
            export=str(
                URL.build(path="/overview.csv").with_query(
                    {**asked.query(), "by": asked.unit.value}
                )
            ),
        )

    async def _overview_csv(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, *_EMPLOYEES)
        asked = _with_period(read_asked(request.query), reader)
        periods = _periods(await reader.hours(asked), asked, text)
        return _csv(
            "overview",
            [text("overview.period"), text("list.from"), text("list.until"),
             *(text(f"state.{state}") for state in _STATES), text("overview.total")],
            [
                (line.name, line.start, line.end, *(line.counts[s] for s in _STATES), line.total)
                for line in periods
            ],
        )  # fmt: skip

    async def _negative(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, *_EMPLOYEES)
        rows = list(overview.negative_lines(await reader.answers(reader.now - _YEAR)))
        months = sorted({row.month for row in rows})
        shares = {(r.month, r.standard): 100 * r.negative / r.answered for r in rows}
        standards = sorted({row.standard for row in rows})
        chart = charts.lines(
            [overview.short_name_of(month, Step.MONTH, text) for month in months],
            {
                _type_name(one, text): [shares.get((month, one), 0.0) for month in months]
                for one in standards
            },
            text,
        )
        return self._door.page(
            request, "negative.html", rows=rows, chart=chart, export="/negative.csv"
        )

    async def _negative_csv(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, *_EMPLOYEES)
        head = ("month", "standard", "answered", "envelope", "fatal", "transient", "negative")
        return _csv(
            "negative",
            [text(f"negative.{name}") for name in head],
            [
                (f"{row.month:%Y-%m}", *(getattr(row, name) for name in head[1:]))
                for row in overview.negative_lines(await reader.answers(reader.now - _YEAR))
            ],
        )

    # -- patients and citizens --------------------------------------------------------------------

    async def _patient_form(self, request: web.Request) -> web.StreamResponse:
        self._reader(request, *_EMPLOYEES)
        return self._door.page(request, "patient.html", wrong="")

    async def _patient(self, request: web.Request) -> web.StreamResponse:
        _, session, text = self._reader(request, *_EMPLOYEES)
        number = read_cpr((await read_form(request)).get("cpr", ""))
        if number is None:
            return self._door.page(request, "patient.html", status=400, wrong=text("patient.wrong"))
        await self._audit(session, "patient.searched", number)
        return see_other(f"/patients/{session.remember(number)}")

    async def _mine(self, request: web.Request) -> web.StreamResponse:
        reader, session, text = self._reader(request, Role.CITIZEN)
        asked = read_asked(request.query)
        relatives = await reader.relatives()
        chosen = request.query.get("of", "")[:9]
        is_other = chosen.isdecimal() and 0 < int(chosen) <= len(relatives)
        patient = relatives[int(chosen) - 1] if is_other else session.cpr
        found = await reader.search(
            Asked(start=asked.start, end=asked.end), patient=patient, limit=4 * PAGE
        )

        def period(one: Found) -> date:
            return begin(one.exchange.started.astimezone(ZONE).date(), asked.unit)

        return self._door.page(
            request,
            "mine.html",
            title=text("mine.title_other" if is_other else "mine.title"),
            search=asked,
            relatives=range(1, len(relatives) + 1),
            of=chosen if is_other else "",
            groups=[
                (
                    overview.name_of(day, asked.unit, text),
                    [_row(one, reader, text) for one in members],
                )
                for day, members in groupby(found, key=period)
            ],
        )

    async def _my_message(self, request: web.Request) -> web.StreamResponse:
        reader, _, text = self._reader(request, Role.CITIZEN)
        found = await self._one(request, reader)
        return self._door.page(
            request,
            "mine_message.html",
            title_path="/mine",
            exchange=found.exchange,
            finding=found.finding,
            plain=words.for_citizen(found.exchange, found.finding, text),
            sent=found.exchange.started,
            received=found.received,
        )

    async def _permissions(self, request: web.Request) -> web.StreamResponse:
        return await self._show_permissions(request)

    async def _show_permissions(
        self, request: web.Request, *, wrong: str = "", done: str = ""
    ) -> web.Response:
        _, session, _ = self._reader(request, Role.CITIZEN)
        given = await permissions.given_by(self._store.database, session.cpr or "")
        return self._door.page(
            request,
            "permissions.html",
            status=400 if wrong else 200,
            title_path="/permissions",
            given=given,
            wrong=wrong,
            done=done,
        )

    async def _give_permission(self, request: web.Request) -> web.StreamResponse:
        _, session, text = self._reader(request, Role.CITIZEN)
        relative = read_cpr((await read_form(request)).get("cpr", ""))
        if relative is None or session.cpr is None or relative == session.cpr:
            return await self._show_permissions(request, wrong=text("permissions.wrong"))
        await permissions.give(self._store.database, session.cpr, relative, at=self._clock.now())
        return await self._show_permissions(request, done=text("permissions.done"))

    async def _withdraw_permission(self, request: web.Request) -> web.StreamResponse:
        _, session, text = self._reader(request, Role.CITIZEN)
        number = int(request.match_info["number"])
        await permissions.withdraw(
            self._store.database, session.cpr or "", number, at=self._clock.now()
        )
        return await self._show_permissions(request, done=text("permissions.ended"))


def _row(found: Found, reader: Reader, text: Texts) -> dict[str, Any]:
    """One line of a list."""
    base = "/mine" if reader.is_citizen else "/messages"
    return {
        "exchange": found.exchange,
        "finding": found.finding,
        "took": found.took,
        "track": found.track(),
        "sentence": found.sentence(reader.now, text),
        "plain": words.for_citizen(found.exchange, found.finding, text),
        "address": f"{base}/{found.exchange.message}",
    }


def _steps(found: Found, text: Texts) -> list[dict[str, Any]]:
    """Every report in the order of its time, with the pause before it."""
    owners = {lane.device: lane.owner.shown for lane in found.exchange.lanes}
    steps: list[dict[str, Any]] = []
    every = [(report, leg) for leg in found.exchange.legs for report in leg.reports]
    before = None
    for report, leg in sorted(every, key=lambda one: one[0].recorded_at):
        pause = "" if before is None else text.duration(report.recorded_at - before)
        before = report.recorded_at
        counted = len(found.exchange.of(leg.kind)) > 1
        steps.append(
            {
                "at": report.recorded_at,
                "clock": text.clock(report.recorded_at),
                "pause": pause,
                "kind": leg.kind.value,
                "attempt": f" {leg.attempt}" if counted else "",
                "owner": owners[report.device],
                "station": report.station.value,
                "device": report.device,
                "subtype": report.subtype.value,
                "failed": report.failed,
            }
        )
    return steps


def _line(line: overview.Line, address: URL) -> dict[str, Any]:
    return {
        "name": line.name,
        "counts": line.counts,
        "total": line.total,
        "arrived": line.arrived,
        "address": str(address),
    }


def _with_period(asked: Asked, reader: Reader) -> Asked:
    """The same search with a period that has a beginning and an end, and not too many columns between."""
    end = asked.end or reader.now.astimezone(ZONE).date()
    start = begin(asked.start or end - timedelta(days=_SPANS[asked.unit]), asked.unit)
    least = end - timedelta(days=_MOST_PERIODS * _SPANS[asked.unit] // _SPANS[Step.DAY])
    return Asked(
        organisation=asked.organisation, role=asked.role, type=asked.type, unit=asked.unit,
        start=max(start, least), end=max(end, start),
    )  # fmt: skip


def _periods(counts: Sequence[Any], asked: Asked, text: Texts) -> list[overview.Line]:
    today = date.max if asked.end is None else asked.end
    return overview.by_period(counts, asked.start or today, today, asked.unit, text)


def _day_of(line: overview.Line) -> date:
    if line.start is None:
        raise LookupError("a period has a first day")
    return line.start


def _type_name(standard: str, text: Texts) -> str:
    key = f"type.{standard}"
    return text(key) if key in text.entries else standard


def _patient_of(request: web.Request, session: Session) -> str | None:
    """The number behind the handle of the address; raises HTTPNotFound for one of another session."""
    handle = request.match_info.get("handle")
    if handle is None:
        return None
    if handle not in session.patients:
        raise web.HTTPNotFound
    return session.patients[handle]


def _csv(name: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> web.Response:
    return web.Response(
        body=write_csv(head, rows),
        content_type="text/csv",
        charset="utf-8",
        headers={hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}.csv"'},
    )
