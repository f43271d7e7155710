"""A partner's access point as target, over the wire: what it answers is judged, what it delivers its owner must say.

It is described by a TOML file; names of files are relative to it.

    name = "region"                             how the report calls it
    url = "https://ap.region.example/as4"       its endpoint
    certificate = "region.pem"                  its message certificate: we encrypt for it, its receipts are held to it
    keys = "keys"                               our key directory, as of a node; the partner must trust it
    tls_anchors = ["anchors.pem"]               who certified its TLS server
    # agreed with the partner, with these defaults
    from_party = "our common name"              to_party = "its common name"
    party_type = "urn:oasis:names:tc:ebcore:partyid-type:unregistered"
    roles = ["...initiator", "...responder"]
    service = "http://www.esens.eu/as4/conformancetest"     service_type = ""      action = "SIMPLE_ONEWAY"
    only_sign_action = ""                       the action of a mode without encryption, if there is one
    original_sender = ""    final_recipient = ""    corner_type = ""
    payload = ""                                "sbdh": an EHMI node, which takes nothing but StandardBusinessDocuments
    listen = ""                                 where we wait for its messages, as host:port; without it they are
                                                judged from captures
    wait = "30 s"                               how long
    [publisher]                                 its service metadata publisher, where it has one that is to be judged
    url = "http://smp.region.example"
    participant = "iso6523-actorid-upis::0088:5790000000012"    document = "busdox-docid-qns::urn:dk:..."
    # of that participant a document that is redirected; others, to show what is compared how
    redirected = ""    schemeless = ""    sensitive_participant = ""    sensitive_document = ""
    hosts = []                                  as host:port, other publishers that it may lead us to; no other is asked
"""

import ssl
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self

from cryptography import x509
from pydantic import ValidationError, model_validator

from accesspoint.config import ConfigurationProblem, Finding
from accesspoint.config_values import Duration, Endpoint, FilePath, HttpsUrl, Table, Text, Url
from accesspoint.conformance.author import CONFORMANCE_SERVICE, Author, Draft, Request
from accesspoint.conformance.business_document import Route
from accesspoint.conformance.case import NotApplicable, Unmet, Waiting
from accesspoint.conformance.interceptor import Interceptor, Script, undisturbed
from accesspoint.conformance.line import Line
from accesspoint.conformance.reading import (
    Message,
    authenticate_message,
    open_payloads,
    read_header,
)
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.smp_rules import Published
from accesspoint.conformance.target import Sent, Target
from accesspoint.trust import common_name
from envelope import names
from envelope.errors import (
    EbmsError,
    FailedAuthentication,
    ProcessingModeMismatch,
    RemoteProtocolError,
)
from envelope.messaging import PartyId, Property, Service
from envelope.smp import SmpIdentifier
from keys.store import KeyStore, load_certificate_files
from keys.tls import client_context, server_context


class PublisherDescription(Table):
    """What a publisher is known to publish; identifiers are `scheme::value`, and empty where there is none."""

    url: Url
    participant: Text
    document: Text
    redirected: str = ""
    schemeless: str = ""
    sensitive_participant: str = ""
    sensitive_document: str = ""
    hosts: tuple[Endpoint, ...] = ()

    def published(self) -> Published:
        """The same for the rules."""
        return Published(
            self.url,
            _identifier(self.participant),
            _identifier(self.document),
            redirected=_known(self.redirected),
            schemeless=_known(self.schemeless),
            sensitive_participant=_known(self.sensitive_participant),
            sensitive_document=_known(self.sensitive_document),
            hosts=frozenset(str(one).lower() for one in self.hosts),
        )


def _identifier(text: str) -> SmpIdentifier:
    scheme, separator, value = text.partition("::")
    return SmpIdentifier(scheme or None, value) if separator else SmpIdentifier(None, text)


def _known(text: str) -> SmpIdentifier | None:
    return _identifier(text) if text else None


class Description(Table):
    """The file that describes a partner; see the module."""

    name: Text
    url: HttpsUrl
    certificate: FilePath
    keys: FilePath
    tls_anchors: tuple[FilePath, ...]
    from_party: Text | None = None
    to_party: Text | None = None
    party_type: str = names.PARTY_UNREGISTERED
    roles: tuple[Text, Text] = (names.EB_INITIATOR, names.EB_RESPONDER)
    service: Text = CONFORMANCE_SERVICE
    service_type: str = ""
    action: Text = "SIMPLE_ONEWAY"
    only_sign_action: str = ""
    original_sender: str = ""
    final_recipient: str = ""
    corner_type: str = ""
    payload: Literal["", "sbdh"] = ""
    listen: Endpoint | None = None
    wait: Duration = timedelta(seconds=30)
    publisher: PublisherDescription | None = None

    @model_validator(mode="after")
    def _names_a_route(self) -> Self:
        if self.route() is not None and self.listen is not None:
            # Service and action are those of business: what came here by mistake would get a receipt and be lost.
            raise ValueError(
                "listen is not for business documents: have the partner's messages recorded, and judge these"
            )
        return self

    def route(self) -> Route | None:
        """The way of the test documents, where the partner takes only such; raises ValueError."""
        if not self.payload:
            return None
        return Route.of(
            original_sender=self.original_sender,
            final_recipient=self.final_recipient,
            action=self.action,
        )

    @classmethod
    def load(cls, path: Path) -> "Description":
        """Read a file; raises ConfigurationProblem, or OSError."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls.model_validate(values, context={"base": path.parent})
        except UnicodeDecodeError:
            found = [Finding(path.name, "is not UTF-8")]
        except tomllib.TOMLDecodeError as error:
            found = [Finding(path.name, str(error))]
        except ValidationError as error:
            found = [
                Finding(path.name, f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}")
                for one in error.errors(include_input=False)
            ]
        raise ConfigurationProblem(tuple(found), again="accesspoint conformance run")


class PartnerTarget(Target):
    """An access point over the wire."""

    kind: ClassVar[str] = "a partner's access point"

    def __init__(self, description: Description) -> None:
        """Load keys and certificates; raises `KeysError`."""
        super().__init__(description.name)
        self._description = description
        keys = KeyStore.load(description.keys)
        recipient = load_certificate_files([description.certificate])[0]
        corners = {
            name: Property(name, value, description.corner_type or None)
            for name, value in (
                ("originalSender", description.original_sender),
                ("finalRecipient", description.final_recipient),
            )
            if value
        }
        kind = description.party_type or None
        self._author = Author(
            signer=keys.signing,
            party=PartyId(description.from_party or common_name(keys.signing.certificate), kind),
            recipient=recipient,
            to_party=PartyId(description.to_party or common_name(recipient), kind),
            roles=description.roles,
            four_corners=corners,
        )
        anchors = load_certificate_files(description.tls_anchors)
        pair = keys.tls.certificate_file, keys.tls.key_file
        self._new_context = partial(client_context, *pair, anchors)
        tls = self._new_context()
        self.line = Line(description.url, tls)
        self.inbox: Interceptor | None = None
        if description.listen is not None:
            self.inbox = Interceptor(
                self._answer, server=server_context(*pair, anchors), client=tls, from_target=True,
                refuse=self._refuse, listen=description.listen,
            )  # fmt: skip
        self._decrypter = keys.decryption
        self._seen: Message | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "PartnerTarget":
        """Open the line."""
        await self._stack.enter_async_context(self.line)
        if self.inbox is not None:
            await self._stack.enter_async_context(self.inbox)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the line."""
        await self._stack.aclose()

    @property
    def author(self) -> Author:
        """Our own keys, writing to the partner."""
        return self._author

    @property
    def signer(self) -> x509.Certificate:
        """The certificate that was agreed."""
        return self._author.recipient

    @property
    def endpoint(self) -> str:
        """The partner's address."""
        return self._description.url

    def tls_context(self) -> ssl.SSLContext:
        """A context with our certificate."""
        return self._new_context()

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Published]:
        """The publisher that its file describes."""
        if self._description.publisher is None:
            raise NotApplicable("the partner's file describes no publisher")
        yield self._description.publisher.published()

    async def send(self, request: Request, recorder: Recorder, label: str = "message") -> Message:
        """Send a message over the wire."""
        return await self.line.send(request, recorder, label)

    def open(self, message: Message) -> Sequence[bytes]:
        """Open with our key."""
        return open_payloads(message, self._decrypter, self._author.recipient)

    def _refuse(self, message: Message) -> Message | None:
        """Refuse a message of other business, such as one sent here by mistake; None for any other, even an unsound one."""
        try:
            info = read_header(message).collaboration_info
        except RemoteProtocolError:
            return None
        service, action = info.service, info.action
        agreed = self._description
        if (service.value, action) == (names.EB_TEST_SERVICE, names.EB_TEST_ACTION):
            return None
        actions = {agreed.action, agreed.only_sign_action} - {""}
        if (service.value, service.type or "") == (agreed.service, agreed.service_type) and (
            action in actions
        ):
            return None
        error = ProcessingModeMismatch("service and action are not those agreed for the run")
        return self._author.refusal(error)

    def _answer(self, message: Message) -> Message:
        """A receipt for what the partner signed and we can open, else an error: our keys vouch for nothing unread.

        Service and action were held against the agreement before, in the same header that the signature covers.
        """
        try:
            self.open(message)
            return self._author.receipt_for(authenticate_message(message, self.signer))
        except Unmet as unmet:
            cause = unmet.__cause__
            error = cause if isinstance(cause, EbmsError) else FailedAuthentication(str(unmet))
            return self._author.refusal(error)

    async def send_business(self, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """Wait for a message of the partner; one that came undisturbed serves every case that needs no other."""
        if self.inbox is None:
            return await super().send_business(recorder, script)
        if script is undisturbed and self._seen is not None:
            recorder.received("message", self._seen.content_type, self._seen.body)
            return Sent(self._seen.message_id, (self._seen,), None)
        self.inbox.begin(recorder, script)
        self.ask(f"have {self.name} send one message to {self.inbox.url}")
        wanted = 1 if script is undisturbed else 2
        await self.inbox.wait(wanted, seconds=self._description.wait.total_seconds())
        if not self.inbox.requests:
            raise Waiting(f"send one message to {self.inbox.url} while the case waits")
        if script is undisturbed:
            self._seen = self.inbox.requests[0]
        return Sent(self.inbox.requests[0].message_id, tuple(self.inbox.requests), None)

    def agreed(self, draft: Draft) -> Draft:
        """The draft under the service and the action that were agreed, unless it is a ping."""
        agreed = self._description
        if draft.service.value == names.EB_TEST_SERVICE:
            return draft
        if not draft.encrypt and not agreed.only_sign_action:
            raise NotApplicable("no mode without encryption is agreed with this partner")
        route = agreed.route()
        if route is not None:
            if len(draft.payloads) > 1:
                raise NotApplicable("a message of EHMI has one part, its StandardBusinessDocument")
            wrapped = [
                replace(one, content=route.wrap(one.content), mime_type="application/xml")
                for one in draft.payloads
            ]
            draft = replace(draft, payloads=wrapped)
        return replace(
            draft,
            service=Service(agreed.service, agreed.service_type or None),
            action=agreed.action if draft.encrypt else agreed.only_sign_action,
        )
