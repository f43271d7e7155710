"""What each quirk of a partner means: the sentence that a person reads before agreeing to it.

A quirk is data: the code that meets the form asks the agreement whether it is allowed, and this table says what
is then permitted, which products were seen to need it, why it can be borne, and where the rule stands that it
relaxes. Nothing else of a message is judged more mildly for it.

Spec: decision D9; eDelivery AS4 1.15.
"""

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from envelope.pmode import Quirk

if TYPE_CHECKING:
    from envelope.messaging import UserMessage


@dataclass(frozen=True, slots=True)
class QuirkNote:
    """One quirk in words; `seen` names the products whose messages or sources showed it."""

    permits: str
    seen: str
    bearable: str
    section: str


NOTES: Final[Mapping[Quirk, QuirkNote]] = MappingProxyType(
    {
        Quirk.BYTE_ORDER_MARK: QuirkNote(
            "a UTF-8 byte order mark before the SOAP envelope",
            "as4.net (2018)",
            "it is cut off before parsing and is outside everything that is signed",
            "SOAP 1.2 part 1 section 5; XML 1.0 section 4.3.3",
        ),
        Quirk.BASE64_PARTS: QuirkNote(
            "parts in base64 or quoted-printable instead of binary",
            "phase4 (2019 samples), older Java mail libraries",
            "digests are of the decoded octets, and the decoder takes one spelling only",
            "eDelivery AS4 1.15, packaging: binary transfer encoding; RFC 2045 section 6",
        ),
        Quirk.BARE_LINE_FEEDS: QuirkNote(
            "MIME lines that end in LF alone",
            "flame, nsoftware, minder (samples)",
            "where a part ends stays unambiguous, and every part is digested",
            "RFC 2046 section 5.1.1",
        ),
        Quirk.MISSING_CONTENT_ID: QuirkNote(
            "a payload part without Content-ID",
            "flame, minder (samples)",
            "a part that the signed header does not name is refused all the same",
            "SOAP with Attachments section 3",
        ),
        Quirk.BARE_CONTENT_ID: QuirkNote(
            "a Content-ID without angle brackets",
            "phase4 (a test message)",
            "the id inside is compared exactly, and two parts with one id are refused",
            "RFC 2392; RFC 2045 section 7",
        ),
        Quirk.OAEP_SHA1: QuirkNote(
            "RSA-OAEP with SHA-1 as its digest or mask digest",
            "flame, as4.net before 2018, which leave the parameters out",
            "OAEP does not rest on collisions of its digest; signatures stay SHA-256",
            "eDelivery AS4 1.15, encryption; XML Encryption 1.1 section 5.5.2",
        ),
        Quirk.OAEP_MGF1P: QuirkNote(
            "the older key transport rsa-oaep-mgf1p, whose mask digest is SHA-1 by name",
            "Holodeck B2B (2018), as4.net (2018)",
            "OAEP does not rest on collisions of its mask digest",
            "XML Encryption 1.1 section 5.5.2",
        ),
        Quirk.RSA_SHA384: QuirkNote(
            "signatures RSA-SHA384",
            "Holodeck B2B, by configuration",
            "it is stronger than what the profile asks for",
            "eDelivery AS4 1.15, signature",
        ),
        Quirk.SMALL_RSA: QuirkNote(
            "RSA keys of less than 2048 bits, down to 1024",
            "as4.net (test keys)",
            "it is not, outside tests: never agree to it with a partner that sends health data",
            "eDelivery AS4 1.15, signature",
        ),
        Quirk.UNSIGNED_ERRORS: QuirkNote(
            "an unsigned Error signal ends our message as refused",
            "phase4 in its defaults; only reported: Oxalis",
            "TLS names who answered; at worst a message is called refused that had arrived",
            "decision D4; eDelivery AS4 1.15, error handling",
        ),
        Quirk.UNENCRYPTED: QuirkNote(
            "messages that are signed and not encrypted",
            "as4.net and Holodeck B2B (samples), test networks",
            "TLS still hides them on the way; only for exchanges without personal data",
            "eDelivery AS4 1.15, encryption",
        ),
        Quirk.UNSIGNED_BODY: QuirkNote(
            "a signature that leaves the SOAP Body out",
            "Domibus (samples)",
            "the Body of an AS4 message is empty, and one that is not is refused",
            "eDelivery AS4 1.15, signature",
        ),
        Quirk.HKDF_DIALECT: QuirkNote(
            "HKDF parameters in spellings that other texts of eDelivery 2.0 show",
            "no product yet; secondary texts only",
            "another reading of the parameters gives another key, with which nothing decrypts",
            "eDelivery AS4 2.0, key agreement; RFC 5869",
        ),
        Quirk.LOOSE_MESSAGE_ID: QuirkNote(
            "a MessageId or RefToMessageId without @ and host, such as a bare UUID",
            "only reported: Oxalis; phase4 made its refusal of such ids optional",
            "it keeps one spelling, and duplicates are looked for under the sender that signed",
            "ebMS 3.0 Core section 5.2.2; RFC 2822 section 3.6.4",
        ),
        Quirk.UNTYPED_NAMES: QuirkNote(
            "a PartyId or a Service without type that is no URI, such as a short name",
            "flame (sample)",
            "the name itself is compared with what was agreed, and the certificate must be that party's",
            "ebMS 3.0 Core sections 5.2.2.4 and 5.2.2.8",
        ),
        Quirk.ANY_PARTY_TYPE: QuirkNote(
            "party ids of another type than the agreed one, or of none",
            "networks with types of their own, such as the EIC codes of ENTSOG; no product forces one",
            "the id itself is compared, and the certificate must be that party's",
            "eDelivery AS4 1.15, party identification; ebCore Party Id Type 1.0",
        ),
        Quirk.BARE_DESCRIPTION: QuirkNote(
            "a Description in an Error signal that does not say its language",
            "PyPI as4 0.2, in every error it sends",
            "it is text for a person; the code beside it decides",
            "ebMS 3.0 Core section 6.2.7 and its schema: xml:lang is required",
        ),
    }
)

MET_EARLY: Final = frozenset(
    {
        Quirk.BYTE_ORDER_MARK,
        Quirk.BASE64_PARTS,
        Quirk.BARE_LINE_FEEDS,
        Quirk.BARE_CONTENT_ID,
        Quirk.LOOSE_MESSAGE_ID,
        Quirk.UNTYPED_NAMES,
    }
)
"""Forms that the SOAP part itself can have, so that they are met before anybody knows who sends: a node reads them
when any partner may send them, and holds the partner that signed to its own agreement as soon as it is known."""


def met_in_header(soap_part: bytes, message: "UserMessage") -> Iterator[Quirk]:
    """The quirks without which the SOAP part would not have been read."""
    if soap_part.startswith(codecs.BOM_UTF8):
        yield Quirk.BYTE_ORDER_MARK
    if any("@" not in id_ for id_ in (message.message_id, message.ref_to_message_id) if id_):
        yield Quirk.LOOSE_MESSAGE_ID
    if message.has_untyped_names():
        yield Quirk.UNTYPED_NAMES
