"""Who may report, and who may see what, by the access token.

| Token | May create | Sees |
|---|---|---|
| system client (a station) | in the name of its device and of its (SOR, GLN), which is a party of the message | what its own device reported |
| user client of a citizen (`cpr`) | nothing | reports about the own patient number |
| user client of an employee (`cvr`) with the supporter's role in `priv` | nothing | reports with an organisation of that company as a party |

What a station may see is told in two ways, as its own reports and as all reports about messages that it
handled; the stricter, which the Danish text has, holds. A user needs the assurance level Substantial or High.

Spec: EHMI delivery status, access rules; EHMI security architecture 0.98, scopes and claims.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from accesspoint.status_component.finding import Number, Text
from accesspoint.status_component.resource import Resource, device_id, parties
from accesspoint.status_component.store import DEVICE
from accesspoint.store.database import Transaction
from keys.jwk import AccessToken

SERVICE: Final = "EDS"
SUPPORTER_ROLE: Final = "urn:dk:ehmi:role:eds-supporter"
"""No public source names the role; whoever runs the component says what it is."""
_LEVEL: Final = "https://data.gov.dk/concept/core/nsis/loa/"
_LEVELS: Final = frozenset({_LEVEL + "Substantial", _LEVEL + "High"})

OrganisationsOf = Callable[[str], Collection[str]]
"""The SOR ids of the organisations of a company (CVR)."""


class AccessDenied(Exception):
    """The token does not allow it; `claim` names what is missing or does not fit, never its value."""

    def __init__(self, claim: str, text: str) -> None:
        super().__init__(text)
        self.claim = claim


@dataclass(frozen=True, slots=True)
class Seen:
    """What may be seen: the reports of a device, about a patient, or with one of these organisations (SOR, or GLN).

    A GLN is not turned into a SOR id by what was reported: whoever reports may pair its own with that of a stranger.
    """

    device: str | None = None
    patient: str | None = None
    organisations: tuple[str, ...] | None = None
    gln: str | None = None

    async def condition(self, tx: Transaction) -> Number | Text:
        """Write it as the condition that every search is joined with."""
        if self.device is not None:
            rows = await tx.fetch(
                "SELECT id FROM codes WHERE code = $1 AND system = $2", self.device, DEVICE
            )
            return Number(("device",), tuple(row["id"] for row in rows))
        if self.patient is not None:
            return Text(("patient",), (self.patient,), exact=True)
        if self.gln is not None:
            rows = await tx.fetch("SELECT party FROM party_glns WHERE gln = $1", self.gln)
            return Number(("sender", "receiver"), tuple(row["party"] for row in rows))
        numbers = [
            row["id"]
            for sor in self.organisations or ()
            for row in await tx.fetch("SELECT id FROM parties WHERE sor = $1", sor)
        ]
        return Number(("sender", "receiver"), tuple(numbers))


def require_scope(grant: AccessToken, letter: str) -> None:
    """Require a scope of the service that has this letter: `c` create, `r` read, `s` search.

    Raises: AccessDenied.
    """
    if SERVICE not in grant.scope:
        raise AccessDenied("scope", f"the token's scope is not for the service {SERVICE}")
    kinds = ["system"] if letter == "c" else ["system", "user"]
    if not any(letter in _letters(grant, kind) for kind in kinds):
        raise AccessDenied("scope", f"the token's scope has no {letter} for AuditEvent")


def _letters(grant: AccessToken, kind: str) -> str:
    prefix = f"{kind}/AuditEvent."
    return "".join(s.removeprefix(prefix) for s in grant.scope if s.startswith(prefix))


def require_reporter(grant: AccessToken, resource: Resource) -> None:
    """Require that the token speaks for the device and for one of the organisations of the report.

    Raises: AccessDenied.
    """
    if grant.device_id is None or grant.device_id != device_id(resource):
        raise AccessDenied("ehmi:eer:device_id", "the token is for another device than the report")
    context = grant.organisation
    acting = {
        (party.sor, gln)
        for party in parties(resource, "ehmiSender", "ehmiReceiver")
        for gln in party.glns
    }
    if context is None or (context.sor, context.gln) not in acting:
        raise AccessDenied(
            "ehmi:org_context", "the token is for no organisation (SOR and GLN) of the report"
        )


def seen_by(
    grant: AccessToken, *, organisations_of: OrganisationsOf, supporter_role: str = SUPPORTER_ROLE
) -> Seen:
    """Return what a token may see.

    Raises: AccessDenied.
    """
    if not _letters(grant, "user"):
        if grant.device_id is None:
            raise AccessDenied("ehmi:eer:device_id", "the token names no device")
        return Seen(device=grant.device_id)
    if grant.claims.get("acr") not in _LEVELS:
        raise AccessDenied("acr", "a user is sure of at least NSIS Substantial")
    patient = grant.claims.get("cpr")
    roles = grant.claims.get("priv")
    if isinstance(roles, list) and supporter_role in roles and grant.cvr is not None:
        return Seen(organisations=tuple(organisations_of(grant.cvr)))
    if isinstance(patient, str) and patient:
        return Seen(patient=patient)
    raise AccessDenied("priv", "the token is neither a citizen's nor a supporter's")
