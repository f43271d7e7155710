"""Structure rules: the bundle against the R4 element table, types of the table only (level L2).

One walk finds every defect; the rules sort them by class, so that each has its name and its severity.
Resources and datatypes outside the table are accepted unread: surplus content must be ignored, not
refused. Narrative is checked for the XHTML a FHIR narrative may hold.

Spec: medcom-fhir.md 7, 8, 15; HL7 FHIR R4 (ele-1, txt-1, cardinalities, primitive formats).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from lxml import etree

from envelope import names
from envelope.fhir import canonicals, formats
from envelope.fhir.elements import RESOURCES, TYPES, Element
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.rule import Check, Place, Rule
from envelope.fhir.view import MessageView

_UNKNOWN: Final = "unknown"
_SHAPE: Final = "shape"
_REQUIRED: Final = "required"
_CHOICE: Final = "choice"
_PRIMITIVE: Final = "primitive"
_DATE: Final = "date"
_CODE: Final = "code"
_LENGTH: Final = "length"
_EMPTY: Final = "empty"
_NARRATIVE: Final = "narrative"

_FORMS: Final = {
    "date": "no day such as 1948-12-25",
    "dateTime": "no day such as 1948-12-25 and no time such as 2026-11-21T10:15:00+01:00",
    "instant": "no time such as 2026-11-21T10:15:00+01:00",
}
"""What a value of these datatypes is not, by datatype."""
_MAX_DEFECTS: Final = 200
_LONGEST_NAME: Final = 40
"""How long the name of an element may be that another is looked for that is spelt like it."""
_FORBIDDEN_TAGS: Final = canonicals.words(
    "applet base body button embed form frame frameset head html iframe input link meta object"
    " option script select style textarea title video audio svg"
)
_EVENT_ATTRIBUTE: Final = re.compile(r"on[a-z]+\Z")
_ACTIVE_ADDRESS: Final = re.compile(r"[\s\x00-\x1f]*(?:javascript|vbscript)\s*:", re.IGNORECASE)
_ACTIVE_ATTRIBUTES: Final = ("href", "src")


@dataclass(frozen=True, slots=True)
class Defect:
    """One place where a resource does not fit the element table; `kind` sorts it to its rule."""

    kind: str
    path: str
    text: str


class _Walk:
    """Collects the structural defects of one bundle, up to a bound."""

    def __init__(self) -> None:
        self.defects: list[Defect] = []

    def resource(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            self._note(_SHAPE, path, "a resource is an object")
            return
        kind = value.get("resourceType")
        if not isinstance(kind, str):
            self._note(_SHAPE, path, "a resource names its type")
        elif kind in RESOURCES:
            self._members(value, TYPES[kind], path, is_resource=True)

    def _members(
        self,
        value: dict[str, Any],
        table: dict[str, Element],
        path: str,
        *,
        is_resource: bool = False,
    ) -> None:
        if len(self.defects) >= _MAX_DEFECTS:
            return
        groups: dict[str, int] = {}
        before = ""
        for name, item in value.items():
            element = table.get(name.removeprefix("_"))
            if element is None or (name.startswith("_") and not element.primitive):
                if not (is_resource and name == "resourceType"):
                    self._note(_UNKNOWN, path, _unknown(name, table, before))
                continue
            before = name
            if name.startswith("_"):
                self._beside(value, item, element, path)
                if element.name in value:
                    continue
            else:
                self._element(value, item, element, f"{path}.{name}")
            groups[element.group] = groups.get(element.group, 0) + 1
        for element in table.values():
            present = groups.get(element.group, 0)
            if element.required and not present:
                groups[element.group] = 1
                self._note(_REQUIRED, f"{path}.{element.group}", "a required element is missing")
            elif present > 1:
                groups[element.group] = 1
                self._note(_CHOICE, f"{path}.{element.group}", "more than one type of a choice")

    def _element(self, holder: dict[str, Any], item: Any, element: Element, path: str) -> None:
        if isinstance(item, list) != element.many:
            self._note(_SHAPE, path, "an element repeats where it may not, or the reverse")
            return
        if not element.many:
            self._value(item, element, path)
            return
        if not item:
            self._note(_EMPTY, path, "an empty list")
        beside = holder.get(f"_{element.name}")
        for index, single in enumerate(item):
            if single is not None or not element.primitive or not _at(beside, index):
                self._value(single, element, f"{path}[{index}]")

    def _value(self, item: Any, element: Element, path: str) -> None:
        if element.type == "Resource":
            self.resource(item, path)
        elif element.primitive:
            self._primitive(item, element, path)
        elif not isinstance(item, dict):
            self._note(_SHAPE, path, "an element with parts is an object")
        elif not item:
            self._note(_EMPTY, path, "an element without content")
        elif element.type in TYPES:
            self._members(item, TYPES[element.type], path)

    def _primitive(self, item: Any, element: Element, path: str) -> None:
        if isinstance(item, (dict, list)) or item is None:
            self._note(_SHAPE, path, "a primitive is a single value")
        elif item == "":
            self._note(_EMPTY, path, "an empty value")
        elif element.type == "xhtml":
            self._narrative(item, path)
        elif formats.is_too_long(element.type, item):
            self._note(_LENGTH, path, "the text is longer than FHIR allows")
        elif not formats.is_primitive(element.type, item):
            if element.type in _FORMS:
                self._note(_DATE, path, _FORMS[element.type])
            else:
                self._note(_PRIMITIVE, path, "the value has not the form of its datatype")
        elif element.codes is not None and item not in element.codes:
            codes = ", ".join(sorted(element.codes))
            self._note(_CODE, path, f"the code is none of those FHIR allows: {codes}")

    def _beside(self, holder: dict[str, Any], item: Any, element: Element, path: str) -> None:
        """Check the `_name` companion of a primitive: id and extensions only."""
        here = f"{path}.{element.name}"
        singles = item if element.many and isinstance(item, list) else [item]
        held = holder.get(element.name)
        if isinstance(held, list) and len(held) < len(singles):
            self._note(_SHAPE, here, "more companions than values")
        for single in singles:
            if single is None and element.many:
                continue
            if not isinstance(single, dict) or not single:
                self._note(_SHAPE, here, "the companion of a primitive is an object")
            else:
                self._members(single, _COMPANION, here)

    def _narrative(self, item: Any, path: str) -> None:
        text = _narrative_fault(item)
        if text is not None:
            self._note(_NARRATIVE, path, text)

    def _note(self, kind: str, path: str, text: str) -> None:
        if len(self.defects) < _MAX_DEFECTS:
            self.defects.append(Defect(kind, path, text))


_COMPANION: Final = {name: TYPES["Coding"][name] for name in ("id", "extension")}


def _unknown(name: str, table: Mapping[str, Element], before: str) -> str:
    """Say which element is unknown by its neighbour and by the name it may be meant for: its own is the sender's words."""
    told = "an element FHIR R4 does not define here"
    if before:
        told += f", after `{before}`"
    likely = get_close_matches(name, list(table), n=1) if len(name) <= _LONGEST_NAME else []
    return f"{told}; it is spelt like `{likely[0]}`" if likely else told


def _at(beside: Any, index: int) -> bool:
    return isinstance(beside, list) and index < len(beside) and isinstance(beside[index], dict)


def _narrative_fault(item: Any) -> str | None:
    if not isinstance(item, str):
        return "the narrative is not text"
    if "<!" in item or "<?" in item:
        return "the narrative holds a declaration"
    try:
        root = etree.fromstring(item.encode(), _narrative_parser())
    except (etree.XMLSyntaxError, ValueError):
        return "the narrative is not well-formed"
    if root.tag != names.q(names.XHTML, "div"):
        return "the narrative is not a div in the XHTML namespace"
    for node in root.iter():
        qualified = etree.QName(node)
        if qualified.namespace != names.XHTML or qualified.localname.lower() in _FORBIDDEN_TAGS:
            return "the narrative holds an element that is not allowed"
        if any(_EVENT_ATTRIBUTE.match(str(name)) for name in node.attrib):
            return "the narrative holds an event attribute"
        if any(_ACTIVE_ADDRESS.match(str(node.get(name, ""))) for name in _ACTIVE_ATTRIBUTES):
            return "the narrative holds an active address"
    return None


def _narrative_parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8", load_dtd=False, no_network=True, resolve_entities=False, recover=False
    )


def defects(resource: Any, path: str) -> list[Defect]:
    """List the structural defects of one resource and what it holds, up to a bound."""
    walk = _Walk()
    walk.resource(resource, path)
    return walk.defects


def _defects(view: MessageView) -> list[Defect]:
    """Walk once per view; the rules of this file share the result."""
    found: list[Defect] | None = view.notes.get(__name__)
    if found is None:
        found = view.notes[__name__] = defects(view.message.bundle, "Bundle")
    return found


def _of(kind: str, demand: str) -> Check:
    def check(view: MessageView) -> Iterator[Place]:
        for defect in _defects(view):
            if defect.kind == kind:
                yield defect.path, defect.text

    check.__doc__ = demand
    return check


_rule = partial(Rule, layer=Layer.STRUCTURE)


RULES: Final = (
    _rule(
        "structure-unknown-element",
        _of(_UNKNOWN, "No element stands where FHIR R4 does not define one."),
        Kind.STRUCTURE,
    ),
    _rule(
        "structure-shape",
        _of(
            _SHAPE,
            "What repeats is a list, what has parts is an object, and nothing else is either.",
        ),
        Kind.STRUCTURE,
    ),
    _rule(
        "structure-empty",
        _of(_EMPTY, "Nothing is empty: an element has a value or is left out."),
        Kind.STRUCTURE,
        medcom_id="ele-1",
    ),
    _rule("structure-required", _of(_REQUIRED, "What FHIR R4 demands is there."), Kind.REQUIRED),
    _rule(
        "structure-choice",
        _of(_CHOICE, "Of an element with a choice of types only one is given."),
        Kind.STRUCTURE,
    ),
    _rule(
        "structure-datatype",
        _of(_PRIMITIVE, "A value has the form of its datatype, base64 and numbers included."),
        Kind.VALUE,
    ),
    _rule(
        "structure-date",
        _of(_DATE, "A date or time has the form FHIR demands, with seconds and zone."),
        Kind.DATE,
    ),
    _rule(
        "structure-code",
        _of(_CODE, "A code is one of the closed list that FHIR R4 gives the element."),
        Kind.CODE,
    ),
    _rule("structure-length", _of(_LENGTH, "No text is longer than FHIR allows."), Kind.TOO_LONG),
    _rule(
        "structure-narrative",
        _of(_NARRATIVE, "A narrative is a div of plain XHTML, without scripts, forms or frames."),
        Kind.STRUCTURE,
        medcom_id="txt-1",
    ),
)
