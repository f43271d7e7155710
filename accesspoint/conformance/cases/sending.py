"""Common Profile, the sender: what an outgoing message is on the wire, how often it is sent, and what is told of its end.

What every message shows is judged on the target's daily work or on a capture; what depends on what a producer
gave is submitted by the kit. Algorithms, parties, places and orders are read from the octets themselves.
"""

from typing import Any, Final

from accesspoint.conformance.author import Draft, Payload
from accesspoint.conformance.case import NotApplicable, Unmet, case, counted, expect
from accesspoint.conformance.drivers import PING
from accesspoint.conformance.interceptor import DROP_ANSWER, PASS, Act
from accesspoint.conformance.reading import Message, PartInfo, Q, expect_signed
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target
from envelope import names
from envelope.messaging import Property

_SECOND: Final = Payload(b"%PDF-1.7 the second payload" * 20, "application/pdf")
_THIRD: Final = Payload("den tredje, ÆØÅ".encode(), "text/plain")
_ONE: Final = "exactly one"


def _lose_first(number: int) -> Act:
    return DROP_ANSWER if number == 0 else PASS


def _lose_all(_number: int) -> Act:
    return DROP_ANSWER


def _is_xml(content: bytes) -> bool:
    return content.lstrip(b"\xef\xbb\xbf").startswith(b"<")


def _expect_empty_body(message: Message) -> None:
    body = message.soap_body
    expect(
        len(body) == 0 and not (body.text or "").strip(),
        "an empty SOAP body",
        counted(len(body), "element"),
    )


def _expect_key_transport(key: Any) -> None:
    """How the content key travels, read from the octets: without the receiver's key nothing else shows it."""
    for namespace, local, wanted in (
        (names.XENC, "EncryptionMethod", names.RSA_OAEP),
        (names.DS, "DigestMethod", names.SHA256),
        (names.XENC11, "MGF", names.MGF1_SHA256),
    ):
        found = [one.get("Algorithm", "") for one in key.iter(Q(namespace, local))]
        expect(found == [wanted], f"{local} {wanted} of the EncryptedKey", f"{found}")


async def _part_properties(target: Target, recorder: Recorder, name: str, value: str) -> str:
    """Have a payload sent whose property `name` is `value`, and look for both on the wire."""
    encoded = f'<?xml version="1.0" encoding="{value}"?><TEST>æøå</TEST>'.encode(value)
    payload = Payload(encoded, properties=(Property(name, value),))
    sent = await target.submit(Draft((payload,)), recorder)
    found = [info.properties.get(name) for info in sent.first.part_infos]
    expect(found == [value], f"{name} {value} as given", f"{found}")
    opened = target.open(sent.first)
    expect(opened in (None, [encoded]), "the payload as given", "another one")
    return f"{name} {value}, and the payload as given"


async def _two_way(target: Target, recorder: Recorder) -> tuple[Draft, Message]:
    """A request by the kit, and the reply that the producer behind the target submits; both as they crossed the wire."""
    request = Draft(action="SIMPLE_TWOWAY")
    await target.accepts(request, recorder, "request")
    reply = Draft(
        action="SIMPLE_TWOWAY",
        ref_to_message_id=request.message_id,
        conversation_id=request.conversation_id,
    )
    return request, (await target.submit(reply, recorder)).first


@case("AS4_CP_TA02")
async def reply_names_the_request(target: Target, recorder: Recorder) -> str:
    """The reply of a two-way exchange by two pushes."""
    request, reply = await _two_way(target, recorder)
    found = reply.texts(names.EB, "RefToMessageId")
    expect(found == [request.message_id], f"RefToMessageId {request.message_id}", f"{found}")
    return f"the reply refers to {request.message_id}"


@case("AS4_CP_TA03")
async def one_party_each(target: Target, recorder: Recorder) -> str:
    """From and To of an outgoing message."""
    message = (await target.send_business(recorder)).first
    for side in ("From", "To"):
        (element,) = _only(message, side)
        count = sum(1 for _ in element.iter(Q(names.EB, "PartyId")))
        expect(count == 1, f"{_ONE} PartyId in {side}", f"{count}")
    return "one PartyId in From and one in To"


def _only(message: Message, local: str) -> list[Any]:
    found = message.all(names.EB, local)
    expect(len(found) == 1, f"{_ONE} {local}", f"{len(found)}")
    return found


@case("AS4_CP_TA05")
async def compressed_in_its_own_part(target: Target, recorder: Recorder) -> str:
    """An outgoing message with a compressed payload."""
    message = (await target.send_business(recorder)).first
    _expect_empty_body(message)
    compressed = _compressed(target, message)
    for info in compressed:
        message.part_of(info)
    expect(
        len({info.content_id for info in compressed}) == len(compressed),
        "a MIME part for each payload",
        "one for several",
    )
    target.open(message)
    where = (
        "in a MIME part of its own" if len(compressed) == 1 else "each in a MIME part of its own"
    )
    return f"{counted(len(compressed), 'compressed payload')} {where}, the body is empty"


@case("AS4_CP_TA06")
async def leading_document_first(target: Target, recorder: Recorder) -> str:
    """An XML document and two other payloads are submitted."""
    draft = Draft((Payload(), _SECOND, _THIRD))
    message = (await target.submit(draft, recorder)).first
    _expect_empty_body(message)
    infos = message.part_infos
    expect(len(infos) == 3 == len(message.payloads), "three PartInfo and three parts", f"{len(infos)} and {len(message.payloads)}")  # fmt: skip
    parts = {message.part_of(info).content_id for info in infos}
    expect(len(parts) == 3, "a part for each PartInfo", f"{len(parts)} parts")
    mime = infos[0].properties.get("MimeType", "")
    expect(mime.endswith("xml"), "the XML document first", f"{mime or 'no MimeType'} first")
    opened = target.open(message)
    expect(opened is None or _is_xml(opened[0]), "the XML document first", "something else first")
    return "the XML document first, two parts after it, the body is empty"


@case("AS4_CP_TA09")
async def sent_again_without_receipt(target: Target, recorder: Recorder) -> str:
    """The first answer is lost on the way."""
    sent = await target.send_business(recorder, _lose_first)
    expect(len(sent.requests) >= 2, "the message again", counted(len(sent.requests), "request"))
    ids = {request.message_id for request in sent.requests}
    expect(len(ids) == 1, "the same MessageId", f"{len(ids)} MessageIds")
    digests = {tuple(request.texts(names.DS, "DigestValue")) for request in sent.requests}
    expect(len(digests) == 1, "the same digests", f"{len(digests)} sets of digests")
    return f"{len(sent.requests)} requests with one MessageId and the same digests"


@case("AS4_CP_TA12")
async def signature_of_the_profile(target: Target, recorder: Recorder) -> str:
    """The signature of an outgoing message: algorithms, what it covers, whose it is, and that it holds."""
    message = (await target.send_business(recorder)).first
    seen = expect_signed(message, target.signer)
    target.open(message)
    return seen


@case("AS4_CP_TA13")
async def encryption_of_the_profile(target: Target, recorder: Recorder) -> str:
    """The encryption of an outgoing message: algorithms, that every part is encrypted, and for whom."""
    message = (await target.send_business(recorder)).first
    if target.is_recorded and not message.part_infos:
        raise NotApplicable("the recorded message has no payload")
    keys = message.all(names.XENC, "EncryptedKey")
    expect(len(keys) == 1, f"{_ONE} EncryptedKey", f"{len(keys)}")
    _expect_key_transport(keys[0])
    data = message.all(names.XENC, "EncryptedData")
    for one in data:
        method = one.find(Q(names.XENC, "EncryptionMethod"))
        algorithm = "" if method is None else method.get("Algorithm", "")
        expect(algorithm == names.AES128_GCM, names.AES128_GCM, algorithm or "no algorithm")
    cited = {one.get("URI") for one in message.all(names.XENC, "CipherReference")}
    listed = {info.href for info in message.part_infos}
    expect(cited == listed and len(data) == len(listed), "every part encrypted", f"{len(cited)} of {len(listed)}")  # fmt: skip
    opened = target.open(message)
    whose = "" if opened is None else ", and the receiver's key opens what is encrypted"
    return f"{counted(len(data), 'part')} encrypted with AES-128-GCM{whose}"


@case("AS4_CP_TA15")
async def missing_receipt_is_told(target: Target, recorder: Recorder) -> str:
    """Every answer is lost until the retries are spent."""
    sent = await target.send_business(recorder, _lose_all)
    told = [(one.kind, one.code) for one in sent.notices]
    expect(told == [("Error", "EBMS:0301")], "EBMS:0301 told to the producer", f"told: {told or 'nothing'}")  # fmt: skip
    return f"EBMS:0301 after {counted(len(sent.requests), 'request')}"


@case("AS4_CP_TA16")
async def ping_names_the_test_service(target: Target, recorder: Recorder) -> str:
    """A ping is submitted."""
    message = (await target.submit(Draft(action=PING), recorder)).first
    found = message.text("Service"), message.text("Action")
    expected = names.EB_TEST_SERVICE, names.EB_TEST_ACTION
    expect(found == expected, " and ".join(expected), " and ".join(found))
    return "service and action of the test service"


@case("AS4_CP_TA19")
async def reply_keeps_the_conversation(target: Target, recorder: Recorder) -> str:
    """The reply of a two-way exchange by two pushes."""
    request, reply = await _two_way(target, recorder)
    found = reply.texts(names.EB, "ConversationId")
    expect(
        found == [request.conversation_id], f"ConversationId {request.conversation_id}", f"{found}"
    )
    return f"ConversationId {request.conversation_id} in both"


@case("AS4_CP_TA22")
async def receipt_ends_the_sending(target: Target, recorder: Recorder) -> str:
    """An ordinary message with its receipt: one request, and the producer knows."""
    sent = await target.send_business(recorder)
    if target.is_recorded:
        raise NotApplicable("one recorded message does not show what came after it")
    told = [(one.kind, one.code) for one in sent.notices]
    expect(told == [("Receipt", "")], "the receipt taken as such", f"told: {told or 'nothing'}")
    expect(len(sent.requests) == 1, "one request", f"{len(sent.requests)}")
    return "one request, and the message counts as acknowledged"


@case("AS4_CP_TA23")
async def payload_is_gzip(target: Target, recorder: Recorder) -> str:
    """The payload of an outgoing message, decrypted."""
    message = (await target.send_business(recorder)).first
    infos = _compressed(target, message)
    opened = target.open(message)
    if opened is None and message.all(names.XENC, "EncryptedKey"):
        for info in infos:
            kinds = {
                message.part_of(info).fields.get("content-type", "").partition(";")[0],
                *_encrypted_types(message, info),
            }
            expect(
                "application/gzip" in kinds, "a part of type application/gzip", f"{sorted(kinds)}"
            )
        raise NotApplicable("the part says application/gzip; only its receiver's key opens it")
    if opened is None:
        for info in infos:
            first = message.part_of(info).octets[:2]
            expect(first == b"\x1f\x8b", "a gzip stream", "something else")
        return "a part that begins as a gzip stream"
    return f"a gzip stream of {len(message.part_of(infos[0]).octets)} octets, {len(opened[0])} decompressed"


def _compressed(target: Target, message: Message) -> list[PartInfo]:
    found = [info for info in message.part_infos if "CompressionType" in info.properties]
    if not found and target.is_recorded:
        raise NotApplicable("no payload of the recorded message is compressed")
    expect(found, "a compressed payload", "none")
    return found


def _encrypted_types(message: Message, info: PartInfo) -> set[str]:
    """The types that EncryptedData names for a part."""
    return {
        data.get("MimeType", "")
        for data in message.all(names.XENC, "EncryptedData")
        if any(one.get("URI") == info.href for one in data.iter(Q(names.XENC, "CipherReference")))
    }


@case("AS4_CP_TA24")
async def compression_type_is_gzip(target: Target, recorder: Recorder) -> str:
    """The property of a compressed payload."""
    message = (await target.send_business(recorder)).first
    found = {info.properties["CompressionType"] for info in _compressed(target, message)}
    expect(found == {"application/gzip"}, "CompressionType application/gzip", f"{sorted(found)}")
    return "CompressionType application/gzip"


@case("AS4_CP_TA25")
async def mime_type_as_given(target: Target, recorder: Recorder) -> str:
    """Three payloads of different types are submitted."""
    given = (Payload(), _SECOND, _THIRD)
    message = (await target.submit(Draft(given), recorder)).first
    found = [info.properties.get("MimeType") for info in message.part_infos]
    expected = [payload.mime_type for payload in given]
    expect(found == expected, f"MimeType {expected}", f"{found}")
    return f"MimeType {', '.join(expected)}"


@case("AS4_CP_TA27")
async def character_set_utf16(target: Target, recorder: Recorder) -> str:
    """An XML document in UTF-16."""
    return await _part_properties(target, recorder, "CharacterSet", "UTF-16")


@case("AS4_CP_TA28")
async def character_set_utf8(target: Target, recorder: Recorder) -> str:
    """An XML document in UTF-8."""
    return await _part_properties(target, recorder, "CharacterSet", "UTF-8")


@case("AS4_CP_TA45")
async def order_of_the_producer(target: Target, recorder: Recorder) -> str:
    """Five payloads are submitted; their contents tell their places."""
    given = tuple(Payload(b"<TEST>%d</TEST>" % number) for number in (3, 1, 5, 2, 4))
    message = (await target.submit(Draft(given), recorder)).first
    opened = target.open(message)
    if opened is None:
        raise Unmet("payloads that can be opened", "none")
    expect(list(opened) == [one.content for one in given], "the order of the producer", "another order")  # fmt: skip
    return "five PartInfo in the order of the producer"
