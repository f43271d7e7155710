"""The annotated tree that an inspection gives: what a thing is, whether it holds, and the refusal of a gate where it does not.

A node says one thing in a label and a value. Text of other people stands in values only, so that whoever shows a
tree can clean all of it in one place; a payload is never text but `octets`, which are shown to nobody who did not ask.

Spec: experience section 6 (explain).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from envelope.errors import RemoteProtocolError


class Mark(StrEnum):
    """What an inspection found about one thing."""

    PLAIN = "plain"
    HOLDS = "holds"
    NOTED = "noted"
    BROKEN = "broken"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Node:
    """One thing in the bytes, with what is inside it.

    `refusal` is what a gate raised about it, `hint` what most likely happened to it after it was signed; `octets` is
    content that may be about a patient.
    """

    label: str
    value: str = ""
    mark: Mark = Mark.PLAIN
    children: tuple["Node", ...] = ()
    refusal: RemoteProtocolError | None = None
    octets: bytes | None = field(default=None, repr=False)
    hint: str = ""

    def walk(self) -> Iterator["Node"]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


def broken(label: str, refusal: RemoteProtocolError, *children: Node) -> Node:
    """The node of something that a gate refused."""
    return Node(label, refusal.detail, Mark.BROKEN, children, refusal)


def unseen(label: str, because: str, *children: Node) -> Node:
    """The node of something that could not be looked at, and why."""
    return Node(label, f"not looked at: {because}", Mark.UNSEEN, children)


def counted(text: str) -> str:
    """What is said of text that may be about a patient: how long it is."""
    return f"({len(text)} characters)"


def look(label: str, at: Callable[[], Node]) -> Node:
    """Look at one thing; where a gate refuses it, the node holds the refusal and the walk goes on."""
    try:
        return at()
    except RemoteProtocolError as refusal:
        return broken(label, refusal)
