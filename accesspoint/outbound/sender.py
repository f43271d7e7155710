"""The sending side of an access point: from an accepted envelope to a verified receipt, or an honest end.

Theory. Every message that is owed is a row, and the row says what is next; this worker only takes due
rows and moves them along the table of `envelope.sending`. Nothing waits in memory, so a restart loses
nothing and resumes everything.

One drive of a row: look the receiver up (ACCEPTED to RESOLVED), build and store the signed image
(READY), say that an attempt begins (SENDING), all in one commit; then post, judge the answer, and store
the outcome in a second commit. Between the two the world may end: the lease runs out, the row goes to
RETRY_WAIT, and the retry carries the same MessageId and the same signed content, which the receiver
recognises. That is why resending is safe, and why a message whose request may have arrived never ends
as "not delivered" but as UNCERTAIN, from which a late verified receipt still frees it.

A look-up that fails leaves the row where it is, due later; one that can never succeed ends it FAILED.
"""

import asyncio
import contextlib
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from accesspoint.as4.client import As4Client, PostFailed
from accesspoint.clock import Clock, from_microseconds, timestamp, to_microseconds
from accesspoint.discovery.directory import (
    Directory,
    Endpoint,
    LookupFailed,
    LookupProblem,
    RememberingDirectory,
)
from accesspoint.failpoints import failpoint
from accesspoint.generation import mode_towards
from accesspoint.identity import Agreements, Identity
from accesspoint.ids import Ids, random_fraction
from accesspoint.outbound.acknowledging import acknowledge, note
from accesspoint.outbound.answers import Outcome, Verdict, judge
from accesspoint.outbound.lanes import Lanes, lane_to
from accesspoint.outbound.packing import build_request, build_wire
from accesspoint.outbound.picking import Picking
from accesspoint.problems import certificate_problem
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.reporting import Act, Reporter, facts_in
from accesspoint.store.columns import ColumnDamaged, ColumnKeyMissing, fault_of
from accesspoint.store.database import (
    Database,
    Row,
    StorageBusy,
    StorageError,
    StorageFailure,
    StorageInterrupted,
    Transaction,
)
from accesspoint.store.evidence import Wire, find_wire, record_wire
from accesspoint.store.lanes import NEVER, move_lane, overdue_in_lane
from accesspoint.store.leases import Leases
from accesspoint.store.messages import (
    StateMoved,
    advance,
    find_message,
)
from accesspoint.store.payloads import PayloadStore, PayloadUnreadable
from accesspoint.trust import MessageTrust, common_name
from envelope.errors import CertificateRefused
from envelope.pmode import PMode
from envelope.sending import State
from keys.certificate import agrees_only, fingerprint, load_certificate
from keys.errors import KeyUnavailable

_DESTINATION: Final = frozenset(
    {
        "peer-unreachable",
        "peer-timeout",
        "peer-tls",
        "peer-unavailable",
        "smp-refused",
        "lookup-forbidden-network",
    }
)
"""What an attempt meets that any message to this destination would meet; the rest is about the message."""
_OUT_OF_DATE: Final = frozenset({"receipt-signer", "peer-refused", *LookupProblem})
"""After which problems the next attempt asks the directory and not its memory: the partner may have a new certificate.

A look-up that failed is among them, since it may have been such a question.
"""
_FALSE_RECEIPT: Final = frozenset({"receipt-signer", "receipt-digest"})
_OVERDUE: Final = 50
_ENDS: Final = {
    State.REFUSED: "refused",
    State.UNCERTAIN: "uncertain",
    State.EXPIRED: "not-sent",
    State.FAILED: "not-sent",
}
"""How the journal calls an end without a receipt; what may have arrived is not called unsent."""
_log = structlog.get_logger("accesspoint.outbound")


class Sender:
    """Drives outbound messages; at most `concurrency` of them at once, dealt to the destinations by `lanes`."""

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        directory: Directory,
        client: As4Client,
        identity: Identity,
        agreements: Agreements,
        trust: MessageTrust,
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        ids: Ids,
        schedule: RetrySchedule,
        lanes: Lanes,
        concurrency: int,
        leases: Leases,
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._directory = directory
        self._client = client
        self._identity = identity
        self._agreements = agreements
        self._trust = trust
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._ids = ids
        self._schedule = schedule
        self._lanes = lanes
        self._picking = Picking(database=database, lanes=lanes, clock=clock, leases=leases)
        self._concurrency = concurrency
        self._leases = leases
        self._driving: dict[str, str] = {}
        """What is under way, by id, with the lane in which it holds a slot."""

    async def run(self) -> None:
        """Take and drive due messages until cancelled."""
        await self._picking.begin()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._picking.wake()
                free = self._concurrency - len(self._driving)
                taken, idle = (
                    await self._picking.take(free, tuple(self._driving)) if free > 0 else ([], None)
                )
                for row in taken:
                    self._driving[row["id"]] = row["lane"]
                    self._lanes.enter(row["lane"])
                    group.create_task(self._drive_and_free(row))
                if not taken:
                    seconds = None if idle is None else idle.total_seconds()
                    await self._bells.wait(Bell.SENDER, at_most_seconds=seconds)

    def heard(self, partner: str) -> None:
        """Something verified came from this access point: it lives, and what waits for it need not wait longer."""
        if self._lanes.heard(partner):
            self._bells.ring(Bell.SENDER)

    async def _drive_and_free(self, row: Row) -> None:
        try:
            with self._leases.working_on("messages", row["id"]):
                await self._drive(row)
        except StateMoved as moved:
            _log.warning("outbound_fenced", message=row["id"], detail=str(moved))
        except (PayloadUnreadable, ColumnDamaged, ColumnKeyMissing, StorageBusy) as error:
            # A person may restore what is damaged, give the key, make room: until then it waits, and says why.
            _log.error("outbound_payload", message=row["id"], detail=str(error))
            with contextlib.suppress(StateMoved):
                await self._set_aside(row, type(error).__name__, _problem_of(error))
        except StorageInterrupted as lost:
            # Stored or not: the row says, at the latest when its lease runs out.
            _log.warning("outbound_interrupted", message=row["id"], detail=str(lost))
        except StorageFailure:
            raise
        except KeyUnavailable as error:
            # The hardware module comes back, or somebody brings it back: it waits as it does for room.
            _log.error("outbound_key_unavailable", message=row["id"], detail=str(error))
            with contextlib.suppress(StateMoved):
                await self._set_aside(row, error.detail, "key-unavailable")
        except Exception as error:  # noqa: BLE001 - the seam of the worker: one message never stops the others
            _log.error("outbound_internal", message=row["id"], error=type(error).__name__)
            with contextlib.suppress(StateMoved):
                await self._set_aside(row, type(error).__name__)
        finally:
            self._lanes.leave(self._driving.pop(row["id"]), now=self._clock.now())
            self._bells.ring(Bell.SENDER)

    async def _set_aside(self, row: Row, why: str, slug: str = "internal") -> None:
        """Postpone a message that met an error of ours, wherever the attempt had come to."""
        now = await self._database.read(lambda tx: find_message(tx, row["id"]))
        if now is None or now["lease_epoch"] != row["lease_epoch"]:
            return
        if now["lease_owner"] not in (row["lease_owner"], self._leases.owner):
            return
        if now["state"] in (State.SENDING, State.UNCERTAIN):
            await self._conclude(row, Verdict(Outcome.RETRY, slug, why))
        else:
            await self._lookup_failed(now, slug, why, permanent=False)

    async def _drive(self, row: Row) -> None:
        """One attempt with one message; none with one whose row cannot be read to its end, as a receipt would need it."""
        if (fault := fault_of(row)) is not None:
            raise fault
        failpoint("S4")
        try:
            endpoint = await self._find_endpoint(row, afresh=row["problem"] in _OUT_OF_DATE)
            self._trust.validate_recipient(endpoint.certificate)
            certificate = load_certificate(endpoint.certificate)
            partner = common_name(certificate)
            mode = mode_towards(self._mode_to(partner, row), endpoint, certificate)
        except LookupFailed as failed:
            await self._lookup_failed(row, failed.slug, failed.detail, permanent=failed.permanent)
            return
        except CertificateRefused as refused:
            # What discovery names may be replaced or revoked tomorrow: ask again later, never encrypt for it now.
            slug = certificate_problem(refused.reason)
            await self._lookup_failed(row, slug, refused.detail, permanent=False)
            return
        failpoint("S5")
        lane = lane_to(endpoint.url)
        if not await self._change_lane(row, lane, partner):
            return
        wire = await self._prepare(row, endpoint, partner, mode)
        failpoint("S7")
        try:
            request = build_request(row, wire, self._payloads)
            answer = await self._client.post(
                wire.url,
                content_type=request.content_type,
                content_length=request.content_length,
                body=request.body,
            )
        except PostFailed as failed:
            verdict = Verdict(
                Outcome.RETRY, failed.slug, failed.detail, arrival_possible=failed.arrival_possible
            )
        else:
            failpoint("S12")
            check = self._trust.pinned(endpoint.certificate)
            verdict = judge(
                answer,
                message_id=row["message_id"],
                wire=wire,
                mode=mode,
                check=check,
                arrived_before=bool(row["arrival_possible"]),
            )
            failpoint("S13")
        if verdict.problem in _FALSE_RECEIPT:
            _log.error(
                "as4.out.receipt_false", message=row["id"], partner=partner, problem=verdict.problem
            )
        if verdict.undecipherable and await self._is_replaced(row, endpoint, verdict.signer):
            verdict = replace(verdict, outcome=Outcome.RETRY)
        await self._conclude(row, verdict)
        if verdict.problem not in _DESTINATION:
            self._lanes.answered(lane)
        elif self._lanes.failed(lane, now=self._clock.now()):
            await self._give_up_overdue(lane, verdict)

    async def _find_endpoint(self, row: Row, *, afresh: bool) -> Endpoint:
        """Look the receiver up, without the memory of the directory where asked; raises LookupFailed."""
        route = str(row["final_recipient"]), str(row["document_id"]), str(row["process_id"])
        if afresh and isinstance(self._directory, RememberingDirectory):
            return await self._directory.find_afresh(*route)
        return await self._directory.find_endpoint(*route)

    async def _is_replaced(self, row: Row, used: Endpoint, signer: str) -> bool:
        """Whether the receiver has another certificate by now than the one we encrypted for.

        It signs with another one, or the directory names another one already, or cannot say yet.
        """
        certificate = load_certificate(used.certificate)
        if signer and not agrees_only(certificate) and signer != fingerprint(certificate):
            return True
        try:
            found = await self._find_endpoint(row, afresh=True)
        except LookupFailed as failed:
            return not failed.permanent
        return found.certificate != used.certificate

    def _mode_to(self, partner: str, row: Row) -> PMode:
        """The P-Mode agreed for this service and action; raises LookupFailed when there is none."""
        service, action = str(row["process_id"]), str(row["document_id"])
        mode = self._agreements.mode_to(partner, service=service, action=action)
        if mode is None:
            detail = f"{partner}: service {service}, action {action}"
            raise LookupFailed(LookupProblem.PMODE, detail, permanent=False)
        return mode

    async def _change_lane(self, row: Row, lane: str, partner: str) -> bool:
        """Hold a slot where the look-up led; without room there the message waits in that lane, with all of its kind."""
        here = self._driving[row["id"]]
        route = (str(row["final_recipient"]), str(row["document_id"]), str(row["process_id"]))
        self._lanes.learn(route, lane, partner)
        now = self._clock.now()
        if here == lane:
            return True
        if self._lanes.room(lane, now) > 0:
            self._lanes.leave(here, now=now)
            self._lanes.enter(lane)
            self._driving[row["id"]] = lane
            return True

        async def work(tx: Transaction) -> None:
            await move_lane(tx, row, lane)
            await tx.execute(
                "UPDATE messages SET lease_owner = NULL, lease_until = NULL WHERE id = $1 AND lease_owner = $2",
                row["id"], self._leases.owner,
            )  # fmt: skip

        await self._database.run(work)
        return False

    async def _give_up_overdue(self, lane: str, verdict: Verdict) -> None:
        """End what has waited for a dead destination to the end of its time: no slot would bring it further."""
        cause = replace(verdict, outcome=Outcome.RETRY, arrival_possible=False)
        accepted_before = self._clock.now() - self._schedule.give_up_after
        while True:
            rows = await self._database.read(
                lambda tx: overdue_in_lane(
                    tx, lane, accepted_before=accepted_before, limit=_OVERDUE
                )
            )
            rows = [row for row in rows if row["id"] not in self._driving]
            for row in rows:
                path = (
                    [] if row["state"] == State.RETRY_WAIT else [State.RESOLVED, State.RETRY_WAIT]
                )
                with contextlib.suppress(StateMoved):
                    await self._bells.run(
                        self._database,
                        self._ended(row, [*path, self._end_of_retries(row)], cause),
                    )
            if not rows:
                return

    async def _prepare(self, row: Row, endpoint: Endpoint, partner: str, mode: PMode) -> Wire:
        """Have the signed image for this endpoint in the store, and the row in SENDING."""
        # An image is stored with the first attempt, in one commit.
        earlier = (
            await self._database.read(lambda tx: find_wire(tx, row["id"]))
            if row["attempt"]
            else None
        )
        if earlier is not None and earlier.certificate == endpoint.certificate:
            wire = replace(earlier, url=endpoint.url)
        else:
            signed_at = timestamp(self._clock.now()) if earlier is None else earlier.signed_at
            wire = await self._build(row, endpoint, partner, mode, signed_at)
            failpoint("S6")
        fresh = wire != earlier

        async def work(tx: Transaction) -> None:
            now = self._clock.now()
            lane = self._driving[row["id"]]
            if lane != row["lane"]:
                await move_lane(tx, row, lane)
            path = {
                State.ACCEPTED: [State.RESOLVED, State.READY, State.SENDING],
                State.RESOLVED: [State.READY, State.SENDING],
                State.READY: [State.SENDING],
                State.RETRY_WAIT: [State.SENDING],
                # A person asked: the same message once more, which stays uncertain until a receipt comes.
                State.UNCERTAIN: [],
            }[State(row["state"])]
            await advance(
                tx, row, [str(s) for s in path], at=now, fenced=True,
                columns={"attempt": int(row["attempt"]) + 1, "party": partner, "lease_owner": self._leases.owner,
                         "lease_until": to_microseconds(now + self._leases.duration)},
            )  # fmt: skip
            if fresh:
                # After the fence: whoever drives the message now may have stored an image of its own.
                await record_wire(tx, row["id"], wire)
                hops = [
                    [str(hop.kind), hop.detail, round(hop.milliseconds, 1)] for hop in endpoint.hops
                ]
                await self._note(
                    tx,
                    row,
                    "looked-up",
                    detail={"url": endpoint.url, "partner": partner, "hops": hops},
                )
            await self._note(
                tx, row, "sending", detail={"attempt": int(row["attempt"]) + 1, "url": endpoint.url}
            )

        await self._bells.run(self._database, Commit(work))
        if earlier is not None and earlier.part not in (None, wire.part):
            await self._payloads.aside(partial(self._payloads.delete, str(earlier.part)))
        return wire

    async def _build(
        self, row: Row, endpoint: Endpoint, partner: str, mode: PMode, signed_at: str
    ) -> Wire:
        build = partial(
            build_wire,
            row,
            mode=mode,
            endpoint=endpoint,
            partner=partner,
            signed_at=signed_at,
            identity=self._identity.acting_for(row["original_sender"]),
            payloads=self._payloads,
            ids=self._ids,
        )
        return await self._payloads.aside(build, int(row["payload_bytes"]))

    async def _lookup_failed(self, row: Row, slug: str, why: str, *, permanent: bool) -> None:
        if row["state"] == State.UNCERTAIN:
            await self._conclude(row, Verdict(Outcome.UNCERTAIN, slug, why))
            return
        now = self._clock.now()
        attempt = int(row["attempt"]) + 1
        due = None if permanent else self._next_at(row, attempt)
        state = State(row["state"])
        end = State.FAILED if state is not State.RETRY_WAIT else self._end_of_retries(row)

        async def work(tx: Transaction) -> None:
            if due is None:
                await advance(
                    tx,
                    row,
                    end,
                    at=now,
                    fenced=True,
                    note=slug,
                    detail=why,
                    columns={"problem": slug, "next_at": NEVER},
                )
                await self._report_failure(tx, row, end)
            else:
                touched = await tx.execute(
                    "UPDATE messages SET attempt = $1, next_at = $2, problem = $3, lease_owner = NULL,"
                    " lease_until = NULL WHERE id = $4 AND state = $5 AND lease_owner IS NOT DISTINCT FROM $6"
                    " AND lease_epoch = $7",
                    attempt, to_microseconds(due), slug, row["id"], row["state"], row["lease_owner"],
                    row["lease_epoch"],
                )  # fmt: skip
                if touched != 1:
                    raise StateMoved(f"message {row['id']} is no longer leased to this worker")
            event = "waiting" if due is not None else _ENDS[end]
            detail = {"why": why, **self._times(row, due)}
            await self._note(tx, row, event, problem=slug, detail=detail)

        await self._bells.run(self._database, Commit(work, frozenset({Bell.OUTBOX, Bell.BACKEND})))

    async def _conclude(self, row: Row, verdict: Verdict) -> None:
        """Store what the attempt came to, fenced by our lease."""
        uncertain = row["state"] == State.UNCERTAIN
        if uncertain and verdict.outcome is not Outcome.ACKNOWLEDGED:
            await self._bells.run(self._database, self._still_uncertain(row, verdict))
            return
        state = State.UNCERTAIN if uncertain else State.SENDING
        sending = {**row, "state": str(state), "lease_owner": self._leases.owner}
        match verdict.outcome:
            case Outcome.ACKNOWLEDGED:
                commit = self._acknowledged(sending, verdict)
            case Outcome.REFUSED:
                commit = self._ended(sending, [State.REFUSED], verdict)
            case Outcome.UNCERTAIN:
                commit = self._ended(sending, [State.UNCERTAIN], verdict)
            case Outcome.RETRY:
                commit = self._again(sending, verdict)
        await self._bells.run(self._database, commit)

    def _acknowledged(self, row: Row, verdict: Verdict) -> Commit:
        receipt = verdict.receipt or b""

        async def work(tx: Transaction) -> None:
            await acknowledge(
                tx,
                row,
                [str(State.ACKNOWLEDGED)],
                receipt=receipt,
                signer=verdict.signer,
                reporter=self._reporter,
                at=self._clock.now(),
            )
            failpoint("S14")

        return Commit(work, frozenset({Bell.OUTBOX, Bell.BACKEND}))

    def _still_uncertain(self, row: Row, verdict: Verdict) -> Commit:
        """Another attempt without a receipt changes nothing about a message that may have arrived."""

        async def work(tx: Transaction) -> None:
            now = await find_message(tx, row["id"])
            if now is None or now["lease_owner"] not in (row["lease_owner"], self._leases.owner):
                raise StateMoved(f"message {row['id']} is no longer leased to this worker")
            columns: dict[str, str | int | None] = {"problem": verdict.problem, "next_at": NEVER}
            await advance(tx, now, [], at=self._clock.now(), fenced=True, columns=columns)
            detail: dict[str, object] = {"why": verdict.detail}
            await self._note(tx, row, "uncertain", problem=verdict.problem, detail=detail)

        return Commit(work)

    def _ended(self, row: Row, path: list[State], verdict: Verdict) -> Commit:
        arrival = 1 if verdict.arrival_possible or row["arrival_possible"] else 0

        async def work(tx: Transaction) -> None:
            await advance(
                tx, row, [str(state) for state in path], at=self._clock.now(), fenced=True,
                note=verdict.problem, detail=verdict.detail,
                columns={"problem": verdict.problem, "arrival_possible": arrival, "next_at": NEVER},
            )  # fmt: skip
            await self._report_failure(tx, row, path[-1])
            event = _ENDS[path[-1]]
            await self._note(
                tx, row, event, problem=verdict.problem, detail={"why": verdict.detail}
            )

        return Commit(work, frozenset({Bell.OUTBOX, Bell.BACKEND}))

    def _again(self, row: Row, verdict: Verdict) -> Commit:
        now = self._clock.now()
        arrival = 1 if verdict.arrival_possible or row["arrival_possible"] else 0
        due = self._next_at(row, int(row["attempt"]) + 1)
        if due is None:
            return self._ended(
                row, [State.RETRY_WAIT, State.UNCERTAIN if arrival else State.EXPIRED], verdict
            )

        async def work(tx: Transaction) -> None:
            await advance(
                tx, row, State.RETRY_WAIT, at=now, fenced=True, note=verdict.problem,
                columns={"problem": verdict.problem, "next_at": to_microseconds(due), "arrival_possible": arrival},
            )  # fmt: skip
            await self._note(
                tx,
                row,
                "waiting",
                problem=verdict.problem,
                detail={"why": verdict.detail, **self._times(row, due)},
            )

        return Commit(work, frozenset({Bell.SENDER}))

    async def _report_failure(self, tx: Transaction, row: Row, end: State) -> None:
        """Report that the message was not sent; an uncertain one is not called failed, it may have arrived.

        Of one whose facts do not open nothing can be reported: its end stands, and `verify` names the row.
        """
        if end is not State.UNCERTAIN and (facts := facts_in(row)) is not None:
            await self._reporter.report(tx, Act.AP_SENT, facts, failed=True)

    def _next_at(self, row: Row, attempt: int) -> datetime | None:
        """When the next attempt falls due, or None when the retries are spent."""
        return self._schedule.next_at(
            attempt=attempt,
            accepted_at=from_microseconds(int(row["created_at"])),
            now=self._clock.now(),
            fraction=random_fraction(self._ids),
        )

    def _times(self, row: Row, due: datetime | None) -> dict[str, object]:
        """Until when a message waits, for the journal: for its next attempt, and at most."""
        if due is None:
            return {}
        last = self._schedule.deadline(from_microseconds(int(row["created_at"])))
        return {"next": due.isoformat(), "until": last.isoformat()}

    def _end_of_retries(self, row: Row) -> State:
        return State.UNCERTAIN if row["arrival_possible"] else State.EXPIRED

    async def _note(
        self,
        tx: Transaction,
        row: Row,
        event: str,
        *,
        detail: dict[str, object],
        problem: str | None = None,
    ) -> None:
        await note(tx, row, event, reporter=self._reporter, detail=detail, problem=problem)


def _problem_of(error: StorageError) -> str:
    if isinstance(error, (ColumnDamaged, ColumnKeyMissing)):
        return error.problem
    return "payload-damaged" if isinstance(error, PayloadUnreadable) else "storage-full"
