"""The catalogue of assertions: what a conformant access point must do, in our words, as data.

One TOML file per published list stands in `assertions/`, one table per assertion. A case proves an assertion
and is registered under its id (`accesspoint.conformance.case`); an assertion that cannot be tested says why.

Spec: the test assertions of the eDelivery AS4 conformance service (TAD 1.2) and of SMP (TAD 1.07).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final


class Level(StrEnum):
    """How much an assertion obliges."""

    MANDATORY = "mandatory"
    PREFERRED = "preferred"
    PERMITTED = "permitted"
    NOT_TESTABLE = "not testable"


class Role(StrEnum):
    """Which side of an exchange an assertion is about."""

    SENDER = "sender"
    RECEIVER = "receiver"
    PUBLISHER = "publisher"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One assertion; `text` in our words, `why` for a partner who asks what it matters, `untestable` where no test can show it."""

    id: str
    group: str
    level: Level
    role: Role
    text: str
    section: str
    why: str
    untestable: str = ""


OBLIGING: Final = frozenset({Level.MANDATORY, Level.PREFERRED})


def is_obliging(assertion: Assertion) -> bool:
    """Whether an access point that does not hold it is not conformant: mandatory or preferred."""
    return assertion.level in OBLIGING


@cache
def catalogue() -> Mapping[str, Assertion]:
    """Every assertion by id, in the order of the published lists."""
    found: dict[str, Assertion] = {}
    for file in sorted(
        files(__package__).joinpath("assertions").iterdir(), key=lambda file: file.name
    ):
        if not file.name.endswith(".toml"):
            continue
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        group = content.pop("group")
        for id_, fields in content.items():
            if id_ in found:
                raise ValueError(f"assertion {id_} stands in the catalogue twice")
            found[id_] = Assertion(
                id=id_,
                group=group,
                level=Level(fields.pop("level")),
                role=Role(fields.pop("role")),
                **fields,
            )
    return found
