"""What the kit reads is held to the message that it is about, and never grows without a bound."""

import uuid
import zlib
from dataclasses import replace

import pytest
from as4_stage import Pki

from accesspoint.conformance.author import Author, Draft, Payload
from accesspoint.conformance.case import Unmet
from accesspoint.conformance.reading import Message, expect_error, open_payloads
from envelope import names, soap
from envelope.codes import CODES
from envelope.messaging import PartyId
from envelope.signals import build_error_messaging
from envelope.wsse import WireIds

OURS = "mine@conformance.invalid"


def error_about(message_id: str | None) -> Message:
    """An unsigned error, as anybody can write it."""
    ids = WireIds.new(uuid.uuid4().hex)
    messaging = build_error_messaging(
        message_id="error@partner.invalid",
        timestamp="2026-11-21T12:00:00.000Z",
        ref_to_message_id=message_id,
        errors=[CODES["EBMS:0303"]],
        messaging_id=ids.messaging,
    )
    octets = soap.write_envelope(messaging, soap.write_body(ids.body))
    return Message("application/soap+xml", octets, 200)


def test_an_error_about_another_message_is_none() -> None:
    with pytest.raises(Unmet, match="one about theirs@"):
        expect_error(error_about("theirs@conformance.invalid"), "EBMS:0303", message_id=OURS)


@pytest.mark.parametrize("about", [OURS, None])
def test_an_error_about_this_message_or_about_none_it_can_name_holds(about: str | None) -> None:
    assert "EBMS:0303" in expect_error(error_about(about), "EBMS:0303", message_id=OURS)


@pytest.mark.parametrize("about", ["RefToMessageId", "refToMessageInError"])
def test_both_places_of_the_reference_are_looked_at(about: str) -> None:
    honest = error_about(OURS)
    wrong = {
        "RefToMessageId": (f">{OURS}<", ">theirs@conformance.invalid<"),
        "refToMessageInError": (f'"{OURS}"', '"theirs@conformance.invalid"'),
    }[about]
    body = honest.body.replace(*(one.encode() for one in wrong))
    assert body != honest.body
    with pytest.raises(Unmet):
        expect_error(replace(honest, body=body), message_id=OURS)


def test_a_payload_that_grows_without_end_is_not_opened(pki: Pki) -> None:
    author = Author(
        pki.clinic.signer(),
        PartyId("from", names.PARTY_UNREGISTERED),
        pki.municipality.certificate,
        PartyId("to", names.PARTY_UNREGISTERED),
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(2 * 1024 * 1024)) + packer.flush()
    draft = Draft((Payload(damage=lambda octets: bomb),))
    request = author.write(draft)
    with pytest.raises(Unmet, match=r"gzip\.limit"):
        open_payloads(
            Message(request.content_type, request.body),
            pki.municipality.decrypter(),
            pki.clinic.certificate,
        )
