"""Mutants that no test can find, since they change nothing that can be seen; each with its reason.

An entry names a line as Python itself would write it, not as it is laid out in the file.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Change(NamedTuple):
    """One thing that mutmut changes: in which function (`Class.method`), the lines before, and after."""

    function: str
    was: str
    becomes: str


EQUIVALENT: Final[Mapping[str, Mapping[Change, str]]] = {}
"""Reasons by module of the gates and change."""
