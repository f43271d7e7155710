"""The judge of hostile messages: what a refused message must have left behind, and that its twin is welcome.

Nine things hold for every refused message, whatever was wrong with it:

1. the gate and the reason, in the one log event and in the one row of `refusals`;
2. the HTTP status, and the ebMS code in a signal that is signed exactly when the sender was authenticated;
3. nothing stored: no row in any other table, no file in the payload directory;
4. the backend was not called;
5. the answer is no receipt and repeats nothing that a stranger wrote;
6. one log event, one line, without a patient number or a piece of the message;
7. little work: processor time and memory;
8. the refusal record knows size and sender, and the certificate only where it was authenticated;
9. the message without the attack is accepted right afterwards, and its receipt verifies.
"""

import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from as4_peer import Client, HttpAnswer, Server, SignedBy, verify_receipt
from as4_stage import LogLines, Node, Pki
from as4_wire import Author, Wire, as_json, leaks
from cpu_time import cpu_time
from cryptography import x509

from envelope.codes import CODES, Severity
from envelope.pmode import EDELIVERY_1_15, SecurityPolicy
from envelope.verified import ParsedSignal
from envelope.wsse import authenticate_signal

CPU_SECONDS = 0.2
MEMORY_KIB = 32 * 1024
BARE_BODY = b"The request is not accepted.\n"

Attack = Wire | Callable[[], Awaitable[HttpAnswer]]


_OWN = frozenset({"refusals", "nodes"})
"""The tables in which a refusal may be seen, or the node itself."""


@dataclass(frozen=True)
class Verdict:
    """The refusal that is expected; `code` None means a bare HTTP status, `signed` None follows from the gate."""

    gate: str
    reason: str
    code: str | None = None
    status: int = 200
    signed: bool | None = None

    @property
    def authenticated(self) -> bool:
        """Whether the sender was known when the message was refused (decision D3)."""
        return int(self.gate[1:]) > 6 if self.signed is None else self.signed


@dataclass(frozen=True)
class Refused:
    """One refusal that held all nine things, with what it cost."""

    gate: str
    reason: str
    answer: str
    cpu_ms: float
    memory_kib: int


refused: list[Refused] = []
"""What was refused as expected, for whoever gathers it (`tests/hostile/claims.py`), who also empties it."""

accepted: list[str] = []
"""The ids of messages that were welcome, likewise."""


@dataclass(frozen=True)
class _Before:
    counts: dict[str, int]
    files: set[str]
    delivered: set[str]
    log: int
    memory: int


@dataclass
class Arena:
    """The clinic's access point under attack by whoever has the municipality's keys, or says so."""

    pki: Pki
    node: Node
    client: Client
    log: LogLines
    municipality: Server

    @property
    def author(self) -> Author:
        """The municipality's access point, as it should be."""
        return Author(self.pki.municipality.signer(), self.node.certificate)

    @property
    def certificate(self) -> x509.Certificate:
        """What the clinic signs its answers with."""
        return self.node.certificate

    @property
    def policy(self) -> SecurityPolicy:
        """What the clinic's answers are held to."""
        return EDELIVERY_1_15

    async def refuses(self, attack: Attack, verdict: Verdict, *, twin: Wire) -> HttpAnswer:
        """Post the attack, hold all nine things, and have the twin accepted."""
        await self.node.idle()
        before = await self._look()
        with cpu_time() as spent:
            answer = await (self.client.post(attack) if isinstance(attack, Wire) else attack())
        after = await self._look()

        await self._check_record(before, verdict, attack)
        self._check_answer(answer, verdict, attack)
        # The heartbeat of the node writes when its time comes, whatever is refused.
        assert {name: rows for name, rows in after.counts.items() if name not in _OWN} == {
            name: rows for name, rows in before.counts.items() if name not in _OWN
        }, "a refused message left rows"
        assert after.files == before.files, "a refused message left files"
        assert after.delivered == before.delivered, "a refused message reached the backend"
        assert spent.seconds <= CPU_SECONDS, (
            f"refusing took {spent.seconds * 1000:.0f} ms of processor time"
        )
        memory = after.memory - before.memory
        assert memory <= MEMORY_KIB, "refusing took too much memory"
        said = verdict.code or f"HTTP {verdict.status}"
        refused.append(Refused(verdict.gate, verdict.reason, said, spent.seconds * 1000, memory))
        await self.accepts(twin)
        return answer

    async def accepts(self, wire: Wire) -> HttpAnswer:
        """Post a message that must be accepted: its receipt verifies and it reaches the backend once."""
        answer = await self.client.post(wire)
        assert answer.status == 200, answer
        verify_receipt(answer, wire, self.certificate, policy=self.policy)
        assert (await self.node.message(wire.message_id))["direction"] == "in"
        await self.node.idle()
        assert (await self.node.message(wire.message_id))["state"] == "DELIVERED"
        if wire.message_identifier:
            assert f"{wire.message_identifier}.json" in self.node.delivered()
        accepted.append(wire.message_id)
        return answer

    async def below_http(self, request: bytes, *, drip: bytes = b"") -> HttpAnswer:
        """Post octets of any kind on a connection of their own; the plain refusal that comes back, once recorded."""
        answer = await self.client.post_raw(request, drip=drip)
        await self.node.point.as4.settle()
        head, _, body = answer.partition(b"\r\n\r\n")
        return HttpAnswer(int(head.split()[1]), "", body, head)

    async def _look(self) -> _Before:
        return _Before(
            counts=await self.node.counts(),
            files=self.node.files(),
            delivered=self.node.delivered(),
            log=self.log.mark,
            memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )

    async def _check_record(self, before: _Before, verdict: Verdict, attack: Attack) -> None:
        text = self.log.text[before.log :]
        events = self.log.since(before.log)
        assert [event["event"] for event in events] == ["as4.in.refused"], events
        (event,) = events
        assert (event["stage"], event["reason"], event["code"]) == (
            verdict.gate,
            verdict.reason,
            verdict.code,
        ), event
        for leak in leaks():
            assert leak not in text, f"the log holds a piece of the message: {as_json(event)}"
        rows = await self.node.rows("SELECT * FROM refusals ORDER BY seq DESC LIMIT 1")
        assert (await self.node.counts())["refusals"] == before.counts["refusals"] + 1
        row = rows[0]
        assert (row["gate"], row["reason"], row["code"]) == (
            verdict.gate,
            verdict.reason,
            verdict.code,
        )
        assert row["peer"] == "127.0.0.1"
        assert (row["certificate"] is not None) == verdict.authenticated
        if isinstance(attack, Wire):
            assert 0 <= row["input_bytes"] <= len(attack.body)

    def _check_answer(self, answer: HttpAnswer, verdict: Verdict, attack: Attack) -> None:
        assert b":Receipt" not in answer.body, "a refused message got a receipt"
        for leak in leaks():
            assert leak.encode() not in answer.body
        if verdict.code is None:
            assert (answer.status, answer.body) == (verdict.status, BARE_BODY), answer
            return
        assert answer.status == 200, answer
        document, signal = answer.signal()
        assert signal.receipt is None
        (error,) = signal.errors
        row = CODES[verdict.code]
        assert (error.code, error.severity, error.description) == (
            verdict.code,
            Severity.FAILURE,
            row.description,
        )
        if verdict.authenticated:
            authenticate_signal(
                ParsedSignal.read(document),
                policy=self.policy,
                check=SignedBy(self.certificate),
                party=None,
            )
            if isinstance(attack, Wire):
                assert signal.ref_to_message_id == attack.message_id
        else:
            assert document.security is None, "a signature was made for a stranger"
            assert signal.ref_to_message_id is None
            if isinstance(attack, Wire):
                assert attack.message_id.encode() not in answer.body
