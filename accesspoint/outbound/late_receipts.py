"""A receipt that its signer posts to us as a request of its own, after the answer we waited for did not come.

A peer that answers asynchronously, or whose answer was lost on the way, may send the signed Receipt signal
to our endpoint. It passes the gates that a message passes before anything is looked up: form (G3, G4), one
signature over header and body by a certificate that leads to an anchor and is good now (G5, G6). Then it
must be the receipt of a message that we sent to this very certificate, and repeat every digest we signed
(G10). Who cannot show that changes nothing and learns nothing: for a message of somebody else the answer is
the one for a message that never was.

A verified receipt wins over everything that is not yet settled: an attempt in the air, a wait, and
UNCERTAIN. From RETRY_WAIT the way leads over UNCERTAIN in the same commit, because the attempts end here
and the arrival is what the receipt then proves. Where C1 was told meanwhile that it is uncertain, the receipt is
kept and shown, and C1 is told of it by an outcome of its own. An outcome that says the contrary stays: C1 never hears a
positive after a negative.

Spec: reliability section 2.2 (UNCERTAIN), point S18; decisions D1 and D4.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from accesspoint.clock import Clock
from accesspoint.identity import Agreements
from accesspoint.outbound.acknowledging import acknowledge
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.reporting import Reporter
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.evidence import Wire, find_receipt, find_wire
from accesspoint.store.messages import StateMoved, find_sent, list_history
from accesspoint.trust import MessageTrust, common_name
from envelope.errors import (
    CertificateRefused,
    Gate,
    InvalidReceipt,
    ProcessingModeMismatch,
)
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.pmode import Quirk
from envelope.receipts import match_receipt
from envelope.security_header import claimed_algorithm
from envelope.sending import State
from envelope.soap import parse_soap
from envelope.verified import AuthenticatedSignal, ParsedSignal
from envelope.wsse import authenticate_signal, find_signer
from envelope.xml import scan

PATHS: Final = {
    State.SENDING: [State.ACKNOWLEDGED],
    State.RETRY_WAIT: [State.UNCERTAIN, State.ACKNOWLEDGED],
    State.UNCERTAIN: [State.ACKNOWLEDGED],
}
"""The way from where a message may wait for its receipt."""
_TRIES: Final = 5
_log = structlog.get_logger("accesspoint.outbound")


@dataclass(frozen=True, slots=True)
class _Late:
    """A signed receipt of a certificate we trust; which message it is for is not looked up yet."""

    authenticated: AuthenticatedSignal
    party: str
    octets: bytes


class LateReceipts:
    """Takes receipts that come as requests."""

    def __init__(
        self,
        *,
        database: Database,
        agreements: Agreements,
        trust: MessageTrust,
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._database = database
        self._agreements = agreements
        self._trust = trust
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._limits = limits

    async def take(self, octets: bytes, identify: Callable[[str, str, str], None]) -> bool:
        """Take a complete SOAP envelope; False when it holds anything but one Receipt signal.

        `identify` is told the signal's MessageId, the party and the fingerprint of who signed, once that is known.
        For a message that has its receipt already nothing changes.

        Raises: RemoteProtocolError as for a message; InvalidReceipt for a message that is not ours, or not this
        signer's, or has another outcome, and for digests that are not those we signed.
        """
        late = self._authenticate(octets)
        if late is None:
            return False
        identify(late.authenticated.signal.message_id, late.party, late.authenticated.fingerprint)
        await self._settle(late)
        return True

    def _authenticate(self, octets: bytes) -> _Late | None:
        """G3 to G6."""
        boms = any(mode.policy.allows(Quirk.BYTE_ORDER_MARK) for mode in self._agreements.modes)
        document = parse_soap(scan(octets, self._limits, allow_bom=boms))
        if document.user_messages or len(document.signal_messages) != 1:
            return None
        parsed = ParsedSignal.read(document, self._limits)
        signal = parsed.signal
        if signal.receipt is None or signal.errors or signal.pull_request_mpc:
            return None
        # Whose policy is asked is the signature's claim; that it is true is what is then verified.
        party = common_name(find_signer(parsed, check=self._trust, limits=self._limits))
        policy = self._agreements.mode_for(party).spoken_by(claimed_algorithm(document)).policy
        authenticated = authenticate_signal(
            parsed, policy=policy, check=self._trust, party=None, limits=self._limits
        )
        if octets.startswith(codecs.BOM_UTF8) and not policy.allows(Quirk.BYTE_ORDER_MARK):
            raise ProcessingModeMismatch(
                f"not agreed with this partner: {Quirk.BYTE_ORDER_MARK}",
                reason="pmode.quirk",
                gate=Gate.G6,
            )
        return _Late(authenticated, party, octets)

    async def _settle(self, late: _Late) -> None:
        """G10 and G11: hold the receipt against the message it names, and store it."""
        for _ in range(_TRIES):
            row, wire = await self._find(late)
            match_receipt(
                late.authenticated, message_id=row["message_id"], expected=wire.references
            )
            if await self._database.read(lambda tx: find_receipt(tx, row["id"])) is not None:  # noqa: B023
                _log.info("receipt_repeated", message=row["id"])
                return None
            path = await self._path(row)
            try:
                return await self._bells.run(self._database, self._acknowledging(row, path, late))
            except StateMoved:
                continue
        raise StateMoved(f"message {row['id']} moves faster than its receipt can be stored")

    async def _find(self, late: _Late) -> tuple[Row, Wire]:
        """Our message and its image; both must be for the certificate that signed."""
        message_id = late.authenticated.signal.ref_to_message_id or ""

        async def look(tx: Transaction) -> tuple[Row | None, Wire | None]:
            row = await find_sent(tx, party=late.party, message_id=message_id)
            return row, None if row is None else await find_wire(tx, row["id"])

        row, wire = await self._database.read(look)
        if row is None or wire is None:
            raise InvalidReceipt("no message of ours waits for this receipt", reason="rcp.other")
        try:
            self._trust.pinned(wire.certificate).require(late.authenticated.certificate)
        except CertificateRefused:
            raise InvalidReceipt(
                "no message of ours waits for this receipt", reason="rcp.other"
            ) from None
        return row, wire

    async def _path(self, row: Row) -> list[State]:
        """The way to ACKNOWLEDGED; no step at all where C1 was told that it is uncertain."""
        state = State(row["state"])
        if state in PATHS:
            return PATHS[state]
        history = await self._database.read(lambda tx: list_history(tx, row["id"]))
        if state is State.NOTIFIED and history[-1]["from_state"] == State.UNCERTAIN:
            return []
        _log.error("receipt_after_other_outcome", message=row["id"], state=row["state"])
        raise InvalidReceipt("the message has another outcome", reason="rcp.settled")

    def _acknowledging(self, row: Row, path: list[State], late: _Late) -> Commit:
        async def work(tx: Transaction) -> None:
            await acknowledge(
                tx,
                row,
                [str(state) for state in path],
                receipt=late.octets,
                signer=late.authenticated.fingerprint,
                reporter=self._reporter,
                at=self._clock.now(),
                late=True,
            )

        return Commit(work, frozenset({Bell.OUTBOX, Bell.SENDER, Bell.BACKEND}))
