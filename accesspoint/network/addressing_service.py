"""The addressing service (EAS) in miniature: it holds no data and asks three registers.

The insured register says whose patient somebody is, the SOR register which organisation a ydernummer is: both are taken
from the file of organisations. The endpoint register is asked over the network, with a token of this service's own.

| What is missing | Answer |
|---|---|
| the patient, the ydernummer, the SOR id, the postal code (1a to 4a) | 404 with an OperationOutcome |
| what SOR should know (1b to 3b) | 404 with an OperationOutcome |
| a receiving endpoint, or one for the message (1c to 3c, 4b) | 200 with an informational OperationOutcome: the question was good |

Spec: EHMI addressing service 2.0, operations and use cases; messages may be named by older document identifiers (C-6).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import structlog
from aiohttp import web

from accesspoint.addressing import vocabulary as words
from accesspoint.addressing.client import AddressingFailed
from accesspoint.addressing.receivers import identifier
from accesspoint.addressing.register import EndpointRegister
from accesspoint.clock import Clock
from accesspoint.network.fhir_service import (
    BODY_LIMIT,
    Grants,
    Refusal,
    Resource,
    TokenCheck,
    answer_errors,
    bundle,
    capability_statement,
    fhir_answer,
    outcome,
    read_json,
)
from accesspoint.network.organisations import Organisations, RegisteredOrganisation
from envelope.ehmi import recognise_document_id

_MOST_VALUES: Final = 32

log = structlog.get_logger()


class MiniatureAddressing:
    """The FHIR service at `/fhir`."""

    def __init__(
        self,
        organisations: Organisations,
        *,
        clock: Clock,
        check_token: TokenCheck,
        register: Callable[[], EndpointRegister],
    ) -> None:
        """`register` gives the client of the endpoint register once that is running."""
        self._clock = clock
        self._grants = Grants(check_token, *words.ADDRESSING_SCOPE.split()[1:])
        self._register = register
        self._practice_of = {one.cpr: one.ydernummer for one in organisations.patient}
        self._organisations = organisations.organisation

    def application(self) -> web.Application:
        """The routes; serve them over TLS that requires a client certificate."""
        application = web.Application(client_max_size=BODY_LIMIT, middlewares=[answer_errors])
        application.add_routes([web.get("/fhir/metadata", self._metadata)])
        operations: dict[words.Operation, Callable[[Resource], Awaitable[web.Response]]] = {
            words.Operation.BY_PATIENT: self._by_patient,
            words.Operation.BY_YDERNUMMER: self._by_ydernummer,
            words.Operation.BY_SOR: self._by_sor,
            words.Operation.LIST_BY_POSTAL_CODE: self._list_practices,
        }
        for name, operation in operations.items():
            application.add_routes([web.post(f"/fhir/Organization/{name}", self._serve(operation))])
        return application

    def _serve(
        self, operation: Callable[[Resource], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            self._grants.require(request)
            body = await read_json(request)
            if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
                raise Refusal(400, "structure", "the body is not a Parameters resource")
            try:
                return await operation(body)
            except AddressingFailed as failed:
                log.warning("addressing_register_failed", problem=failed.slug)
                raise Refusal(502, "transient", "the endpoint register gave no answer") from None

        return handle

    async def _metadata(self, request: web.Request) -> web.Response:
        resource = {
            "type": "Organization",
            "operation": [
                {"name": name.removeprefix("$"), "definition": f"{_DEFINITIONS}{name[1:]}"}
                for name in words.Operation
            ],
        }
        date = self._clock.now().date().isoformat()
        return fhir_answer(200, capability_statement("EHMI addressing service", date, [resource]))

    async def _by_patient(self, body: Resource) -> web.Response:
        patients = [
            one["resource"]
            for one in _parameters(body, "easCorePatient")
            if isinstance(one.get("resource"), dict)
        ]
        number = identifier(patients[0], [words.CPR]) if len(patients) == 1 else None
        if number is None:
            raise Refusal(400, "required", "one easCorePatient with a CPR identifier is needed")
        practice = self._practice_of.get(number)
        if practice is None:
            raise Refusal(404, "not-found", "1a: the insured register does not know the patient")
        return await self._of_practice(practice, body, "1")

    async def _by_ydernummer(self, body: Resource) -> web.Response:
        asked = _texts(body, "gpId")
        if len(asked) != 1:
            raise Refusal(400, "required", "one gpId is needed")
        return await self._of_practice(asked[0], body, "2")

    async def _of_practice(self, ydernummer: str, body: Resource, case: str) -> web.Response:
        found = [one for one in self._organisations if one.ydernummer == ydernummer]
        if not found:
            why = "a" if case == "2" else "b"
            raise Refusal(404, "not-found", f"{case}{why}: SOR does not know the ydernummer")
        return await self._receiving(found, body, f"{case}c")

    async def _by_sor(self, body: Resource) -> web.Response:
        asked = _texts(body, "sorId")
        if not asked:
            raise Refusal(400, "required", "at least one sorId is needed")
        found = [one for one in self._organisations if one.sor in asked]
        if len(found) < len(set(asked)):
            raise Refusal(404, "not-found", "4a: SOR does not know the SOR id")
        return await self._receiving(found, body, "4b")

    async def _list_practices(self, body: Resource) -> web.Response:
        asked = _texts(body, "postalCode")
        found = [
            one
            for one in self._organisations
            if one.ydernummer
            and (not asked or (one.address is not None and one.address.postal_code in asked))
        ]
        if not found:
            raise Refusal(404, "not-found", "3a: SOR knows no practice in the postal codes")
        return await self._receiving(found, body, "3c")

    async def _receiving(
        self, organisations: Sequence[RegisteredOrganisation], body: Resource, case: str
    ) -> web.Response:
        """The organisations that receive one of the messages, each with its endpoints."""
        documents = [_current(one) for one in _texts(body, "messageType")]
        wanted: Sequence[str | None] = documents or [None]
        resources: dict[str, Resource] = {}
        for organisation in organisations:
            for document in wanted:
                answer = await self._register().find_organization(organisation.sor, document)
                for entry in answer.get("entry", []):
                    one = entry["resource"]
                    resources[f"{one['resourceType']}/{one['id']}"] = one
        found = list(_with_endpoints(resources.values()))
        if not found:
            text = f"{case}: no endpoint is registered for what was asked"
            return fhir_answer(200, outcome("information", "not-found", text))
        return fhir_answer(200, bundle(found, "urn:ehmi:eas", kind="collection"))


_DEFINITIONS: Final = "http://medcomehmi.dk/ig/eas/OperationDefinition/"


def _with_endpoints(resources: Iterable[Resource]) -> Iterable[Resource]:
    """The organisations that have endpoints, in the profile of this service, then the endpoints."""
    resources = list(resources)
    for one in resources:
        if one["resourceType"] == "Organization" and one.get("endpoint"):
            yield {**one, "meta": {"profile": [words.EAS_ORGANIZATION_PROFILE]}}
    yield from (one for one in resources if one["resourceType"] == "Endpoint")


def _current(document: str) -> str:
    """The current form of a document identifier, which may be asked for in an older one."""
    known = recognise_document_id(document)
    return document if known is None else known.document_id


def _parameters(body: Resource, name: str) -> list[dict[str, Any]]:
    listed = body.get("parameter", [])
    if not isinstance(listed, list) or len(listed) > _MOST_VALUES:
        raise Refusal(400, "structure", f"parameter is a list of at most {_MOST_VALUES}")
    return [one for one in listed if isinstance(one, dict) and one.get("name") == name]


def _texts(body: Resource, name: str) -> list[str]:
    values = [one.get("valueString") for one in _parameters(body, name)]
    if not all(isinstance(value, str) and value for value in values):
        raise Refusal(400, "structure", f"{name} is a valueString")
    return [str(value) for value in values]
