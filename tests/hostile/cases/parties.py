"""PTY: who writes to whom."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case("PTY-01", "To names another party", "G10", "pmode.to", "EBMS:0010"),
    Case("PTY-02", "Nobody of that final recipient is here", "G10", "pmode.recipient", "EBMS:0001"),
    Case("PTY-03", "From is not the party that signed", "G6", "cert.party", "EBMS:0101"),
    Case("PTY-04", "From is ourselves", "G10", "pmode.from", "EBMS:0010"),
    Case(
        "PTY-05",
        "A service, action or agreement that nobody agreed to",
        "G10",
        "pmode.service",
        "EBMS:0001",
        "an action ends as pmode.action with the same code, an agreement as pmode.agreement with EBMS:0010",
    ),
    Case(
        "PTY-06",
        "A party id that only looks like ours or the partner's",
        "G4",
        "header.characters",
        "EBMS:0009",
    ),
    Case("PTY-07", "Two PartyIds", "G4", "header.cardinality", "EBMS:0009"),
    Case("PTY-08", "The roles the other way round", "G10", "pmode.role", "EBMS:0010"),
)
