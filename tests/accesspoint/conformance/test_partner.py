"""A partner over the wire, described by a file: what is wrong with the file, and what only the other side can say."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from as4_peer import Server
from as4_stage import Pki

from accesspoint.config import ConfigurationProblem
from accesspoint.conformance.author import Author, Draft, Request
from accesspoint.conformance.case import Status, Unmet
from accesspoint.conformance.line import Line
from accesspoint.conformance.opening import open_target
from accesspoint.conformance.partner import Description, PartnerTarget
from accesspoint.conformance.publishing import our_publisher
from accesspoint.conformance.reading import expect_receipt
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.runner import choose, run
from accesspoint.toml import write_toml
from envelope import names
from envelope.messaging import PartyId, Service
from envelope.smp import SmpIdentifier
from keys.store import write_keystore

FILE = """
name = "the clinic"
url = "{url}"
certificate = "{certificate}"
keys = "keys"
tls_anchors = ["{anchors}"]
"""


@pytest.fixture
def description(pki: Pki, tmp_path: Path) -> Path:
    write_keystore(tmp_path / "keys", message=pki.municipality, tls=pki.tls("municipality"))
    anchors = pki.trust["anchors"][0]
    path = tmp_path / "partner.toml"
    url = "https://127.0.0.1:1/as4"
    path.write_text(FILE.format(url=url, certificate=pki.file_of(pki.clinic), anchors=anchors))
    return path


def clinic_author(pki: Pki) -> Author:
    return Author(
        pki.clinic.signer(),
        PartyId("laegehuset-ap-test", names.PARTY_UNREGISTERED),
        pki.municipality.certificate,
        PartyId("eksempel-kommune-ap-test", names.PARTY_UNREGISTERED),
    )


@pytest_asyncio.fixture(loop_scope="session")
async def clinic(pki: Pki) -> AsyncIterator[Server]:
    """An access point that answers everything with an honest receipt, and knows nothing else."""
    _, tls = pki.tls_contexts("clinic")
    async with Server.start(pki.clinic.signer(), tls) as server:
        yield server


async def test_what_a_partner_answers_is_judged_and_what_it_delivers_is_asked(
    clinic: Server, description: Path
) -> None:
    description.write_text(
        description.read_text().replace("https://127.0.0.1:1/as4", clinic.url), encoding="utf-8"
    )
    async with open_target(str(description)) as target:
        finished = await run(target, choose(["TA01", "TA08", "TA12", "TA32", "TA34"]))
    found = {one.assertion.id.removeprefix("AS4_CP_"): one for one in finished.results}
    assert {id_: one.status for id_, one in found.items()} == {
        "TA01": Status.PASS,  # a receipt that verifies
        "TA08": Status.FAIL,  # and one where there should be an error
        "TA12": Status.WAITING,
        "TA32": Status.WAITING,
        "TA34": Status.NOT_APPLICABLE,
    }
    assert "say whether your consumer got message" in found["TA32"].reason
    assert "no mode without encryption" in found["TA34"].reason
    assert len(found["TA32"].exchanged) == 2, "a receipt came before the question"


async def test_what_a_partner_sends_is_waited_for(
    description: Path, pki: Pki, clinic: Server
) -> None:
    """The clinic sends once when it is asked, and again only where its receipt was lost; one message serves all."""
    with description.open("a") as file:
        file.write('listen = "127.0.0.1:0"\nwait = "1 s"\n')
    request = clinic_author(pki).write(Draft())
    asked: list[str] = []
    running: set[asyncio.Task[None]] = set()

    async def send(url: str) -> None:
        async with Line(url, pki.tls_contexts("clinic")[0]) as line:
            for _ in range(3):
                with suppress(Unmet):
                    answer = await line.send(request, Recorder(), "message")
                    expect_receipt(
                        answer, message_id=request.message_id, references=request.references,
                        signer=pki.municipality.certificate,
                    )  # fmt: skip
                    return

    def ask(text: str) -> None:
        asked.append(text)
        running.add(asyncio.create_task(send(text.rpartition(" ")[2])))

    async with open_target(str(description)) as target:
        target.ask = ask
        finished = await run(
            target, choose(["TA03", "TA05", "TA09", "TA12", "TA13", "TA15", "TA22", "TA23", "TA24"])
        )
        await asyncio.gather(*running)
    waiting = {"AS4_CP_TA15", "AS4_CP_TA22"}
    for result in finished.results:
        expected = Status.WAITING if result.assertion.id in waiting else Status.PASS
        assert result.status is expected, (result.assertion.id, result.seen, result.reason)
        assert result.exchanged
    assert len(asked) == 3, (
        "asked once for all, once for the lost answer, once for all answers lost"
    )


STRANGE: dict[str, Callable[[Author, Pki], Request]] = {
    "nothing is signed": lambda author, pki: unsigned(author.write(Draft())),
    "somebody else signed": lambda author, pki: replace(author, signer=pki.third.signer()).write(
        Draft()
    ),
    "for somebody else's key": lambda author, pki: replace(
        author, recipient=pki.third.certificate
    ).write(Draft()),
    "references of others beside": lambda author, pki: with_references(author.write(Draft())),
}


def unsigned(request: Request) -> Request:
    """The reviewer's: a message without security, with references that somebody would like to have a receipt over."""
    body = re.sub(rb"<wsse:Security .*</wsse:Security>", rb"", request.body, flags=re.DOTALL)
    assert body != request.body
    return with_references(replace(request, body=body))


def with_references(request: Request) -> Request:
    wanted = (
        f'<ds:Reference xmlns:ds="{names.DS}" URI="cid:wanted@x"><ds:DigestMethod Algorithm="{names.SHA256}"/>'
        f"<ds:DigestValue>{'A' * 43}=</ds:DigestValue></ds:Reference></S12:Header>"
    )
    body = request.body.replace(b"</S12:Header>", wanted.encode())
    assert body != request.body
    return replace(request, body=body)


@pytest.mark.parametrize("strange", STRANGE)
async def test_the_inbox_receipts_only_what_the_partner_signed(
    description: Path, pki: Pki, strange: str
) -> None:
    with description.open("a") as file:
        file.write('listen = "127.0.0.1:0"\n')
    request = STRANGE[strange](clinic_author(pki), pki)
    async with open_target(str(description)) as target:
        assert isinstance(target, PartnerTarget)
        assert target.inbox is not None
        async with Line(target.inbox.url, pki.tls_contexts("clinic")[0]) as line:
            answer = await line.send(request, Recorder(), "message")
        assert target.inbox.requests, "what the partner does wrong is there to be judged"
    assert b"cid:wanted" not in answer.body
    if answer.errors:
        assert not answer.all(names.EB, "Receipt")
    else:
        assert strange == "references of others beside"


@pytest.mark.parametrize("agreed", [{}, {"only_sign_action": "OTHER"}])
async def test_business_that_comes_to_the_inbox_is_refused_and_not_kept(
    description: Path, pki: Pki, agreed: dict[str, str]
) -> None:
    """A real message, sent here by mistake: no receipt, so its sender does not think it delivered."""
    with description.open("a") as file:
        file.write(write_toml({"listen": "127.0.0.1:0", **agreed}))
    author, recorder = clinic_author(pki), Recorder()
    async with open_target(str(description)) as target:
        assert isinstance(target, PartnerTarget)
        assert target.inbox is not None
        target.inbox.begin(recorder)
        async with Line(target.inbox.url, pki.tls_contexts("clinic")[0]) as line:
            for draft in (
                Draft(service=Service("urn:dk:medcom:process", "process")),
                Draft(action="urn:dk:medcom:document"),
            ):
                answer = await line.send(author.write(draft), Recorder(), "message")
                assert answer.errors == ["EBMS:0010"]
                assert not answer.all(names.EB, "Receipt")
            assert target.inbox.requests == recorder.exchanged == []
            answer = await line.send(author.write(Draft()), Recorder(), "message")
            assert answer.all(names.EB, "Receipt")


async def test_the_transport_and_the_publisher_of_a_partner_are_judged(
    clinic: Server, description: Path, pki: Pki
) -> None:
    def text(one: SmpIdentifier | None) -> str:
        return "" if one is None else f"{one.scheme or ''}::{one.value}"

    wanted = [
        "TA40",
        "TA41",
        "TA42",
        "TA43",
        "SMP_TA03",
        "SMP_TA06",
        "SMP_TA09B",
        "SMP_TA22",
        "SMP_TA25",
    ]
    async with our_publisher(pki.third, pki.municipality) as published:
        described = {
            name: text(getattr(published, name))
            for name in ("participant", "document", "redirected", "schemeless",
                         "sensitive_participant", "sensitive_document")
        }  # fmt: skip
        hosts = sorted(published.hosts)
        table = write_toml({"publisher": {"url": published.base_url, "hosts": hosts, **described}})
        own = description.read_text().replace("https://127.0.0.1:1/as4", clinic.url)
        description.write_text(f"{own}{table}", encoding="utf-8")
        async with open_target(str(description)) as target:
            finished = await run(target, choose(wanted))
    for result in finished.results:
        assert result.status is Status.PASS, (result.assertion.id, result.seen, result.reason)


async def test_what_the_file_of_a_partner_does_not_describe_is_not_judged(
    clinic: Server, description: Path
) -> None:
    description.write_text(
        description.read_text().replace("https://127.0.0.1:1/as4", clinic.url), encoding="utf-8"
    )
    async with open_target(str(description)) as target:
        finished = await run(target, choose(["SMP_TA01", "AS4_DR_TA01", "TA39"]))
    assert [one.status for one in finished.results] == [
        Status.NOT_APPLICABLE,
        Status.NOT_APPLICABLE,
        Status.WAITING,
    ]


async def test_a_partner_that_sends_nothing_is_waited_for_in_vain(description: Path) -> None:
    with description.open("a") as file:
        file.write('listen = "127.0.0.1:0"\nwait = "10 ms"\n')
    async with open_target(str(description)) as target:
        finished = await run(target, choose(["TA12"]))
    assert finished.results[0].status is Status.WAITING
    assert "send one message to https://127.0.0.1:" in finished.results[0].reason


async def test_a_line_that_is_down_is_no_pass(description: Path) -> None:
    async with open_target(str(description)) as target:
        finished = await run(target, choose(["TA01", "TA08"]))
    assert [one.status for one in finished.results] == [Status.FAIL, Status.FAIL]


async def test_agreed_values_travel(description: Path) -> None:
    with description.open("a") as file:
        file.write('service = "urn:s"\nservice_type = "t"\naction = "A"\noriginal_sender = "C1"\n')
    target = open_target(str(description))
    assert isinstance(target, PartnerTarget)
    draft = target.agreed(Draft())
    assert (draft.service.value, draft.service.type, draft.action) == ("urn:s", "t", "A")
    assert b">C1<" in target.author.write(draft).body
    assert Recorder().exchanged == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("keys =", "key =", "key"),
        ("https://", "http://", "url"),
        ("name", "name = ", "partner.toml"),
    ],
)
def test_problems_of_the_file_are_told(description: Path, old: str, new: str, said: str) -> None:
    description.write_text(description.read_text().replace(old, new, 1))
    with pytest.raises(ConfigurationProblem) as problem:
        Description.load(description)
    assert said in problem.value.render()


def test_a_file_that_is_no_text_is_told(description: Path) -> None:
    description.write_bytes(b"\x89PNG\xff")
    with pytest.raises(ConfigurationProblem) as problem:
        Description.load(description)
    assert "is not UTF-8" in problem.value.render()
