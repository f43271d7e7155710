"""Tables of states: which step may follow which, why, and how the table is drawn.

A table maps each state to the states that may follow it, each with the cause of that step in a few
words. A state without a row is terminal. The tables themselves are in `sending.py` and `receiving.py`;
there is no third one. A table is data so that the code that moves a message, the CHECK constraint of
the database, the diagram in the manual and the tests all read the same thing.

Spec: reliability section 2.2; decision D7.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from envelope.errors import LocalProtocolError

S = TypeVar("S", bound=StrEnum)


def freeze(causes: Mapping[S, Mapping[S, str]]) -> Mapping[S, Mapping[S, str]]:
    """Return a table that nobody can change.

    Raises: ValueError when a row is empty or a state follows itself, which would be a step without a change.
    """
    for state, row in causes.items():
        if not row or state in row:
            raise ValueError(f"the row of {state} is empty or leads to itself")
    return MappingProxyType({state: MappingProxyType(dict(row)) for state, row in causes.items()})


def followers(causes: Mapping[S, Mapping[S, str]]) -> Mapping[S, frozenset[S]]:
    """Return the table without its causes: each state with those that may follow it."""
    return MappingProxyType({state: frozenset(row) for state, row in causes.items()})


def step(table: Mapping[S, frozenset[S]], current: S, to: S) -> S:
    """Return `to` when the table allows the step from `current`.

    Raises: LocalProtocolError naming both states; whoever asked has lost track of the message.
    """
    if to not in table.get(current, frozenset()):
        raise LocalProtocolError(f"{to} is not allowed after {current}")
    return to


def terminal(table: Mapping[S, frozenset[S]]) -> frozenset[S]:
    """Return the states that nothing follows."""
    reached = {state for row in table.values() for state in row}
    return frozenset(reached - set(table))


def reachable(table: Mapping[S, frozenset[S]], start: S) -> frozenset[S]:
    """Return `start` and every state that some walk from it arrives at."""
    found = {start}
    pending = [start]
    while pending:
        for state in table.get(pending.pop(), frozenset()) - found:
            found.add(state)
            pending.append(state)
    return frozenset(found)


def dot(causes: Mapping[S, Mapping[S, str]]) -> str:
    """Draw a table as a Graphviz graph; terminal states have a double border, edges carry their cause."""
    table = followers(causes)
    lines = ["digraph states {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    lines += [f'  "{state}" [peripheries=2];' for state in sorted(terminal(table))]
    lines += [
        f'  "{state}" -> "{to}" [label="{cause}"];'
        for state, row in causes.items()
        for to, cause in row.items()
    ]
    return "\n".join([*lines, "}", ""])
