"""Sends what was sent before once more, as an attacker or a confused relay would: the same AS4 request on another TLS connection.

A proxy cannot repeat a request whose plain text it does not see. The sender's store holds the image of each
request, so the request is written again from there, octet for octet, and posted with the sender's own TLS
certificate. The answer must be the very receipt that the sender holds.
"""

import asyncio
from random import Random

import aiohttp
import apsw

from accesspoint.outbound.packing import build_request
from accesspoint.store.evidence import find_wire
from keys.store import load_certificate_files
from keys.tls import client_context
from tests.soak.pair import Node

EVERY_SECONDS = 0.5
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ANSWER_SECONDS = 10
_SENT = """
SELECT messages.*, receipts.body AS receipt FROM messages CROSS JOIN receipts ON receipts.message = messages.id
CROSS JOIN wires ON wires.message = messages.id
WHERE +messages.direction = 'out' AND +messages.state IN ('ACKNOWLEDGED', 'NOTIFIED') AND wires.part_octets IS NOT NULL
AND messages.id {where} ORDER BY messages.id {order} LIMIT 1
"""
"""Walks along the ids: the plus signs and CROSS keep SQLite from collecting all messages of a state and sorting them."""
_FROM = _SENT.format(where=">= ?", order="ASC")
_UP_TO = _SENT.format(where="<= ?", order="DESC")


class _Rows:
    """A reading transaction of a store that another process has: as much of one as a look-up needs."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    async def fetch_one(self, sql: str, *values: object) -> dict[str, object] | None:
        return self.one(sql.replace("$", "?"), *values)

    def one(self, sql: str, *values: object) -> dict[str, object] | None:
        cursor = self._database.execute(sql, values)
        for row in cursor:
            return dict(zip([column[0] for column in cursor.getdescription()], row, strict=True))
        return None


class Replayer:
    """Repeats requests of one node to the other for as long as it runs."""

    def __init__(self, sender: Node, receiver: Node, *, seed: int) -> None:
        self._sender = sender
        self._receiver = receiver
        self._random = Random(seed)
        self.answered = 0
        self.different = 0

    async def run(self) -> None:
        """Repeat a request now and then; a request that meets a dead node is simply not answered."""
        keys = self._sender.plan.directory / "keys"
        base = self._sender.plan.directory.parent
        anchors = load_certificate_files([base / "anchors.pem", base / "intermediates.pem"])
        tls = client_context(keys / "tls.cert.pem", keys / "tls.key.pem", anchors)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), timeout=timeout, trust_env=False
        ) as session:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                try:
                    await self._repeat(session)
                except (aiohttp.ClientError, TimeoutError, OSError, apsw.BusyError):
                    continue

    async def _repeat(self, session: aiohttp.ClientSession) -> None:
        database = self._sender.rows()
        try:
            rows = _Rows(database)
            last = rows.one("SELECT max(id) AS id, min(id) AS first FROM messages")
            message = self._choose(rows, last)
            if message is None:
                return
            wire = await find_wire(rows, str(message["id"]))
        finally:
            database.close()
        assert wire is not None
        request = build_request(message, wire, None)
        body = b"".join([chunk async for chunk in request.body])
        host, port = self._receiver.proxy.target
        async with session.post(
            f"https://{host}:{port}/as4", data=body, headers={"Content-Type": request.content_type}
        ) as response:
            answer = await response.read()
        self.answered += 1
        if response.status != 200 or answer != bytes(message["receipt"]):
            self.different += 1

    def _choose(self, rows: _Rows, last: dict[str, object] | None) -> dict[str, object] | None:
        """Any acknowledged message, the newest as likely as all others together: ids sort by time."""
        if last is None or last["id"] is None:
            return None
        newest, first = str(last["id"]), str(last["first"])
        if self._random.random() < 0.5:
            return rows.one(_UP_TO, newest)
        # Any point between the first and the newest id, by the characters in which their times differ.
        shared = next((n for n, (a, b) in enumerate(zip(first, newest, strict=True)) if a != b), 0)
        return rows.one(_FROM, newest[:shared] + self._random.choice(_ALPHABET))
