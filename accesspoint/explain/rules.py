"""What each refusal of a gate means to people: the rule of the standard, whose it is, and the sentence to write to the partner.

The table is keyed by the `reason` slugs of the gates. A test holds it against the slugs that the gates can raise, so
that none is explained with silence.

Spec: experience section 7; decision D3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from accesspoint.problems import Whose
from envelope.errors import EbmsError, RemoteProtocolError, TransportRefused
from envelope.explain import Role

_AS4 = "eDelivery AS4 1.15"
_WSS = "WSS SOAP Message Security 1.1.1"
_T, _O, _U = Whose.THEIRS, Whose.OURS, Whose.UNKNOWN


@dataclass(frozen=True, slots=True)
class Rule:
    """One broken rule: the section of the standard, who can do something, and what to ask the sender for."""

    section: str
    whose: Whose
    ask: str


def _table(*rows: tuple[str, Whose, str, str]) -> Mapping[str, Rule]:
    return MappingProxyType(
        {
            reason: Rule(section, whose, ask)
            for reasons, whose, section, ask in rows
            for reason in reasons.split()
        }
    )


RULES: Final = _table(
    # framing and XML
    ("mime.type mime.boundary", _T, "RFC 2387 section 3; AS4 Profile 1.0 section 2",
     "Please send multipart/related with type=application/soap+xml and a boundary that RFC 2046 allows."),
    ("mime.charset xml.encoding", _T, "SOAP 1.2 part 2 section 7; AS4 Profile 1.0 section 2",
     "Please send the SOAP part as UTF-8 without a byte order mark, and declare it so."),
    ("mime.preamble mime.delimiter mime.epilogue mime.truncated mime.nested", _T, "RFC 2046 section 5.1",
     "Please compare the body that you wrote with the one that left your network: its MIME boundaries do not hold."),
    ("mime.headers", _T, "RFC 2045 section 2",
     "Please write each MIME part header once, one on a line, ended by CRLF."),
    ("mime.parts mime.root att.limits att.size soap.size http.bad xml.limits", _T, "the size limits of this access point",
     "Please tell us the size and number of the parts you mean to send; this is over what was agreed."),
    ("mime.cte", _T, f"{_AS4} section 3.2; RFC 2045 section 6",
     "Please send MIME parts with Content-Transfer-Encoding binary."),
    ("mime.start att.cid mime.inconsistent mime.order", _T, "SOAP with Attachments; RFC 2392",
     "Please give each payload part a Content-ID in angle brackets, and put the SOAP part first."),
    ("xml.doctype xml.comment xml.pi xml.cdata", _T, "SOAP 1.2 part 1 section 5",
     "Please send the envelope without document type, comments, processing instructions and CDATA."),
    ("xml.syntax xml.version xml.content xml.cardinality c14n.failed", _T, "XML 1.0; Exclusive XML Canonicalization 1.0",
     "Please check the SOAP part with an XML parser: it is not well formed."),
    # SOAP and ebMS header
    ("soap.version soap.envelope", _T, "AS4 Profile 1.0 section 2.1",
     "Please send SOAP 1.2; another envelope is not understood."),
    ("soap.mustunderstand soap.role", _T, "SOAP 1.2 part 1 section 5.2.3",
     "Please leave out mandatory header blocks that we have not agreed on."),
    (("soap.cardinality soap.namespace soap.schema header.cardinality header.schema header.characters header.fragment"
     " header.invalid header.duplicate header.limits header.characterset header.base64"), _T,
     "ebMS 3.0 Core section 5.2",
     "Please check the eb:Messaging header against the ebMS 3.0 schema; it must hold exactly one message."),
    ("header.uri", _T, "ebMS 3.0 Core sections 5.2.2.4 and 5.2.2.8",
     "Please give PartyId, Service and AgreementRef a type, or write them as URIs."),
    ("header.messageid", _T, "ebMS 3.0 Core section 5.2.2.1",
     "Please write MessageId as RFC 2822 wants it: one part, @, another part, without brackets."),
    ("header.timestamp", _T, "ebMS 3.0 Core section 5.2.2.1", "Please write Timestamp as xs:dateTime in UTC."),
    ("ts.form", _T, f"{_WSS} section 10",
     "Please write Created and Expires once each, in this order, as xs:dateTime with a time zone, or leave Timestamp out."),
    ("ts.future ts.order ts.expired", _T, f"{_WSS} section 10",
     "Please set your clock; a repetition keeps its times and is taken for two days after Created."),
    ("header.inconsistent duplicate.content", _T, "AS4 Profile 1.0 section 3.2",
     "Please use a new MessageId for new content; this one was used before."),
    # security header
    ("sec.missing sig.missing", _T, f"{_AS4} section 4.2",
     "Please sign the message; it came without a signature."),
    ("sec.cardinality sig.cardinality sec.schema sig.schema id.duplicate", _T, f"{_WSS} sections 5 and 8",
     "Please send one Security header for us with one signature, and every id only once in the document."),
    ("sec.token key.reference key.ambiguous", _T, "WSS X.509 Certificate Token Profile 1.1.1 section 3",
     "Please name your certificate in exactly one way: BinarySecurityToken, key identifier, or issuer and serial number."),
    ("sec.policy", _T, f"{_AS4} section 4.2", "Please secure the message as agreed."),
    ("sig.reference sig.coverage", _T, f"{_AS4} section 4.2; WSS SwA Profile 1.1 section 5.4",
     "Please sign the Messaging header, the Body and every payload part, each with one reference that resolves."),
    ("sig.limits", _T, f"{_WSS} section 8", "Please sign with one reference for each part and no more."),
    ("alg.signature alg.digest alg.c14n alg.transform alg.key key.algorithm", _T, f"{_AS4} section 4.2.1",
     "Please sign with the agreed suite: RSA-SHA256 with a key of 2048 bits or more, SHA-256 digests, exclusive canonicalisation."),
    ("alg.transport alg.oaep alg.encryption alg.derivation alg.curve", _T, f"{_AS4} section 4.2.2",
     ("Please encrypt with AES-128-GCM and RSA-OAEP (SHA-256 as its digest and for MGF1, both written out), or with the"
     " key agreement of AS4 2.0 where that is agreed.")),
    ("sig.value", _T, "XML Signature 1.1 section 3.2.2",
     "Please compare SignedInfo as you signed it with what left your network, and the certificate you name with your key."),
    ("sig.digest", _T, "XML Signature 1.1 section 3.2.1",
     "The Messaging header or the Body changed after you signed it: please look for a gateway or a step of yours that writes the XML anew."),
    ("att.digest att.xml", _T, "WSS SwA Profile 1.1 section 5.4",
     "A payload part changed after you signed it: please look at what your MIME writer and gateways do to line ends and encodings."),
    ("att.missing att.unlisted att.duplicate att.external", _T, "ebMS 3.0 Core section 5.2.2.13",
     "Please list in PayloadInfo exactly the MIME parts that you send, by cid."),
    ("key.mismatch", _T, "WSS X.509 Certificate Token Profile 1.1.1 section 3",
     "Please look at your key identifier: it does not belong to the certificate that signed."),
    # certificates
    ("cert.parse cert.extension cert.key cert.usage cert.policy cert.path", _T, "RFC 5280 section 6.1",
     "Please use a certificate for message signing that meets the agreed certificate policy."),
    ("cert.time", _T, "RFC 5280 section 6.1.3", "Please sign with a certificate that is valid now, and send us the new one."),
    ("cert.revoked", _T, "RFC 5280 section 6.3", "Your certificate is revoked: please send us your new one."),
    ("cert.revocation-unknown", Whose.NETWORK, "RFC 5280 section 6.3",
     "No revocation list was at hand for your certificate; nothing is needed from you if it can be fetched."),
    ("cert.untrusted", _U, "RFC 5280 section 6.1",
     "Please tell us which authority issued your signing certificate; we hold no anchor for it."),
    ("cert.party", _T, f"{_AS4} section 4.3", "Please sign with the certificate of the party that you name in From."),
    ("cert.unknown", Whose.OURS, f"{_AS4} section 4.4 (dynamic receiver)",
     "Nothing is needed from you: you are not configured here, and we let in only whom we have configured."),
    # encryption
    ("enc.missing", _T, f"{_AS4} section 4.2.2", "Please encrypt every payload part for our certificate."),
    ("enc.schema enc.reference enc.placement", _T, "WSS SwA Profile 1.1 section 5.5; XML Encryption 1.1 section 3",
     "Please write one EncryptedKey in the Security header, with one EncryptedData for each payload part."),
    ("enc.failed", _U, "XML Encryption 1.1 section 5",
     "Please look up our present certificate and encrypt for that one; what you sent does not decrypt."),
    # content
    ("gzip.damaged gzip.trailing gzip.truncated gzip.members gzip.property gzip.limit", _T, "AS4 Profile 1.0 section 3.1",
     "Please compress each part as one complete gzip member before it is signed, and say application/gzip."),
    ("pmode.mismatch pmode.agreement pmode.role pmode.parts pmode.to pmode.from pmode.value pmode.quirk", _U, "AS4 Profile 1.0 section 4",
     "Please compare parties, roles, service, action and agreement with what we agreed."),
    ("pmode.service pmode.action pmode.recipient pmode.four-corner pmode.sender", _U, "eDelivery AS4 1.15, Four Corner Topology",
     "Please compare service, action, originalSender and finalRecipient with our entry in the directory."),
    ("sbd.addressing", _T, "eDelivery AS4 1.15, SBDH enhancement",
     "Please let originalSender and finalRecipient name the Sender and Receiver of the business header."),
    (("sbd.root sbd.schema sbd.xml sbd.truncated sbd.empty sbd.invalid sbd.cardinality sbd.content sbd.bom sbd.doctype"
     " sbd.pi sbd.comment sbd.limits sbd.size sbd.encoding sbd.base64"), _T, "ehmiSBDH 2.0, schema",
     "Please check the StandardBusinessDocument against the ehmiSBDH schema."),
    (("sbd.authority sbd.gln sbd.scope sbd.duplicate-scope sbd.identifier sbd.document sbd.process sbd.inconsistent"
     " sbd.media-type sbd.acknowledgement sbd.correlation sbd.xds-metadata"), _T, "ehmiSBDH 2.0, scopes and identifiers",
     "Please check the scopes and identifiers of the business header against the ehmiSBDH profile."),
    # receipts
    ("rcp.invalid rcp.digest rcp.missing rcp.extra rcp.other rcp.limits rcp.error", _T, "AS4 Profile 1.0 section 5.1.8",
     "Please repeat in the receipt exactly the references of the message it answers, and sign it."),
    # service metadata
    ("smp.xml smp.form smp.namespace smp.invalid smp.url smp.redirect", _T, "OASIS SMP 1.0 section 2",
     "Please let your publisher answer with SMP 1.0 as the schema has it."),
    ("smp.unsigned smp.signature smp.algorithm smp.key smp.certificate", _T, "OASIS SMP 1.0 section 3",
     "Please sign the service metadata with rsa-sha256 over the whole document, with the certificate in KeyInfo."),
    # ourselves
    ("store.unavailable store.receipt other", _O, "ebMS 3.0 Core section 6.7", "Nothing; this is our side."),
)  # fmt: skip

CATALOGUE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cert.time": "certificate-expired",
        "cert.revoked": "certificate-revoked",
        "cert.revocation-unknown": "revocation-unknown",
        "cert.untrusted": "certificate-untrusted",
        "cert.party": "certificate-other-party",
        "enc.failed": "decryption-failed",
        "att.digest": "payload-changed",
        "duplicate.content": "duplicate-content",
        "rcp.digest": "receipt-digest",
        "rcp.missing": "receipt-digest",
        "rcp.extra": "receipt-digest",
        "rcp.other": "receipt-invalid",
        "rcp.invalid": "receipt-invalid",
        "smp.signature": "smp-signature",
        "smp.unsigned": "smp-signature",
    }
)
"""The entry of the problem catalogue that says more about a reason, where there is one."""

_UNKNOWN: Final = Rule("no section is known for this", _U, "Please look at this with us.")


def rule_of(refusal: RemoteProtocolError) -> Rule:
    """The row for a refusal; one without a row says so."""
    return RULES.get(refusal.reason, _UNKNOWN)


_CONCLUDED: Final[Mapping[Role, str]] = MappingProxyType(
    {
        Role.RECEIPT: "EBMS:0302 InvalidReceipt for the producer; nobody answers a receipt. The message is sent again, and"
        " ends UNCERTAIN when no better receipt comes",
        Role.ERROR: "the error does not count; nobody answers one. The message is sent again, and ends UNCERTAIN when no"
        " receipt comes",
        Role.METADATA: "the look-up is refused, and nothing is sent by what it says",
        Role.DOCUMENT: "no AS4 answer: this is not judged by the AS4 gates",
    }
)


def answer_to(refusal: RemoteProtocolError, role: Role) -> tuple[str, str]:
    """What follows from a refusal, as the name of the line and its words: our answer to a message, else what we conclude.

    Spec: decision D3.
    """
    if role is not Role.MESSAGE:
        return "we conclude", _CONCLUDED[role]
    if isinstance(refusal, TransportRefused):
        return "we answer", f"HTTP {refusal.status}, without an ebMS error"
    if isinstance(refusal, EbmsError):
        return "we answer", f"{refusal.ebms.code} {refusal.ebms.short_description}"
    return "we conclude", _CONCLUDED[Role.DOCUMENT]
