"""The table of rights: what each route of the interface wants of who asks, and whether it is served over the network.

A route that is not in the table is not served: a node that has one does not start. A caller that is limited to
some organisations of the node gets only routes that look at their rows one by one.

Spec: hostile ADM-01, ADM-02, ADM-08.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute

from accesspoint.access.caller import Caller, NotAllowed
from accesspoint.config_access import Scope

CALLER: Final = web.RequestKey("caller", Caller)
HEALTH: Final = frozenset({"/livez", "/readyz"})
"""Asked by whatever watches the process, and telling nothing but that it lives."""


class Door(Enum):
    """Where a request comes in: on this machine, or over mutual TLS by `[listen] submission`."""

    LOCAL = auto()
    SUBMISSION = auto()


@dataclass(frozen=True, slots=True)
class Right:
    """`scope` is wanted; what is `for_systems` is served at both doors, and knows organisations apart."""

    scope: Scope
    for_systems: bool = False


_API: Final = "/api/v1"
RIGHTS: Final[Mapping[tuple[str, str], Right]] = MappingProxyType(
    {
        ("POST", f"{_API}/messages"): Right(Scope.SUBMIT, for_systems=True),
        ("GET", f"{_API}/messages/{{message_identifier}}"): Right(Scope.READ, for_systems=True),
        ("POST", f"{_API}/messages/{{message_identifier}}/resend"): Right(Scope.OPERATE),
        ("POST", f"{_API}/messages/{{message_identifier}}/acknowledge"): Right(Scope.INBOX),
        ("GET", f"{_API}/about"): Right(Scope.READ),
        ("GET", f"{_API}/journal"): Right(Scope.READ),
        ("GET", f"{_API}/lookup"): Right(Scope.READ),
        ("GET", f"{_API}/overdue"): Right(Scope.READ),
        ("GET", f"{_API}/deliveries"): Right(Scope.INBOX),
        ("POST", f"{_API}/deliveries"): Right(Scope.INBOX),
        ("GET", f"{_API}/deliveries/{{id}}/content"): Right(Scope.INBOX),
        ("POST", f"{_API}/deliveries/{{id}}/confirm"): Right(Scope.INBOX),
        ("POST", f"{_API}/deliveries/{{id}}/release"): Right(Scope.INBOX),
        ("GET", f"{_API}/outcomes"): Right(Scope.INBOX),
        ("POST", f"{_API}/outcomes"): Right(Scope.INBOX),
        ("POST", f"{_API}/outcomes/{{id}}/confirm"): Right(Scope.INBOX),
        ("POST", f"{_API}/outcomes/{{id}}/release"): Right(Scope.INBOX),
        ("GET", f"{_API}/exchanges"): Right(Scope.READ),
        ("GET", f"{_API}/exchanges/{{id}}"): Right(Scope.READ),
        ("GET", f"{_API}/exchanges/{{id}}/evidence"): Right(Scope.READ),
        ("POST", f"{_API}/exchanges/{{id}}/payload"): Right(Scope.PAYLOAD),
        ("POST", f"{_API}/exchanges/{{id}}/{{act}}"): Right(Scope.OPERATE),
        ("GET", f"{_API}/audit"): Right(Scope.ADMINISTER),
    }
)


def check_table(routes: Iterable[web.AbstractRoute]) -> None:
    """Raise LookupError for a route that nobody has said the right of."""
    for route in routes:
        method, path = _name_of(route)
        if path not in HEALTH and (method, path) not in RIGHTS:
            raise LookupError(f"{method} {path} has no right in the table")


def require(caller: Caller, route: web.AbstractRoute, door: Door) -> None:
    """Raise NotAllowed unless somebody has the right that a route wants; HTTPNotFound where it is not served at a door."""
    if isinstance(route, SystemRoute):
        # No such path or method, as the router will say.
        return
    right = RIGHTS.get(_name_of(route))
    if right is None or (door is Door.SUBMISSION and not right.for_systems):
        raise web.HTTPNotFound
    if right.scope not in caller.scopes:
        raise NotAllowed(f"The scope {right.scope} is needed.")
    if caller.glns is not None and not right.for_systems:
        raise NotAllowed("This is only for who acts for every organisation of this node.")


def _name_of(route: web.AbstractRoute) -> tuple[str, str]:
    path = "" if route.resource is None else route.resource.canonical
    return ("GET" if route.method == "HEAD" else route.method), path
