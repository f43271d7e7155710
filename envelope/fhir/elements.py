"""The FHIR R4 elements these messages use: names in XML order, types, cardinality and closed code lists.

One line per type in a small notation, expanded at import. `name` is 0..1, `name!` 1..1, `name*` 0..*,
`name+` 1..*; behind the colon stands the type; `value[x]:A|B` is a choice; `=a|b` closes a code list.
Resources begin with `@`; a type with a dot is a backbone element. Types left out are read without a
table (`is_known`), so that surplus content which is valid R4 does no harm.

Spec: HL7 FHIR R4 (4.0.1); medcom-fhir.md 15 (L2), 19, 22.
"""

import re
from dataclasses import dataclass
from typing import Final

from envelope.fhir.canonicals import words

_OPEN_CHOICE: Final = (
    "base64Binary|boolean|canonical|code|date|dateTime|decimal|id|instant|integer|markdown|oid"
    "|positiveInt|string|time|unsignedInt|uri|url|uuid|Address|Age|Annotation|Attachment"
    "|CodeableConcept|Coding|ContactPoint|Count|Distance|Duration|HumanName|Identifier|Money|Period"
    "|Quantity|Range|Ratio|Reference|SampledData|Signature|Timing|ContactDetail|Contributor"
    "|DataRequirement|Expression|ParameterDefinition|RelatedArtifact|TriggerDefinition|UsageContext"
    "|Dosage|Meta"
)
_GENDER: Final = "code=male|female|other|unknown"
_QUANTITY: Final = "value:decimal comparator:code=<|<=|>=|> unit:string system:uri code:code"
_EVENT_STATUS: Final = (
    "code=preparation|in-progress|not-done|on-hold|stopped|completed|entered-in-error|unknown"
)
_ENCOUNTER_STATUS: Final = (
    "code=planned|arrived|triaged|in-progress|onleave|finished|cancelled|entered-in-error|unknown"
)

_TABLE: Final = f"""
@Bundle identifier:Identifier type!:code=document|message|transaction|transaction-response|batch|batch-response|history|searchset|collection timestamp:instant total:unsignedInt link*:Bundle.link entry*:Bundle.entry signature:Signature
Bundle.link relation!:string url!:uri
Bundle.entry link*:Bundle.link fullUrl:uri resource:Resource search:Bundle.entry.search request:Bundle.entry.request response:Bundle.entry.response
Bundle.entry.search mode:code=match|include|outcome score:decimal
Bundle.entry.request method!:code=GET|HEAD|POST|PUT|DELETE|PATCH url!:uri ifNoneMatch:string ifModifiedSince:instant ifMatch:string ifNoneExist:string
Bundle.entry.response status!:string location:uri etag:string lastModified:instant outcome:Resource

@MessageHeader event[x]!:Coding|uri destination*:MessageHeader.destination sender:Reference enterer:Reference author:Reference source!:MessageHeader.source responsible:Reference reason:CodeableConcept response:MessageHeader.response focus*:Reference definition:canonical
MessageHeader.destination name:string target:Reference endpoint!:url receiver:Reference
MessageHeader.source name:string software:string version:string contact:ContactPoint endpoint!:url
MessageHeader.response identifier!:id code!:code=ok|transient-error|fatal-error details:Reference

@Patient identifier*:Identifier active:boolean name*:HumanName telecom*:ContactPoint gender:{_GENDER} birthDate:date deceased[x]:boolean|dateTime address*:Address maritalStatus:CodeableConcept multipleBirth[x]:boolean|integer photo*:Attachment contact*:Patient.contact communication*:Patient.communication generalPractitioner*:Reference managingOrganization:Reference link*:Patient.link
Patient.contact relationship*:CodeableConcept name:HumanName telecom*:ContactPoint address:Address gender:{_GENDER} organization:Reference period:Period
Patient.communication language!:CodeableConcept preferred:boolean
Patient.link other!:Reference type!:code=replaced-by|replaces|refer|seealso

@Practitioner identifier*:Identifier active:boolean name*:HumanName telecom*:ContactPoint address*:Address gender:{_GENDER} birthDate:date photo*:Attachment qualification*:Practitioner.qualification communication*:CodeableConcept
Practitioner.qualification identifier*:Identifier code!:CodeableConcept period:Period issuer:Reference

@PractitionerRole identifier*:Identifier active:boolean period:Period practitioner:Reference organization:Reference code*:CodeableConcept specialty*:CodeableConcept location*:Reference healthcareService*:Reference telecom*:ContactPoint availableTime*:PractitionerRole.availableTime notAvailable*:PractitionerRole.notAvailable availabilityExceptions:string endpoint*:Reference
PractitionerRole.availableTime daysOfWeek*:code=mon|tue|wed|thu|fri|sat|sun allDay:boolean availableStartTime:time availableEndTime:time
PractitionerRole.notAvailable description!:string during:Period

@Organization identifier*:Identifier active:boolean type*:CodeableConcept name:string alias*:string telecom*:ContactPoint address*:Address partOf:Reference contact*:Organization.contact endpoint*:Reference
Organization.contact purpose:CodeableConcept name:HumanName telecom*:ContactPoint address:Address

@CareTeam identifier*:Identifier status:code=proposed|active|suspended|inactive|entered-in-error category*:CodeableConcept name:string subject:Reference encounter:Reference period:Period participant*:CareTeam.participant reasonCode*:CodeableConcept reasonReference*:Reference managingOrganization*:Reference telecom*:ContactPoint note*:Annotation
CareTeam.participant role*:CodeableConcept member:Reference onBehalfOf:Reference period:Period

@Provenance target+:Reference occurred[x]:Period|dateTime recorded!:instant policy*:uri location:Reference reason*:CodeableConcept activity:CodeableConcept agent+:Provenance.agent entity*:Provenance.entity signature*:Signature
Provenance.agent type:CodeableConcept role*:CodeableConcept who!:Reference onBehalfOf:Reference
Provenance.entity role!:code=derivation|revision|quotation|source|removal what!:Reference agent*:Provenance.agent

@Communication identifier*:Identifier instantiatesCanonical*:canonical instantiatesUri*:uri basedOn*:Reference partOf*:Reference inResponseTo*:Reference status!:{_EVENT_STATUS} statusReason:CodeableConcept category*:CodeableConcept priority:code=routine|urgent|asap|stat medium*:CodeableConcept subject:Reference topic:CodeableConcept about*:Reference encounter:Reference sent:dateTime received:dateTime recipient*:Reference sender:Reference reasonCode*:CodeableConcept reasonReference*:Reference payload*:Communication.payload note*:Annotation
Communication.payload content[x]!:string|Attachment|Reference

@DiagnosticReport identifier*:Identifier basedOn*:Reference status!:code=registered|partial|preliminary|final|amended|corrected|appended|cancelled|entered-in-error|unknown category*:CodeableConcept code!:CodeableConcept subject:Reference encounter:Reference effective[x]:dateTime|Period issued:instant performer*:Reference resultsInterpreter*:Reference specimen*:Reference result*:Reference imagingStudy*:Reference media*:DiagnosticReport.media conclusion:string conclusionCode*:CodeableConcept presentedForm*:Attachment
DiagnosticReport.media comment:string link!:Reference

@Observation identifier*:Identifier basedOn*:Reference partOf*:Reference status!:code=registered|preliminary|final|amended|corrected|cancelled|entered-in-error|unknown category*:CodeableConcept code!:CodeableConcept subject:Reference focus*:Reference encounter:Reference effective[x]:dateTime|Period|Timing|instant issued:instant performer*:Reference value[x]:Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period dataAbsentReason:CodeableConcept interpretation*:CodeableConcept note*:Annotation bodySite:CodeableConcept method:CodeableConcept specimen:Reference device:Reference referenceRange*:Observation.referenceRange hasMember*:Reference derivedFrom*:Reference component*:Observation.component
Observation.referenceRange low:Quantity high:Quantity type:CodeableConcept appliesTo*:CodeableConcept age:Range text:string
Observation.component code!:CodeableConcept value[x]:Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period dataAbsentReason:CodeableConcept interpretation*:CodeableConcept referenceRange*:Observation.referenceRange

@Media identifier*:Identifier basedOn*:Reference partOf*:Reference status!:{_EVENT_STATUS} type:CodeableConcept modality:CodeableConcept view:CodeableConcept subject:Reference encounter:Reference created[x]:dateTime|Period issued:instant operator:Reference reasonCode*:CodeableConcept bodySite:CodeableConcept deviceName:string device:Reference height:positiveInt width:positiveInt frames:positiveInt duration:decimal content!:Attachment note*:Annotation

@Encounter identifier*:Identifier status!:{_ENCOUNTER_STATUS} statusHistory*:Encounter.statusHistory class!:Coding classHistory*:Encounter.classHistory type*:CodeableConcept serviceType:CodeableConcept priority:CodeableConcept subject:Reference episodeOfCare*:Reference basedOn*:Reference participant*:Encounter.participant appointment*:Reference period:Period length:Duration reasonCode*:CodeableConcept reasonReference*:Reference diagnosis*:Encounter.diagnosis account*:Reference hospitalization:Encounter.hospitalization location*:Encounter.location serviceProvider:Reference partOf:Reference
Encounter.statusHistory status!:{_ENCOUNTER_STATUS} period!:Period
Encounter.classHistory class!:Coding period!:Period
Encounter.participant type*:CodeableConcept period:Period individual:Reference
Encounter.diagnosis condition!:Reference use:CodeableConcept rank:positiveInt
Encounter.hospitalization preAdmissionIdentifier:Identifier origin:Reference admitSource:CodeableConcept reAdmission:CodeableConcept dietPreference*:CodeableConcept specialCourtesy*:CodeableConcept specialArrangement*:CodeableConcept destination:Reference dischargeDisposition:CodeableConcept
Encounter.location location!:Reference status:code=planned|active|reserved|completed physicalType:CodeableConcept period:Period

@OperationOutcome issue+:OperationOutcome.issue
OperationOutcome.issue severity!:code=fatal|error|warning|information code!:code=invalid|structure|required|value|invariant|security|login|unknown|expired|forbidden|suppressed|processing|not-supported|duplicate|multiple-matches|not-found|deleted|too-long|code-invalid|extension|too-costly|business-rule|conflict|transient|lock-error|no-store|exception|timeout|incomplete|throttled|informational details:CodeableConcept diagnostics:string location*:string expression*:string

Meta versionId:id lastUpdated:instant source:uri profile*:canonical security*:Coding tag*:Coding
Narrative status!:code=generated|extensions|additional|empty div!:xhtml
Extension url!:uri value[x]:{_OPEN_CHOICE}
Identifier use:code=usual|official|temp|secondary|old type:CodeableConcept system:uri value:string period:Period assigner:Reference
HumanName use:code=usual|official|temp|nickname|anonymous|old|maiden text:string family:string given*:string prefix*:string suffix*:string period:Period
ContactPoint system:code=phone|fax|email|pager|url|sms|other value:string use:code=home|work|temp|old|mobile rank:positiveInt period:Period
Address use:code=home|work|temp|old|billing type:code=postal|physical|both text:string line*:string city:string district:string state:string postalCode:string country:string period:Period
Coding system:uri version:string code:code display:string userSelected:boolean
CodeableConcept coding*:Coding text:string
Reference reference:string type:uri identifier:Identifier display:string
Period start:dateTime end:dateTime
Quantity {_QUANTITY}
Age {_QUANTITY}
Count {_QUANTITY}
Distance {_QUANTITY}
Duration {_QUANTITY}
Money value:decimal currency:code
Range low:Quantity high:Quantity
Ratio numerator:Quantity denominator:Quantity
SampledData origin!:Quantity period!:decimal factor:decimal lowerLimit:decimal upperLimit:decimal dimensions!:positiveInt data:string
Attachment contentType:code language:code data:base64Binary url:url size:unsignedInt hash:base64Binary title:string creation:dateTime
Annotation author[x]:Reference|string time:dateTime text!:markdown
Signature type+:Coding when!:instant who!:Reference onBehalfOf:Reference targetFormat:code sigFormat:code data:base64Binary
ContactDetail name:string telecom*:ContactPoint
"""

_RESOURCE: Final = "id:id meta:Meta implicitRules:uri language:code"
_DOMAIN: Final = (
    _RESOURCE
    + " text:Narrative contained*:Resource extension*:Extension modifierExtension*:Extension"
)
_BACKBONE: Final = "id:string extension*:Extension modifierExtension*:Extension"
_DATATYPE: Final = "id:string extension*:Extension"

PRIMITIVES: Final = words(
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid"
    " positiveInt string time unsignedInt uri url uuid xhtml"
)

_NOTATION: Final = re.compile(
    r"(?P<name>\w+)(?P<choice>\[x\])?(?P<many>[!*+])?:(?P<types>[\w.|]+?)(?:=(?P<codes>\S+))?"
)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type: `name` as it stands on the wire, `group` the name of its choice or itself."""

    name: str
    type: str
    many: bool
    required: bool
    group: str
    codes: frozenset[str] | None
    position: int

    @property
    def primitive(self) -> bool:
        """Whether the element holds a FHIR primitive (`value` attribute in XML, a JSON scalar)."""
        return self.type in PRIMITIVES


def _expand(notation: str, position: int) -> list[Element]:
    match = _NOTATION.fullmatch(notation)
    if match is None:
        raise ValueError(f"element notation {notation!r}")
    name, mark, codes = match["name"], match["many"] or "", match["codes"]
    closed = frozenset(codes.split("|")) if codes else None
    many, required = mark in ("*", "+"), mark in ("!", "+")
    if match["choice"]:
        return [
            Element(
                f"{name}{kind[0].upper()}{kind[1:]}", kind, False, required, name, None, position
            )
            for kind in match["types"].split("|")
        ]
    return [Element(name, match["types"], many, required, name, closed, position)]


def _build() -> tuple[dict[str, dict[str, Element]], frozenset[str]]:
    types: dict[str, dict[str, Element]] = {}
    resources: set[str] = set()
    for line in filter(None, _TABLE.splitlines()):
        head, *notations = line.split()
        name = head.lstrip("@")
        if head.startswith("@"):
            resources.add(name)
            base = _RESOURCE if name == "Bundle" else _DOMAIN
        else:
            base = _BACKBONE if "." in name else _DATATYPE
        elements: dict[str, Element] = {}
        for position, notation in enumerate([*base.split(), *notations]):
            elements.update((element.name, element) for element in _expand(notation, position))
        types[name] = elements
    return types, frozenset(resources)


TYPES, RESOURCES = _build()
"""Type name to its elements by wire name, in XML order; and the names of the resource types among them."""


def is_known(name: str) -> bool:
    """Say whether the table describes this type; content of other types is kept but not checked."""
    return name in TYPES
