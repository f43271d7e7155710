"""The endpoint register (EER) in miniature: organisations, GLN endpoints and devices, read and searched.

It is filled from the file of organisations; where an access point is, and with which certificate, is told when it is
known. It is written by nobody else: registration is a person's work, and none of ours.

Spec: EHMI endpoint register 2.0 (model and interactions); FHIR R4 search.
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aiohttp import web

from accesspoint.addressing import vocabulary as words
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
)
from accesspoint.network.organisations import RegisteredOrganisation

SINCE: Final = "2026-01-01"
MIME_TYPES: Final = ("application/fhir+xml", "application/fhir+json", "text/xml")
_INCLUDE: Final = "Organization:endpoint"
_MANUFACTURER: Final = "TEST"

Match = Callable[[Resource, str], bool]


class EndpointRegisterService:
    """The FHIR service at `/fhir`."""

    def __init__(self, *, clock: Clock, check_token: TokenCheck) -> None:
        self._clock = clock
        self._grants = Grants(check_token, *words.REGISTER_SCOPE.split()[1:])
        self._resources: dict[str, Resource] = {}

    def put(
        self,
        organisation: RegisteredOrganisation,
        *,
        url: str | None = None,
        certificate: bytes | None = None,
    ) -> None:
        """Register an organisation, anew where it is known; `certificate` (DER) is that of its access point."""
        made = describe(organisation, url=url, certificate=certificate)
        self._resources |= {f"{one['resourceType']}/{one['id']}": one for one in made}

    def application(self) -> web.Application:
        """The routes; serve them over TLS that requires a client certificate."""
        application = web.Application(client_max_size=BODY_LIMIT, middlewares=[answer_errors])
        application.add_routes([web.get("/fhir/metadata", self._metadata)])
        for kind in _PARAMETERS:
            application.add_routes(
                [
                    web.get(f"/fhir/{{kind:{kind}}}", self._search),
                    web.post(f"/fhir/{{kind:{kind}}}/_search", self._search),
                    web.get(f"/fhir/{{kind:{kind}}}/{{id}}", self._read),
                ]
            )
        return application

    async def _metadata(self, request: web.Request) -> web.Response:
        resources = [
            {
                "type": kind,
                "interaction": [{"code": "read"}, {"code": "search-type"}],
                "searchParam": [
                    {"name": name, "type": _TYPES[name]} for name in sorted(parameters)
                ],
            }
            for kind, parameters in _PARAMETERS.items()
        ]
        date = self._clock.now().date().isoformat()
        return fhir_answer(200, capability_statement("EHMI endpoint register", date, resources))

    async def _read(self, request: web.Request) -> web.Response:
        self._grants.require(request)
        found = self._resources.get(f"{request.match_info['kind']}/{request.match_info['id']}")
        if found is None:
            raise Refusal(404, "not-found", "no such resource")
        return fhir_answer(200, found)

    async def _search(self, request: web.Request) -> web.Response:
        self._grants.require(request)
        asked = list(request.query.items())
        if request.method == "POST":
            form = await request.post()
            asked += [(name, value) for name, value in form.items() if isinstance(value, str)]
        kind = request.match_info["kind"]
        included = [value for name, value in asked if name == "_include"]
        if set(included) - {_INCLUDE} or (included and kind != "Organization"):
            raise Refusal(400, "not-supported", f"_include is {_INCLUDE}")
        found = self._find(kind, [pair for pair in asked if pair[0] != "_include"])
        total = len(found)
        if included:
            found += self._endpoints_of(found)
        base = str(request.url.origin()) + "/fhir"
        made = bundle(found, base)
        for number, entry in enumerate(made.get("entry", [])):
            entry["search"] = {"mode": "match" if number < total else "include"}
        return fhir_answer(200, {**made, "total": total})

    def _find(self, kind: str, asked: Iterable[tuple[str, str]]) -> list[Resource]:
        found = [one for one in self._resources.values() if one["resourceType"] == kind]
        for name, value in asked:
            matches = _PARAMETERS[kind].get(name)
            if matches is None:
                raise Refusal(400, "not-supported", f"{kind} is not searched by {name[:40]}")
            if name == "messageType":
                found = [
                    one
                    for one in found
                    if any(_takes(end, value) for end in self._endpoints_of([one]))
                ]
            else:
                # A comma joins alternatives.
                wanted = value.split(",")
                found = [one for one in found if any(matches(one, part) for part in wanted)]
        return found

    def _endpoints_of(self, organizations: Iterable[Resource]) -> list[Resource]:
        return [
            self._resources[reference["reference"]]
            for organization in organizations
            for reference in organization.get("endpoint", [])
        ]


def describe(
    organisation: RegisteredOrganisation, *, url: str | None, certificate: bytes | None
) -> list[Resource]:
    """Write one organisation as FHIR: itself, its endpoint, and the devices of its stations."""
    sor, gln = f"sor-{organisation.sor}", f"gln-{organisation.gln}"
    identifiers = [
        {"use": "official", "system": words.SOR, "value": organisation.sor},
        {"system": words.CVR, "value": organisation.cvr},
    ]
    if organisation.ydernummer:
        identifiers.append({"system": words.YDERNUMMER, "value": organisation.ydernummer})
    organization: Resource = {
        "resourceType": "Organization",
        "id": sor,
        "meta": {"profile": [words.ORGANIZATION_PROFILE]},
        "identifier": identifiers,
        "active": True,
        "type": [{"coding": [{"system": words.SOR_HIERARCHY, "code": organisation.hierarchy}]}],
        "name": organisation.name,
    }
    where = organisation.address
    if where is not None:
        organization["address"] = [
            {"line": [where.line], "city": where.city, "postalCode": where.postal_code}
        ]
    if organisation.gln is None:
        return [organization]
    devices = [
        _describe_device(station, device, organisation, url=url, certificate=certificate)
        for station, device in organisation.device_ids().items()
    ]
    systems = {
        station: {
            "url": words.SYSTEM_EXTENSIONS[station],
            "valueReference": {"reference": f"Device/{device['id']}"},
        }
        for station, device in zip(organisation.device_ids(), devices, strict=True)
    }
    organization["extension"] = [systems["EUA"], systems["MSH"]]
    organization["endpoint"] = [{"reference": f"Endpoint/{gln}"}]
    endpoint: Resource = {
        "resourceType": "Endpoint",
        "id": gln,
        "meta": {"profile": [words.ENDPOINT_PROFILE]},
        "extension": [systems["MSH"], systems["AP"]],
        "identifier": [{"use": "official", "system": words.GLN, "value": organisation.gln}],
        "status": "active",
        "connectionType": {"system": words.CONNECTION_TYPES, "code": words.EDELIVERY},
        "name": organisation.name,
        "managingOrganization": {"reference": f"Organization/{sor}"},
        "period": {"start": SINCE},
        "payloadType": [
            {"coding": [{"system": words.MESSAGE_DEFINITIONS, "code": document}]}
            for document in organisation.documents
        ],
        "payloadMimeType": list(MIME_TYPES),
        "address": words.DUMMY_ADDRESS,
    }
    return [organization, endpoint, *devices]


def _describe_device(
    station: str,
    device_id: str,
    organisation: RegisteredOrganisation,
    *,
    url: str | None,
    certificate: bytes | None,
) -> Resource:
    device: Resource = {
        "resourceType": "Device",
        "id": device_id,
        "meta": {"profile": [words.DEVICE_PROFILE]},
        "identifier": [{"value": device_id}],
        "status": "active",
        "manufacturer": _MANUFACTURER,
        "deviceName": [{"name": f"{organisation.key}-{station}", "type": "user-friendly-name"}],
        "type": {"coding": [{"system": words.DEVICE_TYPES, "code": station}]},
        "owner": {"reference": f"Organization/sor-{organisation.sor}"},
    }
    if station == "AP" and url is not None:
        device["url"] = url
    if station == "AP" and certificate is not None:
        content = base64.b64encode(certificate).decode()
        device["extension"] = [
            {
                "url": words.PUBLIC_KEY_EXTENSION,
                "extension": [{"url": "certificate", "valueBase64Binary": content}],
            }
        ]
    return device


# What is searched by


def _by_identifier(resource: Resource, wanted: str) -> bool:
    system, bar, value = wanted.rpartition("|")
    return any(
        one["value"] == value and (not bar or one.get("system", "") == system)
        for one in resource["identifier"]
    )


def _by_name(resource: Resource, wanted: str) -> bool:
    return str(resource["name"]).casefold().startswith(wanted.casefold())


def _by_postal_code(resource: Resource, wanted: str) -> bool:
    return any(one["postalCode"] == wanted for one in resource.get("address", []))


def _by_organization(resource: Resource, wanted: str) -> bool:
    reference: str = resource["managingOrganization"]["reference"]
    return reference in (wanted, f"Organization/{wanted}")


def _by_owner(resource: Resource, wanted: str) -> bool:
    reference: str = resource["owner"]["reference"]
    return reference in (wanted, f"Organization/{wanted}")


def _takes(endpoint: Resource, wanted: str) -> bool:
    """A token is `system|code` or the code alone; the bar cannot stand in a DOCUMENTID."""
    system, bar, code = wanted.rpartition("|")
    return any(
        coding["code"] == code and (not bar or coding["system"] == system)
        for payload in endpoint["payloadType"]
        for coding in payload["coding"]
    )


_TYPES: Final = {
    "identifier": "token",
    "name": "string",
    "address-postalcode": "string",
    "messageType": "token",
    "organization": "reference",
    "payload-type": "token",
}
_PARAMETERS: Final[Mapping[str, Mapping[str, Match]]] = {
    "Organization": {
        "identifier": _by_identifier,
        "name": _by_name,
        "address-postalcode": _by_postal_code,
        "messageType": _takes,
    },
    "Endpoint": {
        "identifier": _by_identifier,
        "organization": _by_organization,
        "payload-type": _takes,
    },
    "Device": {"identifier": _by_identifier, "organization": _by_owner},
}
