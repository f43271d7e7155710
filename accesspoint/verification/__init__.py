"""Verification: holds a store, and two stores against each other, to what the access point promises. Only reads.

`verify` takes a store that is open, `verify_node` that of a configuration, running or not: the judge of tests and
the operator's `accesspoint verify`. `compare` tells of two stores what was lost,
doubled or changed between them.

Spec: reliability section 2.6.
"""

from accesspoint.verification.comparison import Comparison, compare
from accesspoint.verification.evidence import Setting
from accesspoint.verification.invariants import INVARIANTS, verify
from accesspoint.verification.opening import open_node, verify_directory, verify_node
from accesspoint.verification.report import (
    Fault,
    Finding,
    InvariantBroken,
    Report,
    Result,
    Verdict,
)

__all__ = [
    "INVARIANTS",
    "Comparison",
    "Fault",
    "Finding",
    "InvariantBroken",
    "Report",
    "Result",
    "Setting",
    "Verdict",
    "compare",
    "open_node",
    "verify",
    "verify_directory",
    "verify_node",
]
