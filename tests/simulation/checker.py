"""What must be true at the end of a run, whatever happened in it: the promises, held against rows, files and witnesses.

The witnesses are those who never crash: the clients with what they were answered, the backends with what they
took, the status component with what it was told. The histories are read as in Jepsen's work: an operation that ended
ok must have happened, one that failed must not, and of an unknown one both is right.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import orjson

import envelope.receiving
import envelope.sending
from accesspoint.stations.reporting import ACKNOWLEDGEMENT_STANDARD, Act, find_report
from accesspoint.status_component.resource import event_key
from accesspoint.verification import Setting, compare, verify
from envelope.errors import LocalProtocolError
from tests.simulation.plan import Upheaval
from tests.simulation.simulation import Operation, Simulation

NOT_SENT: Final = frozenset({"REFUSED", "EXPIRED", "FAILED", "REJECTED"})
_TABLES: Final = (
    "messages",
    "receipts",
    "duplicates",
    "envelopes",
    "documents",
    "handovers",
    "history",
)
_UNFORCED: Final = frozenset(
    {
        Upheaval.CLOCK_JUMPS,
        Upheaval.NEW_KEY,
        Upheaval.UNLISTED,
        Upheaval.LONG_OUTAGE,
        Upheaval.STRANGE_ANSWERS,
    }
)

Rows = list[dict[str, Any]]


class Store:
    """The rows of one node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tables: dict[str, Rows] = {}

    def rows(self, table: str, **values: Any) -> Rows:
        """The rows of a table whose columns have these values."""
        return [
            row
            for row in self.tables[table]
            if all(row[column] == value for column, value in values.items())
        ]


async def check(simulation: Simulation) -> None:
    """Hold a run that has settled against every promise; each broken one becomes a violation."""
    before = {name: await _read(simulation, name) for name in simulation.machines}
    await simulation.restart()
    after = {name: await _read(simulation, name) for name in simulation.machines}
    check_ = _Check(simulation, after)
    for name in simulation.machines:
        check_.restart_changed_nothing(before[name], after[name])
        check_.history_replays(after[name])
        check_.nothing_is_held(after[name])
        check_.events_are_exact(after[name])
        await check_.files_are_there(after[name])
        await check_.verification_holds(name)
    await check_.comparison_holds()
    check_.events_arrived()
    check_.exchanges_agree()
    check_.backends_saw_each_once()
    check_.ends_were_told()
    for operation in simulation.operations:
        check_.operation(operation)


async def _read(simulation: Simulation, name: str) -> Store:
    store = Store(name)
    life = simulation.machines[name].life
    for table in (*_TABLES, "outbox", "wires", "journal", "refusals"):
        rows: Any = [] if life is None or life.node is None else await life.node.database.fetch(
            f"SELECT * FROM {table} ORDER BY rowid"
        )  # fmt: skip
        store.tables[table] = [dict(row) for row in rows]
    return store


def _without(rows: Rows, columns: set[str]) -> Rows:
    return [{name: row[name] for name in row if name not in columns} for row in rows]


class _Check:
    def __init__(self, simulation: Simulation, stores: dict[str, Store]) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.stores = stores

    def restart_changed_nothing(self, before: Store, after: Store) -> None:
        # A clock set forward ends retention times and makes alerts due, and a start looks after those.
        jumps = Upheaval.CLOCK_JUMPS in self.world.plan.upheavals
        for table in ("receipts", "duplicates", "envelopes") if jumps else _TABLES:
            passing = {"look_at", "alerted_at"} if jumps and table == "envelopes" else set()
            if _without(before.tables[table], passing) != _without(after.tables[table], passing):
                self.world.violate(f"{before.name}: a restart in quiet changed {table}")

    async def verification_holds(self, name: str) -> None:
        """The operator's own tool finds nothing."""
        machine = self.simulation.machines[name]
        if machine.life is None or machine.life.node is None:
            return
        node = machine.life.node
        setting = Setting(
            running=True, party=node.identity.party, agreements=node.agreements, reports=True, together=True,
        )  # fmt: skip
        if Upheaval.CLOCK_JUMPS in self.world.plan.upheavals:
            # An orphan is old all at once, and the sweeper wants to see it twice.
            setting = replace(setting, orphan_grace=timedelta(days=60))
        report = await verify(node.database, node.payloads, setting=setting, clock=machine.clock)
        for result in report.results:
            for finding in result.findings:
                self.world.violate(f"{name}: {result.name} {finding.slug} {dict(finding.ids)}")

    async def comparison_holds(self) -> None:
        """Nor does it when it compares the two stores."""
        lives = [machine.life for machine in self.simulation.machines.values()]
        databases = [
            life.node.database for life in lives if life is not None and life.node is not None
        ]
        if len(databases) == len(lives):
            for sender, receiver in (databases, databases[::-1]):
                for finding in (await compare(sender, receiver)).findings:
                    self.world.violate(f"compared: {finding.slug} {dict(finding.ids)}")

    def history_replays(self, store: Store) -> None:
        advance = {"out": envelope.sending.advance, "in": envelope.receiving.advance}
        states: dict[str, type[Any]] = {
            "out": envelope.sending.State,
            "in": envelope.receiving.State,
        }
        for message in store.tables["messages"]:
            here: Any = None
            kind = states[message["direction"]]
            for line in store.rows("history", message=message["id"]):
                there = kind(line["to_state"])
                if line["from_state"] != here:
                    self.world.violate(f"{store.name}: the history of {message['id']} has a gap")
                try:
                    if here is not None:
                        advance[message["direction"]](here, there)  # type: ignore[operator]
                except LocalProtocolError as error:
                    self.world.violate(f"{store.name}: {error}")
                here = there
            if here != message["state"]:
                self.world.violate(
                    f"{store.name}: {message['id']} is {message['state']}, its history says {here}"
                )

    def nothing_is_held(self, store: Store) -> None:
        for message in store.tables["messages"]:
            if message["lease_owner"] is not None:
                self.world.violate(f"{store.name}: {message['id']} is still leased")
            if message["state"] in ("HELD", "QUARANTINED"):
                self.world.violate(
                    f"{store.name}: {message['id']} is {message['state']}: {message['problem']}"
                )
        for handover in store.tables["handovers"]:
            superseded = (handover["state"], handover["problem"]) == ("set-aside", "superseded")
            if handover["state"] != "done" and not superseded:
                self.world.violate(
                    f"{store.name}: hand-over {handover['id']} is {handover['state']}"
                )
        for event in store.tables["outbox"]:
            if event["state"] != "sent":
                self.world.violate(f"{store.name}: event {event['seq']} is {event['state']}")

    def events_are_exact(self, store: Store) -> None:
        """Every act has its event and every event its act."""
        owed: Counter[tuple[str, str, str]] = Counter()

        def owe(act: Act, row: dict[str, Any]) -> None:
            acknowledgement = row.get("standard") == ACKNOWLEDGEMENT_STANDARD
            report = find_report(act, acknowledgement=acknowledgement, together=True)
            if report is not None:
                owed[str(report.station), str(report.subtype), row["message_identifier"]] += 1

        for document in store.tables["documents"]:
            if document["direction"] == "out":
                owe(Act.EUA_SENT, document)
                owe(Act.MSH_TAKEN, document)
            else:
                owe(Act.MSH_PASSED_UP, document)
                if document["delivered_at"] is not None:
                    owe(Act.EUA_FINALIZED, document)
        for message in store.tables["messages"]:
            been = {line["to_state"] for line in store.rows("history", message=message["id"])}
            if message["direction"] == "out":
                if been & {"ACKNOWLEDGED", *NOT_SENT}:
                    owe(Act.AP_SENT, message)
            else:
                owe(Act.AP_RECEIVED, message)
                if "DELIVERED" in been:
                    owe(Act.ACK_FINALIZED, message)
        told = Counter(
            (row["station"], row["subtype"], row["aggregate"]) for row in store.tables["outbox"]
        )
        for event in sorted((owed - told) | (told - owed)):
            self.world.violate(
                f"{store.name}: event {event} is owed {owed[event]} times, recorded {told[event]} times"
            )

    def events_arrived(self) -> None:
        """The status component has each event once, those of a node about a message in the order of their acts."""
        reports = self.simulation.status.reports
        position = {key: place for place, key in enumerate(reports, start=1)}
        recorded = 0
        for store in self.stores.values():
            last: dict[str, int] = {}
            for row in store.tables["outbox"]:
                recorded += 1
                place = position.get(event_key(orjson.loads(row["body"])))
                if place is None:
                    self.world.violate(f"{store.name}: event {row['seq']} never arrived")
                elif place < last.get(row["aggregate"], 0):
                    self.world.violate(f"{store.name}: event {row['seq']} arrived out of order")
                else:
                    last[row["aggregate"]] = place
        if len(reports) > recorded:
            self.world.violate(f"{len(reports)} events arrived, {recorded} were recorded")

    def exchanges_agree(self) -> None:
        """What one node says of a message that it sent, and the other of having received it, is one story."""
        names = list(self.stores)
        for name, other in (names, reversed(names)):
            sent = self.stores[name].rows("messages", direction="out")
            taken = self.stores[other].rows("messages", direction="in")
            received = {row["message_id"]: row for row in taken}
            if len(received) != len(taken):
                self.world.violate(f"{other}: a MessageId is stored twice")
            for row in sent:
                there = received.pop(row["message_id"], None)
                self._exchange(name, other, row, there)
            for message_id in received:
                self.world.violate(f"{other} has {message_id}, which {name} does not know")

    def _exchange(
        self, name: str, other: str, row: dict[str, Any], there: dict[str, Any] | None
    ) -> None:
        been = {line["to_state"] for line in self.stores[name].rows("history", message=row["id"])}
        if "ACKNOWLEDGED" in been:
            receipts = self.stores[name].rows("receipts", message=row["id"])
            if there is None:
                self.world.violate(f"{name}: {row['id']} is acknowledged, {other} does not have it")
                return
            kept = self.stores[other].rows("receipts", message=there["id"])
            if len(receipts) != 1 or len(kept) != 1 or receipts[0]["body"] != kept[0]["body"]:
                self.world.violate(
                    f"{name}: {row['id']} has another receipt than {other} has stored"
                )
        elif been & NOT_SENT and there is not None:
            self.world.violate(f"{name}: {row['id']} is {row['state']}, but {other} has it")
        if there is not None and there["payload_sha256"] != row["payload_sha256"]:
            self.world.violate(f"{other}: {row['message_id']} has other content than was sent")

    def ends_were_told(self) -> None:
        """Of each message the submitter heard the end that it came to, under one id with one text, and says so."""
        for name, backend in self.simulation.backends.items():
            texts: dict[str, bytes] = {}
            for outcome_id, text in backend.outcomes:
                if texts.setdefault(outcome_id, text) != text:
                    self.world.violate(f"{name}: outcome {outcome_id} was told in two ways")
            told = {(told["exchange"], told["state"]) for told in map(orjson.loads, texts.values())}
            for message in self.stores[name].rows("messages", direction="out"):
                steps = [
                    line["to_state"]
                    for line in self.stores[name].rows("history", message=message["id"])
                ]
                ours = message["standard"] == ACKNOWLEDGEMENT_STANDARD
                if "NOTIFIED" not in steps:
                    if not ours or message["state"] != "UNCERTAIN":
                        self.world.violate(f"{name}: nobody knows of the end of {message['id']}")
                    continue
                end = steps[steps.index("NOTIFIED") - 1]
                if not ours and (message["id"], end) not in told:
                    self.world.violate(f"{name}: {message['id']} was never told to be {end}")

    def backends_saw_each_once(self) -> None:
        """One delivery id per message; the id comes again only where nobody had noted that it was confirmed."""
        for name, backend in self.simulation.backends.items():
            ids: dict[str, str] = {}
            confirmed: dict[str, int] = {}
            for delivery in backend.deliveries:
                if ids.setdefault(delivery.message_identifier, delivery.id) != delivery.id:
                    self.world.violate(
                        f"{name}: {delivery.message_identifier} came under two delivery ids"
                    )
                if confirmed.get(delivery.id) == delivery.life:
                    self.world.violate(
                        f"{name}: delivery {delivery.id} came again after it was confirmed"
                    )
                if delivery.confirmed:
                    confirmed[delivery.id] = delivery.life
            for document in self.stores[name].rows("documents", direction="in"):
                if ids.get(document["message_identifier"]) not in confirmed:
                    self.world.violate(
                        f"{name}: {document['message_identifier']} was never confirmed"
                    )

    async def files_are_there(self, store: Store) -> None:
        """Every row's payload can be read and has the digest that the row says."""
        life = self.simulation.machines[store.name].life
        if life is None or life.node is None:
            return
        for table in ("messages", "documents", "handovers"):
            for row in store.tables[table]:
                if not row["payload"]:
                    continue  # its time was over
                try:
                    with life.node.payloads.open(row["payload"]) as reader:
                        size = 0
                        while octets := reader.read():
                            size += len(octets)
                except Exception as error:  # noqa: BLE001 - any of them is the finding
                    self.world.violate(f"{store.name}: payload of {table} {row['id']}: {error!r}")
                else:
                    if size != row["payload_bytes"]:
                        self.world.violate(
                            f"{store.name}: payload of {table} {row['id']} has {size} octets"
                        )

    def operation(self, operation: Operation) -> None:
        """The promise of the manual: delivered once and acknowledged, or reported; never silently dropped."""
        submission, world = operation.submission, self.world
        here, there = self.stores[submission.sender], self.stores[submission.receiver]
        rows = here.rows("messages", direction="out", message_identifier=operation.identifier)
        documents = here.rows("documents", direction="out", message_identifier=operation.identifier)
        if len(rows) != len(documents) or len(rows) > 1:
            world.violate(
                f"{operation.identifier} has {len(documents)} documents, {len(rows)} messages"
            )
        accepted = bool(rows)
        world.count(f"submit {operation.outcome}")
        if accepted != (operation.outcome == "ok") and operation.outcome != "unknown":
            world.violate(
                f"{operation.identifier} was answered {operation.outcome}, accepted: {accepted}"
            )
        if not accepted:
            return
        been = {line["to_state"] for line in here.rows("history", message=rows[0]["id"])}
        deliveries = [
            one
            for one in self.simulation.backends[submission.receiver].deliveries
            if one.message_identifier == operation.identifier
        ]
        if "ACKNOWLEDGED" in been:
            world.count("acknowledged")
            if not deliveries:
                world.violate(f"{operation.identifier} is acknowledged and was never delivered")
        else:
            world.count(f"ended {rows[0]['state']}")
            if not world.plan.upheavals & _UNFORCED:
                world.violate(
                    f"{operation.identifier} is {rows[0]['state']}: {rows[0]['problem']}, without need"
                )
        digest = hashlib.sha256(operation.data).hexdigest()
        if any(one.sha256 != digest for one in deliveries):
            world.violate(f"{operation.identifier} was delivered with other octets")
        if deliveries and not there.rows(
            "documents", direction="in", message_identifier=operation.identifier
        ):
            world.violate(f"{operation.identifier} was delivered and is not stored")


__all__ = ["check"]
