"""A pytest plugin that takes away what refuses an attack and holds that its test goes red: `-p tests.hostile.without_gates`.

A test first runs as always. The statement that raised its refusal is then removed from the running code, and the
test runs again: it must fail, because it names the gate and the reason. Where another check refuses the same thing
for the same reason, that one is removed too, and so on. With everything back in its place it must be green again, or
it counts for nothing. So every check that an attack ends at is known to be needed, and its test to be able to fail.

One test is tried for each gate and reason of the catalogue; with `--every-place`, one for each statement.
"""

import ast
import gc
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

import pytest

from accesspoint.inbound.refusal import Refuser
from tests.hostile.catalogue import all_cases
from tests.hostile.claims import WITHOUT, claims_of

ROOT = Path(__file__).parents[2]
PACKAGES = tuple(f"{ROOT / name}/" for name in ("accesspoint", "envelope", "keys"))
MOST = 5
"""How many statements may refuse one attack for one reason."""
SECONDS = 20


@dataclass(frozen=True)
class Function:
    """A function of the product, which is the same one after a statement was removed."""

    file: str
    name: str
    line: int

    @classmethod
    def of(cls, code: CodeType) -> "Function":
        return cls(code.co_filename, code.co_qualname, code.co_firstlineno)


@dataclass(frozen=True)
class Site:
    """A statement that raised a refusal."""

    gate: str
    reason: str
    function: Function
    line: int
    code: CodeType

    @property
    def place(self) -> tuple[Function, int]:
        return self.function, self.line

    def __str__(self) -> str:
        return f"{Path(self.function.file).relative_to(ROOT)}:{self.line} {self.function.name}"


class StillGreen(AssertionError):
    """A test passed without the checks that it is about."""


class TookTooLong(Exception):
    """A test did not end without its check, which is red, too."""


@contextmanager
def noting_refusals() -> Iterator[list[Site]]:
    """The statements that raise refusals meanwhile; what is refused without raising has none."""
    found: list[Site] = []
    original = Refuser.refuse

    async def refuse(refuser: Refuser, error: Any, *arguments: Any, **named: Any) -> Any:
        if site := site_of(error):
            found.append(site)
        return await original(refuser, error, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Refuser, "refuse", refuse)
        yield found


def site_of(error: Any) -> Site | None:
    """Where in the product a refusal was raised, or the error that it was made from."""
    sites = []
    cause: BaseException | None = error
    while cause is not None:
        code, line = _own_end(cause.__traceback__)
        if code is not None and line in _lines_of_raises(code.co_filename):
            sites.append(Site(error.gate, error.reason, Function.of(code), line, code))
        cause = cause.__cause__
    return sites[-1] if sites else None


def _own_end(traceback: TracebackType | None) -> tuple[CodeType | None, int]:
    """The innermost place of a traceback that is in the product."""
    code, line = None, 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.startswith(PACKAGES):
            code, line = traceback.tb_frame.f_code, traceback.tb_lineno
        traceback = traceback.tb_next
    return code, line


@cache
def _lines_of_raises(file: str) -> set[int]:
    tree = ast.parse(Path(file).read_text("utf-8"))
    raises = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {line for node in raises for line in _lines(node)}


def _lines(node: ast.Raise) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


class _WithoutRaise(ast.NodeTransformer):
    """Keeps what would have been raised as an expression, so that the function names what it named."""

    def __init__(self, lines: set[int]) -> None:
        self.lines = lines

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        if self.lines.isdisjoint(_lines(node)):
            return node
        return ast.copy_location(ast.Expr(node.exc or ast.Constant(None)), node)


@contextmanager
def without(code: CodeType, lines: set[int]) -> Iterator[None]:
    """The running functions of `code` without the statements at `lines`."""
    file = Path(code.co_filename)
    tree = _WithoutRaise(lines).visit(ast.parse(file.read_text("utf-8")))
    compiled = compile(ast.fix_missing_locations(tree), str(file), "exec")
    changed = next(one for one in _codes(compiled) if Function.of(one) == Function.of(code))
    functions = [one for one in gc.get_referrers(code) if isinstance(one, FunctionType)]
    assert functions, f"nothing runs {code}"
    for function in functions:
        function.__code__ = changed
    try:
        yield
    finally:
        for function in functions:
            function.__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def try_without(play: Callable[[], object], first: Site) -> list[Site]:
    """Remove what refused, one statement after the other, until the play fails; raises `StillGreen`."""
    removed = [first]
    originals = {first.function: first.code}
    while len(removed) <= MOST:
        with ExitStack() as stack:
            for function, code in originals.items():
                lines = {site.line for site in removed if site.function == function}
                stack.enter_context(without(code, lines))
            seen = stack.enter_context(noting_refusals())
            if not _passes(play):
                return removed
        fresh = [site for site in seen if site.place not in {one.place for one in removed}]
        if not fresh:
            break
        removed.append(fresh[-1])
        originals.setdefault(fresh[-1].function, fresh[-1].code)
    raise StillGreen(f"still green without {', '.join(map(str, removed))}")


def _passes(play: Callable[[], object]) -> bool:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        play()
    except Exception:  # noqa: BLE001 (whatever it is, the test is red)
        return False
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-place", action="store_true", help="remove every statement that refuses an attack"
    )
    parser.addoption("--removed", type=Path, help="write what was removed, as JSON")


@dataclass
class Proof:
    """What was removed so far, and for which ends of the catalogue."""

    ends: dict[str, tuple[str, str]]
    tried: set[tuple[str, str, Function, int]] = field(default_factory=set)
    removed: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def is_done_with(self, item: pytest.Item) -> bool:
        """Whether each case of a test ends where a removal was tried already, or at no gate."""
        done = {(gate, reason) for gate, reason, _ in self.removed}
        return all(self.ends.get(case) in {None, *done} for case in claims_of(item))


PROOF = pytest.StashKey[Proof]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PROOF] = Proof(
        {case.id: (case.gate, case.reason) for case in all_cases() if case.gate}
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what could prove nothing new."""
    if not item.config.getoption("--every-place") and item.config.stash[PROOF].is_done_with(item):
        pytest.skip("tried with another test")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Run the test as always, then without what refused its attack."""
    with noting_refusals() as seen:
        result = yield
    proof = pyfuncitem.config.stash[PROOF]
    # Where no case of a test ends at a gate, what is refused in it by the way is not what it is about.
    if not seen or proof.ends.keys().isdisjoint(claims_of(pyfuncitem)):
        return result
    site = seen[-1]
    if (tried := (site.gate, site.reason, *site.place)) in proof.tried:
        return result
    proof.tried.add(tried)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    removed = [str(one) for one in try_without(lambda: pyfuncitem.obj(**arguments), site)]
    # A test that cannot be played twice proves nothing. What the open gate let in may yet come to its end: once more.
    if any(_passes(lambda: pyfuncitem.obj(**arguments)) for _ in range(2)):
        proof.removed.append((site.gate, site.reason, removed))
        pyfuncitem.user_properties.append((WITHOUT, proof.removed[-1]))
    else:
        proof.tried.discard(tried)
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    if file := session.config.getoption("--removed"):
        file.write_text(json.dumps(session.config.stash[PROOF].removed), "utf-8")
