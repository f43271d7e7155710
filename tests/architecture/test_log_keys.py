"""Every event has a fixed name, and every key that it tells is on the list; the list has nothing that no event tells."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from accesspoint.log_keys import EVENTS, FRAME, KEYS

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log", "fatal", "warn"}
BINDS = {"bind", "bind_contextvars", "bound_contextvars", "new"}


def calls_in(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call of a method of a logger, by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if node.func.attr in LEVELS | BINDS and ("log" in owner.lower()):
                yield node, node.func.attr


@cache
def trees() -> dict[Path, ast.AST]:
    """Every module of the program that has anything to do with a log."""
    texts = {
        path: path.read_text("utf-8")
        for package in ("accesspoint", "keys", "envelope")
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    return {path: ast.parse(text) for path, text in texts.items() if "log" in text}


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    for path, tree in trees().items():
        for call, method in calls_in(tree):
            yield f"{path.relative_to(ROOT)}:{call.lineno}", call, method


def test_every_key_of_every_event_is_on_the_list_and_each_on_the_list_is_told() -> None:
    told: set[str] = set()
    for place, call, method in calls():
        keys = {keyword.arg for keyword in call.keywords} - {"exc_info"}
        assert None not in keys, f"{place}: nobody sees which keys ** brings"
        assert keys <= KEYS, f"{place}: {keys - KEYS} must be listed in accesspoint/log_keys.py"  # type: ignore[operator]
        told |= {key for key in keys if key is not None}
        if method in LEVELS:
            assert len(call.args) == 1, f"{place}: values belong under keys"
            named = call.args[0]
            assert isinstance(named, ast.Constant) or ast.unparse(named) == "_STORM", (
                f"{place}: the name of an event is fixed"
            )
    assert len(told) > 30
    assert told - FRAME == EVENTS


def test_loggers_are_called_so_that_this_test_finds_them() -> None:
    """A logger under a name without `log`, or one of the standard library, would go by unseen."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                names = {ast.unparse(target) for target in node.targets}
                is_logger = "get_logger" in ast.unparse(node.value.func)
                assert not is_logger or names <= {"log", "_log"}, f"{path}: {names}"
