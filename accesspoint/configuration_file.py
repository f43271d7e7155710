"""Reading the configuration file, and telling every problem in it at its place.

A problem names the file and line, shows the line with a mark under the key or the value, and says what
is wrong and what was probably meant. Values of keys that sound secret are never repeated.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from accesspoint.config import (
    ENVIRONMENT_PREFIX,
    Configuration,
    ConfigurationProblem,
    Finding,
    model_at,
)
from accesspoint.config_values import KeyItself
from accesspoint.toml import Location, Place, locate
from keys.errors import KeysError
from keys.store import find_open, load_certificate_files

_SECRET: Final = re.compile(
    r"secret|password|passwd|token(?!_endpoint)|private|credential", re.IGNORECASE
)
_USERINFO: Final = re.compile(r"(?<=://)([^:@/?#]*):.+@", re.DOTALL)
_NAMED: Final = re.compile(
    r"(?<=[?&;])([^=&;]*(?:password|secret|token|signature)[^=&;]*=)[^&;\"']+", re.IGNORECASE
)
_SYNTAX: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
MASKED: Final = "…"
DEFAULT: Final = "default"


def validated(path: Path, environment: Mapping[str, str] | None = None) -> Configuration:
    """Read, override and check the configuration; see `accesspoint.config.load`.

    Raises: ConfigurationProblem.
    """
    variables = os.environ if environment is None else environment
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationProblem(
            (Finding(path.name, f"cannot be read: {error.strerror}"),)
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationProblem((Finding(path.name, "is not UTF-8"),)) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationProblem((_syntax(path, text, str(error)),)) from error
    reporter = _Reporter(path, locate(text))
    reporter.refuse_inline_secrets(document)
    reporter.override(document, variables)
    try:
        configuration = Configuration.model_validate(
            document, context={"base": path.absolute().parent}
        )
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            reporter.report(details)
    if reporter.findings:
        raise ConfigurationProblem(tuple(reporter.sorted_findings()))
    return configuration


def check_certificates(path: Path, configuration: Configuration) -> None:
    """Read the certificate file of every partner; what cannot be used is told at its line.

    Apart from `validated`, since a command that only asks a running node needs no files of partners.

    Raises: ConfigurationProblem.
    """
    reporter, _ = _reporter(path, os.environ)
    for name, partner in configuration.partners.items():
        if partner.certificate is None:
            continue
        try:
            load_certificate_files([partner.certificate])
        except KeysError as error:
            reporter.find(("partners", name, "certificate"), error.detail)
    if reporter.findings:
        raise ConfigurationProblem(tuple(reporter.sorted_findings()))


def check_key_files(path: Path, configuration: Configuration) -> None:
    """See that the key directories that are there are closed to others; the node would refuse to start.

    Raises: ConfigurationProblem, at the line that names the directory, with what to type.
    """
    reporter, _ = _reporter(path, os.environ)
    directories: list[tuple[Location, Path | None]] = [
        (("keys", "directory"), configuration.keys.directory)
    ]
    if configuration.organisation is not None:
        directories.append((("organisation", "keys"), configuration.organisation.keys))
    for number, one in enumerate(configuration.organisations):
        directories.append((("organisations", number, "keys"), one.keys))
    for place, directory in directories:
        for told in find_open(directory) if directory is not None else ():
            reporter.find(place, told)
    if reporter.findings:
        raise ConfigurationProblem(tuple(reporter.sorted_findings()))


def find_origin(path: Path, environment: Mapping[str, str]) -> Callable[[Location], str]:
    """How a value of a file that has no problems came about: its line, its variable, or `DEFAULT`."""
    reporter, document = _reporter(path, environment)

    def origin(location: Location) -> str:
        ways = [location[:end] for end in range(len(location), 0, -1)]
        if variable := next((reporter.variables[w] for w in ways if w in reporter.variables), None):
            return f"environment {variable}"
        value: Any = document
        for part in location:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return DEFAULT
        # A value in a list of several lines stands at the key of the list.
        place = next((reporter.places[way] for way in ways if way in reporter.places), None)
        return f"{path}:{place.line}" if place else str(path)

    return origin


def is_secret(location: Location) -> bool:
    """Whether the key sounds as if its value were secret."""
    return bool(_SECRET.search(str(location[-1])))


def without_password(text: str) -> str:
    """The text, where an address in it has a password without that; rather too much goes than too little.

    A password may itself hold what ends it by the rules, so everything up to the last @ goes.
    """
    return _NAMED.sub(rf"\1{MASKED}", _USERINFO.sub(rf"\1:{MASKED}@", text))


def _reporter(path: Path, environment: Mapping[str, str]) -> tuple["_Reporter", dict[str, Any]]:
    """One for a file that was read without problems before, and its document with the variables put in."""
    text = path.read_text(encoding="utf-8")
    document = tomllib.loads(text)
    reporter = _Reporter(path, locate(text))
    reporter.override(document, environment)
    return reporter, document


class _Reporter:
    """Collects problems and knows where each key of the file came from."""

    def __init__(self, path: Path, places: Mapping[Location, Place]) -> None:
        self._path = path
        self.places = places
        self.variables: dict[Location, str] = {}
        self.findings: list[tuple[int, Finding]] = []

    def sorted_findings(self) -> Iterator[Finding]:
        """Return the problems in the order of the file, those of the environment last."""
        return (finding for _, finding in sorted(self.findings, key=lambda entry: entry[0]))

    def refuse_inline_secrets(self, document: Mapping[str, Any]) -> None:
        """Find a database password in the file itself."""
        store = document.get("store")
        database = store.get("database") if isinstance(store, Mapping) else None
        if not isinstance(database, str):
            return
        if without_password(database) != database:
            text = "has a password; keep it in the PostgreSQL password file or in ACCESSPOINT__STORE__DATABASE"
            self.find(("store", "database"), text, secret=True)

    def override(self, document: dict[str, Any], variables: Mapping[str, str]) -> None:
        """Put the values of `ACCESSPOINT__…` variables into the document."""
        for name in sorted(variables):
            if not name.startswith(ENVIRONMENT_PREFIX):
                continue
            parts = name.removeprefix(ENVIRONMENT_PREFIX).split("__")
            table: Any = document
            location: list[str | int] = []
            for position, part in enumerate(parts):
                if not isinstance(table, dict):
                    break
                key = next(
                    (known for known in table if known.lower() == part.lower()), part.lower()
                )
                location.append(key)
                if position == len(parts) - 1:
                    table[key] = _environment_value(variables[name])
                else:
                    table = table.setdefault(key, {})
            self.variables[tuple(location)] = name

    def report(self, details: ErrorDetails) -> None:
        """Turn one error of pydantic into a problem at its place."""
        location = _without_branches(details["loc"])
        kind = details["type"]
        key = str(location[-1]) if location else ""
        if kind == "extra_forbidden":
            model = model_at(location[:-1])
            known = list(model.model_fields) if model else []
            why_not = model.not_taken.get(key) if model else None
            text = why_not or f"unknown key.{_did_you_mean(key, known)}"
            self.find(location, text, mark_key=True)
        elif kind == "missing":
            self.find(location[:-1], f'needs the key "{key}"', mark_key=True)
        elif kind in {"literal_error", "enum"}:
            self.find(location, f"must be {details.get('ctx', {}).get('expected', 'another word')}")
        elif kind in {"value_error", "assertion_error"}:
            error = details.get("ctx", {}).get("error", details["msg"])
            self.find(location, str(error), secret=isinstance(error, KeyItself))
        elif kind == "string_pattern_mismatch":
            self.find(location, f"has another form: {details.get('ctx', {}).get('pattern', '')}")
        else:
            message = details["msg"]
            self.find(location, message[:1].lower() + message[1:])

    def find(
        self, location: Location, text: str, *, mark_key: bool = False, secret: bool = False
    ) -> None:
        """Note a problem at its place in the file, or at the variable that gave the value."""
        variable = self.variables.get(location)
        if variable is not None:
            self.findings.append((1 << 30, Finding(f"environment {variable}", text)))
            return
        place: Place | None = None
        known = location
        while place is None and known:
            place = self.places.get(known) or self._first_below(known)
            known = known if place else known[:-1]
        if place is None:
            name = ".".join(str(part) for part in location)
            text = f"[{name}] {text}" if name else text
            self.findings.append((0, Finding(self._path.name, text)))
            return
        missing = ".".join(str(part) for part in location[len(known) :])
        text = f"{missing}: {text}" if missing else text
        self.findings.append(
            (place.line, self._shown(place, known, text, mark_key=mark_key, secret=secret))
        )

    def _first_below(self, location: Location) -> Place | None:
        """Where a table begins that only its own tables name, as `[a.b]` begins `a`."""
        below = (place for at, place in self.places.items() if at[: len(location)] == location)
        return min(below, key=lambda place: place.line, default=None)

    def _shown(
        self, place: Place, known: Location, text: str, *, mark_key: bool, secret: bool
    ) -> Finding:
        source = without_password(place.text.rstrip())
        is_header = source.lstrip().startswith("[")
        table = "" if is_header else _header(known[:-1])
        if secret or (not is_header and _SECRET.search(str(known[-1]))):
            source = f"{source[: place.value_column - 1]}{MASKED}"
        cut = len(source) - len(source.lstrip())
        shown = f"{table} {source.lstrip()}" if table else source.lstrip()
        shift = len(shown) - len(source.lstrip()) - cut
        if mark_key or is_header:
            column, width = place.column - 1, place.width
        else:
            column, width = place.value_column - 1, _width_of_value(source, place.value_column - 1)
        return Finding(f"{self._path.name}:{place.line}", text, shown, column + shift, width)


def _syntax(path: Path, text: str, message: str) -> Finding:
    match = _SYNTAX.fullmatch(message)
    if match is None or match[2] is None:
        return Finding(path.name, message)
    line = int(match[2])
    source = text.split("\n")[line - 1 : line] or [""]
    if _SECRET.search(source[0]):
        return Finding(f"{path.name}:{line}", match[1])
    return Finding(
        f"{path.name}:{line}", match[1], without_password(source[0].rstrip()), int(match[3]) - 1, 1
    )


def _environment_value(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _without_branches(location: tuple[int | str, ...]) -> Location:
    """Drop what pydantic adds to a path to tell the branches of a union and the keys of a mapping."""
    return tuple(part for part in location if isinstance(part, int) or "[" not in part)


def _did_you_mean(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f' Did you mean "{near[0]}"?'
    return f" Known here: {', '.join(known)}." if known else ""


def _header(location: Location) -> str:
    name = ".".join(str(part) for part in location if isinstance(part, str))
    return f"[{name}]" if name else ""


def _width_of_value(source: str, start: int) -> int:
    rest = source[start:]
    if rest[:1] in {'"', "'"}:
        end = rest.find(rest[0], 1)
        return end + 1 if end > 0 else len(rest)
    match = re.match(r"[^,#\s}\]]+", rest)
    return len(match[0]) if match else 1
