"""The catalogue of attacks: what each named case is, and at which gate and for which reason it must end.

Each group has a file of its own here with its `CASES`. A test says which cases it plays with
`@pytest.mark.attack("XSW-01")`, on itself or on one row of its parameters; a case that no test plays, and a mark
that names no case, are faults of the suite.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One attack, or the legal variant that must pass beside it.

    `gate` and `reason` are what the refusal record says, `code` what the sender is answered: an ebMS code or an HTTP
    status such as `HTTP 413`. A case that is not refused at a gate of receiving has an empty `gate`, and
    `expected` says in words what its tests assert instead.
    """

    id: str
    attack: str
    gate: str = ""
    reason: str = ""
    code: str = ""
    expected: str = ""
