"""The code systems of the delivery status component as data: the only place here with its URIs and codes.

Spec: EHMI delivery status 1.0.2 and terminology 1.2.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from accesspoint.delivery.events import Station, SubType

_PROFILE: Final = "http://medcomehmi.dk/ig/eds/StructureDefinition/"
BASIC_DELIVERY_STATUS: Final = _PROFILE + "EdsBasicDeliveryStatus"
PATIENT_DELIVERY_STATUS: Final = _PROFILE + "EdsPatientDeliveryStatus"
OTHER_ID: Final = _PROFILE + "eds-otherId"

SOR_SYSTEM: Final = "urn:oid:1.2.208.176.1.1"
CPR_SYSTEM: Final = "urn:oid:1.2.208.176.1.2"
GLN_SYSTEM: Final = "https://www.gs1.org/gln"

_CODE_SYSTEM: Final = "http://medcomehmi.dk/ig/terminology/CodeSystem/"


@dataclass(frozen=True, slots=True)
class CodeSystem:
    """One code system: its URI and its codes with their displays."""

    uri: str
    displays: Mapping[str, str]

    def coding(self, code: str) -> dict[str, str]:
        """Write a Coding of this system with its display; KeyError when the code is not in it."""
        return {"system": self.uri, "code": code, "display": self.displays[code]}


TYPES: Final = CodeSystem(
    _CODE_SYSTEM + "ehmi-delivery-status-types", {"ehmiMessaging": "EHMI messaging event"}
)
SUB_TYPES: Final = CodeSystem(
    _CODE_SYSTEM + "ehmi-delivery-status-sub-types",
    {
        SubType.CREATED: "Message created",
        SubType.CREATED_AND_SENT: "Message created and sent",
        SubType.SENT: "Message sent",
        SubType.RECEIVED: "Message received",
        SubType.RECEIVED_AND_FINALIZED: "Message received and finalized",
        SubType.FINALIZED: "Message finalized",
    },
)
ROLES: Final = CodeSystem(
    _CODE_SYSTEM + "ehmi-delivery-status-participationroletype",
    {"ehmiSender": "Sender", "ehmiReceiver": "Receiver", "ehmiDevice": "Device"},
)
IDENTIFIER_TYPES: Final = CodeSystem(
    _CODE_SYSTEM + "ehmi-delivery-status-agent-who-identifier-types",
    {"GLN": "GLN", "SOR": "SOR", "ehmiDEVICEID": "DeviceId"},
)
SOURCE_TYPES: Final = CodeSystem(
    _CODE_SYSTEM + "ehmi-delivery-status-source-type",
    {
        Station.EUA: "EUA (End-user Application)",
        Station.EUA_MSH: "EUA & MSH (End-user Application & Message Service Handler)",
        Station.MSH: "MSH (Application Server)",
        Station.AP_MSH: "AP & MSH (Access Point - Message Service Handler)",
        Station.AP: "AP (Access Point)",
        "ehmiEUAPPLICATION": "End-user application",
        "ehmiMESSAGESERVICEHANDLER": "MSH",
        "ehmiEDELIVERY-AP": "eDelivery AP",
    },
)
ENTITY_TYPES: Final = CodeSystem(
    _CODE_SYSTEM + "ehmi-delivery-status-entity-type",
    {
        "ehmiPatient": "Patient",
        "ehmiMessage": "Message",
        "ehmiMessageEnvelope": "Message Envelope",
        "ehmiTransportEnvelope": "Transport Envelope",
        "ehmiOrigMessage": "Original Message",
        "ehmiOrigMessageEnvelope": "Original Message Envelope",
        "ehmiOrigTransportEnvelope": "Original Transport Envelope",
    },
)
PATIENT_ROLE: Final = CodeSystem(
    "http://terminology.hl7.org/CodeSystem/object-role", {"1": "Patient"}
)

# The value sets are wider than EHMI's own codes: these systems of FHIR and DICOM are admitted as well.
FHIR_TYPE_SYSTEMS: Final = frozenset(
    {
        "http://terminology.hl7.org/CodeSystem/audit-event-type",
        "http://hl7.org/fhir/restful-interaction",
        "http://terminology.hl7.org/CodeSystem/audit-entity-type",
    }
)
FHIR_SUB_TYPE_SYSTEMS: Final = frozenset(
    {"http://hl7.org/fhir/restful-interaction", "http://dicom.nema.org/resources/ontology/DCM"}
)
