"""Why a digest differs: the changes that gateways and MIME writers really make, undone one at a time until it matches.

A hint that matches is as good as a confession: no other change gives this digest. That none matches says nothing.

Spec: experience section 7.
"""

import copy
import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from envelope import names
from envelope.names import q
from envelope.signed_info import Reference
from envelope.soap import MUST_UNDERSTAND
from envelope.xml import canonicalize

if TYPE_CHECKING:
    from lxml.etree import _Element

_MESSAGING: Final = q(names.EB, "Messaging")
ENCRYPTED_FIRST: Final = (
    "it is the digest of the cipher text: the part was encrypted before it was signed"
)
"""The one hint that is about the signer; all others are about what came after the signature."""


def why_element_differs(reference: Reference, element: "_Element") -> str | None:
    """What was done to an element after it was signed, or None when no usual change explains it."""
    if reference.digest_algorithm != names.SHA256:
        return None
    for sentence, undo in _UNDONE:
        twin = _twin(element)
        undo(twin)
        octets = canonicalize(twin, reference.transforms[0].prefixes)
        if hmac.compare_digest(hashlib.sha256(octets).digest(), reference.digest_value):
            return sentence
    return None


def without_white_space(element: "_Element") -> "_Element":
    """A copy of an element, where it stands, without the white space between the elements in it."""
    twin = _twin(element)
    _drop_white_space(twin)
    return twin


def why_part_differs(octets: bytes, wire: bytes, expected: bytes) -> str | None:
    """What was done to the octets of a part after they were digested; `wire` is the part as it came."""
    for sentence, candidate in _variants(octets, wire):
        if hmac.compare_digest(hashlib.sha256(candidate).digest(), expected):
            return sentence
    return None


def _twin(element: "_Element") -> "_Element":
    # The copy is of the whole document, so that the element stands in the same namespaces.
    tree = element.getroottree()
    return list(copy.deepcopy(tree).iter())[list(tree.iter()).index(element)]


def _drop_white_space(element: "_Element") -> None:
    for each in element.iter():
        if len(each) and not (each.text or "").strip():
            each.text = None
        if each is not element and not (each.tail or "").strip():
            each.tail = None


def _set_must_understand(value: str) -> Callable[["_Element"], None]:
    def change(element: "_Element") -> None:
        if element.tag == _MESSAGING:
            element.set(MUST_UNDERSTAND, value)

    return change


def _drop_must_understand(element: "_Element") -> None:
    element.attrib.pop(MUST_UNDERSTAND, None)


_UNDONE: Final[tuple[tuple[str, Callable[["_Element"], None]], ...]] = (
    ("it matches without the white space between elements: somebody indented it", _drop_white_space),
    ("it matches with mustUnderstand=true, which somebody took away", _set_must_understand("true")),
    ("it matches with mustUnderstand=1, which somebody took away", _set_must_understand("1")),
    ("it matches without mustUnderstand, which somebody added", _drop_must_understand),
)  # fmt: skip


def _variants(octets: bytes, wire: bytes) -> Iterator[tuple[str, bytes]]:
    yield (
        "it matches without the last line end: a MIME writer added one",
        octets[: -2 if octets.endswith(b"\r\n") else -1],
    )
    yield "it matches with one more line end, which somebody cut off", octets + b"\r\n"
    yield (
        "it matches with CRLF line ends, which somebody made LF",
        octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    )
    yield "it matches with LF line ends, which somebody made CRLF", octets.replace(b"\r\n", b"\n")
    yield ENCRYPTED_FIRST, wire
