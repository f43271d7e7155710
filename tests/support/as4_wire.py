"""AS4 messages as a hostile peer writes them: built with the real envelope code, then changed octet by octet.

`Author` builds what a well-behaved access point would send; the hooks change one thing before it is
compressed, signed or encrypted. `Wire` is the finished message; its methods change it afterwards.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from lxml import etree

from accesspoint.clock import timestamp
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope import fhir, names
from envelope.compression import Compressor
from envelope.ehmi import envelope_for_message
from envelope.fhir.synthetic import TEST_CPR, SampleFacts, build_home_care_observation
from envelope.messaging import (
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.parts import SealedPart
from envelope.pmode import SecuritySuite
from envelope.sbdh import Base64Stream, StandardBusinessDocumentHeader, build_sbd
from envelope.verified import SignedReference
from envelope.wsse import Signer, WireIds, build_user_message
from envelope.xml import canonicalize
from envelope.xmldsig import read_signature, write_signed_info, write_signed_reference
from envelope.xmlenc import GcmEncryption

BOUNDARY = "=_hostile"
CANARY = "KANARIE-FRA-BREVET"
"""Stands in the message properties and in the document: wherever it shows up later, a message leaked."""

Q = names.q
_TEMPLATE_MESSAGE = "11111111-1111-4111-8111-111111111111"
_TEMPLATE_BUNDLE = "22222222-2222-4222-8222-222222222222"


def gzip(data: bytes) -> bytes:
    """One gzip member, as our own sender writes it."""
    compressor = Compressor()
    return compressor.compress(data) + compressor.finish()


@cache
def _template() -> tuple[bytes, fhir.MessageFacts]:
    def organisation(of: Any) -> fhir.Organization:
        return fhir.Organization(gln=of.address.gln, sor=of.address.sor, name=of.address.name)

    facts = SampleFacts(
        _TEMPLATE_BUNDLE,
        _TEMPLATE_MESSAGE,
        organisation(MUNICIPALITY),
        organisation(CLINIC),
        at=datetime.now(UTC),
    )
    data = fhir.serialize(build_home_care_observation(facts), "json")
    return data, fhir.recognise(fhir.read_message(data))


def medcom_message(message_id: str, bundle_id: str) -> tuple[bytes, fhir.MessageFacts]:
    """A HomeCareObservation under these ids; building the template once saves most of the time."""
    data, facts = _template()
    for old, new in ((_TEMPLATE_MESSAGE, message_id), (_TEMPLATE_BUNDLE, bundle_id)):
        data = data.replace(old.encode(), new.encode())
    return data, replace(facts, message_id=message_id, bundle_id=bundle_id)


def business_document(
    message_id: str,
    envelope_id: str,
    *,
    header: Callable[
        [StandardBusinessDocumentHeader], StandardBusinessDocumentHeader
    ] = lambda header: header,
) -> bytes:
    """The StandardBusinessDocument around such a message."""
    content, facts = medcom_message(message_id, str(uuid.uuid5(uuid.NAMESPACE_OID, message_id)))
    written = envelope_for_message(
        facts, instance_identifier=envelope_id, created_at=datetime.now(UTC)
    )
    prefix, suffix = build_sbd(header(written))
    encoder = Base64Stream()
    return prefix + encoder.update(content) + encoder.finish() + suffix


@dataclass(frozen=True)
class WirePart:
    """One MIME part after the first, its headers in the order they are written."""

    content_id: str
    octets: bytes
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", "application/octet-stream"),
        ("Content-Transfer-Encoding", "binary"),
    )

    def head(self) -> str:
        lines = [*self.headers, ("Content-ID", f"<{self.content_id}>")]
        return "".join(f"{name}: {value}\r\n" for name, value in lines)


@dataclass(frozen=True)
class Wire:
    """A message on its way; every `with_…` gives a changed copy."""

    soap: bytes
    parts: tuple[WirePart, ...]
    message_id: str
    references: tuple[SignedReference, ...] = ()
    message_identifier: str = ""
    root_headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", "application/soap+xml; charset=UTF-8"),
        ("Content-Transfer-Encoding", "binary"),
        ("Content-ID", "<root@hostile.example>"),
    )
    ending: str = f"\r\n--{BOUNDARY}--\r\n"
    content_type: str = (
        f'multipart/related; boundary="{BOUNDARY}"; type="application/soap+xml";'
        ' start="<root@hostile.example>"'
    )
    content_key: bytes = field(default=b"", repr=False)

    @property
    def body(self) -> bytes:
        root = "".join(f"{name}: {value}\r\n" for name, value in self.root_headers)
        pieces = [f"--{BOUNDARY}\r\n{root}\r\n".encode(), self.soap]
        for part in self.parts:
            pieces += [f"\r\n--{BOUNDARY}\r\n{part.head()}\r\n".encode(), part.octets]
        return b"".join([*pieces, self.ending.encode()])

    def with_soap(self, change: Callable[[bytes], bytes]) -> "Wire":
        """Change the octets of the SOAP part; changing nothing would test nothing."""
        changed = change(self.soap)
        assert changed != self.soap, "the attack left the message as it was"
        return replace(self, soap=changed)

    def with_text(self, old: str, new: str, *, count: int = -1) -> "Wire":
        """Replace text in the SOAP part."""
        return self.with_soap(lambda soap: soap.replace(old.encode(), new.encode(), count))

    def with_tree(self, change: Callable[["Tree"], None]) -> "Wire":
        """Change the SOAP part as a tree."""

        def rewrite(soap: bytes) -> bytes:
            tree = Tree(etree.fromstring(soap))
            change(tree)
            return etree.tostring(tree.root, encoding="UTF-8", xml_declaration=True)

        return self.with_soap(rewrite)

    def with_part(self, number: int, change: Callable[[bytes], bytes]) -> "Wire":
        """Change the octets of one part, counted from 0."""
        parts = list(self.parts)
        changed = change(parts[number].octets)
        assert changed != parts[number].octets, "the attack left the part as it was"
        parts[number] = replace(parts[number], octets=changed)
        return replace(self, parts=tuple(parts))

    def with_parts(self, *parts: WirePart) -> "Wire":
        return replace(self, parts=parts)


@dataclass
class Tree:
    """The blocks of a SOAP part by name."""

    root: Any

    def find(self, namespace: str, local: str) -> Any:
        found = next(self.root.iter(Q(namespace, local)), None)
        assert found is not None, f"no {local} in the message"
        return found

    @property
    def header(self) -> Any:
        return self.find(names.S12, "Header")

    @property
    def body(self) -> Any:
        return self.find(names.S12, "Body")

    @property
    def messaging(self) -> Any:
        return self.find(names.EB, "Messaging")

    @property
    def security(self) -> Any:
        return self.find(names.WSSE, "Security")

    @property
    def signature(self) -> Any:
        return self.find(names.DS, "Signature")


@dataclass
class Author:
    """An access point that writes to `recipient`; what it signs with, and who it says it is."""

    signer: Signer
    recipient: x509.Certificate
    party: str = MUNICIPALITY.access_point
    to_party: str = CLINIC.access_point

    def compose(
        self,
        *,
        message_id: str | None = None,
        document: Callable[[bytes], bytes] = lambda document: document,
        header: Callable[
            [StandardBusinessDocumentHeader], StandardBusinessDocumentHeader
        ] = lambda header: header,
        compress: Callable[[bytes], bytes] = gzip,
        message: Callable[[UserMessage], UserMessage] = lambda message: message,
        encrypt: bool = True,
        encrypted_for: x509.Certificate | None = None,
        suite: SecuritySuite | None = None,
        unique: str | None = None,
        more: Sequence[bytes] = (),
    ) -> Wire:
        """A business message: one document, compressed, signed and encrypted as agreed; `more` are further parts."""
        identifier = str(uuid.uuid4())
        octets = compress(document(business_document(identifier, str(uuid.uuid4()), header=header)))
        wire = self._write(
            [octets, *more], message_id, message, encrypt, encrypted_for, suite, unique=unique
        )
        return replace(wire, message_identifier=identifier)

    def test_message(
        self,
        payloads: Sequence[bytes] = (b"first part", b"second part"),
        *,
        message_id: str | None = None,
        message: Callable[[UserMessage], UserMessage] = lambda message: message,
        **options: Any,
    ) -> Wire:
        """A message to the test service, which may have any number of parts and is receipted but not delivered."""

        def to_test_service(plain: UserMessage) -> UserMessage:
            info = replace(
                plain.collaboration_info,
                service=Service(names.EB_TEST_SERVICE),
                action=names.EB_TEST_ACTION,
            )
            return message(replace(plain, collaboration_info=info))

        return self._write([gzip(one) for one in payloads], message_id, to_test_service, **options)

    def resigned(self, wire: Wire, change: Callable[["Tree"], None]) -> Wire:
        """The same parts under a header that was changed and signed again, as the true sender may do."""
        tree = Tree(etree.fromstring(wire.soap))
        change(tree)
        signature = tree.signature
        elements = {one.get(Q(names.WSU, "Id")): one for one in tree.root.iter(etree.Element)}
        renewed = []
        for one in read_signature(signature).references:
            element = elements.get(one.uri.removeprefix("#"))
            if element is None:
                renewed.append(one.signed())
            else:
                prefixes = one.transforms[0].prefixes
                digest = hashlib.sha256(canonicalize(element, prefixes)).digest()
                renewed.append(write_signed_reference(one.uri, digest, prefixes=" ".join(prefixes)))
        signed_info = write_signed_info(renewed, names.RSA_SHA256)
        signature.replace(signature[0], etree.fromstring(signed_info))
        value = self.signer.sign(signed_info.encode(), names.RSA_SHA256)
        signature[1].text = base64.b64encode(value).decode()
        return replace(
            wire,
            soap=etree.tostring(tree.root, encoding="UTF-8", xml_declaration=True),
            references=tuple(renewed),
            message_id=tree.find(names.EB, "MessageId").text,
        )

    def _write(
        self,
        octets: Sequence[bytes],
        message_id: str | None,
        change: Callable[[UserMessage], UserMessage],
        encrypt: bool = True,
        encrypted_for: x509.Certificate | None = None,
        suite: SecuritySuite | None = None,
        *,
        unique: str | None = None,
    ) -> Wire:
        name = unique or uuid.uuid4().hex
        content_key = hashlib.sha256(name.encode()).digest()[:16]
        content_ids = [f"part{number}-{name}@hostile.example" for number in range(len(octets))]
        parts = [
            WirePart(content_id, seal(one, content_key, number) if encrypt else one)
            for number, (content_id, one) in enumerate(zip(content_ids, octets, strict=True))
        ]
        message = change(
            self._message(message_id or f"{uuid.uuid4()}@hostile.example", content_ids)
        )
        sealed = [
            SealedPart(
                content_id=content_id,
                mime_type="application/xml",
                compressed=True,
                digest=hashlib.sha256(one).digest(),
                wire_bytes=len(part.octets),
            )
            for content_id, one, part in zip(content_ids, octets, parts, strict=True)
        ]
        signed = build_user_message(
            message,
            sealed,
            signer=self.signer,
            suite=suite or SecuritySuite(),
            recipient=(encrypted_for or self.recipient) if encrypt else None,
            content_key=content_key if encrypt else None,
            ids=WireIds.new(name),
        )
        return Wire(
            signed.data,
            tuple(parts),
            message.message_id,
            signed.references,
            content_key=content_key,
        )

    def _message(self, message_id: str, content_ids: Sequence[str]) -> UserMessage:
        header = envelope_for_message(
            _template()[1], instance_identifier="1", created_at=datetime.now(UTC)
        )
        return UserMessage(
            message_id=message_id,
            timestamp=timestamp(datetime.now(UTC)),
            from_party=Party(PartyId(self.party, names.PARTY_UNREGISTERED), names.EB_INITIATOR),
            to_party=Party(PartyId(self.to_party, names.PARTY_UNREGISTERED), names.EB_RESPONDER),
            collaboration_info=CollaborationInfo(
                Service(header.scope("PROCESSID") or ""),
                header.scope("DOCUMENTID") or "",
                str(uuid.uuid4()),
            ),
            message_properties=(
                Property("originalSender", header.sender.value, names.ISO6523_ACTORID),
                Property("finalRecipient", header.receiver.value, names.ISO6523_ACTORID),
                Property("remark", f"{CANARY} {TEST_CPR}"),
            ),
            parts=tuple(
                PartInfo(
                    content_id,
                    (
                        Property("MimeType", "application/xml"),
                        Property("CompressionType", "application/gzip"),
                    ),
                )
                for content_id in content_ids
            ),
        )


def add_timestamp(tree: Tree, created: datetime, expires: datetime) -> None:
    """A Timestamp in the Security header with a reference that `Author.resigned` renews: signed, as the sender may do."""
    stamp = etree.SubElement(tree.security, Q(names.WSU, "Timestamp"))
    stamp.set(Q(names.WSU, "Id"), "TS-1")
    for local, at in (("Created", created), ("Expires", expires)):
        etree.SubElement(stamp, Q(names.WSU, local)).text = timestamp(at)
    first = tree.find(names.DS, "Reference")
    reference = deepcopy(first)
    reference.set("URI", "#TS-1")
    first.getparent().append(reference)


def seal(octets: bytes, content_key: bytes, number: int = 0) -> bytes:
    """Octets of a part as they stand on the wire; the vector is fixed per part, the key is new for each message."""
    cipher = GcmEncryption(content_key, number.to_bytes(12, "big"))
    return cipher.update(octets) + cipher.finish()


def leaks() -> tuple[str, ...]:
    """Texts that no log line and no answer may hold."""
    return (CANARY, TEST_CPR, f"{TEST_CPR[:6]}-{TEST_CPR[6:]}", "resourceType", "cmVzb3VyY2VUeXBl")


def as_json(value: object) -> str:
    """A log line back as text, to look for leaks in."""
    return json.dumps(value, ensure_ascii=False)
