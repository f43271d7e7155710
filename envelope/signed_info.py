"""A SignedInfo as read: canonicalisation, algorithm and references, in the two ways there are to read it.

The signature is over the canonical form, which therefore has to be made anyway, and which says everything that the
tree says. So where it has the shape that products write it is read from those very octets, and only a SignedInfo of
another shape, or one to be refused, is read from its tree, to the same result or to the reason of the refusal.

Spec: XML Signature 1.1 section 4; Exclusive XML Canonicalization 1.0.
"""

import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from envelope import names
from envelope.errors import FailedAuthentication, Gate, PolicyNoncompliance
from envelope.limits import Limits
from envelope.names import q
from envelope.verified import SignedReference
from envelope.xml import canonicalize

if TYPE_CHECKING:
    from lxml.etree import _Element

REFERENCE: Final = q(names.DS, "Reference")
TRANSFORMS: Final = q(names.DS, "Transforms")
TRANSFORM: Final = q(names.DS, "Transform")
DIGEST_METHOD: Final = q(names.DS, "DigestMethod")
DIGEST_VALUE: Final = q(names.DS, "DigestValue")
CANONICALIZATION_METHOD: Final = q(names.DS, "CanonicalizationMethod")
SIGNATURE_METHOD: Final = q(names.DS, "SignatureMethod")
INCLUSIVE_NAMESPACES: Final = q(names.EC, "InclusiveNamespaces")

_MAXIMUM_TRANSFORMS: Final = 2
_XML_SPACE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Transform:
    """A `ds:Transform` or `ds:CanonicalizationMethod`; `prefixes` is its InclusiveNamespaces PrefixList."""

    algorithm: str
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """One `ds:Reference` as read; nothing about it is checked but its structure."""

    uri: str
    transforms: tuple[Transform, ...]
    digest_algorithm: str
    digest_value: bytes
    element: "_Element | None" = None
    xml: bytes = b""
    """The canonical form, where the reference was read from it instead of `element`."""

    def signed(self) -> SignedReference:
        """The reference as a value to store and to repeat in a receipt."""
        return SignedReference(
            uri=self.uri,
            digest_algorithm=self.digest_algorithm,
            digest_value=self.digest_value,
            transforms=tuple(transform.algorithm for transform in self.transforms),
            xml=self.xml if self.element is None else canonicalize(self.element),
        )


class SignedInfo(NamedTuple):
    """One `ds:SignedInfo`; `octets` is its canonical form where that is what was read, else None."""

    canonicalization: Transform
    algorithm: str
    references: tuple[Reference, ...]
    octets: bytes | None


def decode_base64(text: str | None, *, what: str, reason: str = "sig.schema") -> bytes:
    """Decode base64 in which white space may stand but nothing else that does not belong.

    Raises `FailedAuthentication` with `reason` for junk, wrong padding and an empty value.
    """
    try:
        octets = (text or "").encode("ascii").translate(None, _XML_SPACE)
        value = binascii.a2b_base64(octets, strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        value = b""
    if not value:
        raise FailedAuthentication(f"{what} is not base64", reason=reason, gate=Gate.G5)
    return value


def schema_violation(detail: str) -> FailedAuthentication:
    """Say which part of a signature is not as its schema has it (`sig.schema`)."""
    return FailedAuthentication(detail, reason="sig.schema", gate=Gate.G5)


def leaf_text(element: "_Element", *, reason: str = "sig.schema") -> str | None:
    """The text of an element that may hold nothing else; a comment or child is refused."""
    if len(element):
        raise FailedAuthentication(
            f"{element.tag!r} holds more than text", reason=reason, gate=Gate.G5
        )
    return element.text


def _transform(element: "_Element", limits: Limits) -> Transform:
    algorithm = element.get("Algorithm", "")
    if not len(element):
        if (element.text or "").strip():
            raise PolicyNoncompliance("text in a transform", reason="alg.transform")
        return Transform(algorithm)
    if len(element) > 1 or element[0].tag != INCLUSIVE_NAMESPACES or len(element[0]):
        raise PolicyNoncompliance("parameters of a transform", reason="alg.transform")
    prefixes = tuple(element[0].get("PrefixList", "").split())
    if len(prefixes) > limits.prefix_list:
        raise PolicyNoncompliance("PrefixList too long", reason="alg.c14n")
    if "#default" in prefixes:
        raise PolicyNoncompliance("PrefixList with #default", reason="alg.c14n")
    return Transform(algorithm, prefixes)


def read_reference(element: "_Element", limits: Limits) -> Reference:
    """Read one `ds:Reference` from its tree; raises as `read_signed_info` does."""
    tags = [child.tag for child in element]
    if tags != [TRANSFORMS, DIGEST_METHOD, DIGEST_VALUE]:
        if tags == [DIGEST_METHOD, DIGEST_VALUE]:
            raise PolicyNoncompliance("reference without transform", reason="alg.transform")
        raise schema_violation("ds:Reference has other children than it may")
    uri = element.get("URI", "")
    if not uri or element.get("Type") is not None:
        raise FailedAuthentication(
            "ds:Reference to the whole document or of a Type", reason="sig.reference", gate=Gate.G5
        )
    transforms, method, value = element
    if len(transforms) > _MAXIMUM_TRANSFORMS:
        raise PolicyNoncompliance("too many transforms", reason="alg.transform")
    if any(child.tag != TRANSFORM for child in transforms):
        raise schema_violation("ds:Transforms holds something else")
    if len(method):
        raise PolicyNoncompliance("parameters of a digest method", reason="alg.digest")
    return Reference(
        uri=uri,
        transforms=tuple(_transform(child, limits) for child in transforms),
        digest_algorithm=method.get("Algorithm", ""),
        digest_value=decode_base64(leaf_text(value), what="ds:DigestValue"),
        element=element,
    )


def read_signed_info(element: "_Element", limits: Limits) -> SignedInfo:
    """Read a `ds:SignedInfo`, of which nothing is checked but its structure.

    Raises `FailedAuthentication` (`sig.schema`, `sig.limits`, `sig.reference`), and `PolicyNoncompliance` (`alg.*`) for
    parameters that no allowed algorithm has.

    Spec: XML Signature 1.1 section 4.4.
    """
    return _read_canonical(element, limits) or _read_tree(element, limits)


def _read_tree(element: "_Element", limits: Limits) -> SignedInfo:
    tags = [child.tag for child in element]
    if tags[:2] != [CANONICALIZATION_METHOD, SIGNATURE_METHOD] or len(tags) < 3:
        raise schema_violation("ds:SignedInfo lacks a method or a reference")
    if any(tag != REFERENCE for tag in tags[2:]):
        raise schema_violation("ds:SignedInfo holds an unexpected element")
    if len(tags) - 2 > limits.references:
        raise FailedAuthentication("too many references", reason="sig.limits", gate=Gate.G5)
    method = element[1]
    if len(method):
        raise PolicyNoncompliance("parameters of a signature method", reason="alg.signature")
    canonicalization = _transform(element[0], limits)
    references = tuple(read_reference(child, limits) for child in element[2:])
    return SignedInfo(canonicalization, method.get("Algorithm", ""), references, None)


_URI: Final = rb"[!#-%'-;=?-~]{1,255}"
_PREFIX_LIST: Final = (
    rb'(?:<ec:InclusiveNamespaces xmlns:ec="%b" PrefixList="([A-Za-z0-9 ._-]{1,255})">'
    rb"</ec:InclusiveNamespaces>)?"
) % re.escape(names.EC.encode())
_METHODS: Final = re.compile(
    rb'<ds:SignedInfo(?: xmlns:[\w.-]+="[^"<>&]*")+>'
    rb'<ds:CanonicalizationMethod Algorithm="(%b)">%b</ds:CanonicalizationMethod>'
    rb'<ds:SignatureMethod Algorithm="(%b)"></ds:SignatureMethod>' % (_URI, _PREFIX_LIST, _URI)
)
_REFERENCE: Final = re.compile(
    rb'<ds:Reference( URI="(%b)"><ds:Transforms>'
    rb'<ds:Transform Algorithm="(%b)">%b</ds:Transform></ds:Transforms>'
    rb'<ds:DigestMethod Algorithm="(%b)"></ds:DigestMethod>'
    rb"<ds:DigestValue>([A-Za-z0-9+/=]+)</ds:DigestValue></ds:Reference>)"
    % (_URI, _URI, _PREFIX_LIST, _URI)
)
_REFERENCE_ALONE: Final = b'<ds:Reference xmlns:ds="%b"' % names.DS.encode()
_END: Final = b"</ds:SignedInfo>"


def _read_canonical(element: "_Element", limits: Limits) -> SignedInfo | None:
    """Read the canonical form; None where it has not the usual shape, and for whatever is refused.

    Comments are kept in the form that is looked at, so that none can hide. Without any it is the octets signed.
    """
    listed = ""
    if len(element) and len(element[0]):
        listed = element[0][0].get("PrefixList") or ""
    prefixes = _prefixes(listed, limits.prefix_list)
    if prefixes is None:
        return None
    try:
        octets = canonicalize(element, prefixes, comments=True)
    except FailedAuthentication:
        return None
    methods = _METHODS.match(octets)
    if methods is None or (methods[2] or b"").decode() != listed:
        return None
    references: list[Reference] = []
    at = methods.end()
    while found := _REFERENCE.match(octets, at):
        reference = _canonical_reference(limits, *found.groups())
        if reference is None or len(references) == limits.references:
            return None
        references.append(reference)
        at = found.end()
    if not references or octets[at:] != _END:
        return None
    canonicalization = Transform(methods[1].decode(), prefixes)
    return SignedInfo(canonicalization, methods[3].decode(), tuple(references), octets)


def _canonical_reference(
    limits: Limits, octets: bytes, uri: bytes, transform: bytes, listed: bytes | None, digest: bytes, value: bytes
) -> Reference | None:  # fmt: skip
    applied = _canonical_transform(transform, listed or b"", limits.prefix_list)
    try:
        digest_value = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        return None
    if applied is None or not digest_value:
        return None
    # Alone, an element declares the prefix that within SignedInfo its parent has declared.
    return Reference(
        uri.decode(), applied, digest.decode(), digest_value, xml=_REFERENCE_ALONE + octets
    )


@lru_cache(maxsize=64)
def _canonical_transform(
    algorithm: bytes, listed: bytes, most: int
) -> tuple[Transform, ...] | None:
    prefixes = _prefixes(listed.decode(), most)
    return None if prefixes is None else (Transform(algorithm.decode(), prefixes),)


def _prefixes(listed: str, most: int) -> tuple[str, ...] | None:
    """The names of a PrefixList; None for more than there may be, or the one that is refused."""
    prefixes = tuple(listed.split())
    return None if len(prefixes) > most or "#default" in prefixes else prefixes
