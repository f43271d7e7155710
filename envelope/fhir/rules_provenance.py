"""Provenance rules: the history every message carries, and the step it is itself.

Spec: medcom-fhir.md 6, 7, 10.5, 12, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind
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


def _coded(view: MessageView, provenances: list[Node]) -> Iterator[Place]:
    allowed = _ACTIVITIES.get(view.event or "", canonicals.ALL_ACTIVITIES)
    for provenance in provenances:
        if view.activity(provenance) not in allowed:
            yield f"{provenance.path}.activity", "no activity code this message may have"


def current_activity(view: MessageView) -> Iterator[Place]:
    """The step this message is has an activity of its own standard's list."""
    return _coded(view, view.current_provenances)


def earlier_activity(view: MessageView) -> Iterator[Place]:
    """Every step of the history has an activity code of MedCom's."""
    current = {node.path for node in view.current_provenances}
    for provenance in view.of_type("Provenance"):
        if (
            provenance.path not in current
            and view.activity(provenance) not in canonicals.ALL_ACTIVITIES
        ):
            yield f"{provenance.path}.activity", "no activity code of MedCom's"


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


RULES: Final = (
    Rule("provenance-present", provenance_present, Kind.REQUIRED, medcom_id="medcom-messaging-2"),
    Rule("provenance-current", current_present, events=_STANDARDS),
    Rule("provenance-target", one_target),
    Rule("provenance-occurred", occurred, Kind.DATE),
    Rule("provenance-activity", current_activity, Kind.CODE),
    Rule("provenance-earlier-activity", earlier_activity, Kind.CODE),
    Rule("provenance-revision", revision_entity, Kind.REQUIRED),
    Rule("provenance-removal", removal_entity, Kind.REQUIRED),
)
