"""What a signature covers, decided by element identity and not by name.

A reference counts for the header only if its id belongs to exactly one element of the whole document and that
element *is* the Messaging header (or the Body) which every other gate reads. A signed original that was moved
aside, a twin with the same id, a signed descendant: none of them is that element.

Spec: decision D1 (gate G5); eDelivery AS4 1.15 section 4.2; WSS SwA Profile 1.1 section 5.4.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from envelope import names
from envelope.errors import CoverageIncomplete, FailedAuthentication, Gate
from envelope.names import q
from envelope.xmlenc import content_id_of

if TYPE_CHECKING:
    from lxml.etree import _Element

    from envelope.signed_info import Reference
    from envelope.soap import SoapDocument

WSU_ID: Final = q(names.WSU, "Id")
_ID_ATTRIBUTES: Final = frozenset({WSU_ID, q(names.XML, "id"), "Id", "ID", "id", "AssertionID"})
_SHORTHAND: Final = re.compile(r"#[^\s#()/:]+")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one signature covers: header blocks and Body with their references, parts by content id."""

    elements: tuple[tuple["Reference", "_Element"], ...]
    parts: Mapping[str, "Reference"]


def index_ids(root: "_Element") -> dict[str, "_Element"]:
    """Every element that has an id, by id, whatever the attribute is called.

    The same value twice anywhere raises `FailedAuthentication` (`id.duplicate`): which of the two a verifier
    takes differs between products, and wrapping attacks live on that.
    """
    found: dict[str, _Element] = {}
    for element in root.iter():
        for name in element.keys():  # noqa: SIM118 (an element iterates over its children)
            if name in _ID_ATTRIBUTES:
                value = element.get(name, "")
                if value in found:
                    raise FailedAuthentication(
                        f"id on {element.tag!r} occurs twice", reason="id.duplicate", gate=Gate.G5
                    )
                found[value] = element
    return found


def check_coverage(
    references: Sequence["Reference"],
    *,
    document: "SoapDocument",
    ids: Mapping[str, "_Element"],
    content_ids: Collection[str],
    timestamp: "_Element | None" = None,
    unsigned_body: bool = False,
) -> Coverage:
    """Demand that Messaging, Body, a Timestamp if there is one, and every part are covered, each exactly once.

    `content_ids` are those of the PartInfo elements. Raises `FailedAuthentication` (`sig.reference`) for a
    reference that resolves to nothing here, `CoverageIncomplete` (`sig.coverage`) for everything else.
    """
    elements: dict[_Element, Reference] = {}
    parts: dict[str, Reference] = {}
    for reference in references:
        if reference.uri.startswith("cid:"):
            content_id = content_id_of(reference.uri)
            if content_id in parts:
                raise CoverageIncomplete("a part is referenced twice")
            parts[content_id] = reference
            continue
        element = _resolve(reference, ids)
        if element in elements:
            raise CoverageIncomplete(f"{element.tag!r} is referenced twice")
        elements[element] = reference
    required = [document.messaging] if unsigned_body else [document.messaging, document.body]
    if timestamp is not None:
        required.append(timestamp)
    for element in required:
        if element not in elements:
            raise CoverageIncomplete(f"{element.tag!r} is not signed")
    for element in elements:
        if element not in (*required, document.body):
            raise CoverageIncomplete(f"reference to {element.tag!r}")
    if len(set(content_ids)) != len(content_ids) or parts.keys() != set(content_ids):
        raise CoverageIncomplete("the parts signed are not the parts listed")
    return Coverage(tuple((reference, element) for element, reference in elements.items()), parts)


def check_empty_body(document: "SoapDocument") -> None:
    """Refuse a UserMessage with a payload in the SOAP Body (`sig.coverage`): the profile has it in parts only."""
    if len(document.body) or (document.body.text or "").strip():
        raise CoverageIncomplete("payload in the Body")


def _resolve(reference: "Reference", ids: Mapping[str, "_Element"]) -> "_Element":
    element = ids.get(reference.uri[1:]) if _SHORTHAND.fullmatch(reference.uri) else None
    if element is None:
        raise FailedAuthentication(
            "ds:Reference resolves to nothing", reason="sig.reference", gate=Gate.G5
        )
    return element
