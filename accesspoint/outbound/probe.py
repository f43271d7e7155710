"""Walks the way to a partner hop by hop, as a message would go, and stops at the first that does not hold.

The hops are those of a message: look-up (the name server of the SML, the publisher, its signature), name, TCP, TLS
in both directions, the certificate to encrypt for, the agreement, and a ping of the test service whose receipt must
verify. Each says what it found and how long it took. The one that fails carries a problem of the catalogue, whose it
is, and the sentence to write to the partner; what lies behind it is not tried, since it would fail for the same cause.

Nothing is stored and nothing that a partner could take for business is sent.

Spec: decisions D3, D4, D14; eDelivery AS4 1.15 (test service); OASIS SMP 1.0.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from accesspoint.as4.client import As4Client
from accesspoint.clock import Clock
from accesspoint.discovery.directory import Directory, Endpoint, HopKind, LookupFailed
from accesspoint.generation import mode_towards
from accesspoint.identity import Agreements, Identity
from accesspoint.ids import Ids
from accesspoint.networks import AllowedNetworks, ForbiddenAddress
from accesspoint.outbound.ping import ping
from accesspoint.problems import Whose, certificate_problem, find_problem, refine
from accesspoint.trust import MessageTrust, common_name
from envelope.errors import CertificateRefused
from envelope.pmode import PMode
from keys.certificate import OCES_SYSTEM_POLICY, certificate_policies, describe, load_certificate
from keys.expiry import remaining
from keys.tls import harden, peer_certificate

_NAMES: Final = {
    HopKind.STATIC: "configuration",
    HopKind.CACHE: "cache",
    HopKind.SML: "SML",
    HopKind.SMP: "SMP",
    HopKind.REDIRECT: "SMP redirect",
    HopKind.SIGNATURE: "SMP signature",
}
_LETTERS: Final = {
    "lookup-no-participant": "{participant} has no record in the SML. Please have your publisher register it.",
    "lookup-no-endpoint": "Your publisher knows no valid endpoint of {participant} for {document}. Please register it.",
    "lookup-forbidden-network": "Your registration leads to an address outside the health network: {detail}. Please correct it.",
    "smp-signature": "The metadata of {participant} is not signed by a publisher that we trust: {detail}. Please ask it why.",
    "smp-refused": "The metadata of {participant} cannot be used: {detail}. Please have your publisher correct it.",
    "peer-unreachable": "We cannot connect to your access point: {detail}. Is it running at {url}, and are we let through?",
    "peer-timeout": "Your access point at {url} takes connections, but does not answer: {detail}. Please look whether it runs.",
    "peer-tls": "TLS with your access point at {url} fails: {detail}. Please compare certificate, authority, name and versions.",
    "peer-unavailable": "Your access point at {url} answers that it takes no messages now: {detail}. When will it again?",
    "peer-answer": "Your access point at {url} answers a message of the test service with something that is no AS4 signal: {detail}.",
    "peer-refused": "Your access point refuses our message {message_id} to the test service: {detail}. Your log has the reason.",
    "peer-refused-decryption": "Your access point cannot decrypt our message {message_id}: {detail}. Is the published certificate yours?",
    "peer-refused-signature": "Your access point does not accept our signature on message {message_id}: {detail}. Do you have our current certificate and its authority?",
    "receipt-invalid": "Your receipt for message {message_id} cannot be used: {detail}.",
    "receipt-signer": "Your receipt for message {message_id} is signed by another certificate than the one published: {detail}.",
    "receipt-digest": "Your receipt for message {message_id} does not repeat the digests that we signed: {detail}.",
    "certificate-unsuitable": "Your certificate may not be used for this: {detail}. Have you one of another kind?",
    "certificate-untrusted": "Your certificate leads to no authority that we trust, or may not be used for this: {detail}. Which one issued it?",
    "certificate-expired": "Your certificate is not valid now: {detail}. Please send us, or register, its successor.",
    "certificate-revoked": "Your certificate is revoked: {detail}. Please send us, or register, its successor.",
    "generation-not-agreed": "Our generations of eDelivery AS4 do not meet: {detail}. Which one do we agree on?",
}
_NOTHING_TO_WRITE: Final = ""
_REFUSAL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Step:
    """One hop: `problem` is its slug in the catalogue when it did not hold, `whose` whose turn it then is."""

    name: str
    detail: str
    milliseconds: float
    notes: tuple[str, ...] = ()
    problem: str | None = None
    whose: Whose | None = None
    letter: str = _NOTHING_TO_WRITE

    @property
    def holds(self) -> bool:
        """Whether the next hop is worth trying."""
        return self.problem is None


class _Broken(Exception):
    """A hop does not hold; `whose` overrides what the catalogue says in general."""

    def __init__(self, slug: str, detail: str, *, whose: Whose | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.whose = whose


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked up: a participant (`0088:` and GLN) with a document type and a process."""

    participant: str
    document_id: str
    process_id: str


class Probe:
    """One walk; `walk` gives the steps as they are taken."""

    def __init__(
        self,
        *,
        directory: Directory,
        networks: AllowedNetworks | None,
        tls: ssl.SSLContext,
        client: As4Client,
        identity: Identity,
        agreements: Agreements,
        trust: MessageTrust,
        clock: Clock,
        ids: Ids,
        domain: str,
        seconds: float = 10.0,
    ) -> None:
        """`networks` is where discovered addresses may be; `seconds` is how long each hop may take."""
        self._directory = directory
        self._networks = networks
        self._tls = tls
        self._client = client
        self._identity = identity
        self._agreements = agreements
        self._trust = trust
        self._clock = clock
        self._ids = ids
        self._domain = domain
        self._seconds = seconds
        self._facts: dict[str, str] = {}
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def walk(self, asked: Asked) -> list[Step]:
        """Take the hops in order; the last step is the one that does not hold, or the ping that was receipted."""
        self._facts = {"participant": asked.participant, "document": asked.document_id}
        steps, endpoint = await self._look_up(asked)
        if endpoint is None:
            return steps
        self._facts["url"] = endpoint.url
        parts = urlsplit(endpoint.url)
        host, port = parts.hostname or "", parts.port or 443
        addresses: list[str] = []
        mode: list[PMode] = []
        hops: list[tuple[str, Callable[[], Awaitable[tuple[str, tuple[str, ...]]]]]] = [
            ("name", lambda: self._resolve(host, port, addresses, endpoint)),
            ("TCP", lambda: self._connect(addresses, port)),
            ("TLS", lambda: self._shake_hands(addresses[0], host, port)),
            ("mutual TLS", self._be_taken),
            ("certificate", lambda: self._check_certificate(endpoint)),
            ("agreement", lambda: self._agree(endpoint, mode)),
            ("ping", lambda: self._ping(endpoint, mode[0])),
        ]
        for name, hop in hops:
            step = await self._take(name, hop)
            steps.append(step)
            if not step.holds:
                break
        return steps

    async def _look_up(self, asked: Asked) -> tuple[list[Step], Endpoint | None]:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                endpoint = await self._directory.find_endpoint(
                    asked.participant, asked.document_id, asked.process_id
                )
        except TimeoutError:
            silent = _Broken("lookup-unreachable", f"nothing within {self._seconds:.0f} s")
            return [self._broken(Step("look-up", "", self._since(started)), silent)], None
        except LookupFailed as failed:
            steps = [Step(_NAMES[hop.kind], hop.detail, hop.milliseconds) for hop in failed.hops]
            if not steps:
                steps = [Step("look-up", "", self._since(started))]
            broken = _Broken(str(failed.slug), failed.detail)
            return [*steps[:-1], self._broken(steps[-1], broken)], None
        return [
            Step(_NAMES[hop.kind], hop.detail, hop.milliseconds) for hop in endpoint.hops
        ], endpoint

    async def _take(
        self, name: str, hop: Callable[[], Awaitable[tuple[str, tuple[str, ...]]]]
    ) -> Step:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                detail, notes = await hop()
        except TimeoutError:
            # Until something answered there is nobody who could be slow.
            slug = "peer-unreachable" if name in {"name", "TCP"} else "peer-timeout"
            broken = _Broken(slug, f"nothing within {self._seconds:.0f} s")
        except _Broken as found:
            broken = found
        else:
            return Step(name, detail, self._since(started), notes)
        return self._broken(Step(name, broken.detail, self._since(started)), broken)

    def _broken(self, step: Step, broken: _Broken) -> Step:
        slug = refine(broken.slug, broken.detail)
        facts = {"detail": broken.detail, "url": "", "message_id": "", **self._facts}
        return replace(
            step,
            detail=broken.detail,
            problem=slug,
            whose=broken.whose or find_problem(slug).who,
            letter=_LETTERS.get(slug, _NOTHING_TO_WRITE).format(**facts),
        )

    def _since(self, started: float) -> float:
        return round((self._clock.monotonic() - started) * 1000, 1)

    async def _resolve(
        self, host: str, port: int, found: list[str], endpoint: Endpoint
    ) -> tuple[str, tuple[str, ...]]:
        try:
            answers = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except (socket.gaierror, UnicodeError) as error:
            # A name server that does not know the name speaks for the partner; one that is silent does not.
            unknown = isinstance(error, UnicodeError) or error.errno in (
                socket.EAI_NONAME,
                socket.EAI_NODATA,
            )
            raise _Broken(
                "peer-unreachable",
                f"the name {host} {'does not exist' if unknown else 'could not be resolved'}",
                whose=Whose.THEIRS if unknown else Whose.NETWORK,
            ) from error
        found += dict.fromkeys(str(answer[4][0]) for answer in answers)
        if self._networks is not None and endpoint.hops[0].kind is not HopKind.STATIC:
            try:
                for address in found:
                    self._networks.require(address)
            except ForbiddenAddress as error:
                raise _Broken("lookup-forbidden-network", f"{host} is {address}") from error
        return f"{host} is {', '.join(found)}", ()

    async def _connect(self, addresses: list[str], port: int) -> tuple[str, tuple[str, ...]]:
        """Find an address that takes connections, and put it first."""
        refused: list[str] = []
        whose: Whose | None = None
        for address in list(addresses):
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError as error:
                refused.append(f"{address}:{port} {_words(error)}")
                # Who refuses is there, and has nobody listening; silence may be anybody's.
                whose = Whose.THEIRS if isinstance(error, ConnectionRefusedError) else whose
                continue
            writer.close()
            addresses.remove(address)
            addresses.insert(0, address)
            return f"{address}:{port} takes connections", tuple(refused)
        raise _Broken("peer-unreachable", "; ".join(refused), whose=whose)

    async def _shake_hands(self, address: str, host: str, port: int) -> tuple[str, tuple[str, ...]]:
        try:
            self._connection = await self._open_tls(address, host, port, self._tls)
        except ssl.SSLCertVerificationError as error:
            shown = await self._shown(address, host, port)
            raise _Broken(
                "peer-tls", f"{error.verify_message}{shown}", whose=Whose.THEIRS
            ) from error
        except (OSError, EOFError) as error:
            raise _Broken("peer-tls", _words(error)) from error
        connection = self._connection[1].get_extra_info("ssl_object")
        certificate = peer_certificate(connection)
        suite = connection.cipher()[0]
        left = remaining(certificate, self._clock.now()).sentence
        return f"{connection.version()} with {suite}", (f"{describe(certificate)}; {left}",)

    async def _be_taken(self) -> tuple[str, tuple[str, ...]]:
        """Wait a moment: under TLS 1.3 our certificate is refused after the handshake; who takes it waits for us."""
        if self._connection is None:
            raise RuntimeError("there was no handshake")
        reader, writer = self._connection
        try:
            async with asyncio.timeout(_REFUSAL_SECONDS):
                ended = not await reader.read(1)
        except TimeoutError:
            ended = False
        except OSError as error:
            raise _Broken("peer-tls", f"after the handshake: {_words(error)}") from error
        finally:
            writer.close()
        if ended:
            raise _Broken("peer-tls", "the connection ends right after the handshake")
        return "our certificate is taken, or none is asked for", ()

    async def _open_tls(
        self, address: str, host: str, port: int, context: ssl.SSLContext
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            address,
            port,
            ssl=context,
            server_hostname=host,
            ssl_handshake_timeout=self._seconds,
        )

    async def _shown(self, address: str, host: str, port: int) -> str:
        """Whose certificate a server shows that we do not believe: to name it, nothing else is said to that server."""
        looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        harden(looking)
        looking.check_hostname = False
        looking.verify_mode = ssl.CERT_NONE
        try:
            _, writer = await self._open_tls(address, host, port, looking)
        except (OSError, EOFError):
            return ""
        certificate = peer_certificate(writer.get_extra_info("ssl_object"))
        writer.close()
        return f"; it shows {describe(certificate)}"

    async def _check_certificate(self, endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
        certificate = load_certificate(endpoint.certificate)
        try:
            evidence = self._trust.validate_recipient(endpoint.certificate)
            common_name(certificate)
        except CertificateRefused as refused:
            slug = certificate_problem(refused.reason)
            raise _Broken(slug, refused.detail) from refused
        policies = certificate_policies(certificate)
        revocation = "; ".join(dict.fromkeys(one.why for one in evidence.revocation))
        oces = "OCES3 system" if OCES_SYSTEM_POLICY in policies else "none of OCES3"
        notes = (
            f"path: {evidence.why}",
            f"key usage: allows {evidence.usage}",
            f"policy: {oces} ({', '.join(policies) or 'no policy'})",
            f"revocation: {revocation or 'not asked'}",
            f"end: {remaining(certificate, self._clock.now()).sentence}",
        )
        return describe(certificate), notes

    async def _agree(self, endpoint: Endpoint, found: list[PMode]) -> tuple[str, tuple[str, ...]]:
        certificate = load_certificate(endpoint.certificate)
        mode = self._agreements.mode_for(common_name(certificate))
        try:
            found.append(mode_towards(mode, endpoint, certificate))
        except LookupFailed as failed:
            raise _Broken(str(failed.slug), failed.detail) from failed
        return f"{mode.id}, eDelivery AS4 {found[0].generations[0]}", tuple(_quirks(mode))

    async def _ping(self, endpoint: Endpoint, mode: PMode) -> tuple[str, tuple[str, ...]]:
        try:
            came_to = await ping(
                endpoint.url, endpoint.certificate, identity=self._identity, mode=mode,
                trust=self._trust, client=self._client, clock=self._clock, ids=self._ids,
                domain=self._domain,
            )  # fmt: skip
        except CertificateRefused as refused:
            raise _Broken("certificate-untrusted", refused.detail) from refused
        self._facts["message_id"] = came_to.message_id
        if not came_to.answered:
            raise _Broken(came_to.verdict.problem or "peer-answer", came_to.verdict.detail)
        return "receipted, and the receipt verifies", (f"MessageId {came_to.message_id}",)


def _quirks(mode: PMode) -> Iterator[str]:
    if mode.policy.quirks:
        yield f"quirks: {', '.join(sorted(mode.policy.quirks))}"


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__
