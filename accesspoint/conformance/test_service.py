"""The applications behind the access point under test, played by the kit: it submits, and is delivered to and notified.

Spec: eDelivery AS4 conformance testing, user guide.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import uuid4

import aiohttp
from aiohttp import web

from accesspoint.clock import timestamp
from accesspoint.conformance.author import Draft
from accesspoint.conformance.drivers import DELIVER, NOTIFY, SUBMIT, write_push
from accesspoint.conformance.reading import Message, read_header
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Delivery, Notice
from accesspoint.network.listening import Listeners
from envelope.messaging import PartInfo, Property, UserMessage

_LARGEST: Final = 64 * 1024 * 1024


@dataclass
class TestService:
    """Takes Deliver and Notify on loopback, and sends Submit to `submit_url`."""

    __test__ = False

    url: str = ""
    submit_url: str = ""
    recorder: Recorder | None = None
    delivered: list[Delivery] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    accepts: bool = True
    """Whether a Deliver is taken; a consumer that is away is a test of its own."""
    _listeners: Listeners = field(default_factory=Listeners)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        """Take pushes from here on."""
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_post("/", self._take)
        self.url = await self._listeners.start(application) + "/"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more."""
        await self._listeners.stop()

    async def submit(self, draft: Draft, to_party: str, recorder: Recorder) -> None:
        """Ask the access point to send a message."""
        facts = {
            "MessageId": draft.message_id,
            "ConversationId": draft.conversation_id,
            "RefToMessageId": draft.ref_to_message_id or "",
            "ToPartyId": to_party,
            "Action": draft.action,
        }
        properties = [Property(name, value) for name, value in facts.items() if value]
        properties.append(Property("Service", draft.service.value, draft.service.type))
        parts = []
        for number, payload in enumerate(draft.payloads):
            mime = Property("MimeType", payload.mime_type)
            info = PartInfo(
                f"payload{number}-{uuid4().hex}@conformance.invalid", (mime, *payload.properties)
            )
            parts.append((info, payload.content))
        content_type, body = write_push(
            SUBMIT,
            [*properties, *draft.properties],
            parts,
            message_id=f"{uuid4()}@conformance.invalid",
            at=timestamp(datetime.now(UTC)),
            to_driver=False,
        )
        head = f"POST {self.submit_url}\nContent-Type: {content_type}"
        recorder.sent("Submit by the producer", head, body)
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.post(
                self.submit_url, data=body, headers={"Content-Type": content_type}, allow_redirects=False
            ) as response,
        ):  # fmt: skip
            response.raise_for_status()

    async def wait(self, condition: Callable[[], Any], *, seconds: float) -> None:
        """Wait until `condition()` is true after some push; after `seconds` return in any case."""
        with_limit = asyncio.timeout(seconds)
        try:
            async with with_limit:
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return

    def deliveries(self, message_id: str) -> list[Delivery]:
        """What was delivered of a message."""
        return [one for one in self.delivered if one.properties.get("MessageId") == message_id]

    def notices(self, message_id: str) -> list[Notice]:
        """What was told about a message."""
        return [one for one in self.told if one.message_id == message_id]

    async def _take(self, request: web.Request) -> web.StreamResponse:
        push = Message(request.headers.get("Content-Type", ""), await request.read())
        header = read_header(push)
        action = header.collaboration_info.action
        if self.recorder is not None:
            self.recorder.received(
                f"{action} to the application", f"Content-Type: {push.content_type}", push.body
            )
        if action == DELIVER and not self.accepts:
            return web.Response(status=503)
        facts = _facts(header)
        if action == DELIVER:
            payloads = tuple(push.part_of(info).octets for info in push.part_infos)
            self.delivered.append(Delivery(facts, payloads))
        elif action == NOTIFY:
            self.told.append(
                Notice(
                    facts.get("RefToMessageId", ""),
                    facts.get("SignalType", ""),
                    facts.get("ErrorCode", ""),
                )
            )
        self._news.set()
        return web.Response(status=202)


def _facts(header: UserMessage) -> Mapping[str, str]:
    return {one.name: one.value for one in header.message_properties}
