"""Names that others wrote: in paths, statements, tables and pages they are text and nothing else."""

import csv
import io
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from as4_arena import Arena, Verdict
from as4_peer import HttpAnswer
from as4_wire import Tree, Wire, business_document
from attack_rows import row

from accesspoint.explain.page import render_html
from accesspoint.explain.report import Branch, Report
from accesspoint.tracking.door import Door
from accesspoint.tracking.export import write_csv
from accesspoint.tracking.sessions import Sessions
from envelope.explain import Mark
from envelope.messaging import Property, UserMessage
from envelope.sbdh import StandardBusinessDocumentHeader as Header

PAYLOAD_NAME = re.compile(r"(?:[0-9a-f]{32}(?:\.\w+)?|payload\.key)")
BIDI = "\u202egnp.exe\u2066"


def with_content_id(arena: Arena, content_id: str) -> Wire:
    """A message whose only part bears this Content-ID, as its true sender might name it."""
    wire = arena.author.compose()
    old = f"cid:{wire.parts[0].content_id}"

    def rename(tree: Tree) -> None:
        for element in tree.root.iter():
            for name, value in element.attrib.items():
                if value == old:
                    element.set(name, "cid:" + quote(content_id, safe="@!$&'()*+,;=:/?~"))

    renamed = arena.author.resigned(wire, rename)
    return renamed.with_parts(replace(wire.parts[0], content_id=content_id))


def identified_as(identifier: str) -> Callable[[Header], Header]:
    """Another MESSAGEIDENTIFIER in the header of the business document."""
    return lambda header: replace(
        header,
        scopes=tuple(
            replace(one, instance_identifier=identifier) if one.type == "MESSAGEIDENTIFIER" else one
            for one in header.scopes
        ),
    )


async def new_paths(arena: Arena, wire: Wire) -> set[Path]:
    """What a message leaves behind in the directory of the node, its stores aside."""
    await arena.node.idle()
    before = set(arena.node.home.rglob("*"))
    assert (await arena.client.post(wire)).status == 200
    await arena.node.idle()
    found = set(arena.node.home.rglob("*")) - before
    return {path for path in found if arena.node.home / "store" not in path.parents}


@pytest.mark.attack("FIL-01")
@pytest.mark.parametrize(
    "content_id",
    [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..\\..\\windows",
        "%2e%2e%2f@x",
        "CON",
        "nul.xml",
        "~root",
        "a;rm${IFS}-rf@x",
        "'--@x",
    ],
)
async def test_a_content_id_that_would_be_a_path(arena: Arena, content_id: str) -> None:
    """Legal characters of a cid, so the message is accepted; what is stored bears names of our own."""
    outside = {path.name for path in arena.node.home.iterdir()}
    await arena.accepts(with_content_id(arena, content_id))
    assert {path.name for path in arena.node.home.iterdir()} == outside
    names = {Path(file).name for file in arena.node.files()}
    assert [name for name in names if not PAYLOAD_NAME.fullmatch(name)] == []


@pytest.mark.attack("FIL-01")
@pytest.mark.parametrize("content_id", ["x" * 4096, "a\x00b", "a\tb", "æ@x", "a b@x"])
async def test_a_content_id_that_is_none(arena: Arena, content_id: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_parts(replace(wire.parts[0], content_id=content_id))
    verdicts = {
        "x": Verdict("G2", "mime.headers", status=400, signed=True),
        "a\x00": Verdict("G2", "mime.headers", status=400, signed=True),
        "a\t": Verdict("G4", "att.cid", "EBMS:0007", signed=True),
        "æ": Verdict("G4", "att.cid", "EBMS:0007", signed=True),
        "a ": Verdict("G4", "att.cid", "EBMS:0007", signed=True),
    }
    (verdict,) = [one for begin, one in verdicts.items() if content_id.startswith(begin)]
    await arena.refuses(attack, verdict, twin=wire)


@pytest.mark.attack("FIL-01")
@pytest.mark.parametrize("identifier", ["../../../evil", "/tmp/evil", "a/b", "evil\\x"])
async def test_a_message_identifier_that_would_be_a_path(arena: Arena, identifier: str) -> None:
    """No FHIR id, so it cannot be that of the message: the backend never hears of it."""

    assert await new_paths(arena, arena.author.compose(header=identified_as(identifier))) == set()


@pytest.mark.attack("FIL-01")
async def test_a_message_identifier_of_dots(arena: Arena) -> None:
    """A legal FHIR id: the name that is made of it leads nowhere else."""
    document = business_document("..", str(uuid.uuid4()))
    found = await new_paths(arena, arena.author.compose(document=lambda _: document))
    assert found
    assert {path.parent for path in found} == {arena.node.home / "received"}


@pytest.mark.attack("FIL-03")
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (
            lambda soap: soap.replace(
                b"</eb:MessageId>",
                b"</eb:MessageId><eb:RefToMessageId>a&#13;&#10;X: y@b</eb:RefToMessageId>",
            ),
            Verdict("G4", "header.messageid", "EBMS:0009"),
        ),
        (
            lambda soap: soap.replace(
                b'PartInfo href="cid:', b'PartInfo href="cid:a&#13;&#10;X: y'
            ),
            Verdict("G4", "att.cid", "EBMS:0007"),
        ),
        (
            lambda soap: soap.replace(b'PartInfo href="cid:', b'PartInfo href="cid:a%0D%0AX%3Ay'),
            Verdict("G4", "att.cid", "EBMS:0007"),
        ),
    ],
    ids=["RefToMessageId", "cid", "escaped cid"],
)
async def test_a_line_end_in_a_name(
    arena: Arena, change: Callable[[bytes], bytes], verdict: Verdict
) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_soap(change), verdict, twin=wire)


SQL = ["'; DROP TABLE messages;--", '" OR ""="', "$1', 'x'); --", "%s %(a)s {0} :name", "\\'; --"]


@pytest.mark.attack("FIL-05")
@pytest.mark.parametrize("statement", SQL)
async def test_a_statement_in_a_property_is_text(arena: Arena, statement: str) -> None:
    def with_property(message: UserMessage) -> UserMessage:
        more = Property("trackingIdentifier", statement)
        return replace(message, message_properties=(*message.message_properties, more))

    before = await arena.node.counts()
    await arena.accepts(arena.author.compose(message=with_property))
    assert (await arena.node.counts()).keys() == before.keys()


@pytest.mark.attack("FIL-05")
@pytest.mark.parametrize("message_id", ["o'--@x", "'||'@x", "a`b@x", "{0}@%s", "$1@$2"])
async def test_a_statement_in_a_message_id_is_text(arena: Arena, message_id: str) -> None:
    """Searched for, and found as what it is: twice the same MessageId is one message."""
    wire = arena.author.compose(message_id=message_id)
    await arena.accepts(wire)
    assert (await arena.client.post(wire)).status == 200
    assert (await arena.node.message(message_id))["message_id"] == message_id


@pytest.mark.attack("FIL-06")
@pytest.mark.parametrize(
    "formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")']
)
def test_a_formula_in_an_export_is_text(formula: str) -> None:
    text = write_csv(["name"], [[formula]]).decode("utf-8-sig")
    ((cell,),) = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))[1:]
    assert cell == f"'{formula}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        row("FIL-04", BIDI, "\ufffdgnp.exe\ufffd"),
        row("FIL-04", "a\u200fb\u061cc", "a\ufffdb\ufffdc"),
        row("FIL-07", "<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        row("FIL-07", "\"><img src=x onerror='x'>", "&gt;&lt;img src=x onerror="),
        ("Ærø Sygehus", "Ærø Sygehus"),
    ],
)
def test_a_name_on_a_page_is_text(name: str, shown: str) -> None:
    """On the pages of tracking, and on the one that explains a message."""
    door = Door(Sessions(lambda: datetime.now(UTC)))
    assert shown in door._templates.from_string("<p>{{ name }}</p>").render(name=name)
    tree = Branch(name, name, Mark.PLAIN, ())
    report = Report(name, name, ((name, name),), None, (), tree)
    page = render_html(report)
    assert shown in page
    if shown != name:
        assert name not in page


@pytest.mark.attack("FIL-07")
async def test_a_refusal_of_hypertext_is_plain_text(arena: Arena) -> None:
    """What is answered to a stranger is constant, and no page even to a browser that was sent there."""
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        answer = await arena.client.post_octets(
            b"<script>alert(1)</script>", {"Content-Type": "text/html", "Accept": "text/html"}
        )
        assert answer.content_type == "text/plain; charset=utf-8"
        return answer

    verdict = Verdict("G1", "http.media-type", status=415)
    await arena.refuses(attack, verdict, twin=wire)
