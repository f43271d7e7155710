"""The twelve points of the self-test name tests and verbs that there are, and none holds by having run nothing."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from typer.main import get_command

from accesspoint.cli.main import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def selftest() -> Any:
    spec = importlib.util.spec_from_file_location("selftest", ROOT / "tests" / "selftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["selftest"] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_twelve_points_and_each_names_tests_that_there_are(selftest: Any) -> None:
    assert len(selftest.POINTS) == 12
    for point in selftest.POINTS:
        for test in point.tests:
            path, _, name = test.partition("::")
            text = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {name.partition('[')[0] or 'test_'}" in text, test


def test_each_verb_is_one(selftest: Any) -> None:
    for point in selftest.POINTS:
        if point.verb:
            words = point.verb.removesuffix(" GLN").split()[1:]
            verb = [word for word in words if not word.startswith("--")]
            path = verb[:2] if verb[0] == "conformance" else verb[:1]
            assert CliRunner().invoke(get_command(app), [*path, "--help"]).exit_code == 0, verb


def test_a_point_without_anything_that_passed_does_not_hold(selftest: Any, tmp_path: Path) -> None:
    empty = tmp_path / "test_nothing.py"
    empty.write_text("import pytest\n\n@pytest.mark.skip('no')\ndef test_it():\n    pass\n")
    broken = tmp_path / "test_broken.py"
    broken.write_text("def test_it():\n    assert False\n")

    assert not selftest.run(selftest.Point("skipped", (str(empty),))).held
    assert not selftest.run(selftest.Point("failed", (str(broken),))).held
    assert not selftest.run(selftest.Point("absent", (str(tmp_path / "test_absent.py"),))).held
