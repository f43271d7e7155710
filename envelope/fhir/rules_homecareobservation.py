"""HomeCareObservation rules: report, observations, and the two organizations of municipal test results.

Spec: medcom-fhir.md 4, 10, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind
from envelope.fhir.rule import Check, Place, Rule
from envelope.fhir.view import MessageView, Node

_EVENTS: Final = frozenset({canonicals.HOMECAREOBSERVATION})
_MAX_RESULT: Final = 12
_VALUES: Final = frozenset({"valueQuantity", "valueString"})
_KAF: Final = "KAF"
_REPERTOIRE: Final = canonicals.words(
    "DNK05473 DNK05472 NPU21692 NPU10197 NPU08676 NPU19748 NPU02593 NPU02636 NPU02840 NPU02902"
    " NPU01933 NPU01349 NPU22089 NPU01685 NPU03429 NPU03230 NPU01536 NPU04144 NPU02319 NPU02187"
    " NPU21531 NPU01459 NPU04998 NPU18016 NPU04206 NPU21578 NPU04207 NPU03987 NPU04208 NPU10504"
    " NPU03963 NPU16328 NPU18542 NPU16271 NPU03794 NPU03804"
)
_MEDCOM_REPERTOIRE: Final = frozenset({"MCS88122", "MCS88125", "MCS88126", "MCS88147"})


# The report


def _reports(view: MessageView) -> list[Node]:
    return view.of_type("DiagnosticReport")


def report_status(view: MessageView) -> Iterator[Place]:
    """The report is `final`, corrections and cancellations included."""
    for report in _reports(view):
        if report.string("status") != "final":
            yield f"{report.path}.status", "the report is not final"


def report_code(view: MessageView) -> Iterator[Place]:
    """The report says it is a home care report."""
    for report in _reports(view):
        wanted = (canonicals.REPORT_CODE_SYSTEM, canonicals.REPORT_CODE)
        if wanted not in report.codings("code", "coding"):
            yield f"{report.path}.code", "not the code of a home care report"


def report_subject(view: MessageView) -> Iterator[Place]:
    """The report is about the patient."""
    for report in _reports(view):
        if report.string("subject", "reference") is None:
            yield f"{report.path}.subject", "the subject is missing"


def report_issued(view: MessageView) -> Iterator[Place]:
    """The report says when this version of it was made."""
    for report in _reports(view):
        if report.string("issued") is None:
            yield f"{report.path}.issued", "the time of issue is missing"


def report_consent(view: MessageView) -> Iterator[Place]:
    """A security label, where there is one, says restricted; there is no other."""
    for report in _reports(view):
        labels = list(report.codings("meta", "security"))
        if labels and labels != [(canonicals.CONFIDENTIALITY_SYSTEM, "R")]:
            yield f"{report.path}.meta.security", "a security label other than restricted"


def report_performers(view: MessageView) -> Iterator[Place]:
    """One producer organization and one practitioner's role performed the report."""
    for report in _reports(view):
        found = [view.resolve(item) for item in report.each("performer")]
        kinds = sorted(node.type or "" for node in found if node is not None)
        if kinds != ["Organization", "PractitionerRole"] or len(found) != 2:
            yield f"{report.path}.performer", "not one organization and one practitioner's role"


def _roles(view: MessageView, kind: str, name: str) -> Iterator[tuple[Node, Node | None]]:
    """Walk the roles that an element of these resources leads to, with their practitioners."""
    for resource in view.of_type(kind):
        for item in resource.each(name):
            role = view.resolve(item)
            if role is not None and role.type == "PractitionerRole":
                yield role, view.resolve(role.first("practitioner"))


def _coded_role(kind: str, name: str, demand: str) -> Check:
    def check(view: MessageView) -> Iterator[Place]:
        for role, _ in _roles(view, kind, name):
            if role.string("code", "coding", "code") is None:
                yield f"{role.path}.code", "the practitioner's role has no code"

    check.__doc__ = demand
    return check


def _named(kind: str, name: str, demand: str) -> Check:
    def check(view: MessageView) -> Iterator[Place]:
        for role, practitioner in _roles(view, kind, name):
            if practitioner is None or practitioner.first("name") is None:
                yield (practitioner or role).path, "the practitioner has no name"

    check.__doc__ = demand
    return check


performer_role = _coded_role("DiagnosticReport", "performer", "The performing role has a code.")
performer_name = _named("DiagnosticReport", "performer", "The performing practitioner has a name.")
operator_role = _coded_role("Media", "operator", "The role of who made an attachment has a code.")
operator_name = _named("Media", "operator", "The practitioner who made an attachment has a name.")


def performer_phone(view: MessageView) -> Iterator[Place]:
    """The performing practitioner can be phoned."""
    for role, practitioner in _roles(view, "DiagnosticReport", "performer"):
        phones = [
            item
            for item in (practitioner.each("telecom") if practitioner is not None else ())
            if item.string("system") == "phone" and item.string("value")
        ]
        if not phones:
            yield (practitioner or role).path, "the performing practitioner has no phone number"


def cancellation_reason(view: MessageView) -> Iterator[Place]:
    """A cancellation says why, in the report's conclusion."""
    withdrawn = any(
        view.activity(node) == canonicals.RETRACT_MESSAGE for node in view.current_provenances
    )
    for report in _reports(view) if withdrawn else ():
        if report.string("conclusion") is None:
            yield f"{report.path}.conclusion", "a cancellation without reason"


# The observations


def _observations(view: MessageView) -> list[Node]:
    return view.of_type("Observation")


def observation_status(view: MessageView) -> Iterator[Place]:
    """An observation is `final`."""
    for node in _observations(view):
        if node.string("status") not in (None, "final"):
            yield f"{node.path}.status", "the observation is not final"


def observation_code(view: MessageView) -> Iterator[Place]:
    """An observation is coded: system and code in each coding."""
    for node in _observations(view):
        codings = list(node.codings("code", "coding"))
        if not codings or any(system is None or code is None for system, code in codings):
            yield f"{node.path}.code", "the observation has no code with its system"


def observation_known(view: MessageView) -> Iterator[Place]:
    """The analysis is of the repertoire; the binding is only preferred, so this warns."""
    for node in _observations(view):
        for system, code in node.codings("code", "coding"):
            if (system == canonicals.NPU_SYSTEM and code not in _REPERTOIRE) or (
                system == canonicals.OBSERVATION_SYSTEM and code not in _MEDCOM_REPERTOIRE
            ):
                yield f"{node.path}.code", "the analysis is outside the repertoire"


def observation_display(view: MessageView) -> Iterator[Place]:
    """Senders give the long name of the analysis."""
    for node in _observations(view):
        if all(item.string("display") is None for item in node.each("code", "coding")):
            yield f"{node.path}.code.coding", "the name of the analysis is missing"


def observation_subject(view: MessageView) -> Iterator[Place]:
    """An observation is about the patient."""
    for node in _observations(view):
        if node.string("subject", "reference") is None:
            yield f"{node.path}.subject", "the subject is missing"


def observation_time(view: MessageView) -> Iterator[Place]:
    """Senders say when the sample was taken."""
    for node in _observations(view):
        if node.string("effectiveDateTime") is None:
            yield f"{node.path}.effective", "the time of sampling is missing"


def observation_value(view: MessageView) -> Iterator[Place]:
    """A result is a quantity or a string."""
    for node in _observations(view):
        present = [name for name in node.value if name.lstrip("_").startswith("value")]
        if any(name.lstrip("_") not in _VALUES for name in present):
            yield f"{node.path}.value", "the result is neither a quantity nor a string"


def result_length(view: MessageView) -> Iterator[Place]:
    """A result is twelve characters or fewer."""
    for node in _observations(view):
        text = node.string("valueString")
        quantity = node.first("valueQuantity", "value")
        if text is not None and len(text) > _MAX_RESULT:
            yield f"{node.path}.value", "the result is longer than twelve characters"
        if quantity is not None and len(str(quantity.value)) > _MAX_RESULT:
            yield f"{quantity.path}", "the result is longer than twelve characters"


def mandatory_units(view: MessageView) -> Iterator[Place]:
    """A numeric result has a unit or a code of one."""
    for node in _observations(view):
        for quantity in node.each("valueQuantity"):
            if quantity.has("value") and not (quantity.has("unit") or quantity.has("code")):
                yield quantity.path, "a number without unit"


def unit_system(view: MessageView) -> Iterator[Place]:
    """A unit's code system, where given, is UCUM."""
    for node in _observations(view):
        for quantity in node.each("valueQuantity"):
            if quantity.string("system") not in (None, canonicals.UCUM):
                yield f"{quantity.path}.system", "not the code system of units"


def interpretation(view: MessageView) -> Iterator[Place]:
    """An interpretation, where given, says not interpreted."""
    wanted = (canonicals.INTERPRETATION_SYSTEM, canonicals.NOT_INTERPRETED)
    for node in _observations(view):
        items = list(node.each("interpretation"))
        if len(items) > 1 or any(wanted not in item.codings("coding") for item in items):
            yield f"{node.path}.interpretation", "an interpretation other than not interpreted"


def interpretation_sent(view: MessageView) -> Iterator[Place]:
    """Senders say of every result that it is not interpreted."""
    for node in _observations(view):
        if node.first("interpretation") is None:
            yield f"{node.path}.interpretation", "the interpretation is missing"


# The organizations


def producer_identifier(view: MessageView) -> Iterator[Place]:
    """The sender is a producer: it has MedCom's producer id."""
    if view.sender is None:
        return
    values = [item.string("value") for item in view.sender.identifiers(canonicals.PRODUCENT_ID)]
    if values != [_KAF]:
        yield f"{view.sender.path}.identifier", "the sender has no producer id of MedCom's list"


def requester_identifier(view: MessageView) -> Iterator[Place]:
    """The receiver is a general practice: it has a provider number."""
    receiver = view.receiver
    if receiver is not None and sum(1 for _ in receiver.identifiers(canonicals.YDERNUMMER)) != 1:
        yield f"{receiver.path}.identifier", "the receiver has no provider number"


def requester_contact(view: MessageView) -> Iterator[Place]:
    """The receiver names the requesting doctor by initials, or says the name is unknown."""
    receiver = view.receiver
    if receiver is None:
        return
    contacts = list(receiver.each("contact"))
    if len(contacts) != 1:
        yield f"{receiver.path}.contact", "not exactly one contact"
        return
    given = contacts[0].count("name") and sum(1 for _ in contacts[0].each("name", "given"))
    absent = next(contacts[0].extensions(canonicals.DATA_ABSENT_REASON), None)
    if given != 1 and (absent is None or absent.string("valueCode") != "unknown"):
        yield f"{receiver.path}.contact", "neither initials nor the statement that they are unknown"


# Attachments


def media_type(view: MessageView) -> Iterator[Place]:
    """An attachment is of a type in MedCom's list."""
    for media in view.of_type("Media"):
        kind = media.string("content", "contentType")
        if kind is not None and kind not in canonicals.ATTACHMENT_TYPES:
            yield f"{media.path}.content.contentType", "not a type of attachment MedCom allows"


def media_typed(view: MessageView) -> Iterator[Place]:
    """Attached data says of which type it is."""
    for media in view.of_type("Media"):
        data = media.first("content", "data")
        if data is not None and media.string("content", "contentType") is None:
            yield f"{media.path}.content.contentType", "attached data without a type"


def media_title(view: MessageView) -> Iterator[Place]:
    """An attachment has a title and says when it was made."""
    for media in view.of_type("Media"):
        for name in ("title", "creation"):
            if media.string("content", name) is None:
                yield f"{media.path}.content.{name}", "the attachment lacks title or time"


def media_identifier(view: MessageView) -> Iterator[Place]:
    """An attachment has one identifier, a UUID as a URN, with the organization that assigned it."""
    for media in view.of_type("Media"):
        items = list(media.each("identifier"))
        if (
            len(items) != 1
            or not formats.is_uuid_urn(items[0].string("value") or "")
            or items[0].first("assigner") is None
        ):
            yield f"{media.path}.identifier", "not exactly one identifier with its assigner"


RULES: Final = (
    Rule("hco-report-status", report_status, Kind.VALUE, events=_EVENTS),
    Rule("hco-report-code", report_code, Kind.CODE, events=_EVENTS),
    Rule("hco-report-subject", report_subject, Kind.REQUIRED, events=_EVENTS),
    Rule("hco-report-issued", report_issued, Kind.REQUIRED, events=_EVENTS),
    Rule("hco-report-consent", report_consent, Kind.CODE, events=_EVENTS),
    Rule("hco-report-performers", report_performers, events=_EVENTS),
    Rule(
        "hco-performer-role",
        performer_role,
        Kind.REQUIRED,
        medcom_id="medcom-homecareReport-1",
        events=_EVENTS,
    ),
    Rule(
        "hco-performer-name",
        performer_name,
        Kind.REQUIRED,
        medcom_id="medcom-homecareReport-2",
        events=_EVENTS,
    ),
    Rule(
        "hco-performer-phone",
        performer_phone,
        Kind.REQUIRED,
        medcom_id="medcom-homecareReport-3",
        events=_EVENTS,
    ),
    Rule(
        "hco-cancellation-reason",
        cancellation_reason,
        Kind.REQUIRED,
        "warning",
        events=_EVENTS,
    ),
    Rule("hco-observation-status", observation_status, Kind.VALUE, events=_EVENTS),
    Rule("hco-observation-code", observation_code, Kind.REQUIRED, events=_EVENTS),
    Rule("hco-observation-known", observation_known, Kind.CODE, "warning", events=_EVENTS),
    Rule("hco-observation-display", observation_display, Kind.REQUIRED, "warning", events=_EVENTS),
    Rule("hco-observation-subject", observation_subject, Kind.REQUIRED, events=_EVENTS),
    Rule("hco-observation-time", observation_time, Kind.REQUIRED, "warning", events=_EVENTS),
    Rule("hco-observation-value", observation_value, Kind.VALUE, events=_EVENTS),
    Rule("hco-result-length", result_length, Kind.TOO_LONG, events=_EVENTS),
    Rule(
        "hco-mandatory-units",
        mandatory_units,
        Kind.REQUIRED,
        medcom_id="dk-core-observation-mandatory-units",
        events=_EVENTS,
    ),
    Rule("hco-unit-system", unit_system, Kind.CODE_SYSTEM, events=_EVENTS),
    Rule("hco-interpretation", interpretation, Kind.VALUE, events=_EVENTS),
    Rule(
        "hco-interpretation-sent",
        interpretation_sent,
        Kind.REQUIRED,
        "warning",
        events=_EVENTS,
    ),
    Rule("hco-producer", producer_identifier, Kind.REQUIRED, events=_EVENTS),
    Rule("hco-requester", requester_identifier, Kind.REQUIRED, events=_EVENTS),
    Rule(
        "hco-requester-contact",
        requester_contact,
        Kind.REQUIRED,
        medcom_id="medcom-homecareObservation-4",
        events=_EVENTS,
    ),
    Rule("hco-media-type", media_type, Kind.CODE, events=_EVENTS),
    Rule("hco-media-typed", media_typed, Kind.REQUIRED, events=_EVENTS),
    Rule("hco-media-title", media_title, Kind.REQUIRED, events=_EVENTS),
    Rule(
        "hco-media-identifier",
        media_identifier,
        Kind.REQUIRED,
        medcom_id="medcom-uuidv4",
        events=_EVENTS,
    ),
    Rule(
        "hco-operator-role",
        operator_role,
        Kind.REQUIRED,
        medcom_id="medcom-homecareReport-5",
        events=_EVENTS,
    ),
    Rule(
        "hco-operator-name",
        operator_name,
        Kind.REQUIRED,
        medcom_id="medcom-homecareReport-6",
        events=_EVENTS,
    ),
)
