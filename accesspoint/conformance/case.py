"""What a case is: an asynchronous function that shows one assertion on a target, and says what it expected and saw.

A case returns what it saw when the assertion holds, and raises otherwise: `Unmet` with what was expected and
what was seen instead, `NotApplicable` with the reason, `Waiting` with what the other side has to do. Anything
else that it raises is a fault of the kit or of the line, and the result is an error, never a pass.

    @case("AS4_CP_TA01")
    async def receipt_in_the_answer(target: Target, recorder: Recorder) -> str:
        answer = await target.post(draft, recorder)
        expect(200 <= answer.status < 300, "a 2xx status", f"HTTP {answer.status}")
        return "a signed receipt with HTTP 200"
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from accesspoint.conformance.assertion import Assertion, catalogue
from accesspoint.conformance.recorder import Octets, Recorder

if TYPE_CHECKING:
    from accesspoint.conformance.target import Target


class Status(StrEnum):
    """What a case came to."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    ERROR = "error"
    WAITING = "waiting for the other side"
    NOT_APPLICABLE = "not applicable"
    NOT_TESTABLE = "not testable"
    NO_CASE = "no case"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one assertion; `reason` says why where nothing was shown, or what the other side has to do."""

    assertion: Assertion
    status: Status
    expected: str = ""
    seen: str = ""
    reason: str = ""
    seconds: float = 0.0
    exchanged: tuple[Octets, ...] = ()


class Unmet(Exception):
    """The assertion does not hold."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen {seen}")
        self.expected = expected
        self.seen = seen


class NotApplicable(Exception):
    """The assertion says nothing about this target; the text is the reason."""


class Waiting(Exception):
    """Only the other side can go on; the text is what it has to do."""


def expect(holds: object, expected: str, seen: str) -> None:
    """Raise `Unmet` unless `holds`."""
    if not holds:
        raise Unmet(expected, seen)


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 part`, `2 parts`; `plural` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


Case = Callable[["Target", Recorder], Awaitable[str]]
_CASES: Final[dict[str, Case]] = {}


def case(id_: str) -> Callable[[Case], Case]:
    """Register the case of an assertion; one that is not in the catalogue or has a case already is a mistake."""
    if id_ not in catalogue():
        raise KeyError(f"no assertion {id_}")

    def register(function: Case) -> Case:
        if _CASES.setdefault(id_, function) is not function:
            raise ValueError(f"assertion {id_} has two cases")
        return function

    return register


def registered() -> Mapping[str, Case]:
    """The cases by assertion id; `accesspoint.conformance.cases` has to be imported before."""
    return _CASES
