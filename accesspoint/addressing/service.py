"""Asks the addressing service who the right receiver is: a patient's own practice, a ydernummer, a SOR id, a postal code.

The service holds no data; it knows whom to ask. What is asked travels in the body of a POST, since it may be a patient
number.

Spec: EHMI addressing service 2.0, operations and use cases 1 to 4; security architecture 0.98 (scope of EAS).
"""

from collections.abc import Iterable
from typing import Any

from accesspoint.addressing.client import AddressingFailed, FhirClient
from accesspoint.addressing.receivers import AnswerUnusable, Receiver, read_receivers
from accesspoint.addressing.vocabulary import CPR, EAS_PATIENT_PROFILE, Operation
from accesspoint.clock import Clock


class AddressingService:
    """The addressing service as a client sees it; `documents` are DOCUMENTIDs that the receiver must take."""

    def __init__(self, client: FhirClient, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def find_by_patient(
        self, cpr: str, documents: Iterable[str] = ()
    ) -> tuple[Receiver, ...]:
        """Find the own general practitioner of a patient (ten digits). Raises: AddressingFailed."""
        patient = {
            "resourceType": "Patient",
            "meta": {"profile": [EAS_PATIENT_PROFILE]},
            "identifier": [{"use": "official", "system": CPR, "value": cpr}],
        }
        asked = [{"name": "easCorePatient", "resource": patient}]
        return await self._ask(Operation.BY_PATIENT, asked, documents)

    async def find_by_ydernummer(
        self, ydernummer: str, documents: Iterable[str] = ()
    ) -> tuple[Receiver, ...]:
        """Find a practice by its ydernummer (six digits). Raises: AddressingFailed."""
        asked = [{"name": "gpId", "valueString": ydernummer}]
        return await self._ask(Operation.BY_YDERNUMMER, asked, documents)

    async def find_by_sor(self, *sor: str, documents: Iterable[str] = ()) -> tuple[Receiver, ...]:
        """Find organisations by their SOR ids. Raises: AddressingFailed."""
        asked = [{"name": "sorId", "valueString": one} for one in sor]
        return await self._ask(Operation.BY_SOR, asked, documents)

    async def list_practices(self, *postal_codes: str) -> tuple[Receiver, ...]:
        """List the practices of these postal codes, for a person to pick from. Raises: AddressingFailed."""
        asked = [{"name": "postalCode", "valueString": one} for one in postal_codes]
        return await self._ask(Operation.LIST_BY_POSTAL_CODE, asked, ())

    async def _ask(
        self, operation: Operation, parameters: list[dict[str, Any]], documents: Iterable[str]
    ) -> tuple[Receiver, ...]:
        wanted = [{"name": "messageType", "valueString": one} for one in documents]
        resource = {"resourceType": "Parameters", "parameter": [*parameters, *wanted]}
        answer = await self._client.post(f"Organization/{operation}", resource)
        try:
            return read_receivers(answer, at=self._clock.now())
        except AnswerUnusable as error:
            raise AddressingFailed("addressing-refused", str(error)) from None
