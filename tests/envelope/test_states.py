from enum import StrEnum

import pytest

from envelope import states
from envelope.errors import LocalProtocolError


class Door(StrEnum):
    OPEN = "open"
    SHUT = "shut"
    GONE = "gone"


CAUSES = {Door.OPEN: {Door.SHUT: "pushed"}, Door.SHUT: {Door.OPEN: "pulled", Door.GONE: "burnt"}}


def test_a_step_of_the_table_is_taken_and_no_other() -> None:
    table = states.followers(states.freeze(CAUSES))
    assert states.step(table, Door.OPEN, Door.SHUT) is Door.SHUT
    with pytest.raises(LocalProtocolError, match="gone is not allowed after open"):
        states.step(table, Door.OPEN, Door.GONE)
    with pytest.raises(LocalProtocolError):
        states.step(table, Door.GONE, Door.OPEN)


def test_terminal_states_are_those_without_a_row() -> None:
    assert states.terminal(states.followers(CAUSES)) == {Door.GONE}


def test_reachable_walks_loops_once() -> None:
    assert states.reachable(states.followers(CAUSES), Door.OPEN) == set(Door)
    assert states.reachable(states.followers(CAUSES), Door.GONE) == {Door.GONE}


@pytest.mark.parametrize("row", [{}, {Door.OPEN: "stays"}])
def test_rows_that_go_nowhere_are_refused(row: dict[Door, str]) -> None:
    with pytest.raises(ValueError, match="row of open"):
        states.freeze({Door.OPEN: row})


def test_a_frozen_table_cannot_be_changed() -> None:
    frozen = states.freeze(CAUSES)
    with pytest.raises(TypeError):
        frozen[Door.OPEN][Door.GONE] = "forced"  # type: ignore[index]


def test_the_drawing_has_every_edge_with_its_cause() -> None:
    assert states.dot(CAUSES).splitlines() == [
        "digraph states {",
        "  rankdir=LR;",
        "  node [shape=box, style=rounded];",
        '  "gone" [peripheries=2];',
        '  "open" -> "shut" [label="pushed"];',
        '  "shut" -> "open" [label="pulled"];',
        '  "shut" -> "gone" [label="burnt"];',
        "}",
    ]
