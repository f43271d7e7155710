"""MedCom's and HL7's canonical addresses, identifier systems and short code lists, by standard.

Every MedCom canonical starts with `http://medcomfhir.dk/ig/` (http, not https). An instance may pin a
version behind `|`; only the part before it is compared.

Spec: medcom-fhir.md 1, 3, 4, 5, 6, 10, 11, 12, 13, 17.
"""

from typing import Final


def words(text: str) -> frozenset[str]:
    """Make a code list from text with blanks between the codes."""
    return frozenset(text.split())


_IG: Final = "http://medcomfhir.dk/ig/"
_TERMINOLOGY: Final = _IG + "terminology/CodeSystem/"
_MESSAGING: Final = _IG + "messaging/StructureDefinition/"
_CORE: Final = _IG + "core/StructureDefinition/"
_HCO: Final = _IG + "homecareobservation/StructureDefinition/"
_CC: Final = _IG + "carecommunication/StructureDefinition/"
_HN: Final = _IG + "hospitalnotification/StructureDefinition/"
_ACK: Final = _IG + "acknowledgement/StructureDefinition/"
_DEFINITION: Final = _IG + "messagedefinitions/MessageDefinition/"

# Event codes of MessageHeader.eventCoding
HOMECAREOBSERVATION: Final = "homecareobservation-message"
CARECOMMUNICATION: Final = "care-communication-message"
HOSPITALNOTIFICATION: Final = "hospital-notification-message"
ACKNOWLEDGEMENT: Final = "acknowledgement-message"
EMPTY: Final = "empty-message"
EVENT_CODES: Final = frozenset(
    {HOMECAREOBSERVATION, CARECOMMUNICATION, HOSPITALNOTIFICATION, ACKNOWLEDGEMENT, EMPTY}
)
EVENT_SYSTEM: Final = _TERMINOLOGY + "medcom-messaging-eventCodes"

# Identifier systems
SOR: Final = "urn:oid:1.2.208.176.1.1"
GLN: Final = "https://www.gs1.org/gln"
GLN_SYSTEMS: Final = frozenset({GLN, "http://www.gs1.org/gln"})
YDERNUMMER: Final = "urn:oid:1.2.208.176.1.4"
PRODUCENT_ID: Final = _TERMINOLOGY + "MedComProducentID"
CPR: Final = "urn:oid:1.2.208.176.1.2"
X_ECPR: Final = "urn:oid:1.2.208.176.1.6.1.1"
D_ECPR: Final = "urn:oid:1.2.208.176.1.6.1.3"
D_ECPR_SYSTEMS: Final = frozenset(
    {D_ECPR, *(f"{D_ECPR}.{region}" for region in (177, 179, 181, 183, 187))}
)
KOMBIT: Final = "https://kombit.dk/sts/organisation"
CVR_SYSTEMS: Final = frozenset({"http://cvr.dk", "urn:oid:2.16.840.1.113883.2.24.1.1"})
LPR3_SYSTEM: Final = "https://www.esundhed.dk/Registre/Landspatientregisteret"
SOR_ENDPOINT: Final = "https://sor2.sum.dsdn.dk/#id="

# Code systems
DESTINATION_USE_SYSTEM: Final = _TERMINOLOGY + "medcom-messaging-destinationUse"
ACTIVITY_SYSTEM: Final = _TERMINOLOGY + "medcom-messaging-activityCodes"
REPORT_CODE_SYSTEM: Final = _TERMINOLOGY + "MedComDiagnosticReportCodes"
REPORT_CODE: Final = "HomeCareReport"
INTERPRETATION_SYSTEM: Final = _TERMINOLOGY + "medcom-core-interpretation-codes"
NOT_INTERPRETED: Final = "NI"
OBSERVATION_SYSTEM: Final = _TERMINOLOGY + "medcom-observation-codes"
NPU_SYSTEM: Final = "urn:oid:1.2.208.176.2.1"
ROLE_SYSTEM: Final = _TERMINOLOGY + "medcom-core-PractitionerRolesSKSadministrativ"
CATEGORY_SYSTEM: Final = _TERMINOLOGY + "medcom-careCommunication-categoryCodes"
ACK_ERROR_SYSTEM: Final = _TERMINOLOGY + "medcom-acknowledgement-error-codes"
OPERATION_OUTCOME_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/operation-outcome"
CONFIDENTIALITY_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ACT_CODE_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
UCUM: Final = "http://unitsofmeasure.org"

# Extensions
DESTINATION_USE_EXTENSION: Final = _MESSAGING + "medcom-messaging-destinationUseExtension"
DATA_ABSENT_REASON: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
DATETIME_EXTENSION: Final = _CORE + "medcom-core-datetime-extension"
PRACTITIONER_EXTENSION: Final = _CORE + "medcom-core-practitioner-extension"
CONTACT_EXTENSION: Final = _CORE + "medcom-core-contact-extension"
IDENTIFIER_EXTENSION: Final = _CORE + "medcom-core-identifier-extension"
SENDER_EXTENSION: Final = _CORE + "medcom-core-sender-extension"
REPORT_OF_ADMISSION_EXTENSION: Final = _HN + "medcom-messaging-reportOfAdmissionExtension"
REPORT_OF_ADMISSION_RECIPIENT_EXTENSION: Final = (
    _HN + "medcom-messaging-reportOfAdmissionRecipientExtension"
)
LEAVE_EXTENSION: Final = _HN + "medcom-hospitalnotifiation-leave-period-extension"  # sic

# The base of the full addresses in bundles made here; nothing is served there
FULL_URL_BASE: Final = "https://accesspoint.example/fhir"

# Profiles
HCO_BUNDLE: Final = _HCO + "medcom-homecareobservation-message"
HCO_HEADER: Final = _HCO + "medcom-homecareobservation-messageheader"
HCO_REPORT: Final = _HCO + "medcom-homecareobservation-diagnosticreport"
HCO_OBSERVATION: Final = _HCO + "medcom-homecare-observation"
CC_BUNDLE: Final = _CC + "medcom-careCommunication-message"
CC_HEADER: Final = _CC + "medcom-careCommunication-messageHeader"
CC_COMMUNICATION: Final = _CC + "medcom-careCommunication-communication"
CC_PROVENANCE: Final = _CC + "medcom-careCommunication-provenance"
HN_HEADER: Final = _HN + "medcom-hospitalNotification-messageHeader"
HN_ENCOUNTER: Final = _HN + "medcom-hospitalNotification-encounter"
HN_BUNDLE: Final = _HN + "medcom-hospitalNotification-message"
ACK_BUNDLE: Final = _ACK + "medcom-messaging-acknowledgement"
ACK_HEADER: Final = _ACK + "medcom-messaging-acknowledgementHeader"
ACK_OUTCOME: Final = _ACK + "medcom-acknowledgement-operationoutcome"
MESSAGE_BUNDLE: Final = _MESSAGING + "medcom-messaging-message"
MESSAGE_HEADER: Final = _MESSAGING + "medcom-messaging-messageHeader"
PROVENANCE: Final = _MESSAGING + "medcom-messaging-provenance"
MESSAGING_ORGANIZATION: Final = _MESSAGING + "medcom-messaging-organization"
PRODUCER_ORGANIZATION: Final = _MESSAGING + "medcom-producer-organization"
REQUESTER_ORGANIZATION: Final = _MESSAGING + "medcom-requesterorganization"
MEDIA: Final = _CORE + "medcom-core-media"
CARE_TEAM: Final = _CORE + "medcom-core-careteam"
ENCOUNTER: Final = _CORE + "medcom-core-encounter"
PATIENT: Final = _CORE + "medcom-core-patient"
PRACTITIONER: Final = _CORE + "medcom-core-practitioner"
PRACTITIONER_ROLE: Final = _CORE + "medcom-core-practitionerrole"

# Message definitions, without the version behind the bar
HCO_DEFINITION: Final = _DEFINITION + "MedComHomeCareObservationMessageDefinition"
CC_DEFINITION: Final = _DEFINITION + "MedComCareCommunicationMessageDefinition"
ACK_DEFINITION: Final = _DEFINITION + "MedComAcknowledgementMessageDefinition"

# Code lists with a required binding
NEW_MESSAGE: Final = "new-message"
REPLY_MESSAGE: Final = "reply-message"
FORWARD_MESSAGE: Final = "forward-message"
MODIFIED_MESSAGE: Final = "modified-message"
RETRACT_MESSAGE: Final = "retract-message"
ACKNOWLEDGEMENT_ACTIVITY: Final = "acknowledgement"
_STAYS: Final = (
    "admit-emergency",
    "admit-inpatient",
    "start-leave-inpatient",
    "end-leave-inpatient",
    "discharge-emergency-home",
    "discharge-inpatient-home",
)
HN_NEW_ACTIVITIES: Final = frozenset(_STAYS)
HN_REVISE_ACTIVITIES: Final = frozenset(f"revise-{stay}" for stay in _STAYS)
HN_CANCEL_ACTIVITIES: Final = frozenset(f"cancel-{stay}" for stay in _STAYS)
HN_ACTIVITIES: Final = HN_NEW_ACTIVITIES | HN_REVISE_ACTIVITIES | HN_CANCEL_ACTIVITIES
HCO_ACTIVITIES: Final = frozenset({NEW_MESSAGE, REPLY_MESSAGE, MODIFIED_MESSAGE, RETRACT_MESSAGE})
CC_ACTIVITIES: Final = frozenset({NEW_MESSAGE, REPLY_MESSAGE, FORWARD_MESSAGE})
ALL_ACTIVITIES: Final = (
    HCO_ACTIVITIES
    | CC_ACTIVITIES
    | HN_ACTIVITIES
    | {"carboncopy-message", ACKNOWLEDGEMENT_ACTIVITY}
)
CATEGORIES: Final = words(
    "alcohol-and-drug-treatment assistive-devices carecoordination decease discharge"
    " examination-results healthcare home-care-assessment medicine nursing outpatient"
    " psychiatry-social-disability regarding-referral telemedicine training acute-ambulant"
    " extended-care-responsibility other"
)
ATTACHMENT_TYPES: Final = frozenset(
    {"application/pdf", "image/gif", "image/jpeg", "image/png", "image/tiff", "image/bmp"}
)
RESPONSE_OK: Final = "ok"
RESPONSE_FATAL: Final = "fatal-error"
RESPONSE_TRANSIENT: Final = "transient-error"
ACK_ERROR_CODES: Final = words(
    "MSG_Receiver_Identifier_UNKNOWN MSG_Receiver_Identifier_MISSING"
    " MSG_RECEIVER_UNABLE_TO_RECEIVE_MSG_TYPE MSG_VALUESET_VALUE_UNKNOWN"
    " MSG_CodeSystem_VALUE_UNKNOWN MSG_Element_To_Long MSG_Datatype_Wrong"
    " MSG_Mailbox_Out_Of_Operation MSG_Damaged_durin_transport"
)
OPERATION_OUTCOME_CODES: Final = words(
    "MSG_ID_INVALID MSG_ID_TOO_LONG MSG_BAD_FORMAT MSG_BAD_SYNTAX MSG_DATE_FORMAT MSG_DUPLICATE_ID"
    " MSG_INVALID_ID MSG_JSON_OBJECT MSG_LOCAL_FAIL MSG_NO_MATCH MSG_NO_EXIST MSG_NO_SUMMARY"
    " MSG_PARAM_INVALID MSG_PARAM_NO_REPEAT MSG_PARAM_UNKNOWN MSG_RESOURCE_ID_MISMATCH"
    " MSG_RESOURCE_ID_FAIL MSG_RESOURCE_ID_MISSING MSG_RESOURCE_NOT_ALLOWED MSG_RESOURCE_REQUIRED"
    " MSG_RESOURCE_TYPE_MISMATCH MSG_TRANSACTION_DUPLICATE_ID MSG_TRANSACTION_MISSING_ID"
    " MSG_UNKNOWN_TYPE MSG_VERSION_AWARE MSG_VERSION_AWARE_CONFLICT MSG_VERSION_AWARE_URL"
    " MSG_WRONG_NS"
)


def without_version(canonical: str) -> str:
    """Cut the `|version` tail off a canonical address."""
    return canonical.partition("|")[0]
