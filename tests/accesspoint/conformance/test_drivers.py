"""A node behind the test service: what it submits, is delivered and is notified of, also where something is amiss."""

from dataclasses import replace

import aiohttp
import pytest

from accesspoint.config import ConfigurationProblem, Profile
from accesspoint.config_values import Address
from accesspoint.conformance.author import Draft
from accesspoint.conformance.drivers import rehearse
from accesspoint.conformance.interceptor import Act
from accesspoint.conformance.reading import Message
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Notice
from envelope.messaging import Property
from envelope.names import EB

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


async def test_a_node_in_production_is_never_put_behind_it(ourselves: BreakableTarget) -> None:
    production = ourselves.node.configuration.model_copy(update={"profile": Profile.PRODUCTION})
    with pytest.raises(ConfigurationProblem):
        async with rehearse(
            production, test_service="http://127.0.0.1/", listen=Address("127.0.0.1", 0)
        ):
            pass
