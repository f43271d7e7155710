"""Provenance rules: the history every message carries, and the step it is itself.

Spec: medcom-fhir.md 6, 7, 10.5, 12, 18.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView, Node

_ACTIVITIES: Final = {
    canonicals.HOMECAREOBSERVATION: canonicals.HCO_ACTIVITIES,
    canonicals.CARECOMMUNICATION: canonicals.CC_ACTIVITIES,
    canonicals.HOSPITALNOTIFICATION: canonicals.HN_ACTIVITIES,
    canonicals.ACKNOWLEDGEMENT: canonicals.ALL_ACTIVITIES,
    canonicals.EMPTY: canonicals.ALL_ACTIVITIES,
}
_STANDARDS: Final = frozenset(_ACTIVITIES) - {canonicals.EMPTY}
_REVISING: Final = (
    frozenset({canonicals.MODIFIED_MESSAGE, canonicals.REPLY_MESSAGE, canonicals.FORWARD_MESSAGE})
    | canonicals.HN_REVISE_ACTIVITIES
)
_REMOVING: Final = frozenset({canonicals.RETRACT_MESSAGE}) | canonicals.HN_CANCEL_ACTIVITIES


def provenance_present(view: MessageView) -> Iterator[Place]:
    """There is at least one Provenance."""
    if not view.of_type("Provenance"):
        yield "Bundle.entry", "no Provenance"


def current_present(view: MessageView) -> Iterator[Place]:
    """Exactly one Provenance has the header of this bundle as its target."""
    if view.of_type("Provenance") and len(view.current_provenances) != 1:
        yield "Bundle.entry", "not exactly one Provenance for this message"


def one_target(view: MessageView) -> Iterator[Place]:
    """A Provenance has one target, a MessageHeader of this or an earlier message."""
    for provenance in view.of_type("Provenance"):
        targets = [item.string("reference") or "" for item in provenance.each("target")]
        found = view.resolve(provenance.first("target"))
        if len(targets) != 1 or not (
            found.type == "MessageHeader" if found is not None else _is_header(targets[0])
        ):
            yield f"{provenance.path}.target", "not exactly one MessageHeader as target"


def _is_header(reference: str) -> bool:
    return reference.startswith("urn:uuid:") or "MessageHeader/" in reference


def occurred(view: MessageView) -> Iterator[Place]:
    """occurredDateTime carries date, time and zone."""
    for provenance in view.of_type("Provenance"):
        if not formats.has_time_and_zone(provenance.string("occurredDateTime") or ""):
            yield f"{provenance.path}.occurred", "no occurredDateTime with time and zone"


def activity_known(view: MessageView) -> Iterator[Place]:
    """Every step has an activity of its standard's list; an Acknowledgement repeats a step of any."""
    allowed = _ACTIVITIES.get(view.event or "", canonicals.ALL_ACTIVITIES)
    for provenance in view.of_type("Provenance"):
        if view.activity(provenance) not in allowed:
            yield f"{provenance.path}.activity", "no activity code this message may have"


def _has_entity(provenance: Node, role: str) -> bool:
    return any(
        entity.string("role") == role
        and (
            entity.string("what", "reference") is not None
            or entity.string("what", "identifier", "value") is not None
        )
        for entity in provenance.each("entity")
    )


def revision_entity(view: MessageView) -> Iterator[Place]:
    """A message that follows, answers or corrects another names it with role `revision`."""
    for provenance in view.current_provenances:
        if view.activity(provenance) in _REVISING and not _has_entity(provenance, "revision"):
            yield f"{provenance.path}.entity", "no preceding message with role revision"


def removal_entity(view: MessageView) -> Iterator[Place]:
    """A message that withdraws another names it with role `removal`."""
    for provenance in view.current_provenances:
        if view.activity(provenance) in _REMOVING and not _has_entity(provenance, "removal"):
            yield f"{provenance.path}.entity", "no withdrawn message with role removal"


def first_entity(view: MessageView) -> Iterator[Place]:
    """A new message follows and withdraws nothing."""
    for provenance in view.current_provenances:
        if view.activity(provenance) == canonicals.NEW_MESSAGE and any(
            _has_entity(provenance, role) for role in ("revision", "removal")
        ):
            yield f"{provenance.path}.entity", "a new message names a preceding one"


_rule = partial(Rule, layer=Layer.RELIABLE)

RULES: Final = (
    _rule("provenance-present", provenance_present, Kind.REQUIRED, medcom_id="medcom-messaging-2"),
    _rule("provenance-current", current_present, events=_STANDARDS),
    _rule("provenance-target", one_target),
    _rule("provenance-occurred", occurred, Kind.DATE),
    _rule(
        "provenance-activity",
        activity_known,
        Kind.CODE,
        medcom_ids={
            canonicals.HOMECAREOBSERVATION: "medcom-homecareObsMessage-2",
            canonicals.HOSPITALNOTIFICATION: "medcom-hospitalNotification-3",
        },
    ),
    _rule("provenance-revision", revision_entity, Kind.REQUIRED),
    _rule("provenance-removal", removal_entity, Kind.REQUIRED),
    _rule("provenance-first", first_entity, severity="warning"),
)
