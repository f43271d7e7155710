"""Room that is kept for what was promised: admission stops while there is still space to finish what was accepted.

Below the reserve nothing new is taken in: a submission is answered 507, a partner 503, before a byte of the
body is read. What is under way goes on: receipts, changes of state and delivery events need little. For the
case that somebody else fills the disk to its last block a file of its own is allocated beforehand; it is
given up when a commit finds no room, or when almost none is left, and made again when there is.

Spec: reliability section 2.3 (error rule).
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from accesspoint.store.database import StorageFull

LOOK_SECONDS: Final = 1.0
"""How long one look at the free space counts."""
MOST_EMERGENCY_BYTES: Final = 32 * 1024 * 1024
_NAME: Final = "emergency-room"
_log = structlog.get_logger("accesspoint.store")


class Reserve:
    """Watches the free space under `directory`; `octets` is what is kept free."""

    def __init__(
        self, directory: Path, octets: int, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._octets = octets
        self._emergency_bytes = min(octets // 4, MOST_EMERGENCY_BYTES)
        self._file = directory / _NAME
        self._monotonic = monotonic
        self._look_again_at = 0.0
        self._has_room = True
        self._look()

    def has_room(self) -> bool:
        """Tell whether something new may be taken in; the answer may be a second old."""
        if self._monotonic() >= self._look_again_at:
            self._look()
        return self._has_room

    def require(self) -> None:
        """Go on only when something new may be taken in.

        Raises: StorageFull.
        """
        if not self.has_room():
            raise StorageFull("less room is left than is kept for what was accepted already")

    def release(self) -> bool:
        """Give the emergency file up; return whether there was one, so that trying again may help."""
        try:
            self._file.unlink()
        except OSError:
            return False
        self._has_room = False
        _log.error("emergency_room_released", bytes=self._emergency_bytes)
        return True

    def _look(self) -> None:
        facts = os.statvfs(self._directory)
        free = facts.f_bavail * facts.f_frsize
        had_room, self._has_room = self._has_room, free >= self._octets
        self._look_again_at = self._monotonic() + LOOK_SECONDS
        if had_room and not self._has_room:
            _log.error("storage_full", free_bytes=free, reserve_bytes=self._octets)
        if free < self._emergency_bytes:
            self.release()
        elif free >= self._octets + self._emergency_bytes:
            self._allocate()

    def _allocate(self) -> None:
        """Make the emergency file, unless it stands there; without it everything else works just as well."""
        with suppress(OSError):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._file, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, max(1, self._emergency_bytes))
            finally:
                os.close(descriptor)
