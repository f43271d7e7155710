"""The PyPI package `as4`, a second Python implementation, in both directions and in the shape of Peppol.

It knows one payload, always compressed and encrypted, and binary security tokens only; the agreement is our preset
`peppol-like`. It runs in an environment of its own, because it needs an older `cryptography`; the environment is made
once from the package index and kept in pytest's cache. Where the index cannot be reached, the tests skip and say so.
"""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from interop_envelopes import Endpoint, compose, match, post, serving
from interop_process import PeerProcess

from envelope import names
from envelope.errors import InvalidHeader, InvalidReceipt
from envelope.messaging import PartyId, Service
from envelope.pmode import PEPPOL_LIKE, Quirk
from envelope.signals import read_signal
from envelope.soap import parse_soap
from envelope.xml import scan
from keys.devca import DevelopmentAuthority

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.matrix(peer="PyPI as4", profile="Peppol shape"),
]

DOCUMENT_TYPE = (
    "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2::Invoice##urn:example:invoice:1.0::2.1"
)
PROCESS = "urn:example:billing:01:1.0"
SENDER, RECIPIENT = "0088:5790000000012", "0088:5790000000029"
SBD = """<StandardBusinessDocument xmlns="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader">
<StandardBusinessDocumentHeader><HeaderVersion>1.0</HeaderVersion>
<Sender><Identifier Authority="iso6523-actorid-upis">{sender}</Identifier></Sender>
<Receiver><Identifier Authority="iso6523-actorid-upis">{recipient}</Identifier></Receiver>
<DocumentIdentification><Standard>urn:oasis:names:specification:ubl:schema:xsd:Invoice-2</Standard>
<TypeVersion>2.1</TypeVersion><InstanceIdentifier>{instance}</InstanceIdentifier><Type>Invoice</Type>
<CreationDateAndTime>2026-11-21T10:00:00Z</CreationDateAndTime></DocumentIdentification>
<BusinessScope>
<Scope><Type>DOCUMENTID</Type><InstanceIdentifier>{document_type}</InstanceIdentifier>
<Identifier>busdox-docid-qns</Identifier></Scope>
<Scope><Type>PROCESSID</Type><InstanceIdentifier>{process}</InstanceIdentifier>
<Identifier>cenbii-procid-ubl</Identifier></Scope>
<Scope><Type>COUNTRY_C1</Type><InstanceIdentifier>DK</InstanceIdentifier></Scope>
</BusinessScope></StandardBusinessDocumentHeader>
<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"><Note>{note}</Note></Invoice>
</StandardBusinessDocument>"""
SIZES = {"4 KiB": 4 * 1024, "1 MiB": 1024**2}
RECEIVED = "message with a receipt that both verify, by size"
SPOILT_PART = "part with a changed octet is refused, and the sender reads the error"
UNKNOWN = "signer under another authority is refused, and the sender reads the error"
SPOILT_RECEIPT = "receipt of another message is refused"


def business_document(size: int, recipient: str = RECIPIENT) -> bytes:
    return SBD.format(
        sender=SENDER,
        recipient=recipient,
        instance=uuid.uuid4(),
        document_type=DOCUMENT_TYPE,
        process=PROCESS,
        note="æ" + os.urandom(size // 2).hex(),
    ).encode()


def changed_part(body: bytes) -> bytes:
    place = body.rindex(b"\r\n--") - 40
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def error_codes(answer: bytes) -> list[str]:
    """The codes of a signal of the package, read by us; its Description says no language, which needs the quirk."""
    document = parse_soap(scan(answer))
    with pytest.raises(InvalidHeader):
        read_signal(document)
    assert PEPPOL_LIKE.policy.allows(Quirk.BARE_DESCRIPTION)
    signal = read_signal(document, bare_descriptions=True)
    assert signal.receipt is None
    return [error.code for error in signal.errors]


class Desk:
    """Carries messages between us and the package through files."""

    def __init__(self, peer: Any, folder: Path, authority: Any) -> None:
        self.peer, self.folder = peer, folder
        self.anchors = []
        for number, anchor in enumerate((authority.root, authority.issuing)):
            self.anchors.append(self._file(f"anchor-{number}", anchor.public_bytes(Encoding.PEM)))

    def _file(self, name: str, octets: bytes) -> str:
        file = self.folder / name
        file.write_bytes(octets)
        return str(file)

    def _party(self, party: str, station: Any) -> dict[str, Any]:
        key = station.issued.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        return {
            "party": party,
            "certificate": str(station.certificate_file),
            "key": self._file(f"{party}.key", key),
        }

    async def ask(self, do: str, **job: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(self.peer.ask, {"do": do, **job})
        return answer

    async def compose(
        self, station: Any, recipient: Any, payload: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """A message that the package wrote as the municipality; what it says about it, and the body."""
        body = self.folder / "request"
        answer = await self.ask(
            "compose",
            **self._party("municipality-ap", station),
            partner="clinic-ap",
            partner_certificate=str(recipient.certificate_file),
            sender=SENDER,
            recipient=RECIPIENT,
            document_type=DOCUMENT_TYPE,
            instance=str(uuid.uuid4()),
            process=PROCESS,
            payload=self._file("payload", payload),
            body=str(body),
        )
        assert "refused" not in answer, answer
        return answer, body.read_bytes()

    async def judge(self, message_id: str, signal: bytes) -> dict[str, Any]:
        return await self.ask("judge", message_id=message_id, body=self._file("signal", signal))

    async def take(
        self, station: Any, content_type: str, body: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """What the package makes of a request as the clinic, and the signal it answers with."""
        answer = await self.ask(
            "take",
            **self._party("clinic-ap", station),
            anchors=self.anchors,
            content_type=content_type,
            body=self._file("request", body),
            answer=str(self.folder / "answer"),
        )
        assert "refused" not in answer, answer
        return answer, (self.folder / "answer").read_bytes()


HERE = Path(__file__).parent / "pypi_as4"


@pytest.fixture(scope="session")
def as4_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of the package's own environment; made anew when its list of packages has changed."""
    wanted = (HERE / "requirements.txt").read_bytes()
    home = Path(request.config.cache.mkdir("pypi-as4")) / sha256(wanted).hexdigest()[:16]
    python, done = home / "bin" / "python", home / "complete"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(home, ignore_errors=True)
            pip = (str(python), "-m", "pip", "-q", "--no-input", "--retries", "1")
            packages = ("--only-binary", ":all:", "-r", str(HERE / "requirements.txt"))
            for command in (
                (sys.executable, "-m", "venv", str(home)),
                (*pip, "--timeout", "15", "install", *packages),
            ):
                made = subprocess.run(
                    command, capture_output=True, text=True, timeout=240, check=False
                )
                if made.returncode != 0:
                    pytest.skip(
                        f"the package index has no as4 for us: {made.stderr.strip()[-200:]}"
                    )
            done.touch()
    return python


@pytest.fixture(scope="session")
def pypi_as4(as4_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerProcess]:
    folder = tmp_path_factory.mktemp("as4")
    peer = PeerProcess.start((str(as4_python), str(HERE / "peer.py")), folder)
    yield peer
    peer.close()


@pytest.fixture
def desk(pypi_as4: Any, tmp_path: Path, authority: Any) -> Desk:
    return Desk(pypi_as4, tmp_path, authority)


@pytest.mark.matrix(direction="peer to us")
class TestAs4SendsToUs:
    @pytest.fixture
    def send(self, desk: Desk, municipality: Any, clinic: Any) -> Callable[..., Any]:
        """Post a message of the package to an endpoint of ours; what the package says of the answer."""

        async def sent(
            endpoint: Endpoint | None = None, payload: bytes = b"<Invoice/>", sender: Any = None
        ) -> tuple[dict[str, Any], dict[str, Any], Endpoint]:
            endpoint = endpoint or Endpoint(
                clinic, municipality.issued.certificate, policy=PEPPOL_LIKE.policy
            )
            composed, body = await desk.compose(sender or municipality, clinic, payload)
            async with serving(endpoint) as url:
                _, answer = await post(url, composed["headers"]["Content-Type"], body)
            return composed, await desk.judge(composed["message_id"], answer), endpoint

        return sent

    @pytest.mark.matrix(case=RECEIVED)
    @pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
    async def test_message(self, send, municipality: Any, size: int) -> None:
        note = os.urandom(size // 2).hex()
        composed, verdict, endpoint = await send(payload=f"<Invoice>{note}</Invoice>".encode())
        assert endpoint.refused == []
        [(verified, [payload])] = endpoint.seen
        assert f"<Invoice>{note}</Invoice>".encode() in payload
        message = verified.user_message
        assert message.message_id == composed["message_id"]
        assert message.from_party.party_id == PartyId("municipality-ap", names.PARTY_PEPPOL_AP)
        assert message.collaboration_info.service == Service(PROCESS, PEPPOL_LIKE.service_type)
        assert verified.certificate == municipality.issued.certificate
        assert verdict == {"state": "acknowledged", "errors": []}

    @pytest.mark.matrix(case=SPOILT_PART)
    async def test_changed_part(self, send, municipality: Any, clinic: Any) -> None:
        endpoint = Endpoint(clinic, municipality.issued.certificate, spoil_request=changed_part)
        _, verdict, _ = await send(endpoint)
        assert [error.reason for error in endpoint.refused] == ["enc.failed"]
        assert (verdict["state"], verdict["errors"]) == (
            "rejected",
            [{"code": "EBMS:0102", "severity": "failure"}],
        )

    @pytest.mark.xfail(
        strict=True,
        raises=AssertionError,
        reason="as4 0.2.0 reads no Error signal without a wsse:Security header, and to a stranger we sign none (D3)",
    )
    @pytest.mark.matrix(case=UNKNOWN)
    async def test_unknown_signer(self, send, clinic: Any) -> None:
        endpoint = Endpoint(clinic, clinic.issued.certificate)
        _, verdict, _ = await send(endpoint)
        assert verdict.get("state") == "rejected"

    @pytest.mark.matrix(case=SPOILT_RECEIPT)
    async def test_receipt_of_another_message(
        self, send, desk: Desk, municipality: Any, clinic: Any
    ) -> None:
        """The planted fault: were this accepted, the receipts would prove nothing."""
        answers: list[bytes] = []

        def keep(receipt: bytes) -> bytes:
            answers.append(receipt)
            return answers[0]

        for expected in ("acknowledged", None):
            endpoint = Endpoint(clinic, municipality.issued.certificate, spoil=keep)
            _, verdict, _ = await send(endpoint)
            assert verdict.get("state") == expected, verdict


@pytest.mark.matrix(direction="us to peer")
class TestWeSendToAs4:
    @pytest.fixture
    def message(self, municipality: Any, clinic: Any) -> Callable[..., Any]:
        """A message of ours under the preset `peppol-like`."""

        def composed(payload: bytes, sender: Any = None) -> Any:
            return compose(
                sender or municipality,
                clinic.issued.certificate,
                payload,
                suite=PEPPOL_LIKE.suite,
                mode=PEPPOL_LIKE,
                service=Service(PROCESS, PEPPOL_LIKE.service_type),
                action=f"busdox-docid-qns::{DOCUMENT_TYPE}",
            )

        return composed

    @pytest.mark.matrix(case=RECEIVED)
    @pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
    async def test_message(self, desk: Desk, message, clinic: Any, size: int) -> None:
        document = business_document(size)
        sent = message(document)
        heard, answer = await desk.take(clinic, sent.content_type, sent.body)
        assert (heard["state"], heard["problem"]) == ("received", None), heard
        assert heard["message_id"] == sent.message.message_id
        assert (heard["sender"], heard["recipient"]) == (SENDER, RECIPIENT)
        assert heard["payloads"] == [sha256(document).hexdigest()]
        receipt = match(answer, sent, clinic.issued.certificate)
        assert receipt.message_id == sent.message.message_id

    @pytest.mark.matrix(case=SPOILT_PART)
    async def test_changed_part(self, desk: Desk, message, clinic: Any) -> None:
        sent = message(business_document(4096))
        heard, answer = await desk.take(clinic, sent.content_type, changed_part(sent.body))
        assert heard["state"] == "rejected"
        assert error_codes(answer) == ["EBMS:0102"]

    @pytest.mark.matrix(case=UNKNOWN)
    async def test_unknown_signer(self, desk: Desk, message, make_stations, clinic: Any) -> None:
        stranger, _ = make_stations(
            DevelopmentAuthority.create(at=datetime.now(UTC), name="Unknown"), "stranger", "other"
        )
        sent = message(business_document(4096), sender=stranger)
        heard, answer = await desk.take(clinic, sent.content_type, sent.body)
        assert heard["state"] == "rejected"
        assert error_codes(answer) == ["EBMS:0101"]

    @pytest.mark.matrix(
        case="business document that contradicts its message is refused, and the sender reads the error"
    )
    async def test_other_recipient(self, desk: Desk, message, clinic: Any) -> None:
        sent = message(business_document(4096, recipient="0088:5790000000036"))
        heard, answer = await desk.take(clinic, sent.content_type, sent.body)
        assert heard["state"] == "rejected"
        assert error_codes(answer) == ["EBMS:0004"]

    @pytest.mark.matrix(case=SPOILT_RECEIPT)
    async def test_receipt_of_another_message(self, desk: Desk, message, clinic: Any) -> None:
        first, second = (message(business_document(4096)) for _ in range(2))
        _, answer = await desk.take(clinic, first.content_type, first.body)
        match(answer, first, clinic.issued.certificate)
        with pytest.raises(InvalidReceipt):
            match(answer, replace(first, envelope=second.envelope), clinic.issued.certificate)
