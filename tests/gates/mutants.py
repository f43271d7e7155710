"""The mutation score of the gates: `python -m tests.gates.mutants [MODULE ...] [--sample N] [--seed N]`.

mutmut changes one thing in a copy of the tree (a comparison, a constant, an argument) and runs the tests that call the
function; a mutant that all of them let pass has survived. Left out are mutants that only change the sentence of an error:
`detail` is for our own log, and a test that repeats the sentence would prove nothing. What is tested is gate and reason.

With `--sample` as many mutants of each module are drawn; without it all are tried, which takes hours.
"""

import argparse
import ast
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envelope import errors
from tests.gates import GATES

ROOT: Final = Path(__file__).parents[2]
TREE: Final = ("accesspoint", "envelope", "keys", "tests", "compose", "pyproject.toml", "README.md")
WANTED_SCORE: Final = 90.0
_TIMED: Final = "cost_anything"
"""What these tests measure, the code between a function and its mutants makes longer."""
_CALLED_BY_LXML: Final = re.compile(r"^(class (?:_Bounds|_TailTarget):)$", re.MULTILINE)
"""Targets of a parser, whose methods are called by how many arguments they have; mutmut's stand-ins have others."""
_NUMBERED: Final = re.compile(r"(.*)__mutmut_(\d+)")
_RESULT: Final = re.compile(r"^\s*(\S+__mutmut_\d+): (.+)$", re.MULTILINE)
_FOUND: Final = frozenset({"killed", "timeout", "suspicious", "segfault"})
_ERRORS: Final = frozenset(name for name in vars(errors) if name[:1].isupper())


class _WithoutSentences(ast.NodeTransformer):
    """Blanks the first argument of every error that is made: its sentence."""

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            self._blank(node.exc)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in _ERRORS:
            self._blank(node)
        node.keywords = [each for each in node.keywords if each.arg != "what"]
        return self.generic_visit(node)

    @staticmethod
    def _blank(call: ast.Call) -> None:
        if call.args:
            call.args[0] = ast.Constant("")


def _meaning(function: ast.AST) -> str:
    blanked = _WithoutSentences().visit(function)
    return ast.dump(ast.Module(blanked.body, []))


def worth_trying(mutated: str) -> Iterator[str]:
    """The names of mutants in a file that mutmut wrote, without those that only change a sentence."""
    tree = ast.parse(mutated)
    functions = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name
    }
    originals = {
        name.removesuffix("__mutmut_orig"): _meaning(node)
        for name, node in functions.items()
        if name.endswith("__mutmut_orig")
    }
    for name, node in functions.items():
        found = _NUMBERED.fullmatch(name)
        if found and _meaning(node) != originals[found[1]]:
            yield name


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
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-k", f"not {_TIMED}"],
        "timeout_constant": 20.0,
    }  # fmt: skip
    with (directory / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{key} = {value!r}\n" for key, value in configuration.items())


def _mutmut(directory: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr


def _tried(module: str, sample: int | None, seed: int) -> dict[str, str]:
    """Every mutant of a module that was tried, and what became of it; those that survived are shown."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        directory = Path(scratch)
        _write_tree(directory, module)
        _mutmut(directory, "run", "--max-children", "1", "nothing_is_called_this")
        names = sorted(worth_trying((directory / "mutants" / module).read_text("utf-8")))
        if sample is not None and len(names) > sample:
            names = random.Random(f"{seed} {module}").sample(names, sample)
        dotted = module.removesuffix(".py").replace("/", ".")
        drawn = [f"{dotted}.{name}" for name in names]
        said = _mutmut(directory, "run", "--max-children", "1", *drawn)
        results = dict(_RESULT.findall(_mutmut(directory, "results", "--all", "true")))
        if not any(results.get(name) in _FOUND for name in drawn):
            sys.stdout.write(f"{module}: mutmut could not run its tests:\n{said[-3000:]}\n")
            return {}
        for name in drawn:
            if results.get(name) not in _FOUND:
                shown = _mutmut(directory, "show", name)
                changed = [line for line in shown.splitlines() if re.match(r"[-+] ", line)]
                sys.stdout.write("\n".join((f"{results.get(name)}: {name}", *changed, "")))
                sys.stdout.flush()
        return {name: results.get(name, "not checked") for name in drawn}


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 where the score is below 90 %, 2 where mutmut is not installed."""
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
    counts: dict[str, Counter[bool]] = {}
    for module in wanted.modules or GATES:
        tried = _tried(module, wanted.sample, wanted.seed)
        counts[module] = Counter(outcome in _FOUND for outcome in tried.values())
    return _tell(counts)


def _tell(counts: Mapping[str, Counter[bool]]) -> int:
    sys.stdout.write(f"\n{'module':<36} {'tried':>6} {'found':>6} {'score':>7}\n")
    for module, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        score = 100 * count[True] / max(1, count.total())
        sys.stdout.write(f"{module:<36} {count.total():>6} {count[True]:>6} {score:>6.1f}%\n")
    return 0 if score >= WANTED_SCORE else 1


if __name__ == "__main__":
    sys.exit(main())
