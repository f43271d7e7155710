"""A FHIR bundle as bytes: JSON, or XML in the element order of the standard.

Only bundles made here are written; what was received is kept and sent on as the bytes it came in.

Spec: medcom-fhir.md 19; HL7 FHIR R4 (JSON and XML representation).
"""

from typing import Any

import orjson
from lxml import etree

from envelope import names
from envelope.errors import LocalProtocolError
from envelope.fhir.elements import RESOURCES, TYPES, Element
from envelope.fhir.reading import Format, Resource


def serialize(bundle: Resource, format: Format) -> bytes:  # noqa: A002 - the word of the standard
    """Write a bundle as UTF-8 bytes.

    Raises `LocalProtocolError` when XML is asked for and the bundle holds a type or an element the
    table does not describe: its place in XML would be a guess.
    """
    if format == "json":
        return orjson.dumps(bundle)
    root = _resource(bundle, {None: names.FHIR})
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _resource(resource: Resource, nsmap: dict[str | None, str] | None = None) -> etree._Element:
    kind = resource.get("resourceType")
    if kind not in RESOURCES:
        raise LocalProtocolError("a resource of a type that cannot be written as XML")
    node = etree.Element(names.q(names.FHIR, kind), nsmap=nsmap)
    members = {name: item for name, item in resource.items() if name != "resourceType"}
    _fill(node, members, TYPES[kind], attributes=())
    return node


def _fill(
    node: etree._Element,
    members: dict[str, Any],
    table: dict[str, Element],
    *,
    attributes: tuple[str, ...],
) -> None:
    """Write the members in table order; `attributes` are those that are XML attributes here."""
    for name in attributes:
        if name in members:
            node.set(name, _text(members[name]))
    known = set(attributes)
    for element in table.values():
        known |= {element.name, f"_{element.name}"}
        if element.name in attributes:
            continue
        values = members.get(element.name)
        beside = members.get(f"_{element.name}")
        if values is None and beside is None:
            continue
        if not element.many:
            values, beside = [values], [beside]
        values, beside = values or [], beside or []
        for index in range(max(len(values), len(beside))):
            value = values[index] if index < len(values) else None
            extra = beside[index] if index < len(beside) else None
            _put(node, element, value, extra)
    if not known.issuperset(members):
        raise LocalProtocolError("an element that cannot be written as XML")


def _put(node: etree._Element, element: Element, value: Any, beside: Any) -> None:
    if element.type == "xhtml":
        node.append(_narrative(str(value)))
        return
    child = etree.SubElement(node, names.q(names.FHIR, element.name))
    if element.primitive:
        if value is not None:
            child.set("value", _text(value))
        if beside is not None:
            _fill(child, beside, TYPES["Extension"], attributes=("id",))
    elif element.type == "Resource":
        child.append(_resource(value))
    elif element.type in TYPES:
        attributes = ("id", "url") if element.type == "Extension" else ("id",)
        _fill(child, value, TYPES[element.type], attributes=attributes)
    else:
        raise LocalProtocolError("an element of a type that cannot be written as XML")


def _narrative(div: str) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8", load_dtd=False, no_network=True, resolve_entities=False
    )
    try:
        return etree.fromstring(div.encode(), parser)
    except etree.XMLSyntaxError:
        raise LocalProtocolError("a narrative that is not well-formed") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
