"""The command tree: help that helps and is fast, examples that parse, and hints for mistyped words."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import typer

from accesspoint.cli.main import app
from accesspoint.docs import read_page, topics
from accesspoint.problems import ExitStatus

from .conftest import ROOT, Ended

Invoke = Callable[..., Ended]
VERBS = [
    ("demo",),
    ("dev",),
    ("drill",),
    ("run",),
    ("send",),
    ("watch",),
    ("ready",),
    ("nodes",),
    ("ping",),
    ("retention",),
    ("docs",),
    ("explain",),
    ("lookup",),
    ("address", "find"),
    ("messages", "list"),
    ("messages", "show"),
    ("messages", "retry"),
    ("messages", "resend"),
    ("acknowledge",),
    ("validate",),
    ("sample",),
    ("messages", "release"),
    ("messages", "cancel"),
    ("messages", "evidence"),
    ("audit", "export"),
    ("audit", "verify"),
    *(("cert", verb) for verb in ("inspect", "verify", "list", "request", "import", "rotate")),
    ("partner", "list"),
    ("partner", "migrate"),
    ("partner", "show"),
    ("partner", "probe"),
    ("verify",),
    ("network", "serve"),
    ("network", "certify"),
    ("config", "check"),
    ("config", "show"),
    ("db", "backup"),
    ("conformance", "run"),
    ("conformance", "serve"),
    ("conformance", "list"),
    ("conformance", "compare"),
]
HEAVY = ["aiohttp", "apsw", "cryptography", "lxml", "structlog", "orjson", "dns", "rich", "signxml", "ssl"]  # fmt: skip


def examples(text: str) -> Iterator[list[str]]:
    """The command lines under `Examples:`, without what a shell takes away from them."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip() == "Examples:":
            break
    for line in lines:
        if not line.strip():
            return
        words = shlex.split(line.strip().split("   ")[0].split(" < ")[0].split(" > ")[0])
        yield [word for word in words if not word.startswith("ACCESSPOINT__")]


def test_all_verbs_are_known() -> None:
    tree = typer.main.get_command(app)
    names = {
        (name,) if not hasattr(verb, "commands") else (name, inner)
        for name, verb in tree.commands.items()  # type: ignore[attr-defined]
        for inner in getattr(verb, "commands", {"": None})
    }
    assert names == set(VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_shows_examples_that_parse_and_exit_codes(
    invoke: Invoke, verb: tuple[str, ...]
) -> None:
    ended = invoke(*verb, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert f"Usage: accesspoint {' '.join(verb)}" in ended.out
    assert max(len(line) for line in ended.out.splitlines()) <= 100
    shown = list(examples(ended.out))
    assert len(shown) >= 2
    assert any(words[1 : 1 + len(verb)] == list(verb) for words in shown)
    for words in shown:
        assert words[0] == "accesspoint"
        parse(words[1:])
    told = ended.out.split("Exit codes:")[1].split("Options:")[0]
    codes = {int(word) for word in told.replace(",", " ").split() if word.isdigit()}
    assert codes
    assert codes <= {int(status) for status in ExitStatus}


@pytest.mark.parametrize("topic", topics())
def test_every_command_in_a_page_of_the_manual_parses(topic: str) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", read_page(topic), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [line.split(" > ")[0] for line in lines if line.startswith("accesspoint ")]
    assert commands or topic != "tasks"
    for command in commands:
        parse(shlex.split(command, comments=True)[1:])


def parse(words: list[str]) -> None:
    """Let every level of the tree take its words; raises where one is not understood."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_first_line_of_help_fits_the_list_of_commands(
    invoke: Invoke, verb: tuple[str, ...]
) -> None:
    assert "..." not in invoke(*verb[:-1], "--help").out.split("Commands:")[1]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["dmeo"], "demo"),
        (["snd", "x"], "send"),
        (["network", "sevre"], "serve"),
        (["config", "chekc"], "check"),
        (["demo", "--stattions", "apart"], "--stations"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(
    invoke: Invoke, typed: list[str], meant: str
) -> None:
    ended = invoke(*typed)
    assert (ended.status, ended.out) == (2, "")
    assert meant in ended.err.split("Error: ")[1]


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["network"],
        ["config"],
        ["send"],
        ["run"],
        ["demo", "--timeout", "soon"],
        *[
            [*verb, "--timeout", seconds]
            for verb in (["demo"], ["send", "x"], ["ready", "-c", "x"])
            for seconds in ("0", "-1", "nan", "inf")
        ],
    ],
)
def test_what_is_missing_or_wrong_is_usage(invoke: Invoke, typed: list[str]) -> None:
    ended = invoke(*typed)
    assert ended.status == 2
    assert "Usage: accesspoint" in ended.text


def test_version(invoke: Invoke) -> None:
    from accesspoint import __version__

    assert invoke("--version") == Ended(0, f"accesspoint {__version__}\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_an_output_that_lacks_a_letter_gets_a_plain_one(encoding: str) -> None:
    program = (
        "import sys\n"
        "sys.argv = ['accesspoint', 'demo', '--break', 'x→✓']\n"
        "from accesspoint.cli.main import run_tree\n"
        "status = run_tree()\n"
        "print('✓ ✗ – … → · æ ☃')\n"
        "sys.exit(status)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": encoding,
            "PYTHONUTF8": "0",
        },
    )
    assert ended.returncode == 2
    shown = {
        "ascii": "+ x - ... -> | ae ?",
        "latin-1": "+ x - ... -> · æ ?",
        "cp1252": "+ x – … -> · æ ?",
        "utf-8": "✓ ✗ – … → · æ ☃",
    }[encoding]
    assert ended.stdout.decode(encoding).splitlines() == [shown]
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.decode(encoding).startswith("no step is called ")


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [(["--help"], 0.15), (["--version"], 0.3), (["send", "--help"], 0.3), (["dmeo"], 0.3)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_heavy_is_imported_to_help(arguments: list[str], limit: float) -> None:
    """In a new process: neither a library that takes long, nor more than a bounded share of the processor."""
    program = (
        "import sys, resource\n"
        f"sys.argv = ['accesspoint', *{arguments!r}]\n"
        "from accesspoint.cli.main import run_tree\n"
        "run_tree()\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, *loaded, file=sys.stderr)\n"
    )
    seconds = []
    # The least of some: what another program does to this one's caches is not its own.
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        used, *loaded = ended.stderr.splitlines()[-1].split()
        assert loaded == []
        seconds.append(float(used))
    assert min(seconds) < limit
