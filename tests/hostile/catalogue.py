"""The whole catalogue of attacks: its groups, all cases of them, and the tests that play them.

A group is the letters before the number of an id. The files of `cases` are read by name of the package, so a group
may stand in any of them.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile import cases
from tests.hostile.cases import Case

TESTS: Final = Path(__file__).parents[1]
_MARKS: Final = ("mark." + "attack(", "attack_rows import")
_POSITIVE: Final = "mark." + "positive"


@dataclass(frozen=True, slots=True)
class Group:
    """One family of attacks, with the number of cases that it has."""

    title: str
    size: int


GROUPS: Final = {
    "XSW": Group("XML signature wrapping", 23),
    "COV": Group("Coverage of the signature", 13),
    "ATT": Group("Attachments", 17),
    "RPL": Group("Replay and duplicates", 12),
    "TIM": Group("Timestamps and clock", 7),
    "ALG": Group("Algorithms", 18),
    "KEY": Group("KeyInfo and certificates", 20),
    "PTY": Group("Parties and addressing", 8),
    "ENC": Group("Encryption", 13),
    "XML": Group("XML parsing", 18),
    "C14": Group("Canonicalisation and structure bombs", 8),
    "MIM": Group("MIME", 16),
    "HTP": Group("HTTP", 18),
    "ZIP": Group("Compression", 7),
    "RCP": Group("Signals that our sender receives", 14),
    "DSC": Group("Discovery and outbound fetches", 14),
    "FIL": Group("Identifiers, files and headers", 8),
    "LOG": Group("Logs and personal data", 8),
    "ADM": Group("Administration", 12),
    "SEC": Group("Secrets and files at rest", 8),
    "SUP": Group("Supply chain", 8),
    "SID": Group("Side channels", 6),
}


def all_cases() -> list[Case]:
    """Every case of every file of `cases`, in the order of groups and numbers; ids may still be doubled."""
    found = [
        case
        for module in pkgutil.iter_modules(cases.__path__)
        for case in importlib.import_module(f"{cases.__name__}.{module.name}").CASES
    ]
    order = list(GROUPS)
    return sorted(found, key=lambda case: (order.index(group_of(case.id)), case.id))


def group_of(identifier: str) -> str:
    """The letters before the number; an id of no group raises `ValueError`."""
    group, _, number = identifier.partition("-")
    if group not in GROUPS or not (len(number) == 2 and number.isdecimal()):
        raise ValueError(f"{identifier} is the id of no group")
    return group


def ids_of(group: str) -> set[str]:
    """All ids that a group must have."""
    return {f"{group}-{number:02}" for number in range(1, GROUPS[group].size + 1)}


def marked_files() -> list[Path]:
    """Every file of tests in which a mark, or a row that carries one, claims a case."""
    return _files_with(*_MARKS)


def positive_files() -> list[Path]:
    """Every file of tests with genuine messages that must be welcome."""
    return _files_with(_POSITIVE)


def _files_with(*texts: str) -> list[Path]:
    return [
        file
        for file in sorted(TESTS.rglob("test_*.py"))
        if any(text in file.read_text("utf-8") for text in texts)
    ]
