"""What each step of one push costs, beside the unavoidable part of it, measured one step at a time in one process.

Every step runs on real material with the functions that the access point itself calls. The two HTTP steps
run in two threads, each on its own CPU clock. What the stages leave out (tasks, wake-ups, look-ups
between the steps) is the difference to the measured push.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from load_floor import Floor, cpu_milliseconds, measure
from load_scene import Side, make_sides, new_envelope
from rich.table import Table

from accesspoint.as4.client import As4Client, HttpAnswer
from accesspoint.clock import SystemClock, timestamp, to_microseconds
from accesspoint.discovery.directory import Endpoint
from accesspoint.identity import Identity
from accesspoint.ids import SystemIds
from accesspoint.outbound.answers import Verdict, judge
from accesspoint.outbound.packing import Request, build_request, build_wire
from accesspoint.outbound.submit import Submit
from accesspoint.stations.document import Envelope, Stored
from accesspoint.stations.reporting import Reporter
from accesspoint.stations.sbd_file import stored
from accesspoint.store.database import Database, Row, Transaction, sqlite_url
from accesspoint.store.evidence import Wire, record_duplicate_key, record_receipt, record_wire
from accesspoint.store.messages import advance, claim_due
from accesspoint.store.payloads import PayloadStore
from accesspoint.trust import MessageTrust, common_name
from envelope import soap, wsse
from envelope.compression import Compressor, Decompressor
from envelope.limits import DEFAULT_LIMITS
from envelope.mime import MultipartParser, parse_content_type
from envelope.parts import PartOpener, verify_parts
from envelope.pmode import DOMIBUS_LIKE
from envelope.receipts import build_receipt
from envelope.sbd_splitter import SbdSplitter
from envelope.soap import MEDIA_TYPE
from envelope.verified import ParsedUserMessage, VerifiedUserMessage
from envelope.wsse import WireIds
from envelope.xml import scan
from envelope.xmlenc import GcmEncryption, wrap_content_key
from keys.certificate import der
from keys.path import Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.store import KeyStore, load_certificate_files
from keys.tls import client_context, server_context
from keys.trust import Purpose, TrustStore

LEASE: Final = timedelta(minutes=5)
_MODE: Final = DOMIBUS_LIKE


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: CPU milliseconds, and how much of them nobody can do without."""

    side: str
    name: str
    cost: float
    floor: float


@dataclass(slots=True)
class Bench:
    """Collects stages; each is run once unmeasured, then `repeat` times."""

    repeat: int
    stages: list[Stage]

    def step(
        self, side: str, name: str, operation: Callable[[], Any], *, floor: float = 0.0
    ) -> Any:
        """Time one synchronous step and return what it gave."""
        result = operation()
        self.add(side, name, cpu_milliseconds(operation, self.repeat), floor)
        return result

    async def wait(self, side: str, name: str, operation: Callable[[], Awaitable[object]]) -> None:
        """Time one step that awaits."""
        await operation()
        began = time.process_time()
        for _ in range(self.repeat):
            await operation()
        self.add(side, name, (time.process_time() - began) / self.repeat * 1000)

    def add(self, side: str, name: str, cost: float, floor: float = 0.0) -> None:
        """Keep one stage."""
        self.stages.append(Stage(side, name, cost, floor))


class Point:
    """The parts of one access point, without its workers: stores, keys, trust."""

    def __init__(self, side: Side, other: Side, database: Database) -> None:
        self.side = side
        self.database = database
        self.clock = SystemClock()
        self.ids = SystemIds(self.clock)
        self.payloads = PayloadStore(side.directory / "payloads")
        self.keys = KeyStore.load(side.directory / "keys")
        signer = self.keys.signing
        self.identity = Identity(signer, self.keys.decryption, common_name(signer.certificate))
        base = side.directory.parent
        trust = TrustStore(
            Purpose.MESSAGE,
            load_certificate_files([base / "anchors.pem"]),
            load_certificate_files([base / "intermediates.pem"]),
        )
        partner = load_certificate_files([other.certificate])
        self.trust = MessageTrust(
            Validator(trust, revocation=RevocationPolicy(RevocationMode.OFF, "load measurement")),
            clock=self.clock,
            partners={common_name(partner[0]): partner},
        )
        self.reporter = Reporter(clock=self.clock, outbox=None, device_ids={}, together=False)


async def measure_stages(base: Path, *, key_bits: int, repeat: int) -> list[Stage]:
    """Every step of one push, in order."""
    one, two = make_sides(base, key_bits=key_bits)
    async with AsyncExitStack() as stack:
        points = []
        for side, other in ((one, two), (two, one)):
            database = await Database.open(sqlite_url(side.directory / "accesspoint.db"))
            stack.push_async_callback(database.close)
            points.append(Point(side, other, database))
            stack.callback(points[-1].payloads.close)
        key = points[0].keys.signing.private_key
        assert isinstance(key, rsa.RSAPrivateKey)
        bench = Bench(repeat, [])
        push = Push(bench, points[0], points[1], measure(key, new_envelope(1)[1], repeat=repeat))
        row, wire, request = await push.send()
        body = b"".join([chunk async for chunk in request.body])
        verified, receipt = push.receive(request.content_type, body)
        await push.store(verified, receipt)
        await push.conclude(row, wire, receipt)
        await push.carry(request.content_type, body, receipt)
    return bench.stages


class Push:
    """The steps of one push."""

    def __init__(self, bench: Bench, sender: Point, receiver: Point, floor: Floor) -> None:
        self.bench, self.sender, self.receiver, self.floor = bench, sender, receiver, floor
        self.header, self.data = new_envelope(1)
        self.document: Stored
        self.rows: list[Row] = []

    async def send(self) -> tuple[Row, Wire, Request]:
        """From the envelope's bytes to the request: accepted, claimed, sealed, signed, stored."""
        bench, floor, point = self.bench, self.floor, self.sender
        submit = Submit(
            payloads=point.payloads, reporter=point.reporter, clock=point.clock, ids=point.ids,
            domain="sender.accesspoint.invalid",
        )  # fmt: skip

        def file() -> Stored:
            with point.payloads.create() as writer:
                writer.write(self.data)
                return stored(writer.finish())

        self.document = bench.step("sender", "payload file, durable", file)

        async def accept() -> None:
            identifier = self.header.scope("MESSAGEIDENTIFIER") or ""
            commit = await submit.take_envelope(Envelope(identifier, self.document, self.header))

            async def work(tx: Transaction) -> None:
                await commit.work(tx)

            await point.database.run(work)

        async def claim() -> None:
            self.rows += await point.database.run(
                lambda tx: claim_due(
                    tx, direction="out", states=("ACCEPTED",), now=point.clock.now(), limit=1, owner="load",
                    lease=LEASE,
                )
            )  # fmt: skip

        await bench.wait("sender", "commit: accepted", accept)
        await bench.wait("sender", "commit: claimed", claim)
        row = self.rows[0]
        certificate = load_certificate_files([self.receiver.side.certificate])[0]
        compressed = bench.step("sender", "gzip", lambda: _compress(self.data), floor=floor.gzip)
        bench.step(
            "sender", "digests of payload and part",
            lambda: (hashlib.sha256(self.data).digest(), hashlib.sha256(compressed).digest()), floor=floor.digest,
        )  # fmt: skip
        bench.step(
            "sender", "encrypt", lambda: GcmEncryption(bytes(16), bytes(12)).update(compressed), floor=floor.encrypt
        )  # fmt: skip
        bench.step(
            "sender", "wrap key", lambda: wrap_content_key(bytes(16), certificate), floor=floor.wrap
        )
        endpoint = Endpoint("", "", "", "https://localhost/as4", der(certificate), "", None)

        def build() -> Wire:
            return build_wire(
                row, mode=_MODE, endpoint=endpoint, partner=common_name(certificate),
                signed_at=timestamp(point.clock.now()), identity=point.identity, payloads=point.payloads,
                ids=point.ids,
            )  # fmt: skip

        parts = sum(stage.cost for stage in bench.stages[-4:])
        wire: Wire = bench.step("sender", "build and sign, part kept", build, floor=floor.sign)
        whole = bench.stages.pop()
        bench.add("sender", whole.name, whole.cost - parts, whole.floor)
        rows = iter(self.rows[1:])

        async def ready() -> None:
            one = next(rows, row)

            async def work(tx: Transaction) -> None:
                await record_wire(tx, one["id"], wire)
                await advance(
                    tx, one, ["RESOLVED", "READY", "SENDING"], at=point.clock.now(), fenced=True,
                    columns={"lease_owner": "load", "lease_until": to_microseconds(point.clock.now() + LEASE)},
                )  # fmt: skip

            await point.database.run(work)

        await bench.wait("sender", "commit: image stored, sending", ready)
        request: Request = bench.step(
            "sender", "MIME written", lambda: build_request(row, wire, point.payloads)
        )
        return row, wire, request

    def receive(self, content_type: str, body: bytes) -> tuple[VerifiedUserMessage, bytes]:
        """From the request's bytes to the receipt, through every gate."""
        bench, floor, point = self.bench, self.floor, self.receiver

        def parse_mime() -> list[Any]:
            parser = MultipartParser(parse_content_type(content_type))
            return [*parser.feed(body), *parser.close()]

        events = bench.step("receiver", "MIME parsed", parse_mime)
        octets = [bytes(event.data) for event in events if hasattr(event, "data")]
        parsed: ParsedUserMessage = bench.step(
            "receiver",
            "scan and parse",
            lambda: ParsedUserMessage.read(soap.parse_soap(scan(octets[0]))),
        )
        authenticated = bench.step(
            "receiver", "authenticate",
            lambda: wsse.authenticate(parsed, policy=_MODE.policy, check=point.trust), floor=floor.verify,
        )  # fmt: skip
        decrypted = bench.step(
            "receiver", "unwrap key", lambda: wsse.decrypt_key(authenticated, point.identity.decrypter),
            floor=floor.unwrap,
        )  # fmt: skip
        content_id = authenticated.user_message.parts[0].content_id

        def open_part() -> tuple[bytes, VerifiedUserMessage]:
            opener = PartOpener(decrypted, content_id)
            compressed = b"".join(map(opener.update, octets[1:]))
            return compressed, verify_parts(decrypted, [opener.finish()])

        compressed, verified = bench.step(
            "receiver", "decrypt and digest", open_part, floor=floor.decrypt + floor.digest
        )

        def inflate() -> None:
            splitter = SbdSplitter(DEFAULT_LIMITS, decode=False)
            decompressor = Decompressor(DEFAULT_LIMITS)
            for piece in decompressor.decompress(compressed):
                splitter.feed(piece)
            decompressor.finish()
            splitter.finish()

        bench.step("receiver", "inflate, business header", inflate, floor=floor.inflate)

        def file() -> Stored:
            with point.payloads.create() as writer:
                writer.write(self.data)
                return stored(writer.finish())

        bench.step("receiver", "payload file, durable", file)
        receipt = bench.step(
            "receiver", "build receipt",
            lambda: build_receipt(
                verified, message_id=point.ids.message_id("receiver.invalid"),
                timestamp=timestamp(point.clock.now()), signer=point.identity.signer, suite=_MODE.suite,
                ids=WireIds.new(point.ids.uuid()),
            ), floor=floor.sign,
        )  # fmt: skip
        return verified, receipt

    async def store(self, verified: VerifiedUserMessage, receipt: bytes) -> None:
        """What the receiver commits before the receipt leaves."""
        point = self.receiver
        submit = Submit(
            payloads=point.payloads, reporter=point.reporter, clock=point.clock, ids=point.ids, domain="x.invalid"
        )  # fmt: skip

        async def accept() -> None:
            # The rows of an inbound message are those of an outbound one; duplicate key and receipt come with it.
            commit = await submit.take_envelope(Envelope("", self.document, self.header))
            found: list[Row] = []

            async def work(tx: Transaction) -> None:
                await commit.work(tx)
                found.extend(await tx.fetch("SELECT id FROM messages ORDER BY id DESC LIMIT 1"))
                now = point.clock.now()
                await record_duplicate_key(
                    tx, party="sender", message_id=point.ids.uuid(), references=verified.references,
                    message=found[0]["id"], at=now,
                )  # fmt: skip
                await record_receipt(tx, found[0]["id"], receipt, signer="", at=now)

            await point.database.run(work)

        await self.bench.wait("receiver", "commit: received", accept)

    async def conclude(self, row: Row, wire: Wire, receipt: bytes) -> None:
        """The sender verifies the receipt and stores it."""
        point = self.sender
        endpoint = der(load_certificate_files([self.receiver.side.certificate])[0])
        answer = HttpAnswer(200, MEDIA_TYPE, receipt)
        verdict: Verdict = self.bench.step(
            "sender", "verify receipt",
            lambda: judge(answer, message_id=row["message_id"], wire=wire, mode=_MODE,
                          check=point.trust.pinned(endpoint)), floor=self.floor.verify,
        )  # fmt: skip
        rows = iter(self.rows)

        async def acknowledged() -> None:
            one = next(rows)

            async def work(tx: Transaction) -> None:
                now = point.clock.now()
                await advance(tx, {**one, "state": "SENDING"}, "ACKNOWLEDGED", at=now)
                await record_receipt(tx, one["id"], receipt, signer=verdict.signer, at=now)

            await point.database.run(work)

        await self.bench.wait("sender", "commit: acknowledged", acknowledged)

    async def carry(self, content_type: str, body: bytes, receipt: bytes) -> None:
        """The request and the answer over a kept-alive mutual TLS connection: client here, server in a thread."""
        files, other = self.sender.keys.tls, self.receiver.keys.tls
        anchors = load_certificate_files(
            [
                self.sender.side.directory.parent / name
                for name in ("anchors.pem", "intermediates.pem")
            ]
        )
        server = _Server(server_context(other.certificate_file, other.key_file, anchors), receipt)
        port = await asyncio.to_thread(server.begin)
        tls = client_context(files.certificate_file, files.key_file, anchors)
        async with As4Client(tls) as client:

            async def post() -> None:
                await client.post(
                    f"https://localhost:{port}/as4", content_type=content_type, content_length=len(body), body=body
                )  # fmt: skip

            for _ in range(4):
                await post()
            client_began, server_began = time.thread_time(), server.cpu()
            for _ in range(self.bench.repeat):
                await post()
            client_cpu, server_cpu = time.thread_time() - client_began, server.cpu() - server_began
        await asyncio.to_thread(server.end)
        self.bench.add("sender", "HTTP and TLS, client", client_cpu / self.bench.repeat * 1000)
        self.bench.add("receiver", "HTTP and TLS, server", server_cpu / self.bench.repeat * 1000)


class _Server:
    """A bare server in a thread of its own that reads a body and answers with a receipt."""

    def __init__(self, tls: Any, receipt: bytes) -> None:
        self._tls, self._receipt = tls, receipt
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def begin(self) -> int:
        """Start listening; the port."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def cpu(self) -> float:
        """CPU seconds of the server's thread so far."""
        return asyncio.run_coroutine_threadsafe(_thread_time(), self._loop).result(10)

    def end(self) -> None:
        """Stop."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> int:
        app = web.Application()
        app.router.add_post("/as4", self._answer)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        return int(self._runner.addresses[0][1])

    async def _answer(self, request: web.Request) -> web.Response:
        while await request.content.read(64 * 1024):
            pass
        return web.Response(body=self._receipt, headers={"Content-Type": MEDIA_TYPE})


async def _thread_time() -> float:
    return time.thread_time()


def _compress(data: bytes) -> bytes:
    compressor = Compressor()
    return compressor.compress(data) + compressor.finish()


def show(stages: list[Stage], *, key_bits: int) -> Table:
    """The table of the steps, each beside its floor."""
    table = Table(title=f"CPU ms of each step of one push, RSA-{key_bits}, measured alone")
    table.add_column("side")
    table.add_column("step")
    for name in ("cost", "floor", "over"):
        table.add_column(name, justify="right")
    for stage in sorted(stages, key=lambda one: one.side, reverse=True):
        over = stage.cost - stage.floor
        table.add_row(
            stage.side, stage.name, f"{stage.cost:.3f}", f"{stage.floor:.3f}" if stage.floor else "", f"{over:.3f}"
        )  # fmt: skip
    cost, floor = sum(s.cost for s in stages), sum(s.floor for s in stages)
    table.add_section()
    table.add_row("both", "all steps", f"{cost:.3f}", f"{floor:.3f}", f"{cost - floor:.3f}")
    return table
