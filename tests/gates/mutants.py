"""The mutation score of the gates: `python -m tests.gates.mutants [MODULE ...] [--sample N] [--seed N]`.

mutmut changes one thing in a copy of the tree (a comparison, a constant, an argument) and runs the tests that call the
function; a mutant that all of them let pass has survived. Left out are mutants that only change the sentence of an error:
`detail` is for our own log, and a test that repeats the sentence would prove nothing. What is tested is gate and reason.

Left out too are those that `tests/gates/equivalent.py` gives a reason for: they change nothing that can be seen. A reason
for a mutant that there is not, because the code has moved on, is an error.

With `--sample` as many mutants of each module are drawn; without it all are tried, which takes hours.
"""

import argparse
import ast
import difflib
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from envelope import errors
from tests.gates import GATES
from tests.gates.equivalent import EQUIVALENT, Change

ROOT: Final = Path(__file__).parents[2]
TREE: Final = ("accesspoint", "envelope", "keys", "tests", "compose", "pyproject.toml", "README.md")
WANTED_SCORE: Final = 90.0
_TIMED: Final = "cost_anything or stays_constant"
"""What these tests measure, the code between a function and its mutants makes longer; and so are they themselves."""
_CALLED_BY_LXML: Final = re.compile(r"^(class (?:_Bounds|_TailTarget):)$", re.MULTILINE)
"""Targets of a parser, whose methods are called by how many arguments they have; mutmut's stand-ins have others."""
_NUMBERED: Final = re.compile(r"(.*)__mutmut_(\d+)")
_BETWEEN: Final = "\u01c1"
"""Stands between class and method in mutmut's names."""
_RESULT: Final = re.compile(r"^\s*(\S+__mutmut_\d+): (.+)$", re.MULTILINE)
_FOUND: Final = frozenset({"killed", "timeout", "suspicious", "segfault"})
_SENTENCES: Final = frozenset({"where", "what", "detail"})
"""Parameters that only stand in sentences."""
_BLANKED: Final = {name for name in vars(errors) if name[:1].isupper()} | {"cast", "failpoint"}


class _WithoutSentences(ast.NodeTransformer):
    """Blanks what no gate depends on: sentences, the type of a cast, the name of a failpoint, the case of an encoding.

    A sentence is the first argument of an error, and of whatever else makes what is raised.
    """

    def __init__(self, tree: ast.AST) -> None:
        raised = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise))
        calls = (call.func for call in raised if isinstance(call, ast.Call))
        self._sentences = {
            node.name: [at for at, each in enumerate(node.args.args) if each.arg in _SENTENCES]
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
        }
        self._blanked = _BLANKED | {each.id for each in calls if isinstance(each, ast.Name)}

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            self._blank(node.exc)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in self._blanked:
            self._blank(node)
        elif isinstance(node.func, ast.Name):
            for at in self._sentences.get(node.func.id, ()):
                self._blank(node, at)
        elif isinstance(node.func, ast.Attribute) and node.func.attr in {"encode", "decode"}:
            node.args = [
                ast.Constant(each.value.lower())
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
                else each
                for each in node.args
            ]
        node.keywords = [each for each in node.keywords if each.arg not in _SENTENCES]
        return self.generic_visit(node)

    @staticmethod
    def _blank(call: ast.Call, at: int = 0) -> None:
        if len(call.args) > at:
            call.args[at] = ast.Constant("")


def _meaning(function: ast.AST, without: _WithoutSentences) -> str:
    blanked = without.visit(function)
    return ast.dump(ast.Module(blanked.body, []))


def worth_trying(mutated: str) -> dict[str, Change]:
    """What the mutants in a file that mutmut wrote change, by their names; without those that only change a sentence."""
    tree = ast.parse(mutated)
    without = _WithoutSentences(tree)
    functions = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name
    }
    written = {name: ast.unparse(node.body).splitlines() for name, node in functions.items()}
    meant = {name: _meaning(node, without) for name, node in functions.items()}
    found = {}
    for name in functions:
        numbered = _NUMBERED.fullmatch(name)
        original = f"{numbered[1]}__mutmut_orig" if numbered else name
        if numbered and meant[name] != meant[original]:
            function = re.sub("^x_?", "", numbered[1]).strip(_BETWEEN).replace(_BETWEEN, ".")
            found[name] = Change(function, *_difference(written[original], written[name]))
    return found


def _difference(before: list[str], after: list[str]) -> tuple[str, str]:
    lines = list(difflib.ndiff(before, after))
    was, becomes = (
        " ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return was, becomes


def _write_tree(directory: Path, module: str) -> None:
    package = module.partition("/")[0]
    for name in TREE:
        source, target = ROOT / name, directory / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    written = directory / module
    text = written.read_text("utf-8")
    written.write_text(_CALLED_BY_LXML.sub(r"\1  # pragma: no mutate block", text), "utf-8")
    configuration = {
        "source_paths": [package],
        "only_mutate": [module],
        "also_copy": [name for name in TREE if name != package],
        "pytest_add_cli_args_test_selection": list(GATES[module]),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-k", f"not ({_TIMED})"],
        "timeout_constant": 20.0,
    }  # fmt: skip
    with (directory / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{key} = {value!r}\n" for key, value in configuration.items())


def _mutmut(directory: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": "", "HYPOTHESIS_PROFILE": "ci"},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr


class Score(NamedTuple):
    """What became of the mutants of a module."""

    tried: int
    found: int
    equivalent: int

    @property
    def percent(self) -> float:
        """Of those tried; 0 where none was."""
        return 100 * self.found / max(1, self.tried)

    def __str__(self) -> str:
        return f"{self.tried:>6} {self.found:>6} {self.equivalent:>11} {self.percent:>6.1f}%"


def without_equivalent(module: str, changes: Mapping[str, Change]) -> dict[str, Change]:
    """The changes that a test can see.

    Raises: LookupError, where there is a reason for a change that nothing makes.
    """
    reasons = EQUIVALENT.get(module, {})
    for gone in reasons.keys() - set(changes.values()):
        raise LookupError(f"{module}: no mutant is {gone}")
    return {name: change for name, change in changes.items() if change not in reasons}


def _tried(module: str, sample: int | None, seed: int) -> Score:
    """The score of a module; the mutants that survived are shown."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        directory = Path(scratch)
        _write_tree(directory, module)
        _mutmut(directory, "run", "--max-children", "1", "nothing_is_called_this")
        changes = worth_trying((directory / "mutants" / module).read_text("utf-8"))
        visible = without_equivalent(module, changes)
        names = sorted(visible)
        if sample is not None and len(names) > sample:
            names = random.Random(f"{seed} {module}").sample(names, sample)
        dotted = module.removesuffix(".py").replace("/", ".")
        said = _mutmut(
            directory, "run", "--max-children", "1", *(f"{dotted}.{name}" for name in names)
        )
        results = dict(_RESULT.findall(_mutmut(directory, "results", "--all", "true")))
        outcomes = {name: results.get(f"{dotted}.{name}", "not checked") for name in names}
        found = sum(outcome in _FOUND for outcome in outcomes.values())
        if names and not found:
            sys.stdout.write(f"{module}: mutmut could not run its tests:\n{said[-3000:]}\n")
        for name, outcome in outcomes.items():
            if outcome not in _FOUND:
                function, was, becomes = visible[name]
                sys.stdout.write(f"{outcome}: {module} {function}\n- {was}\n+ {becomes}\n")
        return Score(len(names), found, len(changes) - len(visible))


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 where the score of a module is below 90 %, 2 where mutmut is not installed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gates.mutants", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="all of the gates unless named"
    )
    parser.add_argument("--sample", type=int, help="mutants of each module; all unless told")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args(arguments)
    if importlib.util.find_spec("mutmut") is None:
        sys.stdout.write("mutmut is not installed: it comes with the extra `mutation`\n")
        return 2
    scores = {}
    for module in wanted.modules or GATES:
        scores[module] = _tried(module, wanted.sample, wanted.seed)
        sys.stdout.flush()
    return tell(scores)


def tell(scores: Mapping[str, Score]) -> int:
    """Write the table; the exit status, which each module decides: a good one does not make up for another."""
    sys.stdout.write(
        f"\n{'module':<40} {'tried':>6} {'found':>6} {'equivalent':>11} {'score':>7}\n"
    )
    together = Score(*(sum(column) for column in zip(*scores.values(), strict=True)))
    for name, score in [*scores.items(), ("all", together)]:
        sys.stdout.write(f"{name:<40} {score}\n")
    return 0 if all(score.percent >= WANTED_SCORE for score in scores.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
