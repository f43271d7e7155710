"""Somebody who asks: under which name the audit log knows them, what they may do, and for which organisations."""

from dataclasses import dataclass
from typing import Final

from accesspoint.config_access import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """`actor` is the name in the audit log; `glns` are the organisations it acts for, None for all of the node."""

    actor: str
    scopes: frozenset[Scope]
    glns: frozenset[str] | None = None

    def acts_for(self, gln: str) -> bool:
        """Whether an organisation (a GLN, or a participant that ends in one) is one of its own."""
        return self.glns is None or gln.rpartition(":")[2] in self.glns


OWNER: Final = Caller("token-file", frozenset(Scope))
"""Whoever holds the token of the node's own file: its command line, and systems on the same machine."""


class Unidentified(Exception):
    """Nobody is known behind the request; `reason` is for the log, never for the answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAllowed(Exception):
    """Somebody is known, and may not do this; the text says what is lacking."""
