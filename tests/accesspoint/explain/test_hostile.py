"""`explain` is shown the worst bytes there are: it ends, says something, and never what is about a patient."""

import random
import re

import pytest
from as4_stage import Pki
from as4_wire import Author, Wire, gzip
from cpu_time import cpu_time
from lxml import etree

from accesspoint.explain.means import GivenTrust
from accesspoint.explain.report import Report, build_report
from accesspoint.explain.text import render_text
from envelope import names
from envelope.explain import Mark, Means
from envelope.fhir.synthetic import TEST_CPR

NUMBER = re.compile(TEST_CPR[:6] + "-?" + TEST_CPR[-4:])
CPU_SECONDS = 5.0


@pytest.fixture(scope="module")
def author(pki: Pki) -> Author:
    return Author(pki.municipality.signer(), pki.clinic.certificate)


@pytest.fixture(scope="module")
def means(pki: Pki) -> Means:
    authority = pki.authority
    trust = GivenTrust([*authority.anchors, *authority.intermediates])
    return Means(trust, pki.clinic.decrypter())


@pytest.fixture(scope="module")
def sound(author: Author) -> Wire:
    return author.compose()


def explain(body: bytes, means: Means, content_type: str | None = None) -> tuple[Report, str]:
    with cpu_time() as spent:
        report = build_report(body, means, name="hostile", content_type=content_type)
        text = render_text(report)
    assert spent.seconds < CPU_SECONDS
    assert not NUMBER.search(text)
    return report, text


@pytest.mark.parametrize("seed", range(25))
def test_bytes_changed_anywhere(sound: Wire, means: Means, seed: int) -> None:
    """Some octets flipped, a piece cut out, a piece doubled: whatever is left is explained."""
    draw = random.Random(seed)
    body = bytearray(sound.body)
    for _ in range(draw.randrange(4)):
        body[draw.randrange(len(body))] = draw.randrange(256)
    at, end = sorted(draw.randrange(len(body)) for _ in range(2))
    if seed % 3 == 0:
        del body[at : min(end, at + 300)]
    elif seed % 3 == 1:
        body[at:at] = body[at : at + 200]
    explain(bytes(body), means, sound.content_type)


def test_a_bomb_in_a_part(author: Author, means: Means) -> None:
    bomb = author.compose(document=lambda document: document + b" " * 30_000_000)
    report, _ = explain(bomb.body, means, bomb.content_type)
    assert report.broken is not None
    assert report.broken.reason == "gzip.limit"


def test_a_bomb_of_entities(means: Means) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    soap = f'<!DOCTYPE x [{entities}]><S12:Envelope xmlns:S12="{names.S12}">&e11;</S12:Envelope>'
    report, _ = explain(soap.encode(), means)
    assert report.broken is not None
    assert report.broken.reason == "xml.doctype"


def test_a_header_with_a_thousand_twins(sound: Wire, means: Means) -> None:
    """Many references and many elements with one id: the look at each is bounded by the gates' own limits."""
    root = etree.fromstring(sound.soap)
    info = next(root.iter(names.q(names.DS, "SignedInfo")))
    for _ in range(1000):
        info.append(etree.fromstring(etree.tostring(info[-1])))
    report, _ = explain(etree.tostring(root), means)
    assert report.broken is not None


def test_what_stands_between_the_comments_is_still_bounded(sound: Wire, means: Means) -> None:
    soap = sound.soap.replace(b"<S12:Header>", b"<!-- a --><S12:Header>", 1)
    report, text = explain(soap, means)
    assert report.broken is not None
    assert report.broken.reason == "xml.comment"
    assert "✓ signature value" in text
    deep = b"<a>" * 100_000 + b"<!-- c -->" + b"</a>" * 100_000
    explain(b'<Envelope xmlns="x">' + deep + b"</Envelope>", means)


def test_terminal_sequences_do_not_reach_a_terminal(author: Author, means: Means) -> None:
    """What a stranger writes cannot move the cursor or colour a line."""
    wire = author.compose()
    body = wire.body.replace(b"</eb:Action>", "\u009b31m\u202e</eb:Action>".encode())
    report, text = explain(body, means, wire.content_type)
    assert report.tree.count(Mark.BROKEN)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    octets = author.test_message([b"<a>\x1b]0;owned\x07\xc2\x9b2J\r\tb</a>"])
    report = build_report(
        octets.body, means, name="x", content_type=octets.content_type, show_payload=True
    )
    assert "\\u001b]0;owned\\u0007\\u009b2J" in render_text(report)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", render_text(report))
    head = b"HTTP/1.1 200 OK\r\nX-Name: \x1b[31mred\x9b1m\r\n\r\n"
    _, text = explain(head + gzip(b"x"), means)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
