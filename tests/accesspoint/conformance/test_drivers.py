"""A node behind the test service: what it submits, is delivered and is notified of, also where something is amiss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from as4_generations import NEW, key_set
from as4_stage import Partner, Pki, Stage

from accesspoint.config import ConfigurationProblem, Profile, load
from accesspoint.config_values import Address
from accesspoint.conformance.author import Draft
from accesspoint.conformance.drivers import SUBMIT, Submission, rehearse, write_push
from accesspoint.conformance.interceptor import Act
from accesspoint.conformance.reading import Message, SignedBy
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Notice
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.inbound import receiver
from envelope.messaging import PartInfo, Property, Service
from envelope.names import EB
from envelope.pmode import POLICIES, Generation
from envelope.soap import parse_soap
from envelope.verified import ParsedUserMessage
from envelope.wsse import authenticate, decrypt_key
from envelope.xml import scan

from .conftest import BreakableTarget

pytestmark = pytest.mark.slow
CORNERS = (
    Property("originalSender", "C1", "urn:conformance"),
    Property("finalRecipient", "C4", "urn:conformance"),
)


async def test_facts_and_properties_reach_the_consumer(ourselves: BreakableTarget) -> None:
    draft = Draft(properties=CORNERS)
    await ourselves.accepts(draft, Recorder())
    [delivery] = await ourselves.deliveries(draft.message_id, Recorder())
    assert delivery.properties["originalSender"] == "C1"
    assert delivery.properties["finalRecipient"] == "C4"
    assert delivery.properties["ConversationId"] == draft.conversation_id
    assert delivery.properties["Action"] == draft.action


async def test_properties_of_a_submit_travel(ourselves: BreakableTarget) -> None:
    sent = await ourselves.submit(Draft(properties=CORNERS), Recorder())
    names = [element.get("name") for element in sent.first.all(EB, "MessageProperties")[0]]
    assert names == ["originalSender", "finalRecipient"]


async def test_what_the_consumer_does_not_take_comes_again(ourselves: BreakableTarget) -> None:
    draft = Draft()
    request = ourselves.author.write(draft)
    ourselves.service.accepts = False
    answer = await ourselves.line.send(request, Recorder(), "while the consumer is away")
    assert answer.status == 503
    assert await ourselves.deliveries(draft.message_id, Recorder()) == []
    ourselves.service.accepts = True
    again = await ourselves.line.send(request, Recorder(), "again")
    assert ourselves.receipted(request, again)
    assert len(await ourselves.deliveries(draft.message_id, Recorder())) == 1


async def test_what_was_given_and_not_stored_is_not_given_again(
    ourselves: BreakableTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Draft()
    request = ourselves.author.write(draft)

    async def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(receiver, "insert_message", full)
        answer = await ourselves.line.send(request, Recorder(), "while nothing can be stored")
    assert answer.status >= 500
    assert len(await ourselves.deliveries(draft.message_id, Recorder())) == 1
    again = await ourselves.line.send(request, Recorder(), "again")
    assert ourselves.receipted(request, again)
    assert len(await ourselves.deliveries(draft.message_id, Recorder())) == 1


async def test_a_producer_is_told_of_what_cannot_be_sent(
    ourselves: BreakableTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told_of(to_party: str) -> list[Notice]:
        draft = Draft()
        await ourselves.service.submit(draft, to_party, Recorder())
        await ourselves.service.wait(
            lambda: ourselves.service.notices(draft.message_id), seconds=10
        )
        return [replace(one, message_id="") for one in ourselves.service.notices(draft.message_id)]

    assert await told_of("nobody") == [Notice("", "Error", "EBMS:0010")]

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the keys are away")

    monkeypatch.setattr(ourselves.node, "_pack", broken)
    assert await told_of(ourselves.author.party.value) == [Notice("", "Error", "EBMS:0004")]


@pytest.mark.parametrize("generation", NEW, ids=str)
async def test_a_submit_is_packed_in_the_generation_agreed(
    pki: Pki, tmp_path: Path, generation: Generation
) -> None:
    """The partner's file begins with its RSA certificate and holds a signing one: neither is encrypted for."""
    ours, theirs = (key_set(pki, one.access_point, generation) for one in (CLINIC, MUNICIPALITY))
    file = tmp_path / "municipality.pem"
    file.write_bytes(pki.municipality.certificate_pem + theirs.certificates)
    settings = {"certificate": str(file), "generations": [str(generation)]}
    partner = Partner(MUNICIPALITY, pki.municipality, "https://127.0.0.1:9/as4", settings)
    path = Stage(pki, tmp_path).write_node(CLINIC, pki.clinic, partners={"municipality": partner})
    ours.write(path.parent / "keys")
    info = PartInfo("payload@test.invalid", (Property("MimeType", "application/xml"),))
    submission = Submission(
        message_id="one@test.invalid",
        conversation_id="one",
        ref_to_message_id=None,
        to_party=MUNICIPALITY.access_point,
        service=Service("urn:test"),
        action="SIMPLE_ONEWAY",
        properties=(),
        parts=((info, b"<TEST/>"),),
    )
    async with rehearse(
        load(path, {}), test_service="http://127.0.0.1:9/", listen=Address("127.0.0.1", 0)
    ) as node:
        wire, _, _ = node._pack(submission)
    authenticated = authenticate(
        ParsedUserMessage.read(parse_soap(scan(wire.soap))),
        policy=POLICIES[generation],
        check=SignedBy(ours.signing.certificate),
    )
    assert decrypt_key(authenticated, theirs.agreement.decrypter()).content_key


async def test_a_receipt_of_a_stranger_is_none(ourselves: BreakableTarget) -> None:
    def forged(request: Message, answer: Message) -> Message:
        stranger = replace(ourselves.author, signer=ourselves.node.identity.signer)
        return replace(answer, body=stranger.receipt(request))

    draft = Draft()
    sent = await ourselves.submit(draft, Recorder(), lambda number: Act(answer=forged))
    assert sent.notices == (Notice(draft.message_id, "Error", "EBMS:0301"),)
    assert len(sent.requests) > 1


async def test_a_submit_that_is_none_is_refused(ourselves: BreakableTarget) -> None:
    async with aiohttp.ClientSession() as session:
        for body in (b"", b"no push"):
            async with session.post(ourselves.service.submit_url, data=body) as answer:
                assert answer.status == 400
        info = PartInfo("payload@test.invalid", (Property("MimeType", "application/xml"),))
        for kind, body in (
            ("multipart/related; boundary=b", b""),
            write_push(
                SUBMIT,
                (),
                [(info, b"<TEST/>")],
                message_id="one@test.invalid",
                at="2026-11-21T12:00:00.000Z",
                to_driver=False,
            ),
        ):
            # A reference to a part that is not there.
            body = body.replace(b"Content-ID: <payload@", b"Content-ID: <another@")
            headers = {"Content-Type": kind}
            async with session.post(
                ourselves.service.submit_url, data=body, headers=headers
            ) as answer:
                assert answer.status == 400


async def test_a_node_in_production_is_never_put_behind_it(ourselves: BreakableTarget) -> None:
    production = ourselves.node.configuration.model_copy(update={"profile": Profile.PRODUCTION})
    with pytest.raises(ConfigurationProblem):
        async with rehearse(
            production, test_service="http://127.0.0.1/", listen=Address("127.0.0.1", 0)
        ):
            pass
