"""What the kit can do with an access point under test; every kind of target can do some of it.

Three kinds: ourselves (`ourselves.py`: a throw-away node on loopback), a partner's access point over the wire
(`partner.py`), and a capture (`capture.py`: octets that somebody recorded). What a target cannot do it answers
with `NotApplicable`, where nobody could, or with `Waiting`, where the other side has to act.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from cryptography import x509

from accesspoint.config_trust import Tls
from accesspoint.conformance.author import Author, Draft, Request
from accesspoint.conformance.case import NotApplicable, Waiting, expect
from accesspoint.conformance.interceptor import Script, undisturbed
from accesspoint.conformance.reading import Message, expect_receipt
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.smp_rules import Published


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a consumer got: the facts and properties of the message by name, and its payloads."""

    properties: Mapping[str, str]
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a producer or a consumer was told: `kind` is `Receipt` or `Error`, `code` the ebMS code of an error."""

    message_id: str
    kind: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the target did with a message that it was to send: its requests as they came to the kit, and its notices."""

    message_id: str
    requests: Sequence[Message]
    known_notices: Sequence[Notice] | None = ()
    """What was told; None where only the other side knows."""

    @property
    def notices(self) -> Sequence[Notice]:
        """What was told; raises `Waiting` where only the other side knows."""
        if self.known_notices is None:
            raise Waiting(f"say what your application was told about message {self.message_id}")
        return self.known_notices

    @property
    def first(self) -> Message:
        """The first request; raises `Unmet` when there was none."""
        expect(self.requests, "a message", "none within the time")
        return self.requests[0]


_NO_SENDING: Final = (
    "have the access point send one message to the kit, record it, and run with --target FILE"
)


class Stranger(StrEnum):
    """Senders that are not configured at a target, by what is wrong with them; nothing is with the first."""

    WELCOME = "with a good certificate"
    UNCHAINED = "with a certificate of an unknown authority"
    WITHOUT_POLICY = "with a certificate without policy"
    IN_ANOTHER_NAME = "in another name"


class Target:
    """An access point under test; used as an asynchronous context."""

    kind: ClassVar[str]
    is_recorded: ClassVar[bool] = False
    """Whether its messages are what somebody happened to record, so that not each of them shows everything."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ask: Callable[[str], None] = lambda text: None
        """Tells a person what the other side has to do now."""

    async def __aenter__(self) -> "Target":
        """Have the target at hand."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of it."""

    @property
    def author(self) -> Author:
        """Who writes to the target; raises `NotApplicable` where nothing can be sent to it."""
        raise NotApplicable(f"nothing can be sent to {self.kind}")

    @property
    def signer(self) -> x509.Certificate | None:
        """The certificate that the target signs with; None where only its messages tell."""
        return None

    def agreed(self, draft: Draft) -> Draft:
        """The draft as it was agreed with the target; raises `NotApplicable` for what was not."""
        return draft

    async def send(self, request: Request, recorder: Recorder, label: str = "message") -> Message:
        """Send a finished message to the target and return its answer."""
        raise NotApplicable(f"nothing can be sent to {self.kind}")

    async def post(self, draft: Draft, recorder: Recorder, label: str = "message") -> Message:
        """Write a message, send it to the target and return its answer."""
        return await self.send(self.author.write(self.agreed(draft)), recorder, label)

    async def accepts(self, draft: Draft, recorder: Recorder, label: str = "message") -> str:
        """Send a message and hold the answer against what a receipt must be; raises `Unmet`."""
        request = self.author.write(self.agreed(draft))
        return self.receipted(request, await self.send(request, recorder, label))

    def receipted(self, request: Request, answer: Message) -> str:
        """Hold an answer against a receipt of the target for this message; raises `Unmet`."""
        return expect_receipt(
            answer,
            message_id=request.message_id,
            references=request.references,
            signer=self.author.recipient,
        )

    def open(self, message: Message) -> Sequence[bytes] | None:
        """The payloads of a message that the target sent, decrypted and proven; None where there is no key for it.

        Raises `Unmet` for one that does not open or whose digests differ.
        """
        return None

    async def deliveries(self, message_id: str, recorder: Recorder) -> Sequence[Delivery]:
        """What the consumer behind the target got of this message so far."""
        raise Waiting(f"say whether your consumer got message {message_id}, and what")

    async def notices(self, message_id: str, recorder: Recorder) -> Sequence[Notice]:
        """What producer and consumer behind the target were told about this message so far."""
        raise Waiting(f"say what your application was told about message {message_id}")

    async def submit(self, draft: Draft, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """Have the target send a message over a line with this script; returns when the target is done with it."""
        raise Waiting(_NO_SENDING)

    async def send_business(self, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """Have the target send one message of its daily work, whatever that is; as `submit`."""
        raise Waiting(_NO_SENDING)

    # What stands around it

    @property
    def endpoint(self) -> str:
        """The address of the target's own TLS server, nothing in between; raises `NotApplicable` without one."""
        raise NotApplicable(f"there is no connection to {self.kind}")

    def tls_context(self) -> ssl.SSLContext:
        """A new client context with which the target lets the kit in; raises `NotApplicable`."""
        raise NotApplicable(f"there is no connection to {self.kind}")

    def reconfigured(self, tls: Tls) -> AbstractAsyncContextManager[str]:
        """The address of the target's server when it is configured so; raises `Waiting` where somebody has to do that."""
        raise Waiting(
            "configure your server for TLS 1.3 alone, then for one suite of TLS 1.2, and try both"
        )

    async def stranger(self, which: Stranger) -> Author:
        """A sender that is not configured at the target; raises `NotApplicable` where none can be made."""
        raise NotApplicable(f"no certificate can be issued that {self.kind} would trust")

    def publisher(self) -> AbstractAsyncContextManager[Published]:
        """The publisher that belongs to the target, and what it is known to publish; raises `NotApplicable`."""
        raise NotApplicable(f"no publisher is known of {self.kind}")
