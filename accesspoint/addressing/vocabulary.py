"""The names that the endpoint register and the addressing service share: systems, profiles, operations.

Spec: EHMI endpoint register 2.0, addressing service 2.0, terminology 1.2; decision on C-17: GLNs are written with the
http system here, and read with either.
"""

from enum import StrEnum
from typing import Final

from envelope.fhir import canonicals

_TERMINOLOGY: Final = "http://medcomehmi.dk/ig/terminology/CodeSystem/"
_EER: Final = "http://medcomehmi.dk/ig/eer/StructureDefinition/"
_EAS: Final = "http://medcomehmi.dk/ig/eas/StructureDefinition/"

SOR: Final = canonicals.SOR
CPR: Final = canonicals.CPR
YDERNUMMER: Final = canonicals.YDERNUMMER
CVR: Final = "http://cvr.dk"
GLN: Final = "http://www.gs1.org/gln"
GLN_SYSTEMS: Final = canonicals.GLN_SYSTEMS

MESSAGE_DEFINITIONS: Final = _TERMINOLOGY + "ehmi-message-definition-uri"
CONNECTION_TYPES: Final = _TERMINOLOGY + "eer-endpoint-connection-type"
DEVICE_TYPES: Final = _TERMINOLOGY + "eer-device-type"
SOR_HIERARCHY: Final = _TERMINOLOGY + "eer-sor-organization-type"
EDELIVERY: Final = "EerMessagingEdelivery"
"""The connection type of endpoints that this network delivers to; those of other kinds are passed over."""
DUMMY_ADDRESS: Final = "https://found-inside-the-ap-extension.com"

ORGANIZATION_PROFILE: Final = _EER + "Eer.Messaging.Organization"
ENDPOINT_PROFILE: Final = _EER + "eer.dk.endpoint.messaging"
DEVICE_PROFILE: Final = _EER + "EerDevice"
EAS_ORGANIZATION_PROFILE: Final = _EAS + "EasMessagingOrganization"
EAS_PATIENT_PROFILE: Final = _EAS + "EasCorePatient"
SYSTEM_EXTENSIONS: Final = {
    station: f"{_EER}eer-dk-{station.lower()}-system-extension" for station in ("EUA", "MSH", "AP")
}
PUBLIC_KEY_EXTENSION: Final = _EER + "smp-public-key"

ADDRESSING_SCOPE: Final = "EAS system/Organization.rs"
REGISTER_SCOPE: Final = "EER system/Endpoint.rs system/Organization.rs"


class Operation(StrEnum):
    """The operations of the addressing service, all on the type Organization.

    The use-case page and older papers have other names; those of the OperationDefinitions are written (C-18).
    """

    BY_PATIENT = "$getReceivingOrganizationByPatientId"
    BY_YDERNUMMER = "$getReceivingOrganizationByGPId"
    BY_SOR = "$getReceivingOrganizationBySORId"
    LIST_BY_POSTAL_CODE = "$getListOfGpByPostalCode"
