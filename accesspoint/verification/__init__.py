"""Verification: holds a store, and two stores against each other, to what the access point promises. Only reads.

`verify` is the judge of tests and the operator's `accesspoint verify`; `compare` tells of two stores what was lost,
doubled or changed between them.

Spec: reliability section 2.6.
"""

from accesspoint.verification.comparison import Comparison, compare
from accesspoint.verification.evidence import Setting
from accesspoint.verification.invariants import INVARIANTS, verify
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
    "verify",
]
