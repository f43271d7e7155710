# ruff: noqa: INP001
"""What a lock holds, entry by entry."""

import re
from collections.abc import Iterator

_ENTRY = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def locked(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Name, version and the SHA-256 of every file that may be installed, for each entry of a lock."""
    for entry in re.split(r"\n(?=\S)", text.strip()):
        found = _ENTRY.match(entry)
        if found is None:
            raise SystemExit(f"not an entry of a lock: {entry.splitlines()[0]}")
        yield found[1], found[2], _HASH.findall(entry)
