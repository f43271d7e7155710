"""How long each search of the status component takes among a million events: p50 and p95, to the bytes of the answer.

    python tests/load/status_search.py [--events N] [--directory D] [--rounds N] [--json]

Invented exchanges of 16 events are stored through the component's own code (only fsync is off while
filling), between some thousands of organisations of which few send most, over a year, reported by few
devices: a fifth of all events is the searching station's own. Then every search is made with many
different values, by that station and once more without a limit on what may be seen; and what pages are
made from is asked. Time counts from the parameters to the bytes of the Bundle, without HTTP. With a
directory the filled store is kept, and used again.

The exit status is 1 when a p95 is above 50 ms.
"""

# ruff: noqa: E402 (the project need not be installed: its root is put on the path first)

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter, thread_time
from typing import Any, Final
from uuid import UUID

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Outcome, Station, SubType
from accesspoint.status_component.access import Seen
from accesspoint.status_component.finding import find
from accesspoint.status_component.queries import (
    Filters,
    Step,
    count_messages,
    count_negative,
    find_journey,
    list_messages,
)
from accesspoint.status_component.search import parse_search
from accesspoint.status_component.store import FILE, EventStore
from accesspoint.store.database import Transaction

LIMIT_MILLISECONDS: Final = 50.0
START: Final = datetime(2025, 11, 1, tzinfo=UTC)
DAYS: Final = 365
SENDERS, RECEIVERS, VENDORS, PATIENTS = 98, 3_000, 5, 20_000
STANDARDS: Final = (
    ("homecareobservation-message", "1.1"),
    ("carecommunication-message", "5.0"),
    ("hospitalnotification-message", "3.0"),
)
COPIES: Final = 16
_BATCH: Final = 400
_STRIDE: Final = 10_000_000
"""How far the numbers of one copy are from those of the next."""
_NUMBER, _ID, _LATER = (
    f"{{0}} + {_STRIDE} * {{k}}",
    "substr({0}, 1, 32) || '{digits}'",
    "{0} + {k} * 5820000000",
)
_COPIED: Final = {
    table: {
        column: made.replace("{0}", column)
        for made, columns in kinds.items()
        for column in columns.split()
    }
    for table, kinds in {
        "events": {
            _NUMBER: "seq",
            _ID: "id message message_envelope transport_envelope orig_message orig_envelope",
            _LATER: "recorded_at",
            "{0}": "received_at outcome device station type subtype standard orig_standard sender receiver patient",
        },
        "resources": {_NUMBER: "seq", "{0}": "body"},
        "messages": {
            _NUMBER: "id",
            _ID: "message orig_message",
            _LATER: "first_at last_at finalized_at undelivered_at refused_at",
            "{0}": "standard version sender receiver patient orig_standard events",
        },
    }.items()
}
"""What a copy of a row has in each column."""
_MINE: Final = "device-0-AP-MSH"

Json = dict[str, Any]


def organisation(number: int) -> tuple[str, str, str]:
    """SOR id, GLN and name of an invented organisation; the first are municipalities."""
    kind = "Kommune" if number < SENDERS else "Lægehus"
    return f"9{number:014}", f"57900{number:08}", f"TEST {kind} {number}"


def exchanges(seed: int = 1) -> Iterator[list[Json]]:
    """Yield the sixteen events of one exchange after another, without end; a hundredth is given up."""
    random = Random(seed)
    while True:
        # Few organisations have most of the traffic.
        sender = int(SENDERS * random.random() ** 3)
        receiver = SENDERS + int(RECEIVERS * random.random() ** 3)
        at = START + timedelta(days=DAYS * random.random())
        yield exchange(random, sender, receiver, at)


def exchange(random: Random, sender: int, receiver: int, at: datetime) -> list[Json]:
    """The events of a message, its two acknowledgements, and the acknowledgement of the second."""
    standard, version = random.choice(STANDARDS)
    sor, gln, name = organisation(sender)
    to_sor, to_gln, to_name = organisation(receiver)

    def new() -> str:
        return str(UUID(int=random.getrandbits(128), version=4))

    message = DeliveryFacts(
        sender_sor=sor, sender_gln=gln, sender_name=name,
        receiver_sor=to_sor, receiver_gln=to_gln, receiver_name=to_name,
        patient_id=f"{61 + random.randrange(20)}{random.randrange(PATIENTS):08}",
        message_identifier=new(), standard=standard, type_version=version,
        message_envelope_identifier=new(), message_envelope_type="Bundle",
        transport_envelope_identifier=new(), transport_envelope_version="1.0",
        statistical_information=f"MCM:{standard}",
    )  # fmt: skip
    back = {
        "sender_sor": to_sor, "sender_gln": to_gln, "sender_name": to_name,
        "receiver_sor": sor, "receiver_gln": gln, "receiver_name": name,
    }  # fmt: skip

    def answer(to: DeliveryFacts, standard: str, **changes: Any) -> DeliveryFacts:
        return replace(
            to, standard=standard, type_version="2.0", message_identifier=new(),
            message_envelope_identifier=new(), transport_envelope_identifier=new(), patient_id=None,
            orig_message_identifier=to.message_identifier, orig_standard=to.standard,
            orig_version=to.type_version, orig_envelope_identifier=to.transport_envelope_identifier,
            **changes,
        )  # fmt: skip

    receipt = answer(message, "ehmisbdh-acknowledgement", **back)
    reply = answer(message, "acknowledgement-message", **back)
    last = answer(
        reply, "ehmisbdh-acknowledgement",
        **{key: getattr(message, key) for key in back},
    )  # fmt: skip
    events: list[Json] = []
    # An access point on both ends would report the same event twice by the rule that tells events apart.
    here, there = sender % VENDORS, VENDORS + receiver % VENDORS

    def tell(facts: DeliveryFacts, station: Station, vendor: int, subtype: SubType, outcome: Outcome = "0") -> None:  # fmt: skip
        moment = at + timedelta(seconds=0.7 * len(events))
        device = f"device-{vendor}-{station}"
        events.append(
            build_audit_event(DeliveryEvent(station, device, subtype, outcome, moment, facts))
        )

    def carry(facts: DeliveryFacts, from_: int, to: int, *, lost: bool = False) -> None:
        tell(facts, Station.EUA, from_, SubType.CREATED_AND_SENT)
        tell(facts, Station.AP_MSH, from_, SubType.RECEIVED)
        tell(facts, Station.AP_MSH, from_, SubType.SENT, "8" if lost else "0")
        if not lost:
            tell(facts, Station.AP_MSH, to, SubType.RECEIVED)
            tell(facts, Station.AP_MSH, to, SubType.SENT)
            tell(facts, Station.EUA, to, SubType.RECEIVED_AND_FINALIZED)

    def acknowledge(facts: DeliveryFacts, from_: int, to: int) -> None:
        tell(facts, Station.AP_MSH, from_, SubType.CREATED_AND_SENT)
        tell(facts, Station.AP_MSH, to, SubType.RECEIVED_AND_FINALIZED)

    lost = random.random() < 0.01
    carry(message, here, there, lost=lost)
    if not lost:
        acknowledge(receipt, there, here)
        carry(reply, there, here)
        acknowledge(last, here, there)
    return events


async def fill(store: EventStore, count: int, console: Console) -> float:
    """Store `count` events, rounded to exchanges and copies; returns the seconds that it took.

    A sixteenth goes through the component. The rest are copies of its rows: other identifiers (their last four
    digits), another time, the same parties and patients, and the same JSON. Indexes are made at the end.
    """
    writer = store.database._writer  # type: ignore[attr-defined]
    # Every event is made anew by the same seed when this breaks off: nothing here is worth an fsync.
    for pragma in ("synchronous = OFF", "foreign_keys = OFF", "cache_size = -400000"):
        writer.execute(f"PRAGMA {pragma}").fetchall()
    begun = perf_counter()
    base = max(1, count // COPIES)
    source = (event for events in exchanges() for event in events)
    with Progress(console=console) as progress:
        bar = progress.add_task("filling", total=count)
        for first in range(0, base, _BATCH):
            batch = list(islice(source, min(_BATCH, base - first)))
            at = START + timedelta(days=DAYS)
            progress.advance(bar, await store.add_all(batch, received_at=at))
        found = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        indexes = writer.execute(found).fetchall()
        for name, _ in indexes:
            writer.execute(f"DROP INDEX {name}")
        for number in range(1, COPIES):
            for table, columns in _COPIED.items():
                chosen = ", ".join(
                    made.format(k=number, digits=f"x{number:03}") for made in columns.values()
                )
                writer.execute(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}"
                    f" WHERE {'seq' if table != 'messages' else 'id'} <= {_STRIDE}"
                )
            progress.advance(bar, base)
        for _, statement in progress.track(indexes, description="indexes"):
            writer.execute(statement)
    return perf_counter() - begun


@dataclass(frozen=True, slots=True)
class Line:
    """One search: milliseconds over all values, and how many events it found in the middle (None: more than counted)."""

    search: str
    p50: float
    p95: float
    worst: float
    cpu95: float
    found: float | None


async def measure(name: str, rounds: int, ask: Callable[[int], Awaitable[int | None]]) -> Line:
    """Ask as often as there are rounds; `ask` returns how much it found."""
    taken, cpu, found = [], [], []
    for number in range(rounds):
        begun, worked = perf_counter(), thread_time()
        count = await ask(number)
        taken.append((perf_counter() - begun) * 1000)
        cpu.append((thread_time() - worked) * 1000)
        found.append(count)
    known = [count for count in found if count is not None]
    return Line(
        name,
        median(taken),
        _p95(taken),
        max(taken),
        _p95(cpu),
        median(known) if len(known) == len(found) else None,
    )


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def searches(sample: list[Json]) -> dict[str, Callable[[int], list[tuple[str, str]]]]:
    """Each search with values of its own for every round, taken from reports that are there."""
    random = Random(2)

    def identifier(number: int, kind: str) -> str:
        for resource in sample[number % len(sample) :] + sample:
            for entity in resource["entity"]:
                if entity["type"]["code"] == kind:
                    return str(entity["what"]["identifier"]["value"])
        raise LookupError(kind)

    def sender(number: int) -> tuple[str, str, str]:
        return organisation(int(SENDERS * Random(number).random() ** 3))

    def receiver(number: int) -> tuple[str, str, str]:
        return organisation(SENDERS + int(RECEIVERS * Random(number).random() ** 3))

    def day(number: int) -> str:
        return (START + timedelta(days=number * 7 % DAYS)).date().isoformat()

    def later(number: int, days: int) -> str:
        return (START + timedelta(days=number * 7 % DAYS + days)).date().isoformat()

    one: dict[str, Callable[[int], list[tuple[str, str]]]] = {
        "message-id": lambda n: [("message-id", identifier(n, "ehmiMessage"))],
        "message-id, 1 character": lambda n: [("message-id", f"{n % 16:x}")],
        "message-id, 3 characters": lambda n: [("message-id", f"{random.randrange(4096):03x}")],
        "message-id, unknown": lambda n: [("message-id", "none")],
        "orig-message-id": lambda n: [("orig-message-id", identifier(n, "ehmiOrigMessage"))],
        "entityIdentifier": lambda n: [
            ("entityIdentifier", identifier(n, "ehmiTransportEnvelope"))
        ],
        "ehmiMessageType": lambda n: [("ehmiMessageType", STANDARDS[n % 3][0])],
        "cpr": lambda n: [("cpr", identifier(n, "ehmiPatient"))],
        "cpr, 2 characters": lambda n: [("cpr", f"{61 + n % 20}")],
        "participant-sor": lambda n: [("participant-sor", sender(n)[0])],
        "sender-sor": lambda n: [("sender-sor", sender(n)[0])],
        "receiver-sor": lambda n: [("receiver-sor", receiver(n)[0])],
        "sender-gln": lambda n: [("sender-gln", sender(n)[1])],
        "receiver-gln": lambda n: [("receiver-gln", receiver(n)[1])],
        "sender-name": lambda n: [("sender-name", sender(n)[2])],
        "receiver-name": lambda n: [("receiver-name", "test lægehus 1")],
        "sender-name:contains": lambda n: [("sender-name:contains", "kommune 1")],
        "senderOrg": lambda n: [("senderOrg", sender(n)[n % 3])],
        "receiverOrg": lambda n: [("receiverOrg", receiver(n)[n % 3])],
        "date (a day)": lambda n: [("date", day(n))],
        "date (ge, le: 90 days)": lambda n: [("date", f"ge{day(n)}"), ("date", f"le{later(n, 90)}")],
        "outcome=8": lambda n: [("outcome", "8")],
        "outcome=0": lambda n: [("outcome", "0")],
        "_id": lambda n: [("_id", sample[n % len(sample)]["id"])],
        "nothing": lambda n: [],
        "ANS1 30 days, newest first": lambda n: [
            ("date", f"ge{day(n)}"), ("date", f"lt{later(n, 30)}"), ("_sort", "-date"),
        ],
        "sender, receiver": lambda n: [("sender-sor", sender(n)[0]), ("receiver-sor", receiver(n)[0])],
        "sender, failed": lambda n: [("sender-sor", sender(n)[0]), ("outcome", "8")],
        "sender, type, week": lambda n: [
            ("sender-gln", sender(n)[1]), ("ehmiMessageType", STANDARDS[n % 3][0]),
            ("date", f"ge{day(n)}"), ("date", f"lt{later(n, 7)}"),
        ],
        "patient, newest first": lambda n: [("cpr", identifier(n, "ehmiPatient")), ("_sort", "-date")],
    }  # fmt: skip
    return one


async def measure_searches(
    store: EventStore, sample: list[Json], rounds: int, seen: Seen | None, only: str
) -> list[Line]:
    """Make every search, each as the service does it: conditions, page, resources, bytes."""
    lines = []
    for name, values in searches(sample).items():
        if only not in name:
            continue

        async def ask(number: int, values: Any = values) -> int | None:
            search = parse_search(values(number))

            async def work(tx: Transaction) -> Any:
                return await find(tx, search, [] if seen is None else [await seen.condition(tx)])

            found = await store.database.read(work)
            resources = await store.of_positions([position for _, position in found.matches])
            orjson.dumps([orjson.Fragment(resources[position][1]) for _, position in found.matches])
            total: int | None = found.total
            return total

        lines.append(await measure(name, rounds, ask))
    return lines


async def measure_queries(store: EventStore, sample: list[Json], rounds: int) -> list[Line]:
    """Ask what pages are made from."""
    month, week = timedelta(days=30), timedelta(days=7)

    def from_(number: int) -> datetime:
        return START + timedelta(days=number * 7 % (DAYS - 30))

    def identifier(number: int) -> str:
        entities = sample[number % len(sample)]["entity"]
        return next(
            str(e["what"]["identifier"]["value"]) for e in entities if e["type"]["code"] == "ehmiMessage"
        )  # fmt: skip

    async def journey(number: int) -> int | None:
        found = await store.database.read(lambda tx: find_journey(tx, identifier(number)))
        return len(found.events) if found else 0

    def listing(**filters: Any) -> Callable[[int], Awaitable[int | None]]:
        async def ask(number: int) -> int | None:
            at = from_(number)
            given = Filters(start=at, end=at + month, **filters)
            return len(await store.database.read(lambda tx: list_messages(tx, given)))

        return ask

    def counting(step: Step, length: timedelta, **filters: Any) -> Callable[[int], Awaitable[int | None]]:  # fmt: skip
        async def ask(number: int) -> int | None:
            given = Filters(start=from_(number), end=from_(number) + length, **filters)
            return sum(
                c.messages for c in await store.database.read(lambda tx: count_messages(tx, given, step))
            )  # fmt: skip

        return ask

    async def negative(number: int) -> int | None:
        given = Filters(start=START, end=START + timedelta(days=DAYS))
        lines = await store.database.read(lambda tx: count_negative(tx, given))
        return sum(line.undelivered for line in lines)

    return [
        await measure("journey of a message", rounds, journey),
        await measure("list, 30 days", rounds, listing()),
        await measure("list, 30 days, one sender", rounds, listing(sender=organisation(3)[0])),
        await measure("list, 30 days, one type", rounds, listing(standard=STANDARDS[0][0])),
        await measure("overview of a week by day", rounds, counting(Step.DAY, week)),
        await measure("overview of 30 days by day", rounds, counting(Step.DAY, month)),
        await measure("negative of a year by month", max(2, rounds // 5), negative),
    ]


def show(title: str, lines: list[Line]) -> Table:
    """The lines as a table."""
    table = Table("search", title=title)
    for column in ("p50 ms", "p95 ms", "worst ms", "p95 CPU ms", "found"):
        table.add_column(column, justify="right")
    for line in lines:
        style = "red" if line.p95 > LIMIT_MILLISECONDS else None
        found = "many" if line.found is None else f"{line.found:,.0f}"
        table.add_row(
            line.search, f"{line.p50:.1f}", f"{line.p95:.1f}", f"{line.worst:.1f}", f"{line.cpu95:.1f}", found, style=style
        )  # fmt: skip
    return table


async def run(arguments: argparse.Namespace, directory: Path, console: Console) -> int:
    """Fill and measure; the exit status."""
    store = await EventStore.open(directory)
    try:
        row = await store.database.fetch_one("SELECT count(*) AS n FROM events")
        there = row["n"] if row else 0
        if there == 0:
            seconds = await fill(store, arguments.events, console)
            console.print(f"{arguments.events:,} events in {seconds:.0f} s")
            await store.close()
            store = await EventStore.open(directory)
        size = (directory / FILE).stat().st_size
        console.print(f"{there or arguments.events:,} events, {size / 2**20:,.0f} MiB")
        last = await store.database.fetch_one(
            "SELECT max(seq) AS n FROM events WHERE seq <= $1", _STRIDE
        )
        random, top = Random(3), last["n"] if last else 1
        wanted = sorted({random.randrange(1, top) for _ in range(2 * arguments.rounds)})
        found = await store.of_positions(wanted)
        sample = [orjson.loads(text) for _, text in found.values()]
        random.shuffle(sample)
        tables = {
            "one station's search": await measure_searches(
                store, sample, arguments.rounds, Seen(device=_MINE), arguments.only
            ),
            "a search of everything": await measure_searches(
                store, sample, arguments.rounds, None, arguments.only
            ),
            "what pages are made from": await measure_queries(store, sample, arguments.rounds),
        }
    finally:
        await store.close()
    if arguments.json:
        print(json.dumps({title: {line.search: [line.p50, line.p95, line.worst, line.cpu95] for line in lines} for title, lines in tables.items()}))  # noqa: T201 # fmt: skip
    else:
        for title, lines in tables.items():
            console.print(show(title, lines))
    slow = [line.search for lines in tables.values() for line in lines if line.p95 > LIMIT_MILLISECONDS]  # fmt: skip
    if slow:
        console.print(f"above {LIMIT_MILLISECONDS:.0f} ms: {', '.join(slow)}", style="red")
    return 1 if slow else 0


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="keep the store here, or use the one there")
    parser.add_argument("--rounds", type=int, default=40, help="values for each search")
    parser.add_argument("--only", default="", help="searches with this in their name")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    console = Console(width=110, stderr=arguments.json)
    made = (
        nullcontext(str(arguments.directory))
        if arguments.directory
        else tempfile.TemporaryDirectory()
    )
    with made as place:
        return asyncio.run(run(arguments, Path(place).absolute(), console))


if __name__ == "__main__":
    sys.exit(main())
