"""Looks for canaries in everything that a process leaves behind besides its store: log, standard streams, files, answers."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from as4_wire import leaks
from writings import forms_of, found_in

_FORMS: Final = forms_of(*leaks())


def canaries_in(octets: bytes) -> list[str]:
    """The canaries that stand there, in any writing."""
    return sorted({canary for canary, _ in found_in(octets, _FORMS)})


@dataclass
class Watch:
    """What was seen so far, by where; `directory` is where temporary files are made."""

    directory: Path
    seen: dict[str, bytes] = field(default_factory=dict)

    def note(self, where: str, text: str | bytes) -> None:
        """Remember a text to be searched, such as an answer."""
        octets = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        self.seen[where] = self.seen.get(where, b"") + octets

    def found(self) -> dict[str, list[str]]:
        """Where canaries are, and which."""
        looked = dict(self.seen)
        for path in self.directory.rglob("*"):
            looked[f"name of {path.name}"] = bytes(path)
            if path.is_file():
                looked[f"file {path.name}"] = path.read_bytes()
        return {where: found for where, octets in looked.items() if (found := canaries_in(octets))}


@contextmanager
def every_logger_talks() -> Iterator[None]:
    """Force every logger there is to its most talkative level, as a configuration could; afterwards as before."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    before = [(one, one.level, one.disabled, one.propagate) for one in [logging.root, *loggers]]
    for one, *_ in before:
        one.setLevel(1)
        one.disabled, one.propagate = False, True
    try:
        yield
    finally:
        for one, level, disabled, propagate in before:
            one.level, one.disabled, one.propagate = level, disabled, propagate
            one.manager._clear_cache()
