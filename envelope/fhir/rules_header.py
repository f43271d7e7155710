"""MessageHeader rules: event, routing, focus, definition and response, for every message.

Spec: medcom-fhir.md 1, 3, 10.4, 11, 12, 13, 16.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from envelope.fhir import canonicals
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.recognition import definition_version
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView, Node, destination_use

_FOCUS: Final = {
    canonicals.HOMECAREOBSERVATION: "DiagnosticReport",
    canonicals.CARECOMMUNICATION: "Communication",
    canonicals.HOSPITALNOTIFICATION: "Encounter",
}
_DEFINITIONS: Final = {
    canonicals.HOMECAREOBSERVATION: (canonicals.HCO_DEFINITION, "1"),
    canonicals.CARECOMMUNICATION: (canonicals.CC_DEFINITION, "5"),
}
_DEFINITION_TAIL: Final = re.compile(r"\|?[0-9]{1,2}\.[0-9]{1,2}\Z")
_STANDARDS: Final = frozenset({*_FOCUS, canonicals.ACKNOWLEDGEMENT})


def _header(view: MessageView) -> Iterator[Node]:
    if view.header is not None:
        yield view.header


def event_coding(view: MessageView) -> Iterator[Place]:
    """The event is a coding, never a uri."""
    for header in _header(view):
        if header.first("eventCoding") is None:
            yield f"{header.path}.event", "the event is not given as eventCoding"


def event_known(view: MessageView) -> Iterator[Place]:
    """The event code is one of MedCom's, in MedCom's system."""
    for header in _header(view):
        if header.first("eventCoding") is not None and view.event is None:
            yield f"{header.path}.eventCoding", "no event code of MedCom's"


def destination_use_known(view: MessageView) -> Iterator[Place]:
    """Every destination says what it is for: `primary` or `cc`."""
    for header in _header(view):
        for destination in header.each("destination"):
            if destination_use(destination) not in ("primary", "cc"):
                yield destination.path, "the destination has no use of MedCom's code system"


def primary_destination(view: MessageView) -> Iterator[Place]:
    """Exactly one destination is primary."""
    for header in _header(view):
        if len(view.destinations("primary")) != 1:
            yield f"{header.path}.destination", "not exactly one primary destination"


def no_copy_destination(view: MessageView) -> Iterator[Place]:
    """None of the four standards has a copy receiver."""
    for destination in view.destinations("cc"):
        yield destination.path, "a copy receiver is not allowed in this message"


def receiver_present(view: MessageView) -> Iterator[Place]:
    """The primary destination names its receiver."""
    for destination in view.destinations("primary"):
        if destination.string("receiver", "reference") is None:
            yield f"{destination.path}.receiver", "the receiver is missing"


def sender_present(view: MessageView) -> Iterator[Place]:
    """The header names the sender."""
    for header in _header(view):
        if header.string("sender", "reference") is None:
            yield f"{header.path}.sender", "the sender is missing"


def endpoint_organization(view: MessageView) -> Iterator[Place]:
    """An endpoint that is a SOR address names the organization it stands beside."""
    for header in _header(view):
        pairs = [(header.first("source", "endpoint"), view.sender)]
        pairs += [(item.first("endpoint"), view.receiver) for item in view.destinations("primary")]
        for endpoint, organization in pairs:
            if endpoint is None or organization is None or not isinstance(endpoint.value, str):
                continue
            known = {item.string("value") for item in organization.identifiers(canonicals.SOR)}
            sor = endpoint.value.removeprefix(canonicals.SOR_ENDPOINT)
            if sor != endpoint.value and sor not in known:
                yield endpoint.path, "the endpoint names another organization"


def focus_count(view: MessageView) -> Iterator[Place]:
    """The header points at exactly one focus; an Acknowledgement has none."""
    for header in _header(view):
        wanted = 1 if view.event in _FOCUS else 0
        if header.count("focus") != wanted:
            yield f"{header.path}.focus", "not the number of focus resources this message has"


def focus_type(view: MessageView) -> Iterator[Place]:
    """The focus is the resource this kind of message is about."""
    for header in _header(view):
        if view.focus is not None and view.focus.type != _FOCUS[view.event or ""]:
            yield f"{header.path}.focus", "the focus is not of the type this message is about"


def definition_present(view: MessageView) -> Iterator[Place]:
    """The header names its MessageDefinition where the standard wants it."""
    for header in _header(view):
        if header.string("definition") is None:
            yield f"{header.path}.definition", "the definition is missing"


def definition_known(view: MessageView) -> Iterator[Place]:
    """The definition is the one of this standard, in its major version."""
    address, major = _DEFINITIONS[view.event or ""]
    for header in _header(view):
        definition = header.string("definition")
        if definition is None:
            continue
        version = definition_version(header) or ""
        if _DEFINITION_TAIL.sub("", definition) != address or version.partition(".")[0] != major:
            yield f"{header.path}.definition", "not a definition of this standard and version"


def definition_bar(view: MessageView) -> Iterator[Place]:
    """A bar stands before the version; senders exist that leave it out."""
    for header in _header(view):
        definition = header.string("definition")
        if definition is not None and "|" not in definition:
            yield f"{header.path}.definition", "no bar before the version"


def ack_definition(view: MessageView) -> Iterator[Place]:
    """An Acknowledgement that names a definition names version 2.0 of its own."""
    for header in _header(view):
        definition = header.string("definition")
        if definition is not None and definition != f"{canonicals.ACK_DEFINITION}|2.0":
            yield f"{header.path}.definition", "not the definition of Acknowledgement 2.0"


def definition_unused(view: MessageView) -> Iterator[Place]:
    """A HospitalNotification names no definition: there is none."""
    for header in _header(view):
        if header.string("definition") is not None:
            yield f"{header.path}.definition", "a definition in a message that has none"


def header_profile(view: MessageView) -> Iterator[Place]:
    """The header claims the profile of its event; a hint, since the event code decides."""
    for header in _header(view):
        if _PROFILES[view.event or ""] not in header.profiles():
            yield f"{header.path}.meta.profile", "the profile of this event is not claimed"


def no_response(view: MessageView) -> Iterator[Place]:
    """Only an Acknowledgement has a response."""
    for header in _header(view):
        if header.first("response") is not None:
            yield f"{header.path}.response", "a response in a message that answers nothing"


_PROFILES: Final = {
    canonicals.HOMECAREOBSERVATION: canonicals.HCO_HEADER,
    canonicals.HOSPITALNOTIFICATION: canonicals.HN_HEADER,
    canonicals.ACKNOWLEDGEMENT: canonicals.ACK_HEADER,
    canonicals.EMPTY: canonicals.MESSAGE_HEADER,
}
_NOT_ACK: Final = frozenset({*_FOCUS, canonicals.EMPTY})
_DEFINED: Final = frozenset(_DEFINITIONS)
_ACK: Final = frozenset({canonicals.ACKNOWLEDGEMENT})

_rule = partial(Rule, layer=Layer.HEADER)

RULES: Final = (
    _rule("header-event-coding", event_coding, Kind.NOT_SUPPORTED),
    _rule("header-event-known", event_known, Kind.NOT_SUPPORTED),
    _rule("header-destination-use", destination_use_known, Kind.CODE),
    _rule(
        "header-primary-destination",
        primary_destination,
        medcom_ids={canonicals.HOSPITALNOTIFICATION: "medcom-hospitalNotification-5"},
    ),
    _rule("header-no-copy-destination", no_copy_destination, events=_STANDARDS),
    _rule("header-receiver", receiver_present, Kind.RECEIVER_MISSING),
    _rule("header-sender", sender_present, Kind.REQUIRED),
    _rule("header-endpoint", endpoint_organization, severity="warning"),
    _rule("header-focus", focus_count, events=_STANDARDS),
    _rule("header-focus-type", focus_type, events=frozenset(_FOCUS)),
    _rule("header-definition", definition_present, Kind.REQUIRED, events=_DEFINED),
    _rule(
        "header-definition-hco",
        definition_known,
        Kind.VALUE,
        medcom_id="medcom-hcobs-definition-url",
        events=frozenset({canonicals.HOMECAREOBSERVATION}),
    ),
    _rule(
        "header-definition-cc",
        definition_known,
        Kind.VALUE,
        medcom_id="medcom-carecommunication-definition-url",
        events=frozenset({canonicals.CARECOMMUNICATION}),
    ),
    _rule("header-definition-bar", definition_bar, severity="warning", events=_DEFINED),
    _rule("header-definition-ack", ack_definition, severity="warning", events=_ACK),
    _rule(
        "header-definition-unused",
        definition_unused,
        severity="warning",
        events=frozenset({canonicals.HOSPITALNOTIFICATION}),
    ),
    _rule(
        "header-profile",
        header_profile,
        severity="warning",
        events=frozenset(_PROFILES),
        medcom_ids={
            canonicals.HOMECAREOBSERVATION: "medcom-homecareObsMessage-1",
            canonicals.HOSPITALNOTIFICATION: "medcom-hospitalNotification-1",
            canonicals.ACKNOWLEDGEMENT: "medcom-acknowledgement-2",
            canonicals.EMPTY: "medcom-messaging-1",
        },
    ),
    _rule("header-no-response", no_response, events=_NOT_ACK),
)
