"""What is said about a capture: the verdict of the gates, every further fault, whose it is, and nothing about a patient."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from as4_stage import STRANGER, Pki
from as4_wire import CANARY, Author, Tree, Wire, business_document
from lxml import etree

from accesspoint.explain.means import GivenTrust
from accesspoint.explain.page import render_html
from accesspoint.explain.report import Branch, Report, build_report, to_json
from accesspoint.explain.rules import CATALOGUE, RULES
from accesspoint.explain.text import render_text
from accesspoint.problems import PROBLEMS, Whose
from envelope import names
from envelope.explain import Mark, Means, inspect
from envelope.explain.hints import why_part_differs
from envelope.fhir.synthetic import TEST_CPR
from envelope.limits import Limits
from envelope.messaging import Property, UserMessage
from envelope.pmode import Quirk
from envelope.smp import SmpIdentifier, build_service_group
from envelope.wsse import Decrypter

ROOT = Path(__file__).parents[3]


@pytest.fixture
def author(pki: Pki) -> Author:
    return Author(pki.municipality.signer(), pki.clinic.certificate)


@pytest.fixture
def means(pki: Pki) -> Means:
    return given(pki, pki.clinic.decrypter())


def given(pki: Pki, decrypter: Decrypter | None) -> Means:
    authority = pki.authority
    return Means(GivenTrust([*authority.anchors, *authority.intermediates]), decrypter)


def explained(wire: Wire, means: Means, **options: Any) -> Report:
    return build_report(wire.body, means, name="capture", content_type=wire.content_type, **options)


def branches(branch: Branch) -> list[Branch]:
    return [branch, *(each for child in branch.children for each in branches(child))]


def marks(report: Report) -> dict[str, Mark]:
    return {each.label: each.mark for each in branches(report.tree)}


def test_a_sound_message_passes_every_gate_and_every_look(author: Author, means: Means) -> None:
    report = explained(author.compose(), means)
    lines = dict(report.lines)
    assert report.holds, render_text(report)
    assert lines["gates passed"] == "G2 G3 G4 G5 G6 G7 G8 G9 G10"
    assert "trust" not in lines
    assert "otherwise" not in lines
    found = marks(report)
    assert Mark.BROKEN not in found.values()
    assert Mark.UNSEEN not in {mark for label, mark in found.items() if label != "valid"}
    for label in ("signature value", "chain", "decryption", "algorithms", "MedCom rules"):
        assert found[label] is Mark.HOLDS
    matched = [each for each in branches(report.tree) if each.value.endswith("digest matches")]
    assert len(matched) == 3


def test_without_key_and_trust_it_says_what_could_not_be_looked_at(author: Author) -> None:
    report = explained(author.compose(), Means(GivenTrust()))
    lines = dict(report.lines)
    assert report.holds
    assert "private key was not given" in lines["not looked further"]
    assert "no trusted certificates were given" in lines["trust"]
    assert report.headline == "nothing broken, as far as could be looked: trust was not"
    found = marks(report)
    assert found["chain"] is found["decryption"] is Mark.UNSEEN
    assert found["signature value"] is Mark.HOLDS


def _drop_security(tree: Tree) -> None:
    tree.header.remove(tree.security)


def _change_action(tree: Tree) -> None:
    tree.find(names.EB, "Action").text = "urn:other"


def _move_digest(tree: Tree) -> None:
    value = tree.find(names.DS, "DigestValue")
    value.text = "A" * 43 + "="


def _second_id(tree: Tree) -> None:
    tree.body.set("Id", tree.messaging.get(f"{{{names.WSU}}}Id"))


@pytest.mark.parametrize(
    ("fault", "gate", "reason", "answer"),
    [
        (_drop_security, "G5", "sec.missing", "EBMS:0103"),
        (_change_action, "G6", "sig.digest", "EBMS:0101"),
        (_move_digest, "G6", "sig.value", "EBMS:0101"),
        (_second_id, "G5", "id.duplicate", "EBMS:0101"),
    ],
)
def test_each_fault_names_its_gate_its_answer_and_whose_it_is(
    author: Author,
    means: Means,
    fault: Callable[[Tree], None],
    gate: str,
    reason: str,
    answer: str,
) -> None:
    report = explained(author.compose().with_tree(fault), means)
    assert report.broken is not None
    assert (report.broken.gate, report.broken.reason) == (gate, reason)
    assert report.broken.answer.startswith(answer)
    assert report.broken.rule.whose is Whose.THEIRS
    lines = dict(report.lines)
    assert lines["write to the partner"].startswith(("Please", "The Messaging header"))
    assert lines["rule"]
    assert lines["we answer"].startswith(answer)


def _indent(tree: Tree) -> None:
    etree.indent(tree.messaging)


def _indent_signed_info(tree: Tree) -> None:
    etree.indent(tree.find(names.DS, "SignedInfo"))


def _drop_must_understand(tree: Tree) -> None:
    tree.messaging.attrib.pop(names.q(names.S12, "mustUnderstand"))


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (_indent, "it matches without the white space between elements"),
        (_indent_signed_info, "it does without the white space between elements"),
        (_drop_must_understand, "which somebody took away"),
    ],
)
def test_what_a_gateway_did_to_the_header_is_found_out(
    author: Author, means: Means, change: Callable[[Tree], None], hint: str
) -> None:
    report = explained(author.compose().with_tree(change), means)
    assert any(hint in each.value for each in branches(report.tree))
    lines = dict(report.lines)
    assert hint in report.headline
    assert hint in lines["write to the partner"]
    assert lines["whose"] == "something between, which changed it after it was signed"


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda octets: octets + b"\r\n", "without the last line end"),
        (lambda octets: octets + b"\n", "without the last line end"),
        (lambda octets: octets[:-2], "with one more line end"),
        (lambda octets: octets.replace(b"\r\n", b"\n"), "with CRLF line ends"),
        (lambda octets: octets + b"more", None),
    ],
)
def test_what_a_mime_writer_did_to_a_part_is_found_out(
    change: Callable[[bytes], bytes], hint: str | None
) -> None:
    signed = b"first\r\nsecond\r\n"
    came = change(signed)
    told = why_part_differs(came, came, hashlib.sha256(signed).digest())
    assert (told is None) if hint is None else (told is not None and hint in told)


def test_the_hint_stands_where_the_digest_differs(author: Author, means: Means) -> None:
    wire = author.test_message([b"octets"], encrypt=False).with_part(0, lambda part: part + b"\r\n")
    told = [each.value for each in branches(explained(wire, means).tree)]
    assert any("part: the digest" in each and "a MIME writer added one" in each for each in told)


def test_one_fault_does_not_hide_the_next(author: Author, means: Means) -> None:
    """No encryption, a changed header, a changed part: all three are told."""
    wire = author.compose(encrypt=False).with_part(0, lambda octets: octets[:-1] + b"\x7f")
    report = explained(wire.with_tree(_change_action), means)
    assert report.broken is not None
    reasons = {report.broken.reason, *(one.reason for one in report.others)}
    assert {"enc.missing", "sig.digest", "att.digest"} <= reasons
    assert marks(report)["signature value"] is Mark.HOLDS


def test_a_stranger_is_not_trusted_though_his_signature_verifies(pki: Pki, means: Means) -> None:
    issued = pki.certify(STRANGER, authority=pki.untrusted_authority)
    stranger = Author(issued.signer(), pki.clinic.certificate)
    report = explained(stranger.compose(), means)
    assert report.broken is not None
    assert report.broken.reason == "cert.untrusted"
    found = marks(report)
    assert (found["signature value"], found["chain"]) == (Mark.HOLDS, Mark.BROKEN)
    assert found["decryption"] is Mark.HOLDS, "the walk goes on behind the refusal"


def test_a_signer_of_another_name_than_the_party_in_from_is_noted(
    author: Author, means: Means
) -> None:
    assert marks(explained(author.compose(), means))["party"] is Mark.HOLDS
    author.party = "somebody-else"
    assert marks(explained(author.compose(), means))["party"] is Mark.NOTED


def test_the_quirks_that_would_do_are_named_and_no_others(author: Author, means: Means) -> None:
    report = explained(author.compose(encrypt=False), means)
    assert report.broken is not None
    assert report.broken.reason == "enc.missing"
    otherwise = dict(report.lines)["otherwise"]
    assert otherwise.endswith("and the quirk unencrypted")
    assert sum(quirk in otherwise for quirk in Quirk) == 1


def test_a_damaged_multipart_is_read_as_far_as_it_goes(author: Author, means: Means) -> None:
    body = author.compose().body[:-40]
    report = build_report(body, means, name="cut")
    assert report.broken is not None
    assert report.broken.reason == "mime.truncated"
    assert dict(report.lines)["whose"] == "not certain: the capture may be cut"
    assert marks(report)["signature value"] is Mark.HOLDS


def test_an_envelope_without_its_end_may_be_a_capture_without_it(
    author: Author, means: Means
) -> None:
    report = build_report(author.compose().soap[:-30], means, name="cut.xml")
    assert dict(report.lines)["whose"] == "not certain: the capture may be cut"


def test_a_whole_http_request_hides_its_token(author: Author, means: Means) -> None:
    wire = author.compose()
    head = (
        f"POST /as4 HTTP/1.1\r\nHost: ap.example\r\nAuthorization: Basic c2VjcmV0OnNlY3JldA==\r\n"
        f"Content-Type: {wire.content_type}\r\n\r\n"
    )
    report = build_report(head.encode() + wire.body, means, name="request")
    text = render_text(report)
    assert report.holds
    assert "POST /as4" in text
    assert "c2VjcmV0" not in text


def test_chunks_are_taken_off(author: Author, means: Means) -> None:
    wire = author.compose()
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece)
        for piece in (wire.body[at : at + 1000] for at in range(0, len(wire.body), 1000))
    )
    head = f"Content-Type: {wire.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert build_report(head + chunks + b"0\r\n\r\n", means, name="chunked").holds


def test_nothing_about_a_patient_is_said_unless_asked(author: Author, means: Means) -> None:
    wire = author.compose()
    report = explained(wire, means)
    told = render_text(report) + render_html(report) + json.dumps(to_json(report))
    number = re.compile(TEST_CPR[:6] + "-?" + TEST_CPR[-4:])
    assert not number.search(told)
    asked = render_text(explained(wire, means, show_payload=True))
    assert number.search(asked)


def test_what_a_partner_wrote_beside_the_standards_names_is_only_counted(
    author: Author, means: Means
) -> None:
    """Titles and file names in properties and part headers often name a patient."""

    def name_file(plain: UserMessage) -> UserMessage:
        (part,) = plain.parts
        named = replace(part, properties=(*part.properties, Property("FileName", "Nancy Ann.xml")))
        return replace(plain, parts=(named,))

    wire = author.compose(message=name_file)
    (part,) = wire.parts
    fields = (
        ("Content-Disposition", "attachment; filename*=UTF-8''Nancy.xml"),
        ("Content-Type", 'application/octet-stream; name="Nancy; Berggren"'),
        ("Content-Description", "of Nancy"),
    )
    kept = tuple(one for one in part.headers if one[0] not in dict(fields))
    wire = wire.with_parts(replace(part, headers=(*kept, *fields)))
    for sound in (wire, wire.with_text("<eb:Action>", "<eb:Bad/><eb:Action>")):
        report = explained(sound, means)
        told = render_text(report) + render_html(report) + json.dumps(to_json(report))
        for private in (CANARY, "Nancy", "Berggren"):
            assert private not in told
        values = {each.label.rpartition("/")[2]: each.value for each in branches(report.tree)}
        assert "(13 characters)" in told, "the file name is there, as its length"
        assert "originalSender" in told
        assert re.search(r"0088:\d{13}", told), "what the standards name is shown"
        assert values["content-description"] == "(8 characters)"
    head = b'HTTP/1.1 200 OK\r\nContent-Disposition: inline; filename="Nancy"\r\nX-It: name="Nancy\\" Nancy; Nancy\r\n\r\n'
    assert "Nancy" not in render_text(build_report(head + wire.body, means, name="answer"))


def test_content_is_kept_only_for_who_asked(author: Author, means: Means) -> None:
    wire = author.compose()
    for asked in (False, True):
        root = inspect(
            wire.body, replace(means, keep_payload=asked), content_type=wire.content_type
        ).root
        assert any(node.octets is not None for node in root.walk()) is asked


def test_parts_that_are_too_much_together_are_not_looked_at(author: Author, means: Means) -> None:
    """Each is within its limits: the gates refuse nothing, and nothing more is kept than one part may hold."""
    wire = author.test_message([b"a" * 60_000, b"b" * 60_000])
    report = explained(wire, replace(means, limits=Limits(sbd_bytes=100_000)))
    assert report.broken is None
    assert (
        dict(report.lines)["not looked further"] == "the parts inflate to more than 100000 octets"
    )
    payloads = [each for each in branches(report.tree) if each.label.startswith("payload")]
    assert [each.mark for each in payloads] == [Mark.PLAIN, Mark.UNSEEN]
    alone = author.test_message([b"a" * 100_001])
    refused = explained(alone, replace(means, limits=Limits(sbd_bytes=100_000))).broken
    assert refused is not None
    assert refused.reason == "gzip.limit"


def test_a_business_document_alone(means: Means) -> None:
    document = business_document("m-1", "00000000-0000-4000-8000-000000000001")
    report = build_report(document, means, name="sbd.xml")
    found = {each.label: each.value for each in branches(report.tree)}
    assert found["scope PATIENTID"] == "(about a patient: not shown)"
    assert TEST_CPR not in render_text(report)


def test_an_answer_of_the_directory_is_judged_as_one_though_it_has_a_comment(means: Means) -> None:
    group = build_service_group(SmpIdentifier("iso6523-actorid-upis", "0088:5790000000012"), [])
    comment = group.replace(b"?>", b"?><!-- a note -->", 1)
    assert build_report(group, means, name="group.xml").holds
    metadata = comment.replace(b"ServiceGroup", b"ServiceMetadata")
    report = build_report(metadata, means, name="metadata.xml")
    assert report.broken is not None
    assert report.broken.reason == "smp.unsigned"
    lines = dict(report.lines)
    assert lines["we conclude"].startswith("the look-up is refused")
    assert "we answer" not in lines
    typed = group.replace(b"?>", b"?><!DOCTYPE ServiceGroup>", 1)
    lines = dict(build_report(typed, means, name="group.xml").lines)
    assert lines["we conclude"].startswith("the look-up is refused")


def test_a_delivery_event_is_held_against_its_profile(means: Means) -> None:
    report = build_report(b'{"resourceType": "AuditEvent"}', means, name="event.json")
    assert report.tree.label == "AuditEvent"
    assert Mark.BROKEN in marks(report).values()
    assert not report.holds


@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff" * 50, b"{", b"<a", b"--b\r\n", b"[1]", b"{}" * 9]
)
def test_any_bytes_are_explained(data: bytes, means: Means) -> None:
    for render in (render_text, render_html, to_json):
        assert render(build_report(data, means, name="odd"))


def test_a_page_needs_nothing_else_and_nothing_of_the_capture_is_markup(
    author: Author, means: Means
) -> None:
    wire = author.compose(message=lambda plain: plain).with_text(
        "</eb:Action>", "&lt;script&gt;alert(1)&lt;/script&gt;</eb:Action>"
    )
    page = render_html(explained(wire, means))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(?:src|href)=|url\(|https?://[^<"' ]*\.(?:js|css)""", page)


def test_lines_keep_their_width_and_colour_is_for_terminals(author: Author, means: Means) -> None:
    report = explained(author.compose(), means)
    plain = render_text(report, width=80)
    assert "\x1b" not in plain
    assert "\x1b[32m" in render_text(report, colour=True)
    assert max(map(len, plain.splitlines())) <= 80


def test_every_reason_of_a_gate_has_its_row() -> None:
    """No slug that the receiving side can raise is explained with silence."""
    raised: set[str] = set()
    for path in [
        *(ROOT / "envelope").rglob("*.py"),
        *(ROOT / "accesspoint" / "inbound").glob("*.py"),
    ]:
        text = path.read_text("utf-8")
        raised |= set(re.findall(r'reason\s*=\s*"([a-z0-9]+\.[a-z0-9-]+)"', text))
        raised |= set(
            re.findall(r'_(?:refused|schema|dangling)\([^()]*?"((?:xml|mime|sbd)\.[a-z-]+)"', text)
        )
    elsewhere = ("ack.", "crl.", "token.", "manifest.", "smp.")
    missing = {each for each in raised - RULES.keys() if not each.startswith(elsewhere)}
    assert set(CATALOGUE.values()) <= PROBLEMS.keys()
    assert len(raised) > 80
    assert missing == set()


def test_lines_that_end_in_lf_alone_are_called_that_and_no_gate_is_passed_and_refused(
    author: Author, means: Means
) -> None:
    wire = author.compose()
    head, delimiter, rest = wire.body.partition(b"\r\n\r\n")
    bare = head.replace(b"\r\n", b"\n") + delimiter.replace(b"\r", b"") + rest
    report = build_report(bare, means, name="bare", content_type=wire.content_type)
    assert "lines end in LF alone, CRLF is needed" in report.headline
    unencrypted = explained(author.compose(encrypt=False), means)
    assert unencrypted.broken is not None
    assert unencrypted.broken.gate not in dict(unencrypted.lines)["gates passed"].split()
