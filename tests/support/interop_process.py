"""A peer that is a process of its own: it talks JSON lines over its standard streams and ends with its input."""

import json
import queue
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ANSWER_SECONDS = 90


@dataclass
class PeerProcess:
    """One running peer process; `ask` waits for the answer line of one job line."""

    process: subprocess.Popen[str]
    log: Path
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)

    @classmethod
    def start(cls, command: Sequence[str], folder: Path) -> Self:
        """Run `command` in `folder`; its standard error goes to the file `log` there."""
        log = folder / "log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return cls(process, log)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def tell(self, job: dict[str, Any]) -> None:
        """Write one job line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def listen(self, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Wait for one line; a peer that died instead is an error that carries its log."""
        line = self.lines.get(timeout=seconds)
        if not line:
            raise AssertionError(f"the peer ended: {self.log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Write one job and wait for its answer."""
        self.tell(job)
        return self.listen()

    def forget(self) -> None:
        """Drop what was said so far, so that one test does not hear another one's messages."""
        while not self.silent():
            self.listen()

    def silent(self) -> bool:
        """Say whether nothing more has been told so far."""
        return self.lines.empty()

    def close(self) -> None:
        """End the process by ending its input; kill it when it does not go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=15)
