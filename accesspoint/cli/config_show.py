"""`accesspoint config show`: the values that are in force, each with where it comes from.

One value a line, named by its path in the file, so that a search finds all of it. Nothing is read but the file and the
environment: a node that runs was started with what these said then.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from accesspoint.cli.current import load_given
from accesspoint.configuration_file import DEFAULT, MASKED, find_origin, is_secret, without_password
from accesspoint.problems import ExitStatus
from accesspoint.retry import format_duration, parse_duration
from accesspoint.toml import Location, write_toml

_WIDTH: Final = 64


def run(path: Path, *, given: bool) -> int:
    """Show the file's values, with `given` only those that are no defaults; the exit status.

    Raises `ConfigurationProblem` with all problems of a file that has any.
    """
    configuration = load_given(path)
    origin_of = find_origin(path, os.environ)
    for location, value in _leaves((), configuration):
        origin = origin_of(location)
        if not given or origin != DEFAULT:
            text = f"{_name(location)} = {_shown(location, value)}"
            sys.stdout.write(f"{text:<{_WIDTH}}  # {origin}\n")
    return ExitStatus.OK


def _leaves(location: Location, value: Any) -> Iterator[tuple[Location, Any]]:
    """Every value below a table; what is not set has none."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves((*location, name), getattr(value, name))
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _leaves((*location, _plain(name)), one)
    elif isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        for number, one in enumerate(value):
            yield from _leaves((*location, number), one)
    elif value is not None:
        yield location, value


def _name(location: Location) -> str:
    return "".join(
        f"[{part}]" if isinstance(part, int) else f"{'.' if at else ''}{part}"
        for at, part in enumerate(location)
    )


def _shown(location: Location, value: Any) -> str:
    """A value as the file would have it, with what is secret in it masked."""
    plain = MASKED if is_secret(location) and isinstance(value, str) else _plain(value)
    return write_toml({"value": plain}).removeprefix("value = ").rstrip("\n")


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return _plain(value.value)
        case bool() | int() | float():
            return value
        case str():
            return without_password(value)
        case timedelta():
            return _duration(value)
        case Mapping():
            return {str(name): _plain(one) for name, one in value.items()}
        case frozenset() | set():
            return sorted(str(_plain(one)) for one in value)
        case tuple() | list():
            return [_plain(one) for one in value]
    return str(value)


def _duration(duration: timedelta) -> str:
    """A duration as it may be written in the file, whole also where a person would round it."""
    text = format_duration(duration)
    if duration and text != "0 s" and parse_duration(text) == duration:
        return text
    milliseconds = duration // timedelta(milliseconds=1)
    return f"{milliseconds // 1000} s" if milliseconds % 1000 == 0 else f"{milliseconds} ms"
