"""The Security header of an envelope as nodes: each reference recomputed, the value verified, who signed, who can decrypt.

Every look is the function that a gate uses, called alone and under every quirk, so that one broken thing does not
hide the others. Whether the whole is acceptable, the gates say; nothing here is evidence of anything.

Spec: WSS SOAP Message Security 1.1.1; eDelivery AS4 1.15 section 4.2.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography import x509

from envelope import names
from envelope.coverage import index_ids
from envelope.errors import (
    FailedAuthentication,
    FailedDecryption,
    Gate,
    PolicyNoncompliance,
    ReferenceDigestMismatch,
    RemoteProtocolError,
    SignatureValueInvalid,
)
from envelope.explain.certificate import show_certificate, show_token, show_trust
from envelope.explain.gates import Means
from envelope.explain.hints import (
    ENCRYPTED_FIRST,
    why_element_differs,
    why_part_differs,
    without_white_space,
)
from envelope.explain.node import Mark, Node, broken, look, unseen
from envelope.messaging import PartInfo
from envelope.names import q
from envelope.parts import digest_content
from envelope.pmode import SecurityPolicy
from envelope.security_header import TIMESTAMP, index_tokens
from envelope.security_token import (
    BINARY_SECURITY_TOKEN,
    TokenReference,
    read_key_info,
)
from envelope.signed_info import Reference
from envelope.soap import SoapDocument
from envelope.xmldsig import (
    SIGNATURE,
    Signature,
    check_algorithms,
    read_signature,
    verify_reference,
    verify_signature,
)
from envelope.xmlenc import (
    ENCRYPTED_DATA,
    ENCRYPTED_KEY,
    EncryptionHeader,
    GcmDecryption,
    content_id_of,
    read_encryption,
)

_COMMON_NAME: Final = x509.NameOID.COMMON_NAME

if TYPE_CHECKING:
    from lxml.etree import _Element


@dataclass(frozen=True, slots=True)
class Wire:
    """What of a message is at hand beside its envelope: the parts by content id, what the header says of them, and whose
    it says it is.

    `parts` is None where the capture is an envelope alone, `party` where the header names nobody.
    """

    parts: Mapping[str, bytes] | None = field(repr=False)
    infos: Mapping[str, PartInfo]
    party: str | None = None


@dataclass(frozen=True, slots=True)
class _Scene:
    """Everything that a look at one signature needs."""

    document: SoapDocument
    wire: Wire
    means: Means
    policy: SecurityPolicy
    at: datetime | None
    ids: Mapping[str, "_Element"]
    tokens: Mapping[str, "_Element"]
    encryption: EncryptionHeader | None
    octets: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Looked:
    """The node of the header, and the signed octets of each part that could be had."""

    node: Node
    octets: Mapping[str, bytes] = field(repr=False)


def show_security(
    document: SoapDocument, wire: Wire, means: Means, policy: SecurityPolicy, at: datetime | None
) -> Looked:
    """Look at everything in the Security header, one thing after the other."""
    security = document.security
    if security is None:
        refusal = PolicyNoncompliance("no Security header", reason="sec.missing")
        clear = dict(wire.parts or {})
        return Looked(broken("Security", refusal), clear)
    ids: Mapping[str, _Element] = {}
    nodes: list[Node] = []
    try:
        ids = index_ids(document.root)
    except RemoteProtocolError as refusal:
        nodes.append(broken("ids", refusal))
    tokens = index_tokens(security.findall(BINARY_SECURITY_TOKEN))
    encryption, encrypted = _show_encryption(security, ids, tokens, means, policy)
    octets, opened = _open(wire, encryption, means)
    scene = _Scene(document, wire, means, policy, at, ids, tokens, encryption, octets)
    signatures = security.findall(SIGNATURE)
    nodes += [look("Signature", partial(_show_signature, each, scene)) for each in signatures]
    if not signatures:
        nodes.append(broken("Signature", PolicyNoncompliance("no signature", reason="sig.missing")))
    nodes += [*encrypted, *opened]
    for stamp in security.findall(TIMESTAMP):
        times = ", ".join(f"{_local(each)} {(each.text or '').strip()}" for each in stamp)
        nodes.append(Node("Timestamp", times))
    return Looked(Node("Security", f"{len(security)} elements", children=tuple(nodes)), octets)


def _show_signature(element: "_Element", scene: _Scene) -> Node:
    signature = read_signature(element, scene.means.limits)
    children = [
        _show_algorithms(signature, scene.policy),
        *(
            look(f"reference {each.uri}", partial(_show_reference, each, scene))
            for each in signature.references
        ),
        *_show_uncovered(signature, scene),
        *_show_signer(signature, scene),
    ]
    return Node(
        "Signature", f"over {len(signature.references)} references", children=tuple(children)
    )


def _show_algorithms(signature: Signature, policy: SecurityPolicy) -> Node:
    digests = sorted({short(each.digest_algorithm) for each in signature.references})
    text = f"{short(signature.algorithm)}, digests {', '.join(digests)}"
    prefixes = signature.canonicalization.prefixes
    if prefixes:
        text += f", inclusive prefixes {' '.join(prefixes)}"
    try:
        check_algorithms(signature, policy)
    except RemoteProtocolError as refusal:
        return Node("algorithms", f"{text}: {refusal.detail}", Mark.BROKEN, refusal=refusal)
    try:
        check_algorithms(signature, _usual(policy))
    except RemoteProtocolError:
        return Node("algorithms", f"{text}: agreed under a quirk only", Mark.NOTED)
    return Node("algorithms", text, Mark.HOLDS)


def _usual(policy: SecurityPolicy) -> SecurityPolicy:
    return replace(policy, quirks=frozenset())


def _show_reference(reference: Reference, scene: _Scene) -> Node:
    label = f"reference {reference.uri}"
    if reference.uri.startswith("cid:"):
        return _show_part_digest(label, reference, scene)
    element = scene.ids.get(reference.uri[1:]) if reference.uri.startswith("#") else None
    if element is None:
        raise FailedAuthentication(
            "ds:Reference resolves to nothing", reason="sig.reference", gate=Gate.G5
        )
    try:
        verify_reference(reference, element)
    except KeyError:
        return unseen(label, f"digest algorithm {short(reference.digest_algorithm)}")
    except ReferenceDigestMismatch as refusal:
        why = why_element_differs(reference, element)
        return _differs(label, _local(element), refusal, why)
    return Node(label, f"{_local(element)}: digest matches", Mark.HOLDS)


def _show_part_digest(label: str, reference: Reference, scene: _Scene) -> Node:
    content_id, wire = content_id_of(reference.uri), scene.wire
    if wire.parts is None:
        return unseen(label, "the MIME parts are not in this capture")
    if content_id not in wire.parts:
        raise FailedAuthentication(
            "no MIME part has this Content-ID", reason="att.missing", gate=Gate.G8
        )
    if content_id not in scene.octets:
        return unseen(label, "the part is encrypted and was not decrypted")
    info = wire.infos.get(content_id)
    mime_type = None if info is None else info.mime_type
    encryption = scene.encryption
    if encryption is not None and content_id in encryption.parts:
        mime_type = encryption.parts[content_id].mime_type or mime_type
    try:
        digest = digest_content(
            scene.octets[content_id],
            mime_type=mime_type,
            compressed=info is not None and info.compression_type is not None,
            algorithm=reference.digest_algorithm,
            limits=scene.means.limits,
        )
    except KeyError:
        return unseen(label, f"digest algorithm {short(reference.digest_algorithm)}")
    if not hmac.compare_digest(digest, reference.digest_value):
        refusal = ReferenceDigestMismatch("the digest of a part differs")
        octets = scene.octets[content_id]
        why = why_part_differs(octets, wire.parts[content_id], reference.digest_value)
        return _differs(label, "part", refusal, why)
    return Node(label, "part: digest matches", Mark.HOLDS)


def _differs(label: str, what: str, refusal: RemoteProtocolError, why: str | None) -> Node:
    text = f"{what}: the digest of what came is another one"
    return Node(
        label,
        f"{text}; {why}" if why else text,
        Mark.BROKEN,
        refusal=refusal,
        hint="" if why is None or why == ENCRYPTED_FIRST else why,
    )


def _show_uncovered(signature: Signature, scene: _Scene) -> list[Node]:
    """What must be signed and is not: Messaging, Body, and each part that the header lists."""
    signed = {reference.uri for reference in signature.references}
    elements = [scene.ids.get(uri[1:]) for uri in signed if uri.startswith("#")]
    cids = {content_id_of(uri) for uri in signed if uri.startswith("cid:")}
    missing = [
        _local(element)
        for element in (scene.document.messaging, scene.document.body)
        if not any(element is each for each in elements)
    ]
    missing += [f"part {content_id}" for content_id in scene.wire.infos if content_id not in cids]
    return [
        broken(
            "not signed",
            FailedAuthentication(name, reason="sig.coverage", gate=Gate.G5),
        )
        for name in missing
    ]


def _show_signer(signature: Signature, scene: _Scene) -> list[Node]:
    try:
        token = read_key_info(signature.key_info, scene.tokens)
        certificate = token.certificate or scene.means.trust.find(token)
    except RemoteProtocolError as refusal:
        return [broken("signer", refusal), unseen("signature value", "the signer is not known")]
    if certificate is None:
        because = f"the signer is named {show_token(token)}, and nobody gave that certificate"
        return [unseen("signer", because), unseen("signature value", "the signer is not known")]
    return [
        Node("signer named", show_token(token)),
        look("signature value", lambda: _show_value(signature, certificate, scene.policy)),
        show_certificate("signer", certificate, scene.at),
        show_trust(scene.means.trust, certificate, token.chain, scene.at),
        *_show_party(certificate, scene.wire.party),
    ]


def _show_party(certificate: x509.Certificate, party: str | None) -> list[Node]:
    """Whether the signer bears the name of the party in From; another agreement on certificates may make that good."""
    if party is None:
        return []
    names_ = [str(each.value) for each in certificate.subject.get_attributes_for_oid(_COMMON_NAME)]
    if party in names_:
        return [Node("party", f"the signer's common name is that in From: {party}", Mark.HOLDS)]
    text = f"From says {party}, the signer's common name is {', '.join(names_) or 'missing'}"
    return [Node("party", f"{text}: good only where this certificate is agreed for it", Mark.NOTED)]


def _show_value(
    signature: Signature, certificate: x509.Certificate, policy: SecurityPolicy
) -> Node:
    try:
        verify_signature(signature, certificate, policy)
    except KeyError:
        return unseen("signature value", f"algorithm {short(signature.algorithm)}")
    except SignatureValueInvalid as refusal:
        why = _why_value_differs(signature, certificate, policy)
        text = f"{refusal.detail}; {why}" if why else refusal.detail
        return Node("signature value", text, Mark.BROKEN, refusal=refusal, hint=why)
    return Node("signature value", "verifies with the signer's key", Mark.HOLDS)


def _why_value_differs(
    signature: Signature, certificate: x509.Certificate, policy: SecurityPolicy
) -> str:
    plain = replace(signature, signed_info=without_white_space(signature.signed_info))
    try:
        verify_signature(plain, certificate, policy)
    except SignatureValueInvalid:
        return ""
    return "it does without the white space between elements: somebody indented it"


def _show_encryption(
    security: "_Element",
    ids: Mapping[str, "_Element"],
    tokens: Mapping[str, "_Element"],
    means: Means,
    policy: SecurityPolicy,
) -> tuple[EncryptionHeader | None, list[Node]]:
    keys, data = security.findall(ENCRYPTED_KEY), security.findall(ENCRYPTED_DATA)
    try:
        header = read_encryption(keys, data, ids=ids, tokens=tokens, policy=policy)
    except RemoteProtocolError as refusal:
        methods = tuple(
            Node(_local(each), short(method.get("Algorithm", "")))
            for each in (*keys, *data)
            for method in each.findall(q(names.XENC, "EncryptionMethod"))
        )
        return None, [broken("encryption", refusal, *methods)]
    if header is None:
        return None, []
    wrapped = header.wrapped_key
    algorithm = short(wrapped.algorithm)
    if wrapped.agreement is not None:
        algorithm += f", {short(wrapped.agreement.algorithm)} on {wrapped.agreement.curve}"
    else:
        algorithm += (
            f", digest {short(wrapped.digest_algorithm)}, mask {short(wrapped.mgf_algorithm)}"
        )
    try:
        read_encryption(keys, data, ids=ids, tokens=tokens, policy=_usual(policy))
        method = Node("content key", algorithm, Mark.HOLDS)
    except RemoteProtocolError:
        method = Node("content key", f"{algorithm}: agreed under a quirk only", Mark.NOTED)
    children = [
        method,
        Node("recipient named", show_token(wrapped.token)),
    ]
    children += _show_recipient(wrapped.token, means)
    children += [
        Node(
            f"part {part.content_id}",
            f"{short(part.algorithm)}, {part.mime_type or 'type not said'}",
        )
        for part in header.parts.values()
    ]
    return header, [Node("encryption", f"{len(header.parts)} parts", children=tuple(children))]


def _show_recipient(token: TokenReference, means: Means) -> Sequence[Node]:
    certificate = token.certificate or means.trust.find(token)
    return () if certificate is None else (show_certificate("recipient", certificate, None),)


def _open(
    wire: Wire, encryption: EncryptionHeader | None, means: Means
) -> tuple[dict[str, bytes], list[Node]]:
    """The parts in clear, as far as a key was given, and what there is to say about opening them."""
    parts = dict(wire.parts or {})
    if encryption is None:
        return parts, []
    label = "decryption"
    wrapped = encryption.wrapped_key
    if means.decrypter is None:
        clear = {cid: octets for cid, octets in parts.items() if cid not in encryption.parts}
        return clear, [unseen(label, "no private key was given")]
    if not means.decrypter.matches(wrapped.token):
        return {}, [
            unseen(label, f"the key given is not the one named: {show_token(wrapped.token)}")
        ]
    try:
        content_key = means.decrypter.unwrap(wrapped)
        if len(content_key) != wrapped.key_octets:
            raise ValueError
    except ValueError:
        return {}, [broken(label, FailedDecryption("the content key cannot be unwrapped"))]
    opened: dict[str, bytes] = {}
    nodes = [Node(label, "the content key opens with the key given", Mark.HOLDS)]
    for content_id, octets in parts.items():
        if content_id not in encryption.parts:
            opened[content_id] = octets
            continue
        cipher = GcmDecryption(content_key)
        plain = cipher.update(octets)
        try:
            cipher.finish()
        except FailedDecryption as refusal:
            nodes.append(broken(f"part {content_id}", refusal))
        else:
            opened[content_id] = plain
    return opened, nodes


def short(uri: str) -> str:
    """The last piece of an algorithm's URI, which is how people name it."""
    return uri.rstrip("/").rpartition("#")[2].rpartition("/")[2] or "(not said)"


def _local(element: "_Element") -> str:
    return str(element.tag).rpartition("}")[2]
