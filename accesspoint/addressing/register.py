"""Reads the endpoint register: organisations with their endpoints, and devices.

In the pilot the addressing service is its only reader; stations may read the data of a device, which hardly changes.

Spec: EHMI endpoint register 2.0, interactions; security architecture 0.98 (scope of EER).
"""

from typing import Any

from accesspoint.addressing.client import FhirClient
from accesspoint.addressing.vocabulary import SOR

Resource = dict[str, Any]


class EndpointRegister:
    """The endpoint register as a client sees it; what it answers is given as it came."""

    def __init__(self, client: FhirClient) -> None:
        self._client = client

    async def find_organization(self, sor: str, document_id: str | None = None) -> Resource:
        """Search an organisation by SOR id, with its endpoints; with a document, only where one takes it.

        Raises: AddressingFailed.
        """
        query = {"identifier": f"{SOR}|{sor}", "_include": "Organization:endpoint"}
        if document_id is not None:
            query["messageType"] = document_id
        found: Resource = await self._client.get("Organization", query)
        return found

    async def find_device(self, device_id: str) -> Resource:
        """Search a device by its identity. Raises: AddressingFailed."""
        found: Resource = await self._client.get("Device", {"identifier": device_id})
        return found
