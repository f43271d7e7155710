"""Two stores held against each other: what one sent and what the other has. Nothing lost, nothing twice.

Each message that the sender has acknowledged must stand in the receiver's store exactly once with the content that
was sent. One whose outcome the sender does not know yet may stand there or not: both are true histories.

Spec: reliability sections 2.1 and 2.5 point 8.
"""

from collections import Counter
from dataclasses import dataclass

from accesspoint.log import scrub
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.verification.evidence import PAGE
from accesspoint.verification.faults import FAULTS
from accesspoint.verification.report import Finding, InvariantBroken


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the messages of one store in another: counts, and every finding."""

    sent: int
    acknowledged: int
    arrived: int
    delivered: int
    findings: tuple[Finding, ...]

    def number(self, slug: str) -> int:
        """How many findings are of this fault: `lost`, `doubled`, `changed`, `never-sent`."""
        return sum(1 for finding in self.findings if finding.slug == slug)

    @property
    def held(self) -> bool:
        """Whether nothing was lost, doubled or changed."""
        return not self.findings

    def check(self) -> None:
        """Return when nothing was lost, doubled or changed, else raise `InvariantBroken` with every finding."""
        if self.findings:
            raise InvariantBroken("\n".join(["", self.render()]))

    def render(self) -> str:
        """Return the text for a person."""
        said = (
            f"{self.sent} sent, {self.acknowledged} acknowledged, {self.arrived} arrived, {self.delivered} delivered:"
            f" {self.number('lost')} lost, {self.number('doubled')} twice, {self.number('changed')} changed,"
            f" {self.number('never-sent')} never sent"
        )
        return "\n".join([said, *(finding.render() for finding in self.findings)])


async def compare(
    sender: Database, receiver: Database, *, party: str | None = None, we: str | None = None
) -> Comparison:
    """Hold what `sender` sent against what `receiver` has; both are only read.

    Where the stores also speak with others, `party` is the party id of the receiver and `we` that of the sender.
    """
    findings: list[Finding] = []
    sent = await _read_all(
        sender,
        "SELECT m.id, m.message_id, m.message_identifier, m.state, m.payload_sha256, m.party,"
        " EXISTS (SELECT 1 FROM history AS h WHERE h.message = m.id AND h.to_state = 'ACKNOWLEDGED') AS acknowledged"
        " FROM messages AS m WHERE m.direction = 'out' AND m.id > $1 ORDER BY m.id LIMIT $2",
    )
    received = await _read_all(
        receiver,
        "SELECT m.id, m.message_id, m.message_identifier, m.state, m.payload_sha256, m.party FROM messages AS m"
        " WHERE m.direction = 'in' AND m.standard <> 'test-service' AND m.id > $1 ORDER BY m.id LIMIT $2",
    )
    # Before the look-up a message has no partner: it may yet be for this one, but it was not sent to anybody.
    to_them = [row for row in sent if party in (None, row["party"])]
    from_us = [row for row in received if we in (None, row["party"])]
    arrived = Counter(row["message_id"] for row in from_us)
    by_id = {row["message_id"]: row for row in from_us}
    known = {row["message_id"] for row in to_them}
    for row in to_them:
        there = by_id.get(row["message_id"])
        if there is None:
            if row["acknowledged"]:
                findings.append(_finding("lost", row))
        elif there["payload_sha256"] != row["payload_sha256"]:
            findings.append(_finding("changed", row))
        if arrived[row["message_id"]] > 1:
            findings.append(_finding("doubled", row))
    findings += [_finding("never-sent", row) for row in from_us if row["message_id"] not in known]
    findings += await _compare_documents(sender, receiver)
    return Comparison(
        sent=len(to_them),
        acknowledged=sum(1 for row in to_them if row["acknowledged"]),
        arrived=sum(arrived.values()),
        delivered=sum(1 for row in from_us if row["state"] == "DELIVERED"),
        findings=tuple(findings),
    )


async def _compare_documents(sender: Database, receiver: Database) -> list[Finding]:
    """The same one level up: each document that both have has one content and is brought to the backend once."""
    select = (
        "SELECT id, message_identifier, sender, receiver, payload_sha256 FROM documents"
        " WHERE direction = '{}' AND id > $1 ORDER BY id LIMIT $2"
    )
    findings: list[Finding] = []
    sent = {_parties(row): row for row in await _read_all(sender, select.format("out"))}
    received = await _read_all(receiver, select.format("in"))
    times = Counter(_parties(row) for row in received)
    for row in received:
        ours = sent.get(_parties(row))
        if ours is not None and ours["payload_sha256"] != row["payload_sha256"]:
            findings.append(_finding("changed", row))
    # An address may have several systems; each of them is brought a message once.
    brought = Counter(
        (row["message_identifier"], row["target"])
        for row in await _read_all(
            receiver,
            "SELECT id, target, message_identifier FROM handovers WHERE target LIKE 'backend%'"
            " AND kind = 'document' AND state = 'done' AND id > $1 ORDER BY id LIMIT $2",
        )
    )
    most = Counter[str]()
    for (identifier, _), count in brought.items():
        most[identifier] = max(most[identifier], count)
    # Two senders may use one identifier: each of them may be brought once.
    senders = Counter(parties[0] for parties in times)
    return findings + [
        _finding("doubled", row)
        for parties, row in sent.items()
        if times[parties] > 1 or most[parties[0]] > senders[parties[0]]
    ]


def _parties(row: Row) -> tuple[str, str, str]:
    return row["message_identifier"], row["sender"], row["receiver"]


def _finding(slug: str, row: Row) -> Finding:
    names = ("id", "message_id", "message_identifier", "party", "state")
    ids = {name: scrub(str(row[name])) for name in names if row.get(name)}
    return Finding(slug, FAULTS[slug], ids)


async def _read_all(database: Database, select: str) -> list[Row]:
    async def work(tx: Transaction) -> list[Row]:
        rows: list[Row] = []
        page = await tx.fetch(select, "", PAGE)
        while page:
            rows += page
            page = await tx.fetch(select, page[-1]["id"], PAGE)
        return rows

    return await database.read(work)
