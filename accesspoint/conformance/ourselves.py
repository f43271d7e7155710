"""Ourselves as target: a throw-away node with its network on loopback, real sockets, real TLS, and the kit on both sides.

The node is the clinic's; the kit has the municipality's keys and is its partner. Every octet between them goes
through an interceptor, one on each way, which records it and does what a case asks. Behind the node stands the
kit's test service, so what is delivered is seen as the official test would see it. One more way out is the
node's daily work: a MedCom message, which its ordinary sender sends and whose outcome its ordinary backend is told.
"""

import asyncio
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from aiohttp import web
from cryptography import x509

from accesspoint import __version__
from accesspoint.api.client import NodeAddress, NodeClient
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration, Retry, load
from accesspoint.config_partner import Partner
from accesspoint.config_trust import Tls
from accesspoint.config_values import Address
from accesspoint.conformance.author import Author, Draft, Request
from accesspoint.conformance.drivers import PATH, RehearsalNode
from accesspoint.conformance.interceptor import Interceptor, Script, undisturbed
from accesspoint.conformance.line import Line
from accesspoint.conformance.publishing import make_signers, our_publisher
from accesspoint.conformance.reading import Message, open_payloads
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.smp_rules import Published
from accesspoint.conformance.strangers import Strangers
from accesspoint.conformance.target import Delivery, Notice, Sent, Stranger, Target
from accesspoint.conformance.test_service import TestService
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, NodePlan, plan_nodes
from accesspoint.demo.surroundings import Surroundings
from accesspoint.ids import SystemIds
from accesspoint.network.listening import LOOPBACK, Listeners
from accesspoint.trust import common_name
from envelope import fhir, names
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation
from envelope.messaging import PartyId
from envelope.pmode import Quirk
from keys.devca import IssuedCertificate
from keys.store import KeyStore, load_certificate_files
from keys.tls import client_context, server_context

RETRY: Final = Retry(
    first=timedelta(milliseconds=100),
    factor=1.0,
    longest=timedelta(milliseconds=100),
    give_up_after=timedelta(milliseconds=700),
)
"""The waits of the node under test: short, so that spent retries are seen within a second."""
_END_SECONDS: Final = 15.0
_BACKDATED: Final = timedelta(hours=1)
_SETTLE_SECONDS: Final = 0.25
"""How long a delivery or a notice that must not come is waited for."""


class OurselvesTarget(Target):
    """A node made for the run; it and everything it wrote are gone afterwards."""

    kind: ClassVar[str] = "a throw-away node of ours"

    def __init__(self) -> None:
        super().__init__(f"accesspoint {__version__}")
        self._stack = AsyncExitStack()
        self.around: Surroundings
        self.node: RehearsalNode
        self.line: Line
        self.inward: Interceptor
        self.outward: Interceptor
        self.service: TestService
        self._author: Author
        self._new_context: Callable[[], ssl.SSLContext]
        self._strangers: Strangers | None = None
        self._publishers: tuple[IssuedCertificate, IssuedCertificate] | None = None

    async def __aenter__(self) -> "OurselvesTarget":
        """Make keys and network, and start the node."""
        try:
            await self._put_on()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def _put_on(self) -> None:
        clock, stack = SystemClock(), self._stack
        base = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="accesspoint-conformance-"))
        )
        plans = plan_nodes(base, apart=False)
        ids = SystemIds(clock)
        self.around = await Surroundings.start(
            base, plans, stack, clock=clock, ids=ids, keep_reports=False
        )
        ours, kit = (self.around.plan_of(one, "AP") for one in (CLINIC, MUNICIPALITY))
        anchors = load_certificate_files([base / "anchors.pem", base / "intermediates.pem"])
        keys = {plan.name: KeyStore.load(plan.directory / "keys") for plan in plans}

        def contexts(plan: NodePlan) -> tuple[ssl.SSLContext, ssl.SSLContext]:
            files = keys[plan.name].tls
            pair = files.certificate_file, files.key_file
            return client_context(*pair, anchors), server_context(*pair, anchors)

        self.tls_client, kit_server = contexts(kit)
        self._new_context = lambda: contexts(kit)[0]
        _, our_server = contexts(ours)
        recipient = keys[ours.name].signing.certificate
        self._decrypter = keys[kit.name].decryption
        self._author = Author(
            signer=keys[kit.name].signing,
            party=PartyId(
                common_name(keys[kit.name].signing.certificate), names.PARTY_UNREGISTERED
            ),
            recipient=recipient,
            to_party=PartyId(common_name(recipient), names.PARTY_UNREGISTERED),
        )
        self.outward = await stack.enter_async_context(
            Interceptor(
                self._author.answer, server=kit_server, client=self.tls_client, from_target=True
            )
        )
        self.service = await stack.enter_async_context(TestService())
        self.node = RehearsalNode(
            self._configure(ours, kit),
            clock=clock,
            ids=ids,
            test_service=self.service.url,
            listen=Address(LOOPBACK, 0),
        )
        await self.node.begin(stack)
        self.service.submit_url = f"http://{self.node.addresses['conformance']}{PATH}"
        # The kit's way in ends in the node itself; the interceptor shows the node's own certificate.
        self.inward = await stack.enter_async_context(
            Interceptor(
                f"https://{self.node.addresses['as4']}/as4",
                server=our_server,
                client=self.tls_client,
                from_target=False,
            )
        )
        self.line = await stack.enter_async_context(Line(self.inward.url, self.tls_client))
        self.around.register(
            {
                MUNICIPALITY.key: _authority_of(self.outward.url),
                CLINIC.key: _authority_of(self.inward.url),
            }
        )
        self._client = await stack.enter_async_context(NodeClient(NodeAddress.load(ours.store)))
        self._outcomes = ours.inbox / "outcomes"

    def _configure(self, ours: NodePlan, kit: NodePlan) -> Configuration:
        """The configuration of the demo, with the kit as a partner and with short waits.

        The partner has no GLN: who is behind it is looked up at the publisher, as for any other.
        """
        self.around.scenery.write_config(
            ours,
            network=self.around.addresses(),
            listen={"as4": f"{LOOPBACK}:0", "api": f"{LOOPBACK}:0"},
            links={},
            give_up_after="24 h",
            acknowledge="off",
        )
        made = load(ours.config, {})
        partner = Partner.model_validate(
            {
                "url": self.outward.url,
                "certificate": str(kit.certificate),
                # The mode ONEWAY_ONLY_SIGN of the test service has no encryption.
                "quirks": (Quirk.UNENCRYPTED,),
            },
            context={"base": kit.directory},
        )
        sending = made.sending.model_copy(update={"retry": RETRY, "timeout": timedelta(seconds=3)})
        return made.model_copy(update={"partners": {kit.name: partner}, "sending": sending})

    # What a case asks for

    @property
    def author(self) -> Author:
        """The kit's access point, writing to the node."""
        return self._author

    @property
    def signer(self) -> x509.Certificate:
        """The node's certificate."""
        return self._author.recipient

    @property
    def endpoint(self) -> str:
        """The node's own door, without the interceptor."""
        return f"https://{self.node.addresses['as4']}/as4"

    def tls_context(self) -> ssl.SSLContext:
        """A context with the kit's certificate."""
        return self._new_context()

    @asynccontextmanager
    async def reconfigured(self, tls: Tls) -> AsyncIterator[str]:
        """A second door of the node, as it would be with this table in its configuration."""
        files = self.node.keystore.tls
        context = server_context(
            files.certificate_file,
            files.key_file,
            self.node.tls_anchors,
            settings=tls.settings(),
        )
        application = web.Application()
        application.router.add_post("/as4", self.node.as4.handle)
        listeners = Listeners()
        try:
            yield await listeners.start(application, tls=context) + "/as4"
        finally:
            await listeners.stop()

    async def stranger(self, which: Stranger) -> Author:
        """A sender certified by the network's authority, or by nobody."""
        if self._strangers is None:
            self._strangers = await asyncio.to_thread(
                lambda: Strangers(
                    self.around.scenery.authority, at=self.node.clock.now() - _BACKDATED
                )
            )
        return self._strangers.author(which, self._author)

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Published]:
        """The publisher of our network, with something of every kind to ask for."""
        if self._publishers is None:
            self._publishers = await asyncio.to_thread(
                make_signers, self.around.scenery.authority, self.node.clock.now()
            )
        async with our_publisher(*self._publishers) as published:
            yield published

    async def send(self, request: Request, recorder: Recorder, label: str = "message") -> Message:
        """Send a message to the node."""
        self._begin(recorder)
        return await self.line.send(request, recorder, label)

    def open(self, message: Message) -> Sequence[bytes]:
        """Open with the kit's key."""
        return open_payloads(message, self._decrypter, self._author.recipient)

    async def deliveries(self, message_id: str, recorder: Recorder) -> Sequence[Delivery]:
        """What the test service was delivered; one that is on its way is waited for."""
        await self.service.wait(
            lambda: self.service.deliveries(message_id), seconds=_SETTLE_SECONDS
        )
        return self.service.deliveries(message_id)

    async def notices(self, message_id: str, recorder: Recorder) -> Sequence[Notice]:
        """What the test service was told."""
        await self.service.wait(lambda: self.service.notices(message_id), seconds=_SETTLE_SECONDS)
        return self.service.notices(message_id)

    async def submit(self, draft: Draft, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """Submit as the test service does, and wait for the notice of the end."""
        self._begin(recorder)
        self.outward.begin(recorder, script)
        await self.service.submit(draft, self._author.party.value, recorder)
        await self.service.wait(
            lambda: self.service.notices(draft.message_id), seconds=_END_SECONDS
        )
        told = self.service.notices(draft.message_id)
        return Sent(draft.message_id, tuple(self.outward.requests), tuple(told))

    async def send_business(self, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """Have the node send a MedCom message by its ordinary way, and wait for its outcome at the backend."""
        self._begin(recorder)
        self.outward.begin(recorder, script)
        accepted = await self._client.submit(_home_care_observation(), to=None)
        outcome = await self._outcome(str(accepted["message_identifier"]))
        notices: tuple[Notice, ...] = ()
        if outcome:
            text = json.dumps(outcome, indent=1).encode()
            recorder.received("outcome told to the backend", "application/json", text)
            code = (outcome["error"] or {}).get("code", "")
            notices = (Notice(outcome["message_id"], "Error" if code else "Receipt", code),)
        requests = tuple(self.outward.requests)
        return Sent(outcome.get("message_id", ""), requests, notices)

    async def _outcome(self, message_identifier: str) -> dict[str, Any]:
        async with asyncio.timeout(_END_SECONDS):
            while True:
                for path in self._outcomes.glob(f"{message_identifier}.*.json"):
                    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                    return told
                await asyncio.sleep(0.02)

    def _begin(self, recorder: Recorder) -> None:
        self.service.recorder = recorder
        self.service.accepts = True


def _authority_of(url: str) -> str:
    return url.removeprefix("https://").removesuffix("/as4")


def _home_care_observation() -> bytes:
    """A synthetic MedCom message from the node's organisation to the kit's."""
    ids = SystemIds(SystemClock())

    def organisation(of: Any) -> fhir.Organization:
        return fhir.Organization(gln=of.address.gln, sor=of.address.sor, name=of.address.name)

    facts = SampleFacts(
        ids.uuid(),
        ids.uuid(),
        organisation(CLINIC),
        organisation(MUNICIPALITY),
        at=SystemClock().now(),
    )
    return fhir.serialize(build_home_care_observation(facts), "json")
