"""Plays the main job once: submit, follow both organisations live, verify, and name the culprit when a step did not hold."""

import asyncio
import contextlib
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient, NodeUnreachable
from accesspoint.backends.folder import MANIFEST
from accesspoint.clock import Clock
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Organisation
from accesspoint.demo.stage import Node, Stage
from accesspoint.demo.timeline import Moment, Timeline, in_order, take_together
from accesspoint.demo.verification import Copy, Exchange, expected_events, verify
from accesspoint.problems import PROBLEMS, Occurrence
from envelope import fhir
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation
from keys.certificate import fingerprint
from keys.store import load_certificate_files

Json = dict[str, Any]
EVENTS_WAIT_SECONDS: Final = 8.0
CATCH_UP_SECONDS: Final = 2.0
OUTBOX_LOOKS: Final = 25
LOOK_SECONDS: Final = 0.1
_ENDS: Final = frozenset({"not-sent", "uncertain", "refused", "not-acknowledged"})


@dataclass(frozen=True, slots=True)
class Culprit:
    """What stopped the exchange: a problem of the catalogue, and what was seen of it."""

    slug: str
    detail: str = ""
    given_up: bool = False
    uncertain: bool = False

    @property
    def exit_status(self) -> int:
        """What a command that meets this ends with; never 0."""
        return int(self._occurrence.exit_status)

    def render(self) -> str:
        """The text for a person: what, where, who, why, do."""
        return self._occurrence.render()

    @property
    def _occurrence(self) -> Occurrence:
        return Occurrence.of(
            self.slug, self.detail, given_up=self.given_up, uncertain=self.uncertain
        )


@dataclass(slots=True)
class Followed:
    """What the journals told while the exchange ran."""

    message_identifier: str
    acknowledgement: str | None = None
    fhir_acknowledged: bool = False
    acknowledgement_acknowledged: bool = False
    acknowledgements_due: int = 1
    """How often the message itself is acknowledged: once more for a copy."""
    problem: str | None = None
    detail: str = ""
    given_up: bool = False
    uncertain: bool = False
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Every message of the exchange has reached its end."""
        return (
            self.fhir_acknowledged
            and self.acknowledgement_acknowledged
            and self.acknowledgements_due <= 0
        )

    def take(self, moment: Moment) -> bool:
        """Learn from one moment; answers whether the exchange is over, well or not."""
        entry = moment.entry
        if moment.problem is not None:
            self.problem = moment.problem
            detail = entry["detail"]
            self.detail = str(detail.get("why", "")) if isinstance(detail, dict) else str(detail)
            self.given_up = entry["event"] == "not-sent"
            self.uncertain = entry["event"] == "uncertain"
            self.stopped = f"at the {entry['station']} of {moment.node}"
        if entry["event"] == "created" and entry["standard"] == "acknowledgement-message":
            self.acknowledgement = entry["message_identifier"]
        if entry["event"] == "fhir-acknowledged":
            self.fhir_acknowledged = True
        if entry["event"] == "acknowledged" and entry["subject"] == self.acknowledgement:
            self.acknowledgement_acknowledged = True
        if entry["event"] == "acknowledged" and entry["subject"] == self.message_identifier:
            self.acknowledgements_due -= 1
        return self.complete or (entry["event"] in _ENDS and moment.problem is not None)


def sample_message(clock: Clock) -> bytes:
    """A synthetic HomeCareObservation of a national test person, from the municipality to the clinic."""
    facts = SampleFacts(
        bundle_id=str(uuid.uuid4()),
        message_id=str(uuid.uuid4()),
        sender=organization_of(MUNICIPALITY),
        receiver=organization_of(CLINIC),
        at=clock.now(),
        ydernummer=CLINIC.ydernummer or "",
    )
    return fhir.serialize(build_home_care_observation(facts), "json")


def spoil(message: bytes) -> bytes:
    """The same message with one rule broken: a report status that the profile does not allow."""
    bundle = fhir.read_message(message).bundle
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == "DiagnosticReport":
            entry["resource"]["status"] = "corrected"
    return fhir.serialize(bundle, "json")


async def play(
    stage: Stage, message: bytes, out: Timeline, *, apart: bool, seconds: float
) -> Culprit | None:
    """Send the message and verify everything; what stopped it, or None when every step held."""
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            node.plan.name: await stack.enter_async_context(
                NodeClient(NodeAddress.load(node.plan.store))
            )
            for node in stage.nodes
            if node.process.pid is not None
        }
        if stage.register is not None:
            plan = stage.register.plan
            clients[plan.name] = await stack.enter_async_context(
                NodeClient(NodeAddress.load(plan.store))
            )
        sender = clients[stage.of(MUNICIPALITY.key, "EUA").plan.name]
        try:
            accepted = await sender.submit(message, to=CLINIC.address.gln)
        except ApiProblem as refused:
            _show_refusal(refused, out)
            rule = str(refused.body["title"])
            return (
                Culprit(rule, str(refused.body["detail"]))
                if rule in PROBLEMS
                else Culprit("message-invalid", rule)
            )
        followed = Followed(
            accepted["message_identifier"], acknowledgements_due=1 if stage.register is None else 2
        )
        expected = expected_events(apart=apart, shared=stage.register is not None)
        async with _Following(clients, followed, out) as following:
            await following.until_over(seconds)
            if followed.complete:
                followed.problem = None
            else:
                await _until_reported(clients, followed)
            reports = await _reports(stage, followed, expected)
            await following.catch_up()
        out.say()
        return await _verify(stage, clients, message, followed, reports, out, expected=expected)


class _Following:
    """Shows the journals of every node as one timeline for the length of the context, and learns from them."""

    def __init__(self, clients: dict[str, NodeClient], followed: Followed, out: Timeline) -> None:
        self._clients = clients
        self._followed = followed
        self._out = out
        self._queue: asyncio.Queue[Moment] = asyncio.Queue()
        self._shown = dict.fromkeys(clients, 0)
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        feeds = [self._feed(name, client) for name, client in self._clients.items()]
        self._tasks = [asyncio.create_task(task) for task in (*feeds, self._show())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_over(self, seconds: float) -> None:
        """Wait until the exchange is over, well or not, or the time is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def catch_up(self) -> None:
        """Wait until everything is shown that the journals hold by now: steps that no other step waits for."""
        with contextlib.suppress(TimeoutError, NodeUnreachable):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                for name, client in self._clients.items():
                    end = await client.position()
                    while self._shown[name] < end:
                        self._news.clear()
                        await self._news.wait()

    async def _feed(self, name: str, client: NodeClient) -> None:
        with contextlib.suppress(NodeUnreachable):
            async for entry in client.follow():
                await self._queue.put(Moment.of(name, entry))

    async def _show(self) -> None:
        while True:
            for moment in in_order(await take_together(self._queue)):
                self._out.show(moment)
                self._shown[moment.node] = moment.entry["seq"]
                self._news.set()
                # What comes after the end explains nothing about it.
                if not self._over.is_set() and self._followed.take(moment):
                    self._over.set()


async def _until_reported(clients: dict[str, NodeClient], followed: Followed) -> None:
    """Wait until no node has an event of the exchange left to bring: they are owed for a failed exchange, too."""
    identifiers = [one for one in (followed.message_identifier, followed.acknowledgement) if one]
    for _ in range(OUTBOX_LOOKS):
        if not any([await _owes(node, one) for node in clients.values() for one in identifiers]):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _owes(node: NodeClient, identifier: str) -> bool:
    """Whether a node has events of a message left to bring."""
    try:
        told = await node.describe(identifier)
    except (ApiProblem, NodeUnreachable):
        return False
    return any(event["state"] == "waiting" for event in told["events"])


async def _reports(stage: Stage, followed: Followed, expected: int) -> list[Json]:
    """The delivery events of the exchange, once all of them are there or the wait is over."""
    identifiers = [followed.message_identifier]
    if followed.complete:
        with contextlib.suppress(TimeoutError):
            await stage.network.status.wait_for(identifiers, expected, seconds=EVENTS_WAIT_SECONDS)
    return [report.resource for report in await stage.network.status.of_exchange(identifiers)]


async def _verify(
    stage: Stage,
    clients: dict[str, NodeClient],
    message: bytes,
    followed: Followed,
    reports: list[Json],
    out: Timeline,
    *,
    expected: int,
) -> Culprit | None:
    identifiers = [one for one in (followed.message_identifier, followed.acknowledgement) if one]
    sender = await _gather(stage, clients, MUNICIPALITY, identifiers)
    receiver = await _gather(stage, clients, CLINIC, identifiers)
    plan = stage.of(CLINIC.key, "AP").plan
    exchange = Exchange(
        message_identifier=followed.message_identifier,
        sent=message,
        received=_delivered(stage.of(CLINIC.key, "EUA"), followed.message_identifier),
        answered=_delivered(stage.of(MUNICIPALITY.key, "EUA"), followed.acknowledgement),
        sender=sender,
        receiver=receiver,
        reports=reports,
        expected_events=expected,
        copy=await _copy(stage, followed.message_identifier),
        acknowledgement=followed.acknowledgement,
        signer=fingerprint(load_certificate_files([plan.signing_certificate])[0]),
        stopped=followed.stopped,
        signer_published=plan.signing_certificate == plan.published_certificate,
    )
    failed: str | None = None
    for check in verify(exchange):
        out.tick(check.text, held=check.held or (False if check.failed else None))
        if check.failed:
            failed = failed or check.problem
    if failed is None:
        return None
    if followed.problem is not None:
        return Culprit(followed.problem, followed.detail, followed.given_up, followed.uncertain)
    return _event_culprit(sender, receiver) or Culprit(failed)


async def _copy(stage: Stage, message_identifier: str) -> Copy | None:
    """What the document register has of the message, where there is one."""
    if stage.register is None:
        return None
    found = await stage.register.documents.documents(message_identifier)
    gln = stage.register.plan.organisation.address.gln
    return Copy(f"0088:{gln}", tuple((one.sha256, one.fault) for one in found))


async def _gather(
    stage: Stage, clients: dict[str, NodeClient], organisation: Organisation, identifiers: list[str]
) -> Json:
    """What all nodes of an organisation know of these messages, put together."""
    found: Json = {}
    for node in stage.nodes:
        if node.plan.organisation is not organisation or node.plan.name not in clients:
            continue
        for identifier in identifiers:
            with contextlib.suppress(ApiProblem, NodeUnreachable):
                told = await clients[node.plan.name].describe(identifier)
                known = found.setdefault(
                    identifier, {"documents": [], "envelopes": [], "exchanges": [], "events": []}
                )
                for part in known:
                    known[part] += told[part]
    return found


def _event_culprit(*organisations: Json) -> Culprit | None:
    """Why delivery events are still waiting or were set aside, if any are."""
    return next(
        (
            Culprit(event["problem"], event["detail"] or "")
            for organisation in organisations
            for told in organisation.values()
            for event in told["events"]
            if event["problem"]
        ),
        None,
    )


def _delivered(node: Node, message_identifier: str | None) -> bytes | None:
    """What the folder backend of a node got under this identifier."""
    if message_identifier is None:
        return None
    found = [
        path
        for path in node.plan.inbox.glob(f"{message_identifier}.*")
        if not path.name.endswith(MANIFEST)
    ]
    return found[0].read_bytes() if len(found) == 1 else None


def _show_refusal(refused: ApiProblem, out: Timeline) -> None:
    out.tick(f"EUA  refused before sending: {refused.body['title']}", held=False)
    for finding in refused.body.get("findings", []):
        out.say(f"         {finding['rule']} at {finding['path']}: {finding['text']}")


def organization_of(organisation: Organisation) -> fhir.Organization:
    """The organisation as a message names it."""
    address = organisation.address
    return fhir.Organization(gln=address.gln, sor=address.sor, name=address.name)
