"""For each crash point, the exchange in which it is reached: who fails, at which hit, and what brings a circumstance about."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import acts
from scene import RECEIVER, SENDER

from accesspoint.failpoints import POINTS


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a point is reached: `victim` fails at it, `when` tells which hit, `act` plays what is no place in the code,
    `fresh` begins with empty stores,
    `apart` fails in a process beside the node, where the act itself sees that it was hit."""

    victim: str
    when: str = ""
    large: bool = False
    stores: tuple[str, ...] = ("sqlite", "postgresql")
    act: acts.Act | None = None
    fresh: bool = False
    apart: bool = False


WITHOUT: Mapping[str, str] = MappingProxyType(
    {
        "S17": "needs a second node over the same store; tests/accesspoint/store/test_leases.py has it",
        "S18": "needs a partner that sends receipts by themselves; tests/accesspoint/outbound has it",
        "D7": "the backends here are folders; played by tests/e2e/test_backends_killed.py",
        "D8": "the backends here are folders; played by tests/e2e/test_backends_killed.py",
    }
)
"""Points that cannot be played, and why."""

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        **{name: Scenario(SENDER) for name in ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8")},
        "S9": Scenario(SENDER, when="@2", large=True),
        **{name: Scenario(SENDER) for name in ("S10", "S11", "S12", "S13", "S14", "S15", "S16")},
        "S19": Scenario(RECEIVER, act=acts.purging("S19")),
        "S20": Scenario(RECEIVER, act=acts.purging("S20")),
        "R16": Scenario(RECEIVER, act=acts.sweeping),
        **{f"R{number}": Scenario(RECEIVER) for number in range(1, 12)},
        "R12": Scenario(RECEIVER, when="@R11"),
        "R13": Scenario(RECEIVER),
        **{f"D{number}": Scenario(RECEIVER) for number in range(1, 7)},
        **{f"O{number}": Scenario(SENDER) for number in range(1, 5)},
        "O5": Scenario(SENDER, when="@O4"),
        "R14": Scenario(RECEIVER, act=acts.half_an_answer),
        "R15": Scenario(RECEIVER, act=acts.answered),
        "O6": Scenario(SENDER, act=acts.poison),
        "O7": Scenario(SENDER, act=acts.three_days),
        "O8": Scenario(SENDER, act=acts.many_at_once),
        "M1": Scenario(RECEIVER, act=acts.migration, fresh=True),
        "M2": Scenario(RECEIVER, act=acts.checkpoint, stores=("sqlite",)),
        "M3": Scenario(RECEIVER, act=acts.backup, stores=("sqlite",), apart=True),
        "M4": Scenario(RECEIVER, act=acts.new_keys),
        "M5": Scenario(SENDER, act=acts.new_configuration),
        "M6": Scenario(RECEIVER, act=acts.log_rotation),
        "M7": Scenario(SENDER, act=acts.stopping),
        "M8": Scenario(RECEIVER, act=acts.out_of_memory),
    }
)


def unplayed() -> set[str]:
    """The points that have neither a scenario nor a reason."""
    return set(POINTS) - set(SCENARIOS) - set(WITHOUT)
