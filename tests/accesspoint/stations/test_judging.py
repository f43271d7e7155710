"""The external validator over a real connection: what it finds counts, and what it does not answer is decided by configuration."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import structlog
from aiohttp import web
from application_edge import Application, answer_in
from as4_wire import medcom_message
from pydantic import ValidationError
from station_parts import BUNDLE, MESSAGE, RECEIVER, SENDER, Parts, document

from accesspoint.config_validation import ExternalValidator, Validation
from accesspoint.stations.end_user_application import SubmissionRefused
from accesspoint.stations.judging import Judge, code_for
from envelope import fhir
from envelope.fhir.mutations import MUTATIONS
from envelope.fhir.samples import build_samples

CPR = "2512489996"
ISSUE = {
    "severity": "error",
    "code": "invariant",
    "diagnostics": f"gln-length: {CPR}",
    "expression": ["Bundle.entry[0].resource"],
}
Answering = Callable[[web.Request], Any]


@dataclass
class Validator:
    """A validator that answers what it is told to, and remembers what it was asked."""

    url: str = ""
    answer: Any = field(
        default_factory=lambda: {"issue": [{"severity": "information", "code": "informational"}]}
    )
    status: int = 200
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    slow: bool = False
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    async def validate(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.headers["Content-Type"], await request.read()))
        if self.slow:
            await self.may_answer.wait()
        if isinstance(self.answer, bytes):
            return web.Response(status=self.status, body=self.answer)
        if self.status in (301, 307):
            return web.Response(status=self.status, headers={"Location": "/elsewhere"})
        body = json.dumps({"resourceType": "OperationOutcome", **self.answer})
        return web.Response(status=self.status, text=body, content_type="application/fhir+json")

    def settings(self, **more: Any) -> Validation:
        external = {"url": self.url, "networks": ["127.0.0.0/8"], **more}
        return Validation.model_validate({"external": external})


@pytest.fixture
async def validator() -> AsyncIterator[Validator]:
    known = Validator()
    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.post("/fhir/Bundle/$validate", known.validate)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    known.url = f"http://{host}:{port}/fhir/Bundle/$validate"
    yield known
    known.may_answer.set()
    await runner.cleanup()


@pytest.fixture
async def application(parts: Parts) -> AsyncIterator[Callable[..., Application]]:
    """An edge with a judge of these settings."""
    judges: list[Judge] = []

    def build(settings: Validation, *, receives: bool = False) -> Application:
        judges.append(Judge(settings))
        return Application(parts, RECEIVER if receives else SENDER, judge=judges[-1])

    yield build
    for judge in judges:
        await judge.close()


def good() -> bytes:
    return medcom_message(MESSAGE, BUNDLE)[0]


async def test_a_message_that_the_validator_lets_pass_is_sent(
    validator: Validator, application: Callable[..., Application]
) -> None:
    submission = await application(validator.settings()).submit(good())
    assert submission.warnings == ()
    assert validator.asked == [("application/fhir+json", good())]


async def test_its_error_refuses_the_message_and_no_word_of_it_goes_on(
    parts: Parts, validator: Validator, application: Callable[..., Application]
) -> None:
    validator.answer = {"issue": [ISSUE, {"severity": "warning", "code": "processing"}]}
    edge = application(validator.settings())
    with structlog.testing.capture_logs() as logs, pytest.raises(SubmissionRefused) as refused:
        await edge.submit(good())
    (found,) = refused.value.findings
    assert (found.rule, found.medcom_id) == ("external-invariant", "gln-length")
    assert CPR not in f"{refused.value.detail} {found} {logs}"
    assert await parts.journal() == []


async def test_its_warning_comes_with_the_acceptance(
    validator: Validator, application: Callable[..., Application]
) -> None:
    validator.answer = {"issue": [{"severity": "warning", "code": "processing"}]}
    submission = await application(validator.settings()).submit(good())
    assert [found.rule for found in submission.warnings] == ["external-processing"]


async def test_a_received_message_is_answered_with_what_it_found(
    parts: Parts, validator: Validator, application: Callable[..., Application]
) -> None:
    validator.answer = {"issue": [ISSUE]}
    edge = application(validator.settings(), receives=True)
    await edge.receive(document(parts, stored=parts.store(good())))
    told = fhir.Response(MESSAGE, "fatal-error", ("MSG_NO_MATCH",))
    assert answer_in(parts, edge).response == told


async def test_what_our_own_rules_refuse_is_not_shown_to_it(
    validator: Validator, application: Callable[..., Application]
) -> None:
    bundle = json.loads(good())
    bundle["entry"][2]["resource"]["status"] = "corrected"
    with pytest.raises(SubmissionRefused) as refused:
        await application(validator.settings()).submit(json.dumps(bundle).encode())
    assert refused.value.rule == "hco-report-status"
    assert validator.asked == []


FAILURES: list[tuple[str, dict[str, Any]]] = [
    ("it is too slow", {"slow": True}),
    ("it failed", {"status": 500}),
    ("it sends elsewhere", {"status": 307}),
    ("it answers with something else", {"answer": b'{"resourceType": "Patient"}'}),
    ("it answers with too much", {"answer": b" " * (5 << 20)}),
    ("it wants to know who asks", {"status": 401}),
    ("it is not there", {"url": "http://127.0.0.1:9/"}),
]


@pytest.mark.parametrize("why", [pytest.param(facts, id=why) for why, facts in FAILURES])
@pytest.mark.parametrize("policy", ["warn", "refuse"])
async def test_without_an_answer_the_policy_decides(
    parts: Parts,
    validator: Validator,
    application: Callable[..., Application],
    why: dict[str, Any],
    policy: str,
) -> None:
    for name, value in why.items():
        setattr(validator, name, value)
    settings = validator.settings(without_answer=policy, timeout=timedelta(milliseconds=300))
    sender, receiver = application(settings), application(settings, receives=True)
    with structlog.testing.capture_logs() as logs:
        if policy == "warn":
            submission = await sender.submit(good())
            assert [found.rule for found in submission.warnings] == ["external-unanswered"]
        else:
            with pytest.raises(SubmissionRefused) as refused:
                await sender.submit(good())
            assert refused.value.rule == "message-not-judged"
        await receiver.receive(document(parts, stored=parts.store(good())))
    # What nobody could judge is not its sender's doing: nothing says that it is broken.
    refused_for_now = ("transient-error", ("MSG_Mailbox_Out_Of_Operation",))
    told = ("ok", ()) if policy == "warn" else refused_for_now
    assert answer_in(parts, receiver).response == fhir.Response(MESSAGE, *told)
    assert {entry["event"] for entry in logs} == {"external_validator_unanswered"}
    assert {entry["refused"] for entry in logs} == {policy == "refuse"}


async def test_a_message_nobody_could_judge_is_kept(
    parts: Parts, validator: Validator, application: Callable[..., Application]
) -> None:
    validator.status = 503
    edge = application(validator.settings(without_answer="refuse"), receives=True)
    await edge.receive(document(parts, stored=parts.store(good())))
    row = await parts.one("SELECT * FROM handovers")
    assert (row["state"], row["problem"]) == ("set-aside", "message-not-judged")
    assert parts.read(row["payload"]) == good()


async def test_it_is_asked_inside_the_allowed_networks_only(
    validator: Validator, application: Callable[..., Application]
) -> None:
    edge = application(validator.settings(networks=["10.0.0.0/8"], without_answer="refuse"))
    with pytest.raises(SubmissionRefused):
        await edge.submit(good())
    assert validator.asked == []


MILDER = {"cc-source-payload", "cc-attachment-count"}


@pytest.mark.parametrize(
    ("rule", "received", "code"),
    [
        ("cc-source-payload", "lenient", "ok"),
        ("cc-source-payload", "strict", "fatal-error"),
        ("cc-attachment-count", "lenient", "ok"),
        ("cc-attachment-type", "lenient", "fatal-error"),
    ],
)
async def test_what_arrives_is_judged_as_configured(rule: str, received: str, code: str) -> None:
    mutation = next(each for each in MUTATIONS if each.rule == rule)
    data = mutation.apply(build_samples()[mutation.sample])
    judge = Judge(Validation.model_validate({"received": received}))
    message = fhir.read_message(data)
    errors = fhir.errors_of(await judge.judge_received(message, data))
    assert code_for(tuple(errors)) == code
    assert rule in {found.rule for found in fhir.errors_of(await judge.judge_sent(message, data))}
    lenient = Judge(Validation.model_validate({"sent": "lenient"}))
    sent = fhir.errors_of(await lenient.judge_sent(message, data))
    assert (sent == []) is (rule in MILDER)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://validator.example/"},
        {"url": "http://10.0.0.1/"},
        {"timeout": timedelta(0)},
        {"without_answer": "accept"},
        {"networks": "everywhere"},
    ],
)
def test_messages_go_nowhere_in_plain_text(change: dict[str, Any]) -> None:
    given = {"url": "https://validator.example/", "networks": ["10.0.0.0/8"]}
    ExternalValidator.model_validate(given)
    with pytest.raises(ValidationError):
        ExternalValidator.model_validate({**given, **change})
