"""The test service, sent: what a partner must answer for a ping to count, and that a real node answers so and delivers nothing."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from as4_parts import trust_in
from as4_peer import Arrived, Behaviour, answered
from as4_stage import Pki, Stage

from accesspoint.cli import ping as verb
from accesspoint.outbound.answers import Outcome
from accesspoint.outbound.ping import Ping, ping
from accesspoint.problems import ExitStatus
from envelope import codes, names, soap
from envelope.errors import CertificateRefused
from envelope.messaging import parse_user_message
from envelope.pmode import DOMIBUS_LIKE
from envelope.xml import scan
from keys.certificate import der

if TYPE_CHECKING:
    from .conftest import Outbound


async def send(outbound: "Outbound", **changes: Any) -> Ping:
    values: dict[str, Any] = {
        "identity": outbound.identity,
        "mode": DOMIBUS_LIKE,
        "trust": trust_in(outbound.pki, outbound.parts.clock),
        "client": outbound.client,
        "clock": outbound.parts.clock,
        "ids": outbound.parts.ids,
        "domain": "sender.example",
        **changes,
    }
    certificate = values.pop("certificate", outbound.pki.clinic.certificate)
    return await ping(values.pop("url", outbound.server.url), der(certificate), **values)


async def test_a_ping_is_a_signed_message_of_the_test_service_without_payload(
    outbound: "Outbound",
) -> None:
    came_to = await send(outbound)
    assert came_to.answered
    (arrived,) = outbound.server.arrived
    message = parse_user_message(soap.parse_soap(scan(arrived.body)))
    info = message.collaboration_info
    assert (info.service.value, info.action) == (names.EB_TEST_SERVICE, names.EB_TEST_ACTION)
    assert message.message_id == came_to.message_id
    assert message.parts == ()
    assert len(arrived.references) == 2


def receipt_of_another(outbound: "Outbound") -> Behaviour:
    async def behave(arrived: Arrived, _request: web.Request) -> web.StreamResponse:
        stranger = outbound.pki.municipality.signer()
        return answered(outbound.server.answers.receipt(arrived, signer=stranger))

    return behave


def error(outbound: "Outbound") -> Behaviour:
    async def behave(arrived: Arrived, _request: web.Request) -> web.StreamResponse:
        return answered(
            outbound.server.answers.error(
                codes.PROCESSING_MODE_MISMATCH, message_id=arrived.message_id
            )
        )

    return behave


@pytest.mark.parametrize(
    ("behaviour", "outcome", "problem"),
    [
        (receipt_of_another, Outcome.RETRY, "receipt-signer"),
        (error, Outcome.REFUSED, "peer-refused"),
    ],
)
async def test_another_answer_is_no_answer(
    outbound: "Outbound", behaviour: Any, outcome: Outcome, problem: str
) -> None:
    outbound.server.behaviour = behaviour(outbound)
    came_to = await send(outbound)
    assert not came_to.answered
    assert (came_to.verdict.outcome, came_to.verdict.problem) == (outcome, problem)


async def test_nobody_there(outbound: "Outbound") -> None:
    came_to = await send(outbound, url="https://127.0.0.1:1/as4")
    assert came_to.verdict.problem == "peer-unreachable"
    assert came_to.answer is None


async def test_nothing_is_sent_to_a_certificate_that_is_not_trusted(outbound: "Outbound") -> None:
    with pytest.raises(CertificateRefused):
        await send(outbound, certificate=outbound.pki.untrusted_authority.root)
    assert outbound.server.arrived == []


async def test_a_real_node_answers_and_delivers_nothing(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Stage(pki, tmp_path).pair() as (municipality, clinic):
        config = municipality.home / "accesspoint.toml"

        async def run(partner: str, *, as_json: bool = True) -> int:
            return await asyncio.to_thread(
                verb.run, partner, config=config, seconds=5.0, as_json=as_json
            )

        assert await run("clinic") == ExitStatus.OK
        said = json.loads(capsys.readouterr().out)
        row = await clinic.message(said["message_id"])
        assert (row["standard"], row["state"]) == ("test-service", "DELIVERED")
        assert clinic.delivered() == set()
        assert await run("clinic", as_json=False) == ExitStatus.OK
        assert "with a receipt that verifies" in capsys.readouterr().out
        assert await run("region") == ExitStatus.USAGE
        assert "it has: clinic" in capsys.readouterr().err
    assert await run("clinic", as_json=False) == ExitStatus.UNREACHABLE
    assert "peer-unreachable" in capsys.readouterr().err
    assert await run("clinic") == ExitStatus.UNREACHABLE
    assert json.loads(capsys.readouterr().out)["problem"] == "peer-unreachable"
