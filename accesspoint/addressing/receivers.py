"""Reads organisations and their endpoints from a Bundle, as addressing service and endpoint register give them. Pure.

Spec: EHMI addressing service 2.0 (EasMessagingOrganization with EerEndpointMessaging); endpoint register 2.0.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accesspoint.addressing.vocabulary import (
    CONNECTION_TYPES,
    EDELIVERY,
    GLN_SYSTEMS,
    SOR,
    YDERNUMMER,
)
from envelope.ehmi import check_gln
from envelope.errors import SbdRefused

Resource = dict[str, Any]


class AnswerUnusable(ValueError):
    """The answer is not what the service promises; the text says what is wrong and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class ReceivingEndpoint:
    """One GLN and the DOCUMENTIDs that it takes."""

    gln: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receiver:
    """An organisation that can be addressed; `endpoints` are those that are active and reached over eDelivery."""

    sor: str
    name: str
    endpoints: tuple[ReceivingEndpoint, ...]
    ydernummer: str | None = None
    postal_code: str | None = None
    city: str | None = None

    def takes(self, document_id: str) -> tuple[ReceivingEndpoint, ...]:
        """The endpoints that take a kind of document."""
        return tuple(one for one in self.endpoints if document_id in one.documents)


def read_receivers(bundle: object, *, at: datetime) -> tuple[Receiver, ...]:
    """Read the organisations of a Bundle in its order, each with its endpoints that are in force at `at`.

    Raises: AnswerUnusable.
    """
    try:
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise AnswerUnusable("the answer is not a Bundle")
        resources = [entry["resource"] for entry in bundle.get("entry", [])]
        endpoints = {
            f"Endpoint/{one['id']}": one for one in resources if one["resourceType"] == "Endpoint"
        }
        return tuple(
            _read(one, endpoints, at) for one in resources if one["resourceType"] == "Organization"
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, AnswerUnusable):
            raise
        raise AnswerUnusable("the answer has another form than its profile") from None


def identifier(resource: Resource, systems: Iterable[str]) -> str | None:
    """The value of the first identifier of one of these systems, or None."""
    wanted = frozenset(systems)
    for one in resource.get("identifier", []):
        if one.get("system") in wanted and isinstance(one.get("value"), str):
            return str(one["value"])
    return None


def _read(organization: Resource, endpoints: dict[str, Resource], at: datetime) -> Receiver:
    sor = identifier(organization, [SOR])
    if sor is None:
        raise AnswerUnusable("an organisation has no SOR id")
    named = [endpoints.get(one["reference"]) for one in organization.get("endpoint", [])]
    address: Resource = next(iter(organization.get("address", [])), {})
    return Receiver(
        sor,
        str(organization.get("name", "")),
        tuple(
            _read_endpoint(one)
            for one in named
            if one is not None and _is_reached(one) and _is_in_force(one, at)
        ),
        identifier(organization, [YDERNUMMER]),
        address.get("postalCode"),
        address.get("city"),
    )


def _read_endpoint(endpoint: Resource) -> ReceivingEndpoint:
    gln = identifier(endpoint, GLN_SYSTEMS) or ""
    try:
        check_gln(gln)
    except SbdRefused:
        raise AnswerUnusable("an endpoint has no GLN") from None
    documents = [
        coding["code"] for payload in endpoint["payloadType"] for coding in payload["coding"]
    ]
    return ReceivingEndpoint(gln, tuple(documents))


def _is_reached(endpoint: Resource) -> bool:
    kind = endpoint["connectionType"]
    return bool(kind["system"] == CONNECTION_TYPES and kind["code"].startswith(EDELIVERY))


def _is_in_force(endpoint: Resource, at: datetime) -> bool:
    """Whether the endpoint is active and `at` is in its period; dates without time are whole days of UTC."""
    period = endpoint.get("period", {})
    today = at.date().isoformat()

    def passed(said: str | None, *, otherwise: bool) -> bool:
        if said is None:
            return otherwise
        return said <= today if len(said) <= len(today) else datetime.fromisoformat(said) <= at

    ended = period.get("end")
    over = ended is not None and (
        ended < today[: len(ended)]
        if len(ended) <= len(today)
        else datetime.fromisoformat(ended) <= at
    )
    return (
        endpoint.get("status") == "active"
        and passed(period.get("start"), otherwise=True)
        and not over
    )
