"""Holds what the world saw against what both stores hold, once everything has stopped: one query for each promise.

The run's own history decides, never the absence of an error: what was answered ok must have been delivered,
once and byte for byte; what was not answered may be either. The stores are read as files, joined with the
ledger; what each store holds by itself is the business of `accesspoint verify`, which is run on both.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from accesspoint.config import load
from accesspoint.store.configured import build_columns
from tests.soak.ledger import short_digest
from tests.soak.pair import DATABASE, SOURCE, Pair
from tests.soak.scene import RECEIVER, SENDER

EXAMPLES = 3
VERIFY_SECONDS = 600
_SIDES = (("s", "r"), ("r", "s"))
"""The sender's store is attached as `s`, the receiver's as `r`."""


@dataclass
class Report:
    """What was found: counts that must be 0, each with the first examples, and counts that only inform."""

    findings: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.findings.values())


_DELIVERED = """
SELECT documents.message_identifier FROM {from_}.documents AS documents
WHERE documents.direction = 'out' AND NOT EXISTS (
  SELECT 1 FROM ledger.delivered AS taken WHERE taken.node = '{to_node}'
  AND taken.message = documents.message_identifier AND taken.digest = documents.payload_sha256)
"""
_ACKNOWLEDGED = """
SELECT id FROM {from_}.messages AS mine WHERE direction = 'out'
AND EXISTS (SELECT 1 FROM {from_}.history WHERE history.message = mine.id AND to_state = 'ACKNOWLEDGED')
"""
_CHECKS: dict[str, str] = {
    "lost: answered ok, not delivered": f"""
SELECT id FROM ledger.submitted WHERE answered = 1 AND NOT EXISTS (
  SELECT 1 FROM ledger.delivered AS taken WHERE taken.node = '{RECEIVER}' AND taken.message = id)
""",
    "altered: delivered with other octets": f"""
SELECT id FROM ledger.submitted JOIN ledger.delivered AS taken
ON taken.node = '{RECEIVER}' AND taken.message = id AND taken.digest <> submitted.digest
""",
    "unasked: delivered, never submitted": f"""
SELECT message FROM ledger.delivered AS taken WHERE node = '{RECEIVER}' AND message NOT IN (SELECT id FROM ledger.submitted)
""",
    "untold: submitter does not know that it arrived": f"""
SELECT id FROM ledger.submitted WHERE answered = 1 AND NOT EXISTS (
  SELECT 1 FROM ledger.told WHERE node = '{SENDER}' AND message = id AND state = 'ACKNOWLEDGED')
""",
    "reported by nobody's outbox": """
SELECT hex(digest) FROM ledger.reported WHERE digest NOT IN (SELECT digest FROM temp.owed)
""",
    "events missing at the status component": """
SELECT owed.what FROM temp.owed WHERE digest NOT IN (SELECT digest FROM ledger.reported)
""",
    "events of a message first seen out of order": """
SELECT what FROM (
  SELECT what, first, LAG(first) OVER (PARTITION BY side, aggregate ORDER BY seq) AS before
  FROM temp.owed JOIN ledger.reported USING (digest)) WHERE first < before
""",
    "events: not six for a message": """
SELECT aggregate || ' has ' || count(*) FROM (
  SELECT aggregate, station, subtype, 's' AS side FROM s.outbox UNION ALL SELECT aggregate, station, subtype, 'r' FROM r.outbox)
WHERE aggregate IN (SELECT message_identifier FROM s.documents WHERE direction = 'out'
  UNION SELECT message_identifier FROM r.documents WHERE direction = 'out') GROUP BY aggregate HAVING count(*) <> 6
""",
}
_EACH_SIDE: dict[str, str] = {
    "lost: of a document sent": _DELIVERED,
    "lost: acknowledged, not in the other store": _ACKNOWLEDGED
    + """
AND NOT EXISTS (SELECT 1 FROM temp.arrived AS theirs WHERE theirs.side = '{to}'
  AND theirs.message_id = mine.message_id AND theirs.payload_sha256 = mine.payload_sha256)
""",
    "doubled: MessageId taken twice": """
SELECT message_id FROM {from_}.messages WHERE direction = 'in' GROUP BY message_id HAVING count(*) > 1
""",
    "doubled: two delivery ids for a message": """
SELECT message FROM ledger.delivered WHERE node = '{from_node}' GROUP BY message HAVING count(DISTINCT delivery) > 1
""",
    "doubled: two outcomes told for a message": """
SELECT message FROM ledger.told WHERE node = '{from_node}' GROUP BY message HAVING count(DISTINCT outcome) > 1
""",
    "acknowledged without receipt": _ACKNOWLEDGED
    + "AND NOT EXISTS (SELECT 1 FROM {from_}.receipts WHERE receipts.message = mine.id)",
    "receipt is not the one that was stored with the message": """
SELECT mine.id FROM {from_}.messages AS mine JOIN {from_}.receipts AS got ON got.message = mine.id
JOIN temp.arrived AS theirs ON theirs.side = '{to}' AND theirs.message_id = mine.message_id
WHERE mine.direction = 'out' AND theirs.receipt IS NOT short_digest(got.body)
""",
    "open: not acknowledged": """
SELECT id || ' ' || state FROM {from_}.messages AS mine WHERE direction = 'out'
AND NOT EXISTS (SELECT 1 FROM {from_}.history WHERE history.message = mine.id AND to_state = 'ACKNOWLEDGED')
""",
    "open: outcome not told": """
SELECT id || ' ' || state FROM {from_}.messages WHERE direction = 'out' AND state NOT IN ('NOTIFIED', 'PURGED')
""",
    "open: not delivered": """
SELECT id || ' ' || state FROM {from_}.messages AS mine WHERE direction = 'in'
AND NOT EXISTS (SELECT 1 FROM {from_}.history WHERE history.message = mine.id AND to_state = 'DELIVERED')
""",
    "open: not handed over": "SELECT id || ' ' || state FROM {from_}.handovers WHERE state <> 'done'",
    "open: events not sent": "SELECT seq || ' ' || state FROM {from_}.outbox WHERE state <> 'sent'",
}
_FACTS: dict[str, str] = {
    "messages submitted": "SELECT count(*) FROM ledger.submitted",
    "AS4 messages acknowledged": "SELECT count(DISTINCT message) FROM {each}.history WHERE to_state = 'ACKNOWLEDGED'",
    "AS4 messages up to 64 KiB": "SELECT count(*) FROM {each}.messages WHERE direction = 'out' AND payload_bytes < 65536",
    "AS4 messages of 1 MiB and more": "SELECT count(*) FROM {each}.messages WHERE direction = 'out' AND payload_bytes BETWEEN 1000000 AND 9999999",
    "AS4 messages of 10 MiB and more": "SELECT count(*) FROM {each}.messages WHERE direction = 'out' AND payload_bytes >= 10000000",
    "AS4 messages sent more than once": "SELECT count(*) FROM {each}.messages WHERE direction = 'out' AND attempt > 1",
    "AS4 messages purged after delivery, meanwhile": "SELECT count(*) FROM {each}.messages WHERE state = 'PURGED'",
    "deliveries": "SELECT count(*) FROM ledger.delivered",
    "deliveries made again under the same id": "SELECT count(*) FROM ledger.delivered WHERE times > 1",
    "events taken": "SELECT count(*) FROM ledger.reported",
    "events taken more than once": "SELECT count(*) FROM ledger.reported WHERE times > 1",
}


def check(pair: Pair) -> Report:
    """Check a pair whose nodes have stopped and whose ledger is closed."""
    report = Report()
    stores = {SENDER: "s", RECEIVER: "r"}
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    database = apsw.Connection(":memory:", flags=flags)
    database.execute("ATTACH ? AS ledger", (str(pair.ledger.path),))
    for name, alias in stores.items():
        path = pair.nodes[name].plan.store / DATABASE
        database.execute(f"ATTACH 'file:{path}?mode=ro' AS {alias}")
    _collect(
        database, {alias: _opener(pair.nodes[name].plan.config) for name, alias in stores.items()}
    )
    for title, sql in _CHECKS.items():
        _find(report, title, database, [sql])
    names = {alias: name for name, alias in stores.items()}
    for title, sql in _EACH_SIDE.items():
        filled = (
            sql.format(from_=a, to=b, from_node=names[a], to_node=names[b]) for a, b in _SIDES
        )
        _find(report, title, database, filled)
    for title, sql in _FACTS.items():
        queries = {sql.format(each=alias) for alias in names}
        report.facts[title] = sum(int(next(database.execute(one))[0]) for one in queries)
    database.close()
    for name, node in pair.nodes.items():
        _verify(report, name, node.plan.config)
    return report


def _opener(config: Path) -> Callable[[str, bytes], bytes]:
    """What opens the body of an event, which is sealed for the row that it stands in."""
    columns = build_columns(load(config, {}), to_read=True)
    return lambda event_id, body: columns.opened({"event_id": event_id, "body": body})["body"]


def _collect(
    database: apsw.Connection, openers: Mapping[str, Callable[[str, bytes], bytes]]
) -> None:
    """Both outboxes by the octets that the status component was sent, and what arrived by its MessageId: the stores
    have no index for such questions, and need none."""
    database.create_scalar_function("short_digest", short_digest, 1)
    database.execute(
        "CREATE TABLE temp.owed (digest BLOB, side TEXT, seq INTEGER, aggregate TEXT, what TEXT)"
    )
    database.execute(
        "CREATE TABLE temp.arrived (side TEXT, message_id TEXT, payload_sha256 TEXT, receipt BLOB)"
    )
    for alias, opener in openers.items():
        database.create_scalar_function(f"opened_{alias}", opener, 2)
        database.execute(
            f"INSERT INTO temp.owed SELECT short_digest(opened_{alias}(event_id, body)), '{alias}', seq, aggregate,"
            f" station || ' ' || subtype || ' ' || aggregate FROM {alias}.outbox"
        )
        database.execute(
            f"INSERT INTO temp.arrived SELECT '{alias}', message_id, payload_sha256, short_digest(receipts.body)"
            f" FROM {alias}.messages LEFT JOIN {alias}.receipts ON receipts.message = messages.id WHERE direction = 'in'"
        )
    database.execute("CREATE INDEX temp.owed_digest ON owed (digest)")
    database.execute("CREATE INDEX temp.arrived_id ON arrived (message_id)")


def _find(
    report: Report, title: str, database: apsw.Connection, queries: Iterator[str] | list[str]
) -> None:
    found = [str(row[0]) for sql in queries for row in database.execute(sql)]
    report.findings[title] = len(found)
    report.examples[title] = found[:EXAMPLES]


def _verify(report: Report, name: str, config: Path) -> None:
    """Let the operator's own tool look at a store, offline."""
    ran = subprocess.run(
        [sys.executable, "-m", "accesspoint", "verify", "--config", str(config)],
        capture_output=True, text=True, timeout=VERIFY_SECONDS, check=False, cwd=SOURCE,
    )  # fmt: skip
    title = f"accesspoint verify, {name}"
    report.findings[title] = int(ran.returncode != 0)
    report.examples[title] = [] if ran.returncode == 0 else [(ran.stdout + ran.stderr)[-2000:]]
