"""What is built here against the published schemas of ebMS, SOAP and ebBP."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from envelope import codes, messaging, names, signals, soap
from envelope.errors import RemoteProtocolError
from envelope.messaging import (
    AgreementRef,
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.xml import canonicalize, parse_trusted, scan

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
pytestmark = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")
TIME = "2026-11-21T10:15:30.123Z"
PARTIES = (Party(PartyId("red", "urn:type"), "initiator"), Party(PartyId("urn:blue"), "responder"))


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

    def validate(block: bytes) -> None:
        data = soap.write_envelope(block, soap.write_body("id-b"))
        schema.assertValid(scan(data).root)

    return validate


@pytest.mark.parametrize(
    "message",
    [
        UserMessage(
            "a@b",
            TIME,
            *PARTIES,
            CollaborationInfo(
                Service("s", "t"), "action", "conversation", AgreementRef("g", "t", "pmode")
            ),
            (Property("originalSender", "C1", "t"), Property("finalRecipient", "C4")),
            (
                PartInfo("p1@b", (Property("MimeType", "text/xml"), Property("x", "æ & <", "t"))),
                PartInfo("50%@b"),
            ),
            "earlier@b",
            names.EB_DEFAULT_MPC,
        ),
        UserMessage("a@b", TIME, *PARTIES, CollaborationInfo(Service("urn:s"), "action", "")),
    ],
    ids=["everything", "the least"],
)
def test_user_messages_are_valid(message: UserMessage, check: Callable[[bytes], None]) -> None:
    check(messaging.build_messaging(message, messaging_id="id-m"))


@pytest.mark.parametrize("row", codes.CODES.values(), ids=lambda row: row.code)
@pytest.mark.parametrize("ref", ["a@b", None])
def test_errors_are_valid(
    row: codes.EbmsCode, ref: str | None, check: Callable[[bytes], None]
) -> None:
    check(
        signals.build_error_messaging(
            message_id="e@b",
            timestamp=TIME,
            ref_to_message_id=ref,
            errors=[row, row],
            messaging_id="id-m",
        )
    )


def test_receipts_are_valid(check: Callable[[bytes], None]) -> None:
    reference = (
        f"<ds:Reference xmlns:ds='{names.DS}' URI='#id-m'><ds:Transforms><ds:Transform Algorithm='{names.EXC_C14N}'>"
        f"<ec:InclusiveNamespaces xmlns:ec='{names.EC}' PrefixList='S12'/></ds:Transform></ds:Transforms>"
        f"<ds:DigestMethod Algorithm='{names.SHA256}'/><ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>"
    )
    references = [canonicalize(parse_trusted(reference.encode())) for _ in range(3)]
    check(
        signals.build_receipt_messaging(
            message_id="r@b",
            timestamp=TIME,
            ref_to_message_id="a@b",
            references=references,
            messaging_id="id-m",
        )
    )


@pytest.mark.parametrize("code", list(soap.FaultCode))
def test_faults_are_valid_to_the_published_soap_schema(code: soap.FaultCode) -> None:
    folder = (Path(str(FIXTURES)) / "as4" / "schema").resolve()
    parser = etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=False)
    parser.resolvers.add(FolderResolver(folder))
    etree.XMLSchema(etree.parse(str(folder / "soap12.xsd"), parser)).assertValid(
        scan(soap.fault(code)).root
    )


SAMPLES = {
    "as4net/as4-encrypted-signed-keyidentifier.as4": "accepted",
    "as4net/signed_holodeck_message.as4": "accepted",
    "as4net/rssbus_message.as4": "accepted",
    "as4net/8.1.22-message.as4": "accepted",
    "as4net/as4-soap-signed-message.txt": "accepted",
    "as4net/as4_flame_envelope.as4": "header.uri",
    "as4net/Receipt_InvalidNRI_Namespace.as4": "header.schema",
    "as4net/UserMessage.xml": "xml.comment",
    "as4net/receipt.xml": "accepted",
    "as4net/as4-soap-pullrequest.xml": "accepted",
    "domibus/bst_X509PKIPathv1_incoming_message.xml": "accepted",
    "domibus/ski_incoming_message.xml": "accepted",
    "domibus/is_incoming_message.xml": "accepted",
    "domibus/MSHAS4Response.xml": "accepted",
    "phase4/dump-raw.as4out": "accepted",
    "phase4/helger.as4in": "accepted",
    "phase4/dataport1-mustunderstand.as4in": "accepted",
    "phase4/ErrorMessage.xml": "accepted",
    "phase4/ErrorMessageWithFault.xml": "accepted",
    "phase4/TwoUserMessages.xml": "soap.cardinality",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_headers_of_other_products_are_judged_as_expected(name: str) -> None:
    data = (Path(str(FIXTURES)) / "as4" / "samples" / name).read_bytes()
    # Some are whole HTTP messages, some have a licence as a comment in front.
    envelope = re.search(
        rb"<([A-Za-z0-9]+:)?Envelope.*</([A-Za-z0-9]+:)?Envelope *>", data, re.DOTALL
    )
    assert envelope is not None
    try:
        document = soap.parse_soap(scan(envelope[0]))
        if document.user_messages:
            messaging.parse_user_message(document)
        else:
            signals.read_signal(document)
        outcome = "accepted"
    except RemoteProtocolError as error:
        outcome = error.reason
    assert outcome == SAMPLES[name]
