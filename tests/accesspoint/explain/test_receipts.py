"""A receipt held against the message that it should answer, as the command does with `--against`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from as4_stage import Pki
from as4_wire import Author, Wire

from accesspoint.cli.explain import run
from accesspoint.clock import timestamp
from accesspoint.explain.means import GivenTrust
from accesspoint.explain.report import Report, build_report
from accesspoint.explain.text import render_text
from envelope import names
from envelope.errors import RemoteProtocolError
from envelope.explain import Means, read_sent
from envelope.pmode import SecuritySuite
from envelope.signals import build_receipt_messaging
from envelope.verified import SignedReference
from envelope.wsse import WireIds, sign_signal


@dataclass
class Exchange:
    """A message, and the receipts that its receiver signs."""

    pki: Pki
    wire: Wire

    def receipt(self, *references: SignedReference, answered: str | None = None) -> bytes:
        ids = WireIds.new("receipt")
        messaging = build_receipt_messaging(
            message_id="r-1@clinic.example",
            timestamp=timestamp(self.pki.now + timedelta(seconds=1)),
            ref_to_message_id=answered or self.wire.message_id,
            references=[each.xml for each in references],
            messaging_id=ids.messaging,
        )
        return sign_signal(
            messaging, signer=self.pki.clinic.signer(), suite=SecuritySuite(), ids=ids
        )

    def explain(self, receipt: bytes) -> Report:
        authority = self.pki.authority
        trust = GivenTrust([*authority.anchors, *authority.intermediates])
        means = Means(trust, sent=read_sent(self.wire.body))
        return build_report(receipt, means, name="receipt")


@pytest.fixture
def exchange(pki: Pki) -> Exchange:
    return Exchange(pki, Author(pki.municipality.signer(), pki.clinic.certificate).compose())


def test_a_receipt_of_the_message(exchange: Exchange) -> None:
    report = exchange.explain(exchange.receipt(*exchange.wire.references))
    text = render_text(report, width=300)
    assert report.holds, text
    assert text.count("as the message signed it") == 3
    assert dict(report.lines)["gates passed"].endswith("G6 G10")


def test_each_way_not_to_answer_it(exchange: Exchange, pki: Pki) -> None:
    own = exchange.wire.references
    others = Author(pki.municipality.signer(), pki.clinic.certificate).compose().references
    said = {
        "rcp.missing": exchange.receipt(*own[:2]),
        "rcp.extra": exchange.receipt(*own, others[2]),
        "rcp.other": exchange.receipt(*own, answered="another@message.example"),
    }
    for reason, receipt in said.items():
        report = exchange.explain(receipt)
        assert report.broken is not None
        assert (report.broken.gate, report.broken.reason) == ("G10", reason)
        assert report.broken.answer.startswith("EBMS:0302")
        assert "we answer" not in dict(report.lines)
        assert "nobody answers a receipt" in dict(report.lines)["we conclude"]


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"r-1@", b"r-2@"), (b"<S12:Envelope", b"<!DOCTYPE a><S12:Envelope")],
)
def test_nobody_answers_a_receipt_whatever_is_wrong_with_it(
    exchange: Exchange, old: bytes, new: bytes
) -> None:
    receipt = exchange.receipt(*exchange.wire.references)
    changed = receipt.replace(old, new, 1)
    assert changed != receipt
    lines = dict(exchange.explain(changed).lines)
    assert "we answer" not in lines
    assert lines["we conclude"].startswith("EBMS:0302 InvalidReceipt for the producer")


def test_nobody_answers_an_error(exchange: Exchange) -> None:
    receipt = exchange.receipt(*exchange.wire.references)
    text = re.sub(rb"(?s)<eb:Receipt.*?</eb:Receipt>", b"<eb:Error>", receipt)
    assert text != receipt
    lines = dict(exchange.explain(text).lines)
    assert lines["we conclude"].startswith("the error does not count; nobody answers one")


def test_a_digest_that_differs_stands_beside_the_signed_one(exchange: Exchange) -> None:
    first, *rest = exchange.wire.references
    changed = SignedReference(
        first.uri,
        first.digest_algorithm,
        bytes(32),
        first.transforms,
        first.xml.replace(b"<ds:DigestValue>", b"<ds:DigestValue>AAAA", 1),
    )
    report = exchange.explain(exchange.receipt(changed, *rest))
    assert report.broken is not None
    assert report.broken.reason == "rcp.digest"
    assert first.digest_value.hex() in render_text(report, width=300)


@pytest.mark.parametrize("data", [b"", b"<a/>", f'<Envelope xmlns="{names.S12}"/>'.encode()])
def test_what_is_no_message_is_none(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_sent(data)


def test_the_command_takes_the_message(
    exchange: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt, message = tmp_path / "receipt.xml", tmp_path / "message.bin"
    receipt.write_bytes(exchange.receipt(*exchange.wire.references))
    message.write_bytes(exchange.wire.body)

    def explain(against: Path) -> tuple[int, str, str]:
        status = run(
            str(receipt), key=None, trust=[], against=against, content_type=None, at=None,
            format_="text", show_payload=False,
        )  # fmt: skip
        told = capsys.readouterr()
        return status, told.out, told.err

    status, out, _ = explain(message)
    assert (status, "the message given" in out) == (0, True)
    assert explain(tmp_path / "missing.bin")[0] == 1
    status, _, err = explain(receipt)
    assert (status, "is no signed message" in err) == (1, True)
