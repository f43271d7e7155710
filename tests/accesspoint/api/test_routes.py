"""The REST interface over a real connection to a real node."""

import asyncio
import json
import resource
from typing import Any

import aiohttp
import pytest
from as4_stage import Pki, Stage

from accesspoint.api.client import (
    TOKEN_FILE,
    ApiProblem,
    NodeAddress,
    NodeClient,
    NodeUnreachable,
)
from accesspoint.api.routes import Api
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message, spoil
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.network.listening import Listeners
from accesspoint.stations import Bell
from accesspoint.store.database import StorageFailure
from envelope import fhir
from envelope.limits import Limits

from .conftest import Interface

MESSAGES = "/api/v1/messages"
JOURNAL = "/api/v1/journal"
CPR = "2512489996"


@pytest.fixture
def message() -> bytes:
    data = sample_message(SystemClock())
    assert CPR.encode() in data, (
        "the sample must name a patient for the tests of privacy to mean anything"
    )
    return data


def identifier_of(message: bytes) -> str:
    return fhir.recognise(fhir.read_message(message)).message_id


def as_xml(message: bytes) -> bytes:
    return fhir.serialize(fhir.read_message(message).bundle, "xml")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", MESSAGES),
        ("GET", f"{MESSAGES}/x"),
        ("GET", JOURNAL),
        ("GET", "/api/v1/about"),
        ("GET", "/api/v1/nothing"),
    ],
)
@pytest.mark.parametrize("token", ["", "wrong", "Bearer", "x" * 1000])
async def test_every_route_wants_the_token(
    interface: Interface, method: str, path: str, token: str
) -> None:
    status, body, media_type = await interface.call(method, path, token=token)
    assert (status, media_type) == (401, "application/problem+json")
    assert body["title"] == "unauthorized"
    assert await interface.node.rows("SELECT * FROM documents") == []


async def test_the_token_is_the_owners_alone(interface: Interface) -> None:
    path = interface.node.home / "store" / TOKEN_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(interface.address.token) >= 43


async def test_an_interface_without_a_token_is_not_built(interface: Interface) -> None:
    """An empty token would be matched by every request without one."""
    point = interface.node.point
    with pytest.raises(ValueError, match="needs a token"):
        Api(
            database=point.database,
            bells=point.bells,
            application=point.application,
            token="",
            about={},
        )


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Authorization:",
        b"Authorization: Bearer",
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Bearer \xc3\xa6",
        b"Authorization: \xe6 \xe6",
        b"Authorization: Basic TOKEN",
        b"Authorization: TOKEN",
        b"Authorization: Bearer  TOKEN",
        b"Authorization: Bearer TOKENx",
    ],
)
async def test_fil_08_odd_header_bytes_are_no_authorization_and_no_error(
    interface: Interface, header: bytes
) -> None:
    host, port = interface.node.point.addresses["api"].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    header = header.replace(b"TOKEN", interface.address.token.encode())
    lines = [b"GET /api/v1/about HTTP/1.1", b"Host: x", b"Connection: close", header]
    writer.write(b"\r\n".join(line for line in lines if line) + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_node_whose_store_has_failed_is_alive_and_not_ready(interface: Interface) -> None:
    """Reading still works after a commit that failed, so asking the tables alone would not tell."""
    database = interface.node.point.database
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(StorageFailure):
            await database.run(lambda tx: tx.execute("CREATE TABLE larger (number INTEGER)"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert await database.fetch("SELECT 1 AS one") == [{"one": 1}]
    status, body, _ = await interface.call("GET", "/readyz", token="")
    assert (status, body["title"]) == (503, "storage-failed")
    assert (await interface.call("GET", "/livez", token=""))[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_are_open(interface: Interface, path: str) -> None:
    status, _, _ = await interface.call("GET", path, token="")
    assert status == 200


async def test_who_the_node_is(interface: Interface) -> None:
    _, about, _ = await interface.call("GET", "/api/v1/about")
    assert about == {
        "label": "municipality",
        "node": "municipality",
        "profile": "test",
        "gln": MUNICIPALITY.address.gln,
        "stations": ["EUA", "MSH", "AP"],
        "party": MUNICIPALITY.access_point,
    }


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_submit_accepts_for_good(interface: Interface, message: bytes, form: str) -> None:
    data = message if form == "json" else as_xml(message)
    status, body, _ = await interface.call("POST", MESSAGES, data)
    assert status == 202
    identifier = identifier_of(message)
    assert body["message_identifier"] == identifier
    assert body["type"] == "homecareobservation-message"
    assert (body["from"], body["to"]) == (MUNICIPALITY.address.gln, CLINIC.address.gln)
    assert body["bytes"] == len(data)
    _, told, _ = await interface.call("GET", f"{MESSAGES}/{identifier}")
    assert [d["payload_sha256"] for d in told["documents"]] == [body["sha256"]]
    assert [e["direction"] for e in told["envelopes"]] == ["out"]
    [exchange] = told["exchanges"]
    assert exchange["direction"] == "out"
    assert exchange["history"][0]["from"] is None


async def test_the_location_leads_to_the_message(interface: Interface, message: bytes) -> None:
    async with interface.session.post(
        interface.address.url + MESSAGES,
        data=message,
        headers={"Authorization": f"Bearer {interface.address.token}"},
    ) as response:
        location = response.headers["Location"]
    status, _, _ = await interface.call("GET", location)
    assert status == 200


async def test_the_same_bytes_again_get_the_first_answer_and_change_nothing(
    interface: Interface, message: bytes
) -> None:
    """Whoever lost the first answer asks again: it is one message, and its sender can follow it."""
    _, first, _ = await interface.call("POST", MESSAGES, message)
    files = interface.node.files()
    status, again, _ = await interface.call("POST", MESSAGES, message)
    assert (status, again) == (200, first | {"repeated": True})
    assert len(await interface.node.rows("SELECT * FROM documents")) == 1
    created = await interface.node.rows("SELECT * FROM journal WHERE event = 'created'")
    assert len(created) == 1
    assert interface.node.files() <= files


@pytest.mark.parametrize("change", ["other bytes", "another receiver"])
async def test_another_message_under_a_used_identifier_is_409_and_changes_nothing(
    interface: Interface, message: bytes, change: str
) -> None:
    await interface.call("POST", MESSAGES, message)
    files = interface.node.files()
    sender = MUNICIPALITY.address.gln
    status, body, media_type = (
        await interface.call("POST", MESSAGES, message + b" ")
        if change == "other bytes"
        else await interface.call("POST", f"{MESSAGES}?to={sender}", message)
    )
    assert (status, body["title"], media_type) == (
        409,
        "message-already-submitted",
        "application/problem+json",
    )
    assert len(await interface.node.rows("SELECT * FROM documents")) == 1
    assert interface.node.files() <= files


async def test_several_at_once_are_one_message(interface: Interface, message: bytes) -> None:
    answers = await asyncio.gather(*(interface.call("POST", MESSAGES, message) for _ in range(4)))
    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 202]
    assert len({body["sha256"] for _, body, _ in answers}) == 1
    assert len(await interface.node.rows("SELECT * FROM documents")) == 1


REFUSED = {
    "no content": (b"", "message-not-recognised"),
    "no FHIR": (b"\xff\x00 2512489996", "message-not-recognised"),
    "another resource": (
        b'{"resourceType": "Patient", "id": "2512489996"}',
        "message-not-recognised",
    ),
    "an entity": (b"<!DOCTYPE a [<!ENTITY b 'c'>]><Bundle>&b;</Bundle>", "message-not-recognised"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_message_is_refused_with_its_place(
    interface: Interface, name: str
) -> None:
    data, slug = REFUSED[name]
    status, body, media_type = await interface.call("POST", MESSAGES, data)
    assert (status, body["title"], media_type) == (422, slug, "application/problem+json")
    assert body["whose"] == "ours"
    assert CPR not in json.dumps(body)
    assert interface.node.files() == set()


async def test_a_broken_rule_is_named_with_its_place(interface: Interface, message: bytes) -> None:
    status, body, _ = await interface.call("POST", MESSAGES, spoil(message))
    assert status == 422
    [finding] = body["findings"]
    assert finding["rule"] == body["title"] == "hco-report-status"
    assert finding["path"] == "Bundle.entry[2].resource.status"
    assert await interface.node.rows("SELECT * FROM documents") == []


async def test_a_receiver_nobody_knows(interface: Interface, message: bytes) -> None:
    status, body, _ = await interface.call("POST", f"{MESSAGES}?to=5790000000043", message)
    assert (status, body["title"]) == (422, "receiver-unknown")


async def test_nothing_personal_is_in_any_answer(interface: Interface, message: bytes) -> None:
    """The message names a patient by CPR, name and address; the interface tells identifiers and states."""
    answers: list[Any] = [await interface.call("POST", MESSAGES, message)]
    identifier = identifier_of(message)
    answers.append(await interface.call("POST", MESSAGES, message))
    answers.append(await interface.call("POST", MESSAGES, spoil(sample_message(SystemClock()))))
    answers.append(await interface.call("GET", f"{MESSAGES}/{identifier}"))
    answers.append(await interface.call("GET", JOURNAL))
    answers.append(await interface.call("GET", f"{MESSAGES}/{CPR}"))
    text = json.dumps(answers, ensure_ascii=False)
    assert identifier in text
    patient = next(
        entry["resource"]
        for entry in fhir.read_message(message).bundle["entry"]
        if entry["resource"]["resourceType"] == "Patient"
    )
    [name] = patient["name"]
    for private in (CPR, f"{CPR[:6]}-{CPR[6:]}", name["family"], *name["given"]):
        assert private not in text


async def test_an_unknown_message_is_404(interface: Interface) -> None:
    status, body, media_type = await interface.call("GET", f"{MESSAGES}/nobody")
    assert (status, body["title"], media_type) == (
        404,
        "message-unknown",
        "application/problem+json",
    )


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/api/v1/nothing", 404),
    ("DELETE", JOURNAL, 405),
])  # fmt: skip
async def test_what_is_not_served_is_a_problem_too(
    interface: Interface, method: str, path: str, status: int
) -> None:
    got, body, media_type = await interface.call(method, path)
    assert (got, body["status"], media_type) == (status, status, "application/problem+json")


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=1.5", "wait=nan", "wait=1e9", "last=-3", "after=" + "9" * 30]
)  # fmt: skip
async def test_journal_parameters_are_whole_numbers(interface: Interface, query: str) -> None:
    status, body, _ = await interface.call("GET", f"{JOURNAL}?{query}")
    assert (status, body["title"]) == (400, "bad-parameter")


async def test_the_journal_is_read_page_by_page(interface: Interface, message: bytes) -> None:
    await interface.call("POST", MESSAGES, message)
    _, first, _ = await interface.call("GET", JOURNAL)
    events = [entry["event"] for entry in first["entries"]]
    assert events[:2] == ["created", "wrapped"]
    assert first["next"] == first["entries"][-1]["seq"]
    _, rest, _ = await interface.call("GET", f"{JOURNAL}?after={first['entries'][0]['seq']}")
    assert [entry["event"] for entry in rest["entries"]][: len(events) - 1] == events[1:]


async def test_the_end_of_the_journal_is_where_news_begins(
    interface: Interface, message: bytes
) -> None:
    await interface.call("POST", MESSAGES, message)
    await interface.node.idle()
    _, end, _ = await interface.call("GET", f"{JOURNAL}?last=0")
    assert end["entries"] == []
    _, page, _ = await interface.call("GET", f"{JOURNAL}?last=1")
    assert [entry["seq"] for entry in page["entries"]] == [end["next"]]
    async with NodeClient(interface.address) as client:
        assert await client.position() == end["next"]


async def test_a_long_poll_returns_with_what_happened(interface: Interface, message: bytes) -> None:
    waiting = [asyncio.create_task(interface.call("GET", f"{JOURNAL}?wait=30")) for _ in range(3)]
    await asyncio.sleep(0)
    await interface.call("POST", MESSAGES, message)
    async with asyncio.timeout(10):
        pages = await asyncio.gather(*waiting)
    for status, page, _ in pages:
        assert status == 200
        assert page["entries"][0]["event"] == "created"


async def test_a_waiting_follower_is_answered_when_the_node_stops(pki: Pki, stage: Stage) -> None:
    path = stage.write_node(MUNICIPALITY, pki.municipality, partners={})
    async with aiohttp.ClientSession(trust_env=False) as session:
        async with stage.run(path) as node:
            address = NodeAddress.load(path.parent / "store")
            interface = Interface(node, address, session)
            news = asyncio.create_task(interface.call("GET", f"{JOURNAL}?wait=30"))
            bell = node.point.bells._events[Bell.JOURNAL]

            async def waits() -> bool:
                return bool(bell._waiters)

            await node.until(waits, "nobody follows the journal")
        status, page, _ = await news
    assert (status, page) == (200, {"entries": [], "next": 0})


async def test_the_client_raises_problems_and_names_a_node_that_is_gone(
    pki: Pki, stage: Stage, message: bytes
) -> None:
    path = stage.write_node(MUNICIPALITY, pki.municipality, partners={})
    async with stage.run(path):
        address = NodeAddress.load(path.parent / "store")
        async with NodeClient(address) as client:
            with pytest.raises(ApiProblem) as refused:
                await client.submit(spoil(message), to=None)
            assert refused.value.status == 422
    async with NodeClient(address) as client:
        with pytest.raises(NodeUnreachable, match="does not answer"):
            await client.about()
    with pytest.raises(NodeUnreachable, match="no node runs"):
        NodeAddress.load(path.parent / "store")


async def test_a_message_beyond_the_limit_is_413(pki: Pki, stage: Stage) -> None:
    """aiohttp stops reading at the limit of the application; the answer is a problem like any other."""

    path = stage.write_node(MUNICIPALITY, pki.municipality, partners={})
    listeners = Listeners()
    async with stage.run(path) as node:
        api = Api(
            database=node.point.database,
            bells=node.point.bells,
            application=node.point.application,
            token="t",
            about={},
            limits=Limits(fhir_bytes=1000),
        )
        try:
            base = await listeners.start(api.build())
            async with NodeClient(NodeAddress(base, "t")) as client:
                with pytest.raises(ApiProblem) as refused:
                    await client.submit(bytes(2000), to=None)
        finally:
            await listeners.stop()
    assert refused.value.status == 413
    assert refused.value.body["title"] == "message-too-large"
