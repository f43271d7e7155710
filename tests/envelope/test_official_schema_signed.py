"""Whole messages as they go on the wire, signed and encrypted, against the published schema of AS4."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from envelope.pmode import EDELIVERY_1_15, SecuritySuite, TokenForm
from envelope.receipts import build_receipt
from envelope.wsse import WireIds
from envelope.xml import scan

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
pytestmark = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")


class FolderResolver(etree.Resolver):
    """Reads files of one folder and refuses every other address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resolve(self, system_url: str, public_id: str, context: object) -> object:
        path = Path(system_url.removeprefix("file://")).resolve()
        if not path.is_relative_to(self.folder):
            raise OSError(f"{system_url} is outside the schema folder")
        return self.resolve_filename(str(path), context)


@pytest.fixture(scope="module")
def check() -> Callable[[bytes], None]:
    folder = (Path(str(FIXTURES)) / "as4" / "schema").resolve()
    parser = etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=False)
    parser.resolvers.add(FolderResolver(folder))
    schema = etree.XMLSchema(etree.parse(str(folder / "as4-message.xsd"), parser))

    def validate(data: bytes) -> None:
        schema.assertValid(scan(data).root)

    return validate


@pytest.mark.parametrize("form", list(TokenForm))
def test_signed_and_encrypted_messages_are_valid(check, workshop, form: TokenForm) -> None:
    sent = workshop.send(suite=SecuritySuite(signing_token=form, encryption_token=form))

    check(sent.data)


def test_a_signed_message_without_encryption_is_valid(check, workshop) -> None:
    check(workshop.send(encrypt=False).data)


def test_signed_receipts_are_valid(check, workshop) -> None:
    receipt = build_receipt(
        workshop.receive(workshop.send(), policy=EDELIVERY_1_15),
        message_id="r-1@beta.example",
        timestamp="2026-11-21T12:00:01.000Z",
        signer=workshop.people.receiver,
        suite=SecuritySuite(),
        ids=WireIds.new("r-1"),
    )

    check(receipt)


def test_the_schema_refuses_a_message_with_a_misplaced_element(check, workshop) -> None:
    broken = workshop.send().data.replace(b"<eb:MessageId>", b"<eb:Extra/><eb:MessageId>", 1)

    with pytest.raises(etree.DocumentInvalid):
        check(broken)
