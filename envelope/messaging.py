"""The ebMS 3 UserMessage: its value objects, reading them from a pre-scanned envelope, building them again.

Spec: ebMS 3.0 Core section 5.2; eDelivery AS4 1.15 section 3.
"""

import re
from collections.abc import Collection, Sized
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from lxml.etree import _Element

from envelope import names
from envelope.canonical import attribute, content
from envelope.errors import (
    DecompressionFailure,
    ExternalPayloadError,
    Gate,
    InvalidHeader,
    LocalProtocolError,
    MimeInconsistency,
    RemoteProtocolError,
    ValueInconsistent,
)
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.names import q
from envelope.pmode import Quirk
from envelope.soap import SoapDocument, write_messaging
from envelope.xml import schema


@dataclass(frozen=True, slots=True)
class PartyId:
    """One `eb:PartyId`; `type` is None when the value itself is a URI."""

    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """`eb:From` or `eb:To`: exactly one PartyId in eDelivery, and a Role."""

    party_id: PartyId
    role: str


@dataclass(frozen=True, slots=True)
class Property:
    """One message or part property."""

    name: str
    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class AgreementRef:
    """`eb:AgreementRef`; `pmode` is read but never relied on."""

    value: str
    type: str | None = None
    pmode: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """`eb:Service`."""

    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class CollaborationInfo:
    """`eb:CollaborationInfo`."""

    service: Service
    action: str
    conversation_id: str
    agreement_ref: AgreementRef | None = None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One `eb:PartInfo`; `content_id` is the cid without `cid:` and percent-decoded."""

    content_id: str
    properties: tuple[Property, ...] = ()

    @property
    def mime_type(self) -> str | None:
        """The MimeType property: the media type of the uncompressed part."""
        return self.property("MimeType")

    @property
    def compression_type(self) -> str | None:
        """The CompressionType property: `application/gzip` or None."""
        return self.property("CompressionType")

    def property(self, name: str) -> str | None:
        """The value of the part property with this exact name, or None."""
        for entry in self.properties:
            if entry.name == name:
                return entry.value
        return None


@dataclass(frozen=True, slots=True)
class UserMessage:
    """One `eb:UserMessage`; `timestamp` is the xs:dateTime text as sent."""

    message_id: str
    timestamp: str
    from_party: Party
    to_party: Party
    collaboration_info: CollaborationInfo
    message_properties: tuple[Property, ...] = ()
    parts: tuple[PartInfo, ...] = ()
    ref_to_message_id: str | None = None
    mpc: str | None = None

    def property(self, name: str) -> Property | None:
        """The message property with this exact name, or None."""
        return next((p for p in self.message_properties if p.name == name), None)

    def has_untyped_names(self) -> bool:
        """Whether a party or the service is named without type by what is no URI (quirk `untyped-names`)."""
        named = self.from_party.party_id, self.to_party.party_id, self.collaboration_info.service
        return any(_is_untyped_name(each.value, each.type) for each in named)


MESSAGE_INFO = q(names.EB, "MessageInfo")
TIMESTAMP = q(names.EB, "Timestamp")
REF_TO_MESSAGE_ID = q(names.EB, "RefToMessageId")
_PARTY_INFO = q(names.EB, "PartyInfo")
_COLLABORATION_INFO = q(names.EB, "CollaborationInfo")
_MESSAGE_PROPERTIES = q(names.EB, "MessageProperties")
_PAYLOAD_INFO = q(names.EB, "PayloadInfo")
_PART_PROPERTIES = q(names.EB, "PartProperties")

_SPACE = " \t\r\n"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
_DESCRIPTION = q(names.EB, "Description")
_LANGUAGE = q(names.XML, "lang")
_MESSAGE_ID_SHAPE = re.compile(rf"{_DOT_ATOM}@(?:{_DOT_ATOM}|\[[!-Z^-~]*\])")
_LOOSE_MESSAGE_ID_SHAPE = re.compile(rf"{_DOT_ATOM}|{_MESSAGE_ID_SHAPE.pattern}")
_MESSAGE_ID_LENGTH = 255
_IDENTIFIER = re.compile(r"[!-~]+")
_PHRASE = re.compile(r"[!-~]+(?: [!-~]+)*")
_PHRASE_OR_NOTHING = re.compile(rf"(?:{_PHRASE.pattern})?")
_CONTENT_ID = re.compile(r"[!-;=?-~]+")
# Surrogates, U+FFFE and U+FFFF are no XML characters: no parser gives them out, and none of ours go in.
_LINE = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,32})?"
    r"(?:Z|[+-][01][0-9]:[0-5][0-9])?"
)
_CHARACTER_SET = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_GZIP = "application/gzip"
STANDARD_PROPERTIES = frozenset(
    {
        "originalSender",
        "finalRecipient",
        "trackingIdentifier",
        "MimeType",
        "CharacterSet",
        "CompressionType",
    }
)
"""The property names that decide something; each stands once, while products repeat other ones."""
# Everything RFC 2392 lets stand in a cid URL; "%" itself is escaped.
_CID_SAFE = "@!$&'()*+,;=:/?~"


def _shaped(value: str, shape: re.Pattern[str], where: str) -> str:
    if shape.fullmatch(value) is None:
        raise InvalidHeader(f"characters not allowed in {where}", reason="header.characters")
    return value


def _content(element: _Element, shape: re.Pattern[str], where: str) -> str:
    return _shaped((element.text or "").strip(_SPACE), shape, where)


def _attribute(element: _Element, name: str, where: str) -> str | None:
    value = element.get(name)
    return None if value is None else _shaped(value.strip(_SPACE), _PHRASE, f"{where}/@{name}")


def _is_untyped_name(value: str, type_: str | None) -> bool:
    return type_ is None and _URI.fullmatch(value) is None


def _uri_unless_typed(value: str, type_: str | None, where: str) -> None:
    if _is_untyped_name(value, type_):
        raise ValueInconsistent(f"{where} has no type and is no URI", reason="header.uri")


def check_message_id(value: str, where: str = "MessageId", *, loose: bool = False) -> str:
    """Return `value` if it has the shape of an RFC 2822 msg-id in ASCII, at most 255 characters.

    With `loose` the `@` and what follows may be missing (quirk `loose-message-id`).

    Raises `InvalidHeader` (`header.messageid`). White space, quoting and non-ASCII forms are refused because
    one message must have one spelling in the duplicate table.
    """
    shape = _LOOSE_MESSAGE_ID_SHAPE if loose else _MESSAGE_ID_SHAPE
    if len(value) > _MESSAGE_ID_LENGTH or shape.fullmatch(value) is None:
        raise InvalidHeader(f"{where} is not a message id", reason="header.messageid")
    return value


def check_timestamp(value: str) -> str:
    """Return `value` if it is an xs:dateTime of the years 0001 to 9999; raises `InvalidHeader` otherwise."""
    if _DATE_TIME.fullmatch(value) is None:
        raise InvalidHeader("Timestamp is not a dateTime", reason="header.timestamp")
    return value


def check_schema(document: SoapDocument, *, bare_descriptions: bool = False) -> None:
    """Hold the Messaging header against the ebMS schema.

    With `bare_descriptions` a Description need not say its language (quirk `bare-description`).

    Raises `InvalidHeader` (`header.schema`), or `header.fragment` for a part of a split message: split-and-join
    is not supported, and a fragment must not pass for a whole message.
    """
    if any(str(child.tag).endswith("}MessageFragment") for child in document.messaging):
        raise InvalidHeader("fragment of a split message", reason="header.fragment")
    messaging = _with_languages(document.messaging) if bare_descriptions else document.messaging
    if not schema("ebms").validate(messaging):
        raise InvalidHeader("Messaging does not fit its schema", reason="header.schema")


def _with_languages(messaging: _Element) -> _Element:
    """A copy to be held against the schema; what was signed is left as it is."""
    copied = deepcopy(messaging)
    for description in copied.iter(_DESCRIPTION):
        if _LANGUAGE not in description.attrib:
            description.set(_LANGUAGE, "und")
    return copied


def _properties(element: _Element, where: str) -> tuple[Property, ...]:
    found = []
    seen: set[str] = set()
    for child in element:
        name = _shaped(child.get("name", "").strip(_SPACE), _PHRASE, f"{where}/Property/@name")
        _check_once(name, seen, where)
        found.append(
            Property(name, _content(child, _LINE, where), _attribute(child, "type", where))
        )
    return tuple(found)


def _check_once(name: str, seen: set[str], where: str) -> None:
    if name in seen and name in STANDARD_PROPERTIES:
        raise ValueInconsistent(f"{where} has {name} twice", reason="header.duplicate")
    seen.add(name)


def _party(element: _Element, where: str, *, untyped: bool) -> Party:
    *ids, role = list(element)
    if len(ids) != 1:
        raise InvalidHeader(f"{len(ids)} PartyId in {where}", reason="header.cardinality")
    value = _content(ids[0], _IDENTIFIER, f"{where}/PartyId")
    type_ = _attribute(ids[0], "type", f"{where}/PartyId")
    if not untyped:
        _uri_unless_typed(value, type_, f"{where}/PartyId")
    return Party(PartyId(value, type_), _content(role, _IDENTIFIER, f"{where}/Role"))


def _collaboration_info(element: _Element, *, untyped: bool) -> CollaborationInfo:
    *agreements, service, action, conversation = list(element)
    agreement_ref = None
    if agreements:
        value = _content(agreements[0], _PHRASE, "AgreementRef")
        type_ = _attribute(agreements[0], "type", "AgreementRef")
        _uri_unless_typed(value, type_, "AgreementRef")
        agreement_ref = AgreementRef(
            value, type_, _attribute(agreements[0], "pmode", "AgreementRef")
        )
    name = _content(service, _PHRASE, "Service")
    type_ = _attribute(service, "type", "Service")
    if not untyped:
        _uri_unless_typed(name, type_, "Service")
    conversation_id = (conversation.text or "").strip(_SPACE)
    if conversation_id:
        _shaped(conversation_id, _PHRASE, "ConversationId")
    return CollaborationInfo(
        Service(name, type_), _content(action, _PHRASE, "Action"), conversation_id, agreement_ref
    )


def _content_id(href: str | None) -> str:
    if href is None or not href.startswith("cid:"):
        raise ExternalPayloadError("PartInfo without a cid: reference")
    try:
        content_id = unquote(href[4:], encoding="ascii", errors="strict")
    except UnicodeDecodeError:
        content_id = ""
    if _CONTENT_ID.fullmatch(content_id) is None:
        raise MimeInconsistency("PartInfo/@href is no content id", reason="att.cid")
    return content_id


def _part_info(element: _Element) -> PartInfo:
    content_id = _content_id(element.get("href"))
    last = element[-1] if len(element) else None
    if last is None or last.tag != _PART_PROPERTIES:
        return PartInfo(content_id)
    part = PartInfo(content_id, _properties(last, "PartProperties"))
    _check_part(part)
    return part


def _check_part(part: PartInfo) -> None:
    character_set = part.property("CharacterSet")
    if character_set is not None and _CHARACTER_SET.fullmatch(character_set) is None:
        raise ValueInconsistent("CharacterSet is no encoding name", reason="header.characterset")
    if part.compression_type is not None and (part.compression_type != _GZIP or not part.mime_type):
        raise DecompressionFailure(
            "CompressionType is not gzip or has no MimeType", reason="gzip.property", gate=Gate.G4
        )


def _payload_info(element: _Element, limits: Limits) -> tuple[PartInfo, ...]:
    _check_count(element, limits)
    parts = tuple(map(_part_info, element))
    _check_distinct(parts)
    return parts


def _check_count(parts: Sized, limits: Limits) -> None:
    # The root part of the MIME message counts too, but is not listed.
    if len(parts) >= limits.parts:
        raise InvalidHeader(f"{len(parts)} PartInfo", reason="att.limits")


def _check_distinct(parts: tuple[PartInfo, ...]) -> None:
    if len({part.content_id for part in parts}) != len(parts):
        raise ValueInconsistent("two PartInfo for one part", reason="att.duplicate")


def read_user_message(
    element: _Element, limits: Limits = DEFAULT_LIMITS, *, quirks: Collection[Quirk] = ()
) -> UserMessage:
    """Read one `eb:UserMessage` that is known to fit the schema; raises as `parse_user_message` does."""
    loose, untyped = Quirk.LOOSE_MESSAGE_ID in quirks, Quirk.UNTYPED_NAMES in quirks
    sections = {child.tag: child for child in element}
    info = sections[MESSAGE_INFO]
    reference = info.findtext(REF_TO_MESSAGE_ID)
    party_info = sections[_PARTY_INFO]
    properties = sections.get(_MESSAGE_PROPERTIES)
    payload_info = sections.get(_PAYLOAD_INFO)
    mpc = element.get("mpc")
    return UserMessage(
        message_id=check_message_id(info[1].text or "", loose=loose),
        timestamp=check_timestamp((info[0].text or "").strip(_SPACE)),
        from_party=_party(party_info[0], "From", untyped=untyped),
        to_party=_party(party_info[1], "To", untyped=untyped),
        collaboration_info=_collaboration_info(sections[_COLLABORATION_INFO], untyped=untyped),
        message_properties=()
        if properties is None
        else _properties(properties, "MessageProperties"),
        parts=() if payload_info is None else _payload_info(payload_info, limits),
        ref_to_message_id=None
        if reference is None
        else check_message_id(reference, "RefToMessageId", loose=loose),
        mpc=None if mpc is None else _shaped(mpc.strip(_SPACE), _IDENTIFIER, "UserMessage/@mpc"),
    )


def parse_user_message(
    document: SoapDocument, limits: Limits = DEFAULT_LIMITS, *, quirks: Collection[Quirk] = ()
) -> UserMessage:
    """Read the only UserMessage of an envelope (gate G4).

    Of `quirks`, `loose-message-id` lets ids be as in `check_message_id`, and `untyped-names` lets a PartyId or a
    Service without type be no URI.

    Values lose XML white space at their ends, message ids may have none; identifiers are printable ASCII,
    property values one line. A signal may stand beside the user message; two user messages may not.

    Raises `InvalidHeader` (`header.schema`, `.fragment`, `soap.cardinality`, `header.cardinality`, `.messageid`,
    `.timestamp`, `.characters`, `att.limits`), `ValueInconsistent` (`header.uri`, `.duplicate`,
    `.characterset`, `att.duplicate`), `ExternalPayloadError` (`att.external`), `MimeInconsistency`
    (`att.cid`) or `DecompressionFailure` (`gzip.property`).

    Spec: ebMS 3.0 Core section 5.2.2; eDelivery AS4 1.15 section 3.
    """
    found = document.user_messages
    if len(found) > 1:
        raise InvalidHeader(f"{len(found)} UserMessage", reason="soap.cardinality")
    check_schema(document)
    if not found:
        raise InvalidHeader("no UserMessage", reason="soap.cardinality")
    return read_user_message(found[0], limits, quirks=quirks)


def _write(
    tag: str, value: str, shape: re.Pattern[str], where: str, type_: str | None = None
) -> str:
    written = content(_shaped(value, shape, where))
    return f"<eb:{tag}{_write_attribute('type', type_, where)}>{written}</eb:{tag}>"


def _write_attribute(name: str, value: str | None, where: str) -> str:
    if value is None:
        return ""
    return f" {name}={attribute(_shaped(value, _PHRASE, f'{where}/@{name}'))}"


def _write_properties(tag: str, properties: tuple[Property, ...]) -> str:
    if not properties:
        return ""
    written = []
    seen: set[str] = set()
    for entry in properties:
        _check_once(entry.name, seen, tag)
        value = _shaped(entry.value, _LINE, tag)
        if value != value.strip(_SPACE):
            raise LocalProtocolError(
                "user message cannot be built: a value has white space at its ends"
            )
        name = _write_attribute("name", entry.name, f"{tag}/Property")
        type_ = _write_attribute("type", entry.type, tag)
        written.append(f"<eb:Property{name}{type_}>{content(value)}</eb:Property>")
    return f"<eb:{tag}>{''.join(written)}</eb:{tag}>"


@lru_cache(maxsize=256)
def _write_party(tag: str, party: Party) -> str:
    id_, where = party.party_id, f"{tag}/PartyId"
    _uri_unless_typed(id_.value, id_.type, where)
    return (
        f"<eb:{tag}>{_write('PartyId', id_.value, _IDENTIFIER, where, id_.type)}"
        f"{_write('Role', party.role, _IDENTIFIER, f'{tag}/Role')}</eb:{tag}>"
    )


def _write_collaboration_info(info: CollaborationInfo) -> str:
    service, agreement, written = info.service, info.agreement_ref, ""
    if agreement is not None:
        _uri_unless_typed(agreement.value, agreement.type, "AgreementRef")
        pmode = _write_attribute("pmode", agreement.pmode, "AgreementRef")
        type_ = _write_attribute("type", agreement.type, "AgreementRef")
        value = content(_shaped(agreement.value, _PHRASE, "AgreementRef"))
        written = f"<eb:AgreementRef{pmode}{type_}>{value}</eb:AgreementRef>"
    _uri_unless_typed(service.value, service.type, "Service")
    return (
        f"<eb:CollaborationInfo>{written}"
        f"{_write('Service', service.value, _PHRASE, 'Service', service.type)}"
        f"{_write('Action', info.action, _PHRASE, 'Action')}"
        f"{_write('ConversationId', info.conversation_id, _PHRASE_OR_NOTHING, 'ConversationId')}"
        "</eb:CollaborationInfo>"
    )


def _write_part_info(part: PartInfo) -> str:
    if _CONTENT_ID.fullmatch(part.content_id) is None:
        raise MimeInconsistency("PartInfo/@href is no content id", reason="att.cid")
    _check_part(part)
    properties = _write_properties("PartProperties", part.properties)
    return f"<eb:PartInfo href={attribute(cid_uri(part.content_id))}>{properties}</eb:PartInfo>"


@lru_cache(maxsize=128)
def cid_uri(content_id: str) -> str:
    """The `cid:` URI of a content id.

    Spec: RFC 2392 section 2.
    """
    return "cid:" + quote(content_id, safe=_CID_SAFE)


def write_message_info(*, timestamp: str, message_id: str, ref_to_message_id: str | None) -> str:
    """The `eb:MessageInfo` of a UserMessage or SignalMessage, from values that were checked."""
    reference = ""
    if ref_to_message_id is not None:
        reference = f"<eb:RefToMessageId>{content(ref_to_message_id)}</eb:RefToMessageId>"
    return (
        f"<eb:MessageInfo><eb:Timestamp>{timestamp}</eb:Timestamp>"
        f"<eb:MessageId>{content(message_id)}</eb:MessageId>{reference}</eb:MessageInfo>"
    )


def _write_user_message(message: UserMessage) -> str:
    mpc, reference, payload_info = "", message.ref_to_message_id, ""
    if message.mpc is not None:
        mpc = f" mpc={attribute(_shaped(message.mpc, _IDENTIFIER, 'UserMessage/@mpc'))}"
    info = write_message_info(
        timestamp=check_timestamp(message.timestamp),
        message_id=check_message_id(message.message_id),
        ref_to_message_id=None
        if reference is None
        else check_message_id(reference, "RefToMessageId"),
    )
    if message.parts:
        _check_count(message.parts, DEFAULT_LIMITS)
        _check_distinct(message.parts)
        written = "".join(map(_write_part_info, message.parts))
        payload_info = f"<eb:PayloadInfo>{written}</eb:PayloadInfo>"
    return (
        f"<eb:UserMessage{mpc}>{info}"
        f"<eb:PartyInfo>{_write_party('From', message.from_party)}"
        f"{_write_party('To', message.to_party)}</eb:PartyInfo>"
        f"{_write_collaboration_info(message.collaboration_info)}"
        f"{_write_properties('MessageProperties', message.message_properties)}"
        f"{payload_info}</eb:UserMessage>"
    )


def build_messaging(user_message: UserMessage, *, messaging_id: str) -> bytes:
    """The canonical `eb:Messaging` header block for one user message, ready to be signed by its wsu:Id.

    Every value is held to the rules for inbound messages, so that nothing leaves here that we would refuse
    ourselves; raises `LocalProtocolError` when a value breaks one.
    """
    try:
        return write_messaging(_write_user_message(user_message), messaging_id=messaging_id)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"user message cannot be built: {error}") from error
