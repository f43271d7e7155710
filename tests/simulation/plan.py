"""What happens in one run, drawn from its seed before it begins: who sends what when, and what goes wrong.

Everything is virtual seconds. Troubles end at `calm_at`; after that the nodes have all the time they need, so
whatever is still open at the end is a fault of theirs. Most runs have only troubles that a retry must
outlast: there every message has to arrive and be acknowledged. A few have an `upheaval`, after which a message may
also end as reported to its sender.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

GIVE_UP_SECONDS: Final = 600.0
"""How long the nodes of a simulation try; a day in life."""


class Upheaval(StrEnum):
    """What may honestly end a message without an acknowledgement."""

    LONG_OUTAGE = "long-outage"
    CLOCK_JUMPS = "clock-jumps"
    NEW_KEY = "new-key"
    UNLISTED = "unlisted"
    STRANGE_ANSWERS = "strange-answers"


@dataclass(frozen=True, slots=True)
class Submission:
    """One message of C1: from which node, when, with how large an attachment, and how stubborn its sender is."""

    number: int
    sender: str
    receiver: str
    at: float
    attachment: int
    asks_again: bool


@dataclass(frozen=True, slots=True)
class Crash:
    """A life that ends: after so many steps or disk operations from `at` on; the machine is away for `down` seconds."""

    machine: str
    at: float
    steps: int | None
    operations: int | None
    power: bool
    down: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which something does not answer."""

    what: str
    start: float
    end: float
    hangs: bool


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a single exchange meets a trouble, from 0 to 1."""

    refused: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    drip: float = 0.0
    duplicated: float = 0.0
    answer_lost: float = 0.0
    answer_strange: float = 0.0
    directory: float = 0.0
    status: float = 0.0
    backend: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    shuffles: bool
    calm_at: float
    workers: int
    acknowledges: bool
    submissions: tuple[Submission, ...]
    rates: Rates
    outages: tuple[Outage, ...] = ()
    crashes: tuple[Crash, ...] = ()
    upheavals: frozenset[Upheaval] = frozenset()
    clock_jumps: tuple[tuple[str, float, float], ...] = ()
    """Machine, moment, and by how many seconds its wall clock is set then."""
    new_key: tuple[str, float, float] | None = None
    """Machine, when it gets the new key, and when the directory tells of it."""
    notes: dict[str, str] = field(default_factory=dict)


MACHINES: Final = ("municipality", "clinic")


def draw_plan(seed: int) -> Plan:
    """The plan of a seed; the same for ever as long as this function is not changed."""
    random = Random(f"plan {seed}")
    calm_at = random.uniform(20, 240)
    upheavals = frozenset(upheaval for upheaval in Upheaval if random.random() < 0.06)
    if Upheaval.LONG_OUTAGE in upheavals:
        calm_at = GIVE_UP_SECONDS + random.uniform(60, 120)
    return Plan(
        seed=seed,
        shuffles=random.random() < 0.8,
        calm_at=calm_at,
        workers=random.choice([1, 2, 4]),
        acknowledges=random.random() < 0.2,
        submissions=_submissions(random, calm_at),
        rates=_rates(random, upheavals),
        outages=_outages(random, calm_at, upheavals),
        crashes=_crashes(random, calm_at),
        upheavals=upheavals,
        clock_jumps=_clock_jumps(random, calm_at, upheavals),
        new_key=_new_key(random, calm_at) if Upheaval.NEW_KEY in upheavals else None,
    )


def _submissions(random: Random, calm_at: float) -> tuple[Submission, ...]:
    span = random.choice([1.0, 30.0, min(calm_at, 120.0)])
    found = []
    for number in range(random.randint(2, 5)):
        sender = MACHINES[0] if random.random() < 0.7 else MACHINES[1]
        receiver = MACHINES[1] if sender == MACHINES[0] else MACHINES[0]
        found.append(
            Submission(
                number=number,
                sender=sender,
                receiver=receiver,
                at=random.uniform(0, span),
                attachment=random.choice([0, 0, 0, 0, 90_000]),
                asks_again=random.random() < 0.7,
            )
        )
    return tuple(found)


def _rates(random: Random, upheavals: frozenset[Upheaval]) -> Rates:
    def rate() -> float:
        return random.choice([0.0, 0.0, 0.1, 0.3])

    return Rates(
        refused=rate(), lost=rate(), cut=rate(), drip=rate(), duplicated=rate(), answer_lost=rate(),
        answer_strange=random.choice([0.2, 0.5]) if Upheaval.STRANGE_ANSWERS in upheavals else 0.0,
        directory=rate(), status=rate(), backend=rate(),
    )  # fmt: skip


def _outages(random: Random, calm_at: float, upheavals: frozenset[Upheaval]) -> tuple[Outage, ...]:
    found = []
    if Upheaval.LONG_OUTAGE in upheavals:
        what = random.choice(["network", "directory"])
        found.append(Outage(what, random.uniform(0, 20), calm_at, random.random() < 0.3))
    for what in ("network", "directory", "status", "token", "backend"):
        if random.random() < 0.2:
            start = random.uniform(0, calm_at)
            end = min(calm_at, start + random.uniform(1, 120))
            found.append(Outage(what, start, end, random.random() < 0.4))
    return tuple(found)


def _crashes(random: Random, calm_at: float) -> tuple[Crash, ...]:
    found = []
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        at_operation = random.random() < 0.5
        found.append(
            Crash(
                machine=random.choice(MACHINES),
                at=random.choice([0.0, random.uniform(0, min(calm_at, 120.0))]),
                steps=None if at_operation else random.randrange(1, 400),
                operations=random.randrange(1, 250) if at_operation else None,
                power=random.random() < 0.7,
                down=random.choice([0.2, random.uniform(0, 20), random.uniform(0, 90)]),
            )
        )
    return tuple(sorted(found, key=lambda crash: crash.at))


def _clock_jumps(
    random: Random, calm_at: float, upheavals: frozenset[Upheaval]
) -> tuple[tuple[str, float, float], ...]:
    if Upheaval.CLOCK_JUMPS not in upheavals:
        return ()
    return tuple(
        (random.choice(MACHINES), random.uniform(0, min(calm_at, 100.0)), by)
        for by in random.sample([-3600.0, -60.0, 60.0, 3600.0, 30 * 86400.0], 2)
    )


def _new_key(random: Random, calm_at: float) -> tuple[str, float, float]:
    at = random.uniform(0, min(calm_at, 60.0))
    return random.choice(MACHINES), at, max(0.0, at + random.uniform(-20, 60))
