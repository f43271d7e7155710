"""TOML text: where each key stands, so that a problem can be shown at its place, and writing it.

Reading is `tomllib`'s; it does not tell lines. `locate` goes through the text once more with just enough
of the grammar to find table headers and keys, and never decides what a value is.

Spec: TOML 1.0.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Location = tuple[str | int, ...]

_KEY_PART: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED: Final = rf"{_KEY_PART}(?:\s*\.\s*{_KEY_PART})*"
_HEADER: Final = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT: Final = re.compile(rf"(\s*)({_DOTTED})\s*=\s*")
_PART: Final = re.compile(_KEY_PART)
_INLINE_KEY: Final = re.compile(rf"[{{,]\s*({_KEY_PART})\s*=")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED: Final = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*')


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands: its line, the column and width of the key, the column of the value; from 1."""

    line: int
    column: int
    width: int
    value_column: int
    text: str


def locate(text: str) -> dict[Location, Place]:
    """Return the place of each table header and each key, by its path; arrays of tables count from 0.

    Keys of inline tables are found when they stand on the line where the table begins.
    """
    places: dict[Location, Place] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    # Not splitlines: TOML knows two line ends, and a text may hold the others.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    number = 0
    while number < len(lines):
        line = lines[number]
        header = _HEADER.match(line)
        assignment = None if header else _ASSIGNMENT.match(line)
        if header:
            parts = _parts(header[2])
            parent: Location = ()
            for part in parts[:-1]:
                parent = (*parent, part)
                if parent in counts:
                    parent = (*parent, counts[parent])
            table = (*parent, parts[-1])
            place = Place(
                number + 1, header.start(2) + 1, len(header[2]), header.start(2) + 1, line
            )
            places.setdefault(table, place)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
                places[table] = place
        elif assignment:
            value = assignment.end()
            path: Location = (*table, *_parts(assignment[2]))
            places[path] = Place(
                number + 1, assignment.start(2) + 1, len(assignment[2]), value + 1, line
            )
            if line[value : value + 1] == "{":
                for found in _INLINE_KEY.finditer(line, value):
                    name = _parts(found[1])[0]
                    places[(*path, name)] = Place(
                        number + 1, found.start(1) + 1, len(found[1]), found.end() + 1, line
                    )
            number += _lines_of_value(lines, number, value) - 1
        number += 1
    return places


def write_toml(document: Mapping[str, object]) -> str:
    """Write a document of strings, whole numbers, truth values, lists and tables as TOML.

    A dict among the values becomes a table, a list of dicts an array of tables; a dict inside a list of
    other things is written inline. None is left out.

    Raises: TypeError for any other kind of value.
    """
    lines: list[str] = []
    _write_table((), document, lines)
    return "\n".join(lines).strip("\n") + "\n"


def _write_table(path: tuple[str, ...], table: Mapping[str, object], lines: list[str]) -> None:
    later: list[tuple[str, object]] = []
    for key, value in table.items():
        if value is None:
            continue
        if isinstance(value, Mapping) or _is_array_of_tables(value):
            later.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in later:
        here = (*path, key)
        name = ".".join(_key(part) for part in here)
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]"]
            _write_table(here, value, lines)
        elif isinstance(value, (list, tuple)):
            for element in value:
                lines += ["", f"[[{name}]]"]
                _write_table(here, element, lines)


def _is_array_of_tables(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, Mapping) for item in value)
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but TOML also wants DEL escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(
            f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None
        )
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"{type(value).__name__} is not written as TOML")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _parts(dotted: str) -> tuple[str, ...]:
    parts: list[str] = []
    for part in _PART.findall(dotted):
        if part.startswith('"'):
            parts.append(str(json.loads(part)))
        else:
            parts.append(part.strip("'"))
    return tuple(parts)


def _lines_of_value(lines: list[str], first: int, column: int) -> int:
    """Return over how many lines the value that begins here goes: brackets and triple quotes."""
    depth = 0
    fence = ""
    for count, line in enumerate(lines[first:], start=1):
        rest = line[column:] if count == 1 else line
        while True:
            if fence:
                end = rest.find(fence)
                if end < 0:
                    break
                rest, fence = rest[end + 3 :], ""
            quoted = _QUOTED.search(rest)
            plain = rest if quoted is None else rest[: quoted.start()]
            depth += plain.count("[") + plain.count("{") - plain.count("]") - plain.count("}")
            if quoted is None:
                break
            rest = rest[quoted.end() :]
            if quoted[0] in {'"""', "'''"}:
                fence = quoted[0]
        if depth <= 0 and not fence:
            return count
    return len(lines) - first
