"""Whom we connect to is said in the configuration or found in the directory, and by nothing that an answer says.

Every HTTP session is made without proxies from the environment, and every request without redirects: read from the
source, so that it also holds for the next client that somebody writes.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "request"}
OTHER_CLIENTS = {"http.client", "httpx", "requests", "urllib.request", "urllib3"}
MENTIONED = re.compile(r"[sS]ession|http\.client|httpx|requests|urllib")
BEFORE_THE_NODE = {"accesspoint/cli/ready.py"}
"""Asks its own node on this machine whether it is ready, without proxies and with few imports."""


@cache
def sources() -> list[tuple[str, ast.Module]]:
    """The files in which a client is at least mentioned, parsed."""
    files = (
        file
        for package in ("accesspoint", "envelope", "keys")
        for file in (ROOT / package).rglob("*.py")
    )
    texts = ((str(file.relative_to(ROOT)), file.read_text("utf-8")) for file in sorted(files))
    return [(name, ast.parse(text)) for name, text in texts if MENTIONED.search(text)]


def is_false(call: ast.Call, name: str) -> bool:
    given = [one.value for one in call.keywords if one.arg == name]
    return any(isinstance(value, ast.Constant) and value.value is False for value in given)


def is_session(node: ast.expr) -> bool:
    """Whether this is what our code calls a session: `session`, `self._session`, `self._session()`."""
    if isinstance(node, ast.Call):
        node = node.func
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.removeprefix("_").endswith("session")


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        made = call.func
        if not isinstance(made, ast.Attribute):
            continue
        if made.attr == "ClientSession" and not is_false(call, "trust_env"):
            yield call.lineno, "a session that reads proxies from the environment"
        if (
            made.attr in METHODS
            and is_session(made.value)
            and not is_false(call, "allow_redirects")
        ):
            yield call.lineno, "a request that follows redirects"


@pytest.mark.attack("DSC-03", "DSC-06", "DSC-14")
def test_no_client_follows_redirects_or_reads_proxies() -> None:
    found = [f"{file}:{line}: {what}" for file, tree in sources() for line, what in faults(tree)]
    assert found == []


@pytest.mark.attack("DSC-06", "DSC-14")
def test_there_is_one_kind_of_client() -> None:
    found = {
        f"{file}: {name}"
        for file, tree in sources()
        if file not in BEFORE_THE_NODE
        for node in ast.walk(tree)
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name in OTHER_CLIENTS
    }
    assert found == set()


@pytest.mark.parametrize(
    "source",
    [
        "aiohttp.ClientSession()",
        "aiohttp.ClientSession(trust_env=True)",
        "session.get(url)",
        "self._session().post(url, allow_redirects=True)",
    ],
)
def test_the_check_can_go_red(source: str) -> None:
    assert len(list(faults(ast.parse(source)))) == 1
