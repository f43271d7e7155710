"""Build the FHIR Acknowledgement 2.0 that answers a message.

The answer goes back to the sender, carries the newest Provenance of the message and its own, and tells
of every error in an OperationOutcome. Its texts name rules and element paths, never what was written
there, so an answer is safe to log and to show.

Spec: medcom-fhir.md 6, 13, 14, 19.
"""

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any, Final, Literal

from envelope.errors import LocalProtocolError
from envelope.fhir import building, canonicals, formats, rules_structure
from envelope.fhir.building import narrative
from envelope.fhir.finding import Finding, Kind
from envelope.fhir.reading import FhirMessage, Resource
from envelope.fhir.recognition import Organization, organization_facts
from envelope.fhir.view import MessageView, Node

Code = Literal["ok", "fatal-error", "transient-error"]

_ACK: Final = canonicals.ACK_ERROR_SYSTEM
_HL7: Final = canonicals.OPERATION_OUTCOME_SYSTEM

ISSUES: Final[dict[Kind, tuple[str, str, str]]] = {
    Kind.SYNTAX: ("structure", _HL7, "MSG_BAD_SYNTAX"),
    Kind.STRUCTURE: ("structure", _HL7, "MSG_BAD_SYNTAX"),
    Kind.NAMESPACE: ("structure", _HL7, "MSG_WRONG_NS"),
    Kind.REQUIRED: ("required", _HL7, "MSG_RESOURCE_REQUIRED"),
    Kind.VALUE: ("value", _ACK, "MSG_Datatype_Wrong"),
    Kind.DATE: ("value", _HL7, "MSG_DATE_FORMAT"),
    Kind.CODE: ("code-invalid", _ACK, "MSG_VALUESET_VALUE_UNKNOWN"),
    Kind.CODE_SYSTEM: ("code-invalid", _ACK, "MSG_CodeSystem_VALUE_UNKNOWN"),
    Kind.TOO_LONG: ("too-long", _ACK, "MSG_Element_To_Long"),
    Kind.INVARIANT: ("invariant", _HL7, "MSG_NO_MATCH"),
    Kind.NOT_FOUND: ("not-found", _HL7, "MSG_NO_MATCH"),
    Kind.RECEIVER_UNKNOWN: ("not-found", _ACK, "MSG_Receiver_Identifier_UNKNOWN"),
    Kind.RECEIVER_MISSING: ("required", _ACK, "MSG_Receiver_Identifier_MISSING"),
    Kind.NOT_SUPPORTED: ("not-supported", _ACK, "MSG_RECEIVER_UNABLE_TO_RECEIVE_MSG_TYPE"),
    Kind.IDENTIFIER_REUSED: ("duplicate", _HL7, "MSG_DUPLICATE_ID"),
    Kind.DUPLICATE: ("informational", _HL7, "MSG_DUPLICATE_ID"),
    Kind.UNAVAILABLE: ("transient", _ACK, "MSG_Mailbox_Out_Of_Operation"),
    Kind.LOCAL_FAILURE: ("transient", _HL7, "MSG_LOCAL_FAIL"),
    Kind.DAMAGED: ("exception", _ACK, "MSG_Damaged_durin_transport"),
}
"""Class of a finding to (OperationOutcome issue code, system and code of its details)."""

_MAX_ISSUES: Final = 50
_UNAVAILABLE: Final = Finding(
    "receiver-unavailable",
    "error",
    "Bundle",
    "the receiver cannot take the message at present",
    kind=Kind.LOCAL_FAILURE,
)


def build_acknowledgement(
    original: FhirMessage,
    *,
    code: Code,
    findings: Sequence[Finding] = (),
    bundle_id: str,
    message_id: str,
    provenance_id: str,
    outcome_id: str,
    at: datetime,
    responder: Organization | None = None,
) -> Resource:
    """Answer `original` with a verdict and the findings behind it.

    `provenance_id` and `outcome_id` name the resources made here; `at` is aware. `responder` says who
    answers; without it the primary receiver of the original does. Warnings are not reported; with `ok`
    only findings of severity `information` are. Raises `LocalProtocolError` when the original is an
    Acknowledgement, has no usable header id or sender, or when a fatal verdict comes without an error.
    """
    view = MessageView(original)
    header = view.header
    header_id = header.string("id") if header is not None else None
    if header is None or header_id is None or not formats.is_primitive("id", header_id):
        raise LocalProtocolError("a message without header id cannot be acknowledged")
    if header.string("eventCoding", "code") == canonicals.ACKNOWLEDGEMENT:
        raise LocalProtocolError("an Acknowledgement is never acknowledged")
    sender, receiver = _parties(view, responder)
    issues = _issues(code, findings)

    response: Resource = {"identifier": header_id, "code": code}
    if issues:
        response["details"] = building.reference("OperationOutcome", outcome_id)
    history, others = _history(view, header_id, receiver["id"], at)
    resources = [
        building.message_header(
            message_id=message_id,
            profile=canonicals.ACK_HEADER,
            event=canonicals.ACKNOWLEDGEMENT,
            definition=f"{canonicals.ACK_DEFINITION}|2.0",
            sender_id=sender["id"],
            sender_endpoint=_endpoint(sender),
            receiver_id=receiver["id"],
            receiver_endpoint=_source_endpoint(header, receiver),
            response=response,
        ),
        history,
        building.provenance(
            provenance_id=provenance_id,
            target_id=message_id,
            activity=canonicals.ACKNOWLEDGEMENT_ACTIVITY,
            agent_id=sender["id"],
            at=at,
            revision_of=header_id,
        ),
        sender,
        *([receiver] if receiver["id"] != sender["id"] else []),
        *(item for item in others if item["id"] not in (sender["id"], receiver["id"])),
    ]
    if issues:
        resources.append(_outcome(outcome_id, issues))
    return building.bundle(bundle_id, canonicals.ACK_BUNDLE, at, resources)


# The organizations


def _parties(view: MessageView, responder: Organization | None) -> tuple[Resource, Resource]:
    """Swap the parties: who answers, and who sent the original."""
    receiver = _copied(view.sender)
    if receiver is None:
        raise LocalProtocolError("a message without sender cannot be acknowledged")
    sender = _copied(view.receiver)
    if responder is not None and (sender is None or not _is(view.receiver, responder)):
        sender = building.organization(
            organization_id=f"gln-{responder.gln}",
            profile=canonicals.MESSAGING_ORGANIZATION,
            gln=responder.gln,
            sor=responder.sor,
            name=responder.name,
        )
    if sender is None:
        raise LocalProtocolError("a message without receiver cannot be acknowledged by it")
    return sender, receiver


def _is(node: Node | None, organization: Organization) -> bool:
    facts = organization_facts(node) if node is not None else None
    return facts is not None and (facts.gln, facts.sor) == (organization.gln, organization.sor)


def _copied(node: Node | None) -> Resource | None:
    """Copy what a messaging organization needs of one in the original."""
    identifier = node.string("id") if node is not None else None
    if node is None or not formats.is_primitive("id", identifier):
        return None
    pairs = [
        (item.string("system") or "", item.string("value") or "")
        for item in node.identifiers(*sorted(canonicals.GLN_SYSTEMS), canonicals.SOR)
    ]
    name = node.string("name") or None
    if formats.is_too_long("string", name):
        name = None
    made: Resource = {
        "resourceType": "Organization",
        "id": identifier,
        "meta": {"profile": [canonicals.MESSAGING_ORGANIZATION]},
        "text": narrative("Organisation", [("Id", identifier), ("Navn", name), *pairs]),
        "identifier": [{"system": system, "value": value} for system, value in pairs if value],
    }
    if not made["identifier"]:
        del made["identifier"]
    if name is not None:
        made["name"] = name
    return made


def _sor(organization: Resource) -> str:
    values = [
        str(item["value"])
        for item in organization.get("identifier", ())
        if item["system"] == canonicals.SOR
    ]
    return values[0] if values else ""


def _endpoint(organization: Resource) -> str:
    return building.endpoint_of(_sor(organization))


def _source_endpoint(header: Node, receiver: Resource) -> str:
    """An answer goes to the source endpoint the original names."""
    endpoint = header.string("source", "endpoint") or ""
    return endpoint if formats.is_primitive("url", endpoint) else _endpoint(receiver)


# The history


def _history(
    view: MessageView, header_id: str, sender_id: str, at: datetime
) -> tuple[Resource, list[Resource]]:
    """Copy the newest Provenance of the original, with the organizations only it names.

    Where the original has none that is sound, the step is written anew from what the header says:
    the answer must be valid even when the question was not.
    """
    for provenance in _newest_first(view):
        agents = [view.resolve(who) for who in provenance.each("agent", "who")]
        organizations = [_copied(agent) for agent in agents]
        if _is_sound(view, provenance) and organizations and all(organizations):
            known = [item for item in organizations if item is not None]
            return _rebound(provenance.value, header_id, known), known
    rewritten = building.provenance(
        provenance_id=f"step-{header_id}"[:64],
        target_id=header_id,
        activity=canonicals.NEW_MESSAGE,
        agent_id=sender_id,
        at=_sent_at(view) or at,
    )
    return rewritten, []


def _rebound(provenance: Resource, header_id: str, agents: Sequence[Resource]) -> Resource:
    """Copy a Provenance, its references in the form the answer uses."""
    copied = deepcopy(provenance)
    copied["target"] = [building.reference("MessageHeader", header_id)]
    for agent, organization in zip(copied["agent"], agents, strict=True):
        agent["who"] = building.reference("Organization", organization["id"])
    return copied


def _newest_first(view: MessageView) -> list[Node]:
    return view.current_provenances[:1] if len(view.current_provenances) == 1 else []


def _is_sound(view: MessageView, provenance: Node) -> bool:
    return (
        provenance.string("id") is not None
        and provenance.count("target") == 1
        and not rules_structure.defects(provenance.value, provenance.path)
        and formats.has_time_and_zone(provenance.string("occurredDateTime") or "")
        and view.activity(provenance) in canonicals.ALL_ACTIVITIES
    )


def _sent_at(view: MessageView) -> datetime | None:
    try:
        return formats.parse_instant(view.bundle.string("timestamp") or "")
    except ValueError:
        return None


# The outcome


def _issues(code: Code, findings: Sequence[Finding]) -> list[Finding]:
    wanted = "information" if code == canonicals.RESPONSE_OK else "error"
    chosen = [found for found in findings if found.severity == wanted][:_MAX_ISSUES]
    if code == canonicals.RESPONSE_FATAL and not chosen:
        raise LocalProtocolError("a fatal verdict names at least one error")
    if code == canonicals.RESPONSE_TRANSIENT and not chosen:
        return [_UNAVAILABLE]
    return chosen


def _outcome(outcome_id: str, issues: Sequence[Finding]) -> Resource:
    rows: list[tuple[str, object]] = [("Id", outcome_id)]
    rows += [(found.rule, f"{found.text} ({found.path})") for found in issues]
    return {
        "resourceType": "OperationOutcome",
        "id": outcome_id,
        "meta": {"profile": [canonicals.ACK_OUTCOME]},
        "text": narrative("Fejl og oplysninger", rows),
        "issue": [_issue(found) for found in issues],
    }


def _issue(found: Finding) -> dict[str, Any]:
    issue_code, system, details = ISSUES[found.kind]
    named = f"{found.rule}: {found.text}"
    if found.medcom_id is not None:
        named = f"{named} [{found.medcom_id}]"
    return {
        "severity": found.severity,
        "code": issue_code,
        "details": {"coding": [building.coding(system, details)], "text": named},
        "expression": [found.path],
    }
