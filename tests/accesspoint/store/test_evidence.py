"""The tables that prove things, on both databases: images and receipts byte for byte, duplicate keys, refusals."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Database, IntegrityKind, IntegrityViolation
from accesspoint.store.evidence import (
    Refusal,
    Wire,
    content_digest,
    find_duplicate,
    find_receipt,
    find_wire,
    record_duplicate_key,
    record_receipt,
    record_refusal,
    record_wire,
    references_from_json,
    references_to_json,
    signed_digest,
)
from accesspoint.store.messages import NewMessage, insert_message
from envelope.verified import SignedReference

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
HEADER = SignedReference("#messaging", "sha256", b"h" * 32, ("c14n",), b"<Reference/>")
BODY = SignedReference("#body", "sha256", b"b" * 32, ("c14n",), b"<Reference/>")
PART = SignedReference("cid:one@a", "sha256", b"p" * 32, ("content",), "<Ref æ/>".encode())
OTHER_PART = replace(PART, uri="cid:two@a", digest_value=b"q" * 32)
WIRE = Wire(
    url="https://127.0.0.1/as4",
    certificate=b"\x30\x82\x00",
    signed_at="2026-11-21T09:30:00.000Z",
    soap="<Envelope>æ\x00</Envelope>".encode(),
    part="0" * 32,
    part_content_id="one@a",
    part_bytes=17,
    references=(HEADER, BODY, PART),
)


@pytest.fixture(params=["sqlite", "postgresql"])
async def packaged(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    """The tables of this program in each dialect, with one message in them."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = await Database.open(url)
    new = NewMessage(
        "M1", "in", "RECEIVED", "1@a", "c", "p", "e", "m", "s", "", "", "", "", "{}", None, 0, ""
    )
    await database.run(lambda tx: insert_message(tx, new, at=AT))
    yield database
    await database.close()


async def test_an_image_comes_back_octet_for_octet_and_the_newer_one_replaces_it(
    packaged: Database,
) -> None:
    assert await packaged.read(lambda tx: find_wire(tx, "M1")) is None
    await packaged.run(lambda tx: record_wire(tx, "M1", WIRE))
    assert await packaged.read(lambda tx: find_wire(tx, "M1")) == WIRE
    newer = replace(WIRE, certificate=b"\x30\x83", part=None, part_content_id=None, part_bytes=0)
    await packaged.run(lambda tx: record_wire(tx, "M1", newer))
    assert await packaged.read(lambda tx: find_wire(tx, "M1")) == newer


async def test_a_receipt_is_kept_once_and_replayed_octet_for_octet(packaged: Database) -> None:
    body = b"<?xml version='1.0'?>\r\n<Envelope>\xc3\xa6 </Envelope>\n"
    assert await packaged.read(lambda tx: find_receipt(tx, "M1")) is None
    await packaged.run(lambda tx: record_receipt(tx, "M1", body, signer="ab", at=AT))
    assert await packaged.read(lambda tx: find_receipt(tx, "M1")) == body
    with pytest.raises(IntegrityViolation):
        await packaged.run(lambda tx: record_receipt(tx, "M1", b"another", signer="cd", at=AT))
    assert await packaged.read(lambda tx: find_receipt(tx, "M1")) == body


async def test_evidence_without_its_message_is_refused(packaged: Database) -> None:
    for work in (
        lambda tx: record_wire(tx, "M9", WIRE),
        lambda tx: record_receipt(tx, "M9", b"x", signer="ab", at=AT),
        lambda tx: record_duplicate_key(
            tx, party="p", message_id="1@a", references=[PART], message="M9", at=AT
        ),
    ):
        with pytest.raises(IntegrityViolation) as refused:
            await packaged.run(work)
        assert refused.value.kind is IntegrityKind.FOREIGN_KEY


async def test_a_duplicate_key_is_sender_and_message_id(packaged: Database) -> None:
    async def remember(party: str) -> None:
        await packaged.run(
            lambda tx: record_duplicate_key(
                tx, party=party, message_id="1@a", references=WIRE.references, message="M1", at=AT
            )
        )

    await remember("one")
    await remember("two")
    with pytest.raises(IntegrityViolation) as refused:
        await remember("one")
    assert refused.value.kind is IntegrityKind.UNIQUE
    found = await packaged.read(lambda tx: find_duplicate(tx, party="one", message_id="1@a"))
    assert found == {
        "content_digest": content_digest(WIRE.references),
        "signed_digest": signed_digest(WIRE.references),
        "message": "M1",
    }
    assert await packaged.read(lambda tx: find_duplicate(tx, party="one", message_id="2@a")) is None
    assert (
        await packaged.read(lambda tx: find_duplicate(tx, party="three", message_id="1@a")) is None
    )


async def test_a_refusal_keeps_facts_about_the_message_and_nothing_of_it(
    packaged: Database,
) -> None:
    refusal = Refusal(
        "G6", "sig.value", "EBMS:0101", "127.0.0.1", None, "ab" * 32, 17, "no reference"
    )
    await packaged.run(lambda tx: record_refusal(tx, refusal, at=AT))
    (row,) = await packaged.fetch("SELECT * FROM refusals")
    assert row == {
        "seq": row["seq"],
        "at": to_microseconds(AT),
        "gate": "G6",
        "reason": "sig.value",
        "code": "EBMS:0101",
        "peer": "127.0.0.1",
        "certificate": None,
        "input_sha256": "ab" * 32,
        "input_bytes": 17,
        "detail": "no reference",
    }


def test_a_retry_that_is_signed_anew_has_the_same_content_and_another_signature() -> None:
    anew = (replace(HEADER, digest_value=b"H" * 32), BODY, PART)
    assert content_digest(anew) == content_digest(WIRE.references)
    assert signed_digest(anew) != signed_digest(WIRE.references)


def test_another_part_is_another_message_and_the_order_of_parts_is_not() -> None:
    both = (HEADER, PART, OTHER_PART)
    assert content_digest(both) == content_digest((OTHER_PART, PART))
    assert content_digest((PART,)) != content_digest((OTHER_PART,))
    assert content_digest((PART,)) != content_digest(both)
    assert content_digest((PART, PART)) != content_digest((PART,))


@given(
    st.lists(
        st.builds(
            SignedReference,
            st.text(max_size=8),
            st.text(max_size=8),
            st.binary(max_size=8),
            st.lists(st.text(max_size=4), max_size=3).map(tuple),
            st.text(max_size=8).map(lambda text: text.encode()),
        ),
        max_size=4,
    ).map(tuple)
)
def test_references_survive_the_store(references: tuple[SignedReference, ...]) -> None:
    assert references_from_json(references_to_json(references)) == references


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_two_sets_of_parts_have_one_digest_only_when_they_are_equal(
    one: list[bytes], two: list[bytes]
) -> None:
    def references(values: list[bytes]) -> list[SignedReference]:
        return [replace(PART, digest_value=value) for value in values]

    equal = content_digest(references(one)) == content_digest(references(two))
    assert equal == (sorted(one) == sorted(two))
