"""What our answers tell somebody who may not know: no more than their code says, in text and in size."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from as4_arena import Arena
from as4_peer import HttpAnswer, verify_receipt
from as4_stage import STRANGER, THIRD_PARTY
from as4_wire import Author, Tree, Wire

from envelope import names

ROOT = Path(__file__).parents[2]
PROOF = re.compile(
    r"(?:^|_)(?<!without_)(?:token|secret|password|passphrase|csrf|mac|hmac|verifier|thumbprint)$|digest_value$"
)
WORDS = re.compile(r"token|secret|pass(?:word|phrase)|csrf|mac\b|verifier|thumbprint|digest_value")
PUBLISHED = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d{4}-\d\d-\d\dT[0-9:.]+Z")
"""What is new in each of our answers: ids and the time."""
SIGNED = re.compile(r"(<ds:(?:DigestValue|SignatureValue)>)[^<]*")

Attack = Callable[[Arena], Wire]


def _names_of(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=function):
            return _names_of(function)
        case _:
            return ""


def compared_proofs(text: str) -> Iterator[str]:
    """Each `==` or `!=` of a program beside which a token, a key, a tag or a signed digest stands."""
    # Reading every file as a tree takes seconds; most have nothing to compare.
    for node in ast.walk(ast.parse(text)) if WORDS.search(text) else ():
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
            continue
        if any(PROOF.search(_names_of(side)) for side in (node.left, *node.comparators)):
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.attack("SID-01")
def test_what_proves_something_is_compared_in_constant_time() -> None:
    compared = [
        f"{file.relative_to(ROOT)}:{found}"
        for package in ("accesspoint", "envelope", "keys")
        for file in (ROOT / package).rglob("*.py")
        for found in compared_proofs(file.read_text("utf-8"))
    ]
    assert compared == []


@pytest.mark.parametrize(
    "planted",
    ["token == given", "given != self._client_secret", "a == b.hmac()", "x.digest_value == y"],
)
def test_a_planted_comparison_is_found(planted: str) -> None:
    assert list(compared_proofs(f"if {planted}:\n    pass\n")) == [f"1: {planted}"]
    assert list(compared_proofs("compare_digest(token, given) and token is given")) == []
    assert list(compared_proofs("without_password(text) != text")) == []


def _text(*change: str) -> Attack:
    return lambda arena: arena.author.compose().with_text(*change, count=1)


def _tree(change: Callable[[Tree], None]) -> Attack:
    return lambda arena: arena.author.compose().with_tree(change)


def _forged(tree: Tree) -> None:
    value = tree.find(names.DS, "SignatureValue")
    value.text = ("B" if value.text[0] == "A" else "A") + value.text[1:]


def _other_digest(tree: Tree) -> None:
    tree.find(names.DS, "DigestValue").text = "A" * 43 + "="


def _of(party: str) -> Attack:
    """Signed by somebody whom nobody trusts, in the name of `party`."""

    def write(arena: Arena) -> Wire:
        issued = arena.pki.certify(party, authority=arena.pki.untrusted_authority)
        return Author(issued.signer(), arena.node.certificate, party=party).compose()

    return write


BEFORE_G6: dict[str, list[Attack]] = {
    "EBMS:0101": [
        _tree(_forged),
        _tree(_other_digest),
        _of("kommunens-ap-test"),
        _of(THIRD_PARTY),
        _of(STRANGER),
    ],
    "EBMS:0009": [
        _text("<eb:MessageId>", "<eb:MessageId>no message id "),
        _text("<eb:UserMessage>", "<eb:UserMessage><eb:Other></eb:Other>"),
    ],
}


async def _answers(arena: Arena, attacks: list[Attack]) -> list[HttpAnswer]:
    return [await arena.client.post(write(arena)) for write in attacks]


@pytest.mark.attack("SID-02", "SID-03", "SID-04")
@pytest.mark.parametrize("code", BEFORE_G6)
async def test_a_stranger_learns_the_code_and_nothing_else(arena: Arena, code: str) -> None:
    """Whoever it says it is, known or not, and whatever is wrong: the same octets but for ids and time."""
    answers = await _answers(arena, BEFORE_G6[code])
    assert {answer.status for answer in answers} == {200}
    assert all(code.encode() in answer.body for answer in answers)
    assert len({len(answer.body) for answer in answers}) == 1
    assert len({PUBLISHED.sub("", answer.body.decode()) for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1


def _wrong_key(arena: Arena) -> Wire:
    """The content key is wrapped for somebody else."""
    return arena.author.compose(encrypted_for=arena.pki.third.certificate)


def _flipped(position: int) -> Attack:
    def write(arena: Arena) -> Wire:
        def flip(octets: bytes) -> bytes:
            at = position % len(octets)
            return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]

        return arena.author.compose().with_part(0, flip)

    return write


@pytest.mark.attack("SID-02", "SID-03")
async def test_a_sender_learns_no_more_of_a_decryption_than_that_it_failed(arena: Arena) -> None:
    """Signed answers differ in ids, time and signature; key, tag and content are told apart by nothing."""
    answers = await _answers(arena, [_wrong_key, _flipped(20), _flipped(100), _flipped(-1)])
    assert all(b"EBMS:0102" in answer.body for answer in answers)
    assert len({len(answer.body) for answer in answers}) == 1
    assert (
        len({PUBLISHED.sub("", SIGNED.sub(r"\1", answer.body.decode())) for answer in answers}) == 1
    )


@pytest.mark.attack("SID-03")
async def test_refusals_without_a_message_have_one_text(arena: Arena) -> None:
    wire = arena.author.compose()
    attacks = [
        replace(wire, content_type="text/xml"),
        replace(wire, ending=""),
        wire.with_text("<S12:Header>", "<S12:Header><!-- -->"),
        wire.with_text("<S12:Header>", f"<S12:Header><x>{'x' * (1 << 20)}</x>"),
    ]
    answers = [await arena.client.post(attack) for attack in attacks]
    assert {answer.body for answer in answers} == {b"The request is not accepted.\n"}
    assert {answer.content_type for answer in answers} == {"text/plain; charset=utf-8"}


@pytest.mark.attack("SID-02", "SID-05")
async def test_nobody_learns_which_message_ids_others_have_used(arena: Arena) -> None:
    """A third party sends under an id that the municipality used, and under one that nobody did: both are its own."""
    used, fresh = arena.author.compose(), arena.author.compose()
    await arena.accepts(used)
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    answers = []
    for message_id in (used.message_id, fresh.message_id):
        wire = third.compose(message_id=message_id)
        mark = arena.log.mark
        answer = await arena.client.post(wire)
        verify_receipt(answer, wire, arena.node.certificate)
        assert [one for one in arena.log.since(mark) if "duplicate" in one["event"]] == []
        answers.append(answer)
        await arena.node.idle()
    assert len({len(answer.body) for answer in answers}) == 1
