"""What one store sent and the other has: each way in which they can disagree is found."""

import pytest

from accesspoint.verification import InvariantBroken, compare

ONE = (
    "(SELECT id FROM messages WHERE direction = 'in' AND standard <> 'ehmisbdh-acknowledgement'"
    " ORDER BY id LIMIT 1)"
)


def lost(sender, receiver):
    receiver.execute(f"DELETE FROM messages WHERE id = {ONE}")


def arrived_without_acknowledgement(sender, receiver):
    """The sender does not know: that is a true history, whichever way it went."""
    sender.execute("UPDATE history SET to_state = 'UNCERTAIN' WHERE to_state = 'ACKNOWLEDGED'")


def not_arrived_without_acknowledgement(sender, receiver):
    arrived_without_acknowledgement(sender, receiver)
    lost(sender, receiver)


def doubled(sender, receiver):
    columns = ", ".join(
        row[1] for row in receiver.execute("PRAGMA table_info(messages)") if row[1] != "id"
    )
    receiver.execute(
        "DROP INDEX messages_outbound_id",
        f"INSERT INTO messages (id, {columns}) SELECT 'second', {columns} FROM messages WHERE id = {ONE}",
    )


def delivered_twice(sender, receiver):
    columns = ", ".join(
        row[1] for row in receiver.execute("PRAGMA table_info(handovers)") if row[1] != "id"
    )
    receiver.execute(
        f"INSERT INTO handovers (id, {columns}) SELECT 'second', {columns} FROM handovers"
        " WHERE target = 'backend' LIMIT 1"
    )


def changed(sender, receiver):
    receiver.execute(f"UPDATE messages SET payload_sha256 = '{'0' * 64}' WHERE id = {ONE}")


def document_changed(sender, receiver):
    receiver.execute("UPDATE documents SET payload_sha256 = 'x' WHERE id ="
                     " (SELECT MIN(id) FROM documents WHERE direction = 'in')")  # fmt: skip


def never_sent(sender, receiver):
    receiver.execute(f"UPDATE messages SET message_id = 'nobody@x' WHERE id = {ONE}")


@pytest.mark.parametrize(
    ("plant", "slugs"),
    [
        (lost, {"lost"}),
        (arrived_without_acknowledgement, set()),
        (not_arrived_without_acknowledgement, set()),
        (doubled, {"doubled"}),
        (delivered_twice, {"doubled"}),
        (changed, {"changed"}),
        (document_changed, {"changed"}),
        (never_sent, {"lost", "never-sent"}),
    ],
)
async def test_a_difference_between_two_stores_is_found(nodes, plant, slugs):
    sender, receiver = nodes
    plant(sender, receiver)
    async with sender.open() as (there, _), receiver.open() as (here, _):
        comparison = await compare(there, here)
    assert {finding.slug for finding in comparison.findings} == slugs
    assert comparison.held == (not slugs)
    assert all(comparison.number(slug) == 1 for slug in slugs)
    if slugs:
        with pytest.raises(InvariantBroken, match="1 "):
            comparison.check()
