"""A MedCom message as a person wants it explained: what it is, from whom to whom, and each finding with what to do.

The patient's number is never shown, only which kind it is. A message inside a StandardBusinessDocument is taken out of
it first; the envelope itself is what `explain` is for.

Spec: experience section 6 (validate) and section 7; medcom-fhir.md 15.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accesspoint.explain.text import SIGNS, paint, wrapped
from accesspoint.log import scrub
from envelope import fhir
from envelope.errors import SbdRefused
from envelope.explain import Mark
from envelope.explain.gates import is_business_document
from envelope.fhir import canonicals
from envelope.fhir.catalogue import CATALOGUE, Entry
from envelope.fhir.elements import RESOURCES
from envelope.fhir.finding import Layer
from envelope.fhir.view import MessageView, Node
from envelope.sbd_splitter import SbdSplitter

TITLES: Final = {
    canonicals.HOMECAREOBSERVATION: "HomeCareObservation, results that a municipality measured itself",
    canonicals.CARECOMMUNICATION: "CareCommunication, words between professionals about a citizen",
    canonicals.HOSPITALNOTIFICATION: "HospitalNotification, news of a stay in hospital",
    canonicals.ACKNOWLEDGEMENT: "Acknowledgement, an answer to a message",
    canonicals.EMPTY: "an empty message, for tests",
}
_NUMBERS: Final = (
    ("a CPR number", (canonicals.CPR,)),
    ("a national eCPR", (canonicals.X_ECPR,)),
    ("a regional eCPR", tuple(canonicals.D_ECPR_SYSTEMS)),
)
_ENTRY: Final = re.compile(r"Bundle\.entry\[\d+\]\.resource")
_MARKS: Final = {"error": Mark.BROKEN, "warning": Mark.NOTED, "information": Mark.PLAIN}


@dataclass(frozen=True, slots=True)
class MessageReport:
    """What is said about one message.

    `lines` tell what it is, `findings` what is broken, in the order of the layers. `refused` is why bytes were no
    message at all, where the envelope around them could not be opened. `resources` is from the path of each resource to
    what a person calls it.
    """

    name: str
    lines: tuple[tuple[str, str], ...]
    findings: tuple[fhir.Finding, ...]
    strict: bool
    refused: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict)

    def place_of(self, found: fhir.Finding) -> str | None:
        """Say which resource a finding is in, as a person counts them; None outside of all."""
        entry = _ENTRY.match(found.path)
        return self.resources.get(entry[0]) if entry is not None else None

    @property
    def errors(self) -> int:
        """How many findings make the message invalid."""
        return len(fhir.errors_of(self.findings))

    @property
    def mark(self) -> Mark:
        """What the whole comes to."""
        if self.refused is not None or self.errors:
            return Mark.BROKEN
        return Mark.NOTED if self.findings else Mark.HOLDS

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if self.refused is not None:
            return f"the envelope cannot be opened: {self.refused}"
        errors, others = self.errors, len(self.findings) - self.errors
        told = ", ".join(
            f"{count} {word if count == 1 else f'{word}s'}"
            for count, word in ((errors, "error"), (others, "warning"))
            if count
        )
        if not told:
            return "a valid message, no rule is broken"
        return f"an invalid message: {told}" if errors else f"a valid message with {told}"


def build_message_report(data: bytes, *, name: str, strict: bool) -> MessageReport:
    """Explain the bytes of a message, in an envelope or without; `strict` is how its sender should look at it."""
    if not is_business_document(data):
        return _report(data, name=name, strict=strict, lines=())
    splitter = SbdSplitter()
    try:
        data = splitter.feed(data)
        header = splitter.finish()
    except SbdRefused as refused:
        return MessageReport(scrub(name), (), (), strict, scrub(refused.detail))
    envelope = f"StandardBusinessDocument {header.instance_identifier}"
    return _report(data, name=name, strict=strict, lines=(("envelope", scrub(envelope)),))


def _report(
    data: bytes, *, name: str, strict: bool, lines: tuple[tuple[str, str], ...]
) -> MessageReport:
    try:
        message = fhir.read_message(data)
    except fhir.MessageRefused as refused:
        return MessageReport(scrub(name), lines, refused.findings, strict)
    order = list(Layer)
    findings = sorted(
        fhir.validate(message, strict=strict), key=lambda found: order.index(found.layer)
    )
    told = ((label, scrub(value)) for label, value in _tell(message, len(data)))
    resources = dict(_resources(MessageView(message)))
    return MessageReport(scrub(name), (*lines, *told), tuple(findings), strict, resources=resources)


def _resources(view: MessageView) -> Iterator[tuple[str, str]]:
    """Call each resource by its type, its number among those of the type, and its part in the message."""
    parts = {
        node.path: part
        for part, node in (("receiver", view.receiver), ("sender", view.sender))
        if node is not None
    }
    for kind in RESOURCES:
        nodes = view.of_type(kind)
        for number, node in enumerate(nodes, 1):
            counted = kind if len(nodes) == 1 else f"{kind} {number} of {len(nodes)}"
            yield node.path, ", the ".join(filter(None, (counted, parts.get(node.path))))


def _tell(message: fhir.FhirMessage, octets: int) -> Iterator[tuple[str, str]]:
    view = MessageView(message)
    header = view.header
    yield "message", TITLES.get(view.event or "", "of no type that is known here")
    if view.event is not None and header is not None:
        version = (header.string("definition") or "").rpartition("|")[2] or "not said"
        yield "version", version
    yield "written as", f"{message.format.upper()}, {octets} bytes"
    steps = [view.activity(each) or "unknown" for each in view.current_provenances]
    if steps:
        history = len(view.of_type("Provenance")) - len(steps)
        before = f", after {history} before it" if history else ""
        yield "step", f"{', '.join(steps)}{before}"
    for label, node in (("from", view.sender), ("to", view.receiver)):
        yield label, "nobody who is named in the message" if node is None else _name(node)
    yield "patient", _patient(view)
    if header is not None and (answered := header.string("response", "identifier")):
        yield "answers", f"{answered} with {header.string('response', 'code')}"
    yield (
        "ids",
        f"Bundle {view.bundle.string('id')}, MessageHeader {header.string('id') if header else None}",
    )
    yield "sent", view.bundle.string("timestamp") or "not said"
    kinds = Counter(node.string("resourceType") or "unknown" for node in view.resources)
    yield "holds", ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "nothing"


def _name(node: Node) -> str:
    def value(*systems: str) -> str:
        return next((item.string("value") or "none" for item in node.identifiers(*systems)), "none")

    name = node.string("name") or "an organization without name"
    return f"{name}, GLN {value(*canonicals.GLN_SYSTEMS)}, SOR {value(canonicals.SOR)}"


def _patient(view: MessageView) -> str:
    patients = view.of_type("Patient")
    if len(patients) != 1:
        return "none" if not patients else f"{len(patients)} of them"
    kinds = [
        kind
        for kind, systems in _NUMBERS
        if next(patients[0].identifiers(*systems), None) is not None
    ]
    return f"known by {' and '.join(kinds)} (not shown)" if kinds else "without a number"


def render_message_text(report: MessageReport, *, width: int = 100, colour: bool = False) -> str:
    """The report for a terminal: the verdict, what the message is, then the findings by layer."""
    mark = report.mark
    lines = [paint(f"{SIGNS[mark]}{report.name}: {report.headline}", mark, colour)]
    for label, said in report.lines:
        lines += wrapped(f"  {label}: ", said, width)
    layer = None
    for found in report.findings:
        if found.layer is not layer:
            layer = found.layer
            lines += ["", str(layer)]
        mark = _MARKS[found.severity]
        official = f" [{found.medcom_id}]" if found.medcom_id else ""
        entry = CATALOGUE.get(found.rule)
        place = ", ".join(filter(None, (found.path, report.place_of(found))))
        told = f"{found.severity} {found.rule}{official}: {found.text} (at {place})"
        lines += [paint(line, mark, colour) for line in wrapped(f"  {SIGNS[mark]}", told, width)]
        if entry is not None:
            lines += wrapped("    do: ", entry.remedy, width)
            if found.rule in fhir.STRICTER:
                reason = f"stricter than the published profile: {fhir.STRICTER[found.rule]}"
                lines += wrapped("    ", reason, width)
    return "\n".join(lines) + "\n"


def message_to_json(report: MessageReport) -> dict[str, Any]:
    """The report as one JSON object."""

    def told(found: fhir.Finding, entry: Entry | None) -> dict[str, Any]:
        return {
            "rule": found.rule,
            "layer": str(found.layer),
            "severity": found.severity,
            "path": found.path,
            "resource": report.place_of(found),
            "text": found.text,
            "medcom_id": found.medcom_id,
            "demand": entry.demand if entry else None,
            "do": entry.remedy if entry else None,
            "stricter": fhir.STRICTER.get(found.rule),
        }

    return {
        "name": report.name,
        "headline": report.headline,
        "valid": report.mark is not Mark.BROKEN,
        "judged_as": "sender" if report.strict else "receiver",
        "refused": report.refused,
        "message": dict(report.lines),
        "findings": [told(found, CATALOGUE.get(found.rule)) for found in report.findings],
    }
