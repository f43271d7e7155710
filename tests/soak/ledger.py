"""What the world outside the nodes has seen: a file of its own, which the checker joins with both stores.

The ledger is not under test and does not die, so it is not synced. Nothing in it grows in memory, however
long a run is.
"""

import hashlib
from pathlib import Path

import apsw

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE submitted (id TEXT PRIMARY KEY, digest TEXT NOT NULL, bytes INTEGER NOT NULL, answered INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE TABLE delivered (node TEXT, message TEXT, delivery TEXT, digest TEXT, times INTEGER NOT NULL,
  PRIMARY KEY (node, message, delivery, digest)) WITHOUT ROWID;
CREATE TABLE told (node TEXT, message TEXT, outcome TEXT, state TEXT, times INTEGER NOT NULL,
  PRIMARY KEY (node, message, outcome, state)) WITHOUT ROWID;
CREATE TABLE reported (digest BLOB PRIMARY KEY, times INTEGER NOT NULL, first INTEGER NOT NULL) WITHOUT ROWID;
"""


class Ledger:
    """Submissions with their answers, deliveries as the backends saw them, delivery events as they were taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = apsw.Connection(str(path))
        self._database.execute(_TABLES).fetchall()
        self.submitted = self.delivered = self.reported = 0
        self.again = 0

    @property
    def moved(self) -> int:
        """How much has come out of the nodes: it grows as long as they work."""
        return self.delivered + self.reported

    def submit(self, message: str, data: bytes) -> None:
        """A submission is about to be made: from here on its outcome is unknown."""
        self._database.execute(
            "INSERT INTO submitted VALUES (?, ?, ?, 0)",
            (message, hashlib.sha256(data).hexdigest(), len(data)),
        )

    def answer(self, message: str) -> None:
        """It was answered ok: from here on the node owes it."""
        self._database.execute("UPDATE submitted SET answered = 1 WHERE id = ?", (message,))
        self.submitted += 1

    def deliver(self, node: str, message: str, delivery: str, digest: str | None) -> None:
        """The backend of a node was given a message under this delivery id; without `digest` there were no octets.

        A repetition may come without octets: they were taken away the first time.
        """
        if digest is None:
            sql = "SELECT digest FROM delivered WHERE node = ? AND message = ? AND delivery = ?"
            known = next(self._database.execute(sql, (node, message, delivery)), ("missing",))
            digest = str(known[0])
        times = self._count(
            "INSERT INTO delivered VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            (node, message, delivery, digest),
        )
        self.delivered += times == 1
        self.again += times > 1

    def tell(self, node: str, message: str, outcome: str, state: str) -> None:
        """A node told the submitter what became of a message."""
        self._count(
            "INSERT INTO told VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            (node, message, outcome, state),
        )

    def report(self, body: bytes) -> None:
        """The status component took this event."""
        times = self._count(
            "INSERT INTO reported VALUES (?, 1, ?)"
            " ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            (short_digest(body), self.reported),
        )
        self.reported += times == 1

    def deliveries(self) -> dict[tuple[str, str, str], str]:
        """What the backends were given: by node, message and delivery id, the digest of the octets."""
        rows = self._database.execute("SELECT node, message, delivery, digest FROM delivered")
        return {(node, message, delivery): digest for node, message, delivery, digest in rows}

    def events(self) -> set[bytes]:
        """The digests of the events that the status component took."""
        return {row[0] for row in self._database.execute("SELECT digest FROM reported")}

    def close(self) -> None:
        """Have everything in the file."""
        self._database.close()

    def _count(self, sql: str, values: tuple[object, ...]) -> int:
        return int(next(self._database.execute(sql, values))[0])


def short_digest(data: bytes | str | None) -> bytes | None:
    """Half a SHA-256, by which an event is known: its body is sent as it was stored."""
    if data is None:
        return None
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()[:16]
