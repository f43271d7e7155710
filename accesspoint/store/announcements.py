"""What one node has committed wakes the workers of the others: LISTEN and NOTIFY on a connection of its own.

A word is a hint and nothing more. It is sent after the commit, on its own, and several within a moment become
one: a NOTIFY inside the transaction would make the server commit one transaction after the other. A hint that is
lost, because somebody died or was connecting, costs waiting until the next heartbeat, which looks anyway.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import asyncpg
import structlog

from accesspoint.store.postgresql import CONNECT_TIMEOUT_SECONDS, ERRORS

CHANNEL: Final = "accesspoint"
MOMENT_SECONDS: Final = 0.02
"""What is announced within this time is announced at once."""
RECONNECT_SECONDS: Final = 1.0
_NOTIFY: Final = "SELECT pg_notify($1, $2)"
_log = structlog.get_logger("accesspoint.store")


class Announcements:
    """The listening connection of one process; `heard` is called with the words of the others."""

    def __init__(self, url: str, *, owner: str, heard: Callable[[list[str]], None]) -> None:
        self._url = url
        self._owner = owner
        self._heard = heard
        self._words: set[str] = set()
        self._changed = asyncio.Event()

    def announce(self, words: Iterable[str]) -> None:
        """Let the others hear these words soon; never waits and never fails."""
        self._words.update(words)
        self._changed.set()

    async def run(self) -> None:
        """Listen and announce until cancelled; connects again whenever the connection is lost."""
        while True:
            try:
                await self._listen()
            except ERRORS as error:
                _log.warning("announcements_lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection: Any = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            server_settings={"application_name": "accesspoint announcements"},
        )
        try:
            connection.add_termination_listener(lambda _: self._changed.set())
            await connection.add_listener(CHANNEL, self._take)
            _log.info("announcements_heard")
            while not connection.is_closed():
                await self._changed.wait()
                await asyncio.sleep(MOMENT_SECONDS)
                self._changed.clear()
                words, self._words = self._words, set()
                if words:
                    text = " ".join([self._owner, *sorted(words)])
                    await connection.execute(
                        _NOTIFY, CHANNEL, text, timeout=CONNECT_TIMEOUT_SECONDS
                    )
        finally:
            connection.terminate()

    def _take(self, _connection: object, _pid: int, _channel: str, text: str) -> None:
        owner, *words = text.split(" ")
        if owner != self._owner:
            self._heard(words)
