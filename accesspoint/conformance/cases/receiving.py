"""Common Profile, the receiver: what is accepted, what is refused and how, and what the consumer gets."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from lxml import etree

from accesspoint.conformance.author import Draft, Order, Payload, property_element
from accesspoint.conformance.case import Waiting, case, counted, expect
from accesspoint.conformance.drivers import ONLY_SIGN
from accesspoint.conformance.reading import Q, expect_error
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target
from envelope import names
from envelope.messaging import Property, Service

_PLAIN: Final = Payload(
    b"not compressed: \x00\x01\x02\xff", "application/octet-stream", compress=False
)
_TEXT: Final = Payload("æøå: the second payload\r\n".encode() * 40, "text/plain")
_IMAGE: Final = Payload(bytes(range(256)) * 8, "image/png")


def ping() -> Draft:
    """A new ping, with one payload: some products refuse a message without any."""
    return Draft(service=Service(names.EB_TEST_SERVICE), action=names.EB_TEST_ACTION)


async def _delivers(target: Target, draft: Draft, recorder: Recorder) -> str:
    """The message is receipted, and the consumer has it once, each payload as it was and in its order."""
    seen = await target.accepts(draft, recorder)
    return f"{seen}; {await _delivered_once(target, draft, recorder)}"


async def _delivered_once(target: Target, draft: Draft, recorder: Recorder) -> str:
    found = await target.deliveries(draft.message_id, recorder)
    expect(len(found) == 1, "one delivery", counted(len(found), "delivery", "deliveries"))
    given = [payload.content for payload in draft.payloads]
    got = list(found[0].payloads)
    expect(
        got == given,
        f"payloads of {[len(one) for one in given]} octets as the producer gave them",
        f"payloads of {[len(one) for one in got]} octets",
    )
    return f"delivered once, {counted(len(got), 'payload')} as given"


async def _refuses(target: Target, draft: Draft, recorder: Recorder, *codes: str) -> str:
    """The message is answered with an ebMS error, and the consumer gets nothing of it where that can be seen."""
    seen = expect_error(await target.post(draft, recorder), *codes, message_id=draft.message_id)
    with suppress(Waiting):
        found = await target.deliveries(draft.message_id, recorder)
        expect(not found, "nothing delivered", counted(len(found), "delivery", "deliveries"))
    return seen


def _changed(part_info: Callable[[Any], None], **draft: Any) -> Draft:
    """A draft whose first PartInfo is changed before it is signed."""

    def change(messaging: Any) -> None:
        part_info(next(messaging.iter(Q(names.EB, "PartInfo"))))

    return Draft(change=change, **draft)


def _flipped(octets: bytes) -> bytes:
    """A gzip member whose head is whole and whose data is not."""
    return octets[:10] + bytes(octet ^ 0xFF for octet in octets[10:])


@case("AS4_CP_TA01")
async def push_is_receipted(target: Target, recorder: Recorder) -> str:
    """A plain push gets its receipt in the answer."""
    return await target.accepts(Draft(), recorder)


@case("AS4_CP_TA04")
async def uncompressed_is_delivered(target: Target, recorder: Recorder) -> str:
    """One payload that is not compressed."""
    return await _delivers(target, Draft((_PLAIN,)), recorder)


@case("AS4_CP_TA07")
async def parts_are_delivered(target: Target, recorder: Recorder) -> str:
    """An XML document first, then two payloads of other kinds."""
    return await _delivers(target, Draft((Payload(), _TEXT, _IMAGE)), recorder)


@case("AS4_CP_TA08")
async def link_is_refused(target: Target, recorder: Recorder) -> str:
    """The only payload is a hyperlink: no MIME part comes with it, so nothing else is wrong."""

    def link(messaging: Any) -> None:
        info = etree.SubElement(
            next(messaging.iter(Q(names.EB, "UserMessage"))), Q(names.EB, "PayloadInfo")
        )
        etree.SubElement(
            info, Q(names.EB, "PartInfo"), href="https://conformance.invalid/document.xml"
        )

    return await _refuses(target, Draft((), change=link), recorder)


@case("AS4_CP_TA10")
async def repetition_is_receipted_and_not_delivered(target: Target, recorder: Recorder) -> str:
    """The same octets twice, as a sender repeats whose receipt was lost; the consumer has them once."""
    draft = Draft()
    request = target.author.write(target.agreed(draft))
    target.receipted(request, await target.send(request, recorder, "message"))
    again = await target.send(request, recorder, "the same message again")
    seen = target.receipted(request, again)
    return f"again {seen}; {await _delivered_once(target, draft, recorder)}"


@case("AS4_CP_TA14")
async def reply_is_receipted(target: Target, recorder: Recorder) -> str:
    """Both pushes of a two-way exchange: the request of the target, then the kit's reply to it."""
    request = Draft(action="SIMPLE_TWOWAY")
    sent = await target.submit(request, recorder)
    expect(sent.first.message_id == request.message_id, "the request", sent.first.message_id)
    reply = Draft(
        action="SIMPLE_TWOWAY",
        ref_to_message_id=request.message_id,
        conversation_id=request.conversation_id,
    )
    return f"for the reply: {await target.accepts(reply, recorder, 'reply')}"


@case("AS4_CP_TA17")
async def ping_is_receipted_and_not_delivered(target: Target, recorder: Recorder) -> str:
    """A message to the test service."""
    draft = ping()
    seen = await target.accepts(draft, recorder, "ping")
    found = await target.deliveries(draft.message_id, recorder)
    expect(not found, "nothing delivered", counted(len(found), "delivery", "deliveries"))
    return f"{seen}; nothing delivered"


@case("AS4_CP_TA20")
async def message_properties_with_and_without_type(target: Target, recorder: Recorder) -> str:
    """One message property has a type, the other has none."""
    given = (Property("typed", "1", "urn:conformance:type"), Property("untyped", "2"))
    return await target.accepts(Draft(properties=given), recorder)


@case("AS4_CP_TA21")
async def every_message_is_receipted(target: Target, recorder: Recorder) -> str:
    """Three messages: each gets a receipt of its own."""
    receipts = set()
    for number in range(3):
        label = f"message {number + 1}"
        request = target.author.write(target.agreed(Draft()))
        answer = await target.send(request, recorder, label)
        target.receipted(request, answer)
        receipts.add(answer.message_id)
    expect(len(receipts) == 3, "three receipts with a MessageId of their own", f"{len(receipts)}")
    return "three messages, three receipts"


@case("AS4_CP_TA26")
async def missing_mime_type_is_refused(target: Target, recorder: Recorder) -> str:
    """A compressed part whose MimeType property is left out."""

    def remove(info: Any) -> None:
        one = property_element(info, "MimeType")
        one.getparent().remove(one)

    return await _refuses(target, _changed(remove), recorder)


@case("AS4_CP_TA29")
async def illegal_character_set_is_refused(target: Target, recorder: Recorder) -> str:
    """A CharacterSet that begins with an exclamation mark."""

    def spoil(info: Any) -> None:
        property_element(info, "CharacterSet").text = "!utf*"

    payload = Payload(properties=(Property("CharacterSet", "utf-8"),))
    return await _refuses(target, _changed(spoil, payloads=(payload,)), recorder)


@case("AS4_CP_TA30")
async def damaged_gzip_is_refused(target: Target, recorder: Recorder) -> str:
    """A gzip stream that was damaged before it was signed: the digests hold, the decompression does not."""
    return await _refuses(target, Draft((Payload(damage=_flipped),)), recorder, "EBMS:0303")


@case("AS4_CP_TA31")
async def damaged_gzip_is_told_to_the_consumer(target: Target, recorder: Recorder) -> str:
    """The same, and what the consumer's side is told."""
    draft = Draft((Payload(damage=_flipped),))
    seen = await _refuses(target, draft, recorder, "EBMS:0303")
    told = [one.code for one in await target.notices(draft.message_id, recorder)]
    expect("EBMS:0303" in told, "a notice with EBMS:0303", f"notices: {told or 'none'}")
    return f"{seen}; the consumer was told"


@case("AS4_CP_TA32")
async def one_payload_is_decompressed(target: Target, recorder: Recorder) -> str:
    """One compressed payload."""
    return await _delivers(target, Draft(), recorder)


@case("AS4_CP_TA33")
async def several_payloads_are_decompressed(target: Target, recorder: Recorder) -> str:
    """Three compressed payloads of different kinds and sizes."""
    return await _delivers(target, Draft((Payload(), _TEXT, _IMAGE)), recorder)


@case("AS4_CP_TA34")
async def compressed_and_signed_is_accepted(target: Target, recorder: Recorder) -> str:
    """Compressed, then signed, and not encrypted: the mode that only signs."""
    return await _delivers(target, Draft(encrypt=False, action=ONLY_SIGN), recorder)


@case("AS4_CP_TA35")
async def signed_before_compressed_is_refused(target: Target, recorder: Recorder) -> str:
    """The digest is over the payload before compression."""
    return await _refuses(target, Draft(order=Order.SIGN_COMPRESS_ENCRYPT), recorder)


@case("AS4_CP_TA36")
async def compressed_and_encrypted_is_accepted(target: Target, recorder: Recorder) -> str:
    """Compressed, then encrypted; signed too, as the profile asks."""
    return await _delivers(target, Draft((_TEXT,)), recorder)


@case("AS4_CP_TA37")
async def encrypted_before_compressed_is_refused(target: Target, recorder: Recorder) -> str:
    """What was encrypted is compressed once more: it does not decrypt."""
    return await _refuses(target, Draft(order=Order.COMPRESS_SIGN_ENCRYPT_COMPRESS), recorder)


@case("AS4_CP_TA38")
async def compressed_signed_encrypted_is_accepted(target: Target, recorder: Recorder) -> str:
    """All three, in the order of the profile, with two payloads."""
    return await _delivers(target, Draft((Payload(), _TEXT)), recorder)


@case("AS4_CP_TA44")
async def part_properties_with_and_without_type(target: Target, recorder: Recorder) -> str:
    """One further part property has a type, the other has none."""
    given = (Property("typed", "1", "urn:conformance:type"), Property("untyped", "2"))
    return await target.accepts(Draft((replace(Payload(), properties=given),)), recorder)
