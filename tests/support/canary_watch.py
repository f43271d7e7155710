"""Looks for canaries in everything that a process leaves behind besides its store: log, standard streams, files, answers."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from as4_wire import leaks
from base64_forms import base64_forms

TEXTS = leaks()


def canaries_in(text: str) -> list[str]:
    """The canaries that stand in a text, as they are, in base64 (at any offset), in hex, or escaped in an address."""
    found = []
    for canary in TEXTS:
        octets = canary.encode()
        coded = [form.decode() for form in base64_forms(octets)]
        if any(form in text for form in (canary, octets.hex(), quote(canary), *coded)):
            found.append(canary)
    return found


@dataclass
class Watch:
    """What was seen so far, by where; `directory` is where temporary files are made."""

    directory: Path
    seen: dict[str, str] = field(default_factory=dict)

    def note(self, where: str, text: str | bytes) -> None:
        """Remember a text to be searched, such as an answer."""
        written = text if isinstance(text, str) else text.decode("latin-1")
        self.seen[where] = self.seen.get(where, "") + written

    def found(self) -> dict[str, list[str]]:
        """Where canaries are, and which."""
        texts = dict(self.seen)
        for path in self.directory.rglob("*"):
            texts[f"name of {path.name}"] = str(path)
            if path.is_file():
                texts[f"file {path.name}"] = path.read_bytes().decode("latin-1")
        return {where: canaries for where, text in texts.items() if (canaries := canaries_in(text))}


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
