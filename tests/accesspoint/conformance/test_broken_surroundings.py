"""Every case about TLS, corners, unknown senders and looked-up receivers can fail: one deliberately broken node for each.

Publishers are broken in `test_smp_rules.py`. What is not applicable to us is not broken: its case judges nothing.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from as4_stage import Pki

from accesspoint import trust
from accesspoint.as4.client import HttpAnswer
from accesspoint.conformance.assertion import Assertion, Level, catalogue
from accesspoint.conformance.case import Result, Status
from accesspoint.conformance.client_hello import SUITES
from accesspoint.conformance.runner import run_one
from accesspoint.conformance.smp_rules import RULES
from accesspoint.outbound import sender
from accesspoint.outbound.answers import Outcome, Verdict
from envelope import names

from .conftest import BreakableTarget
from .test_broken_nodes import Break, Q, forges, receipts_anything, sends_in_reverse
from .test_client_hello import antique, server_hello, serving

pytestmark = pytest.mark.slow

NOT_OURS = {"AS4_SBDH_TA02", "AS4_DS_TA02"} | {
    one for one in catalogue() if one.startswith("AS4_ENTSOG_")
}


def lets_in_whom_it_knows(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    """A node that lets in only whom it knows."""
    patch.setattr(target.node.trust, "_unknown_senders", False)


def checks_no_path(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    class Gullible:
        def validate(self, certificate: Any, *_: Any, **__: Any) -> object:
            return certificate

    for which in ("_validator", "_strict"):  # of partners, and of strangers
        patch.setattr(target.node.trust, which, Gullible())


def asks_no_policy(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(target.node.trust._validator, "policies", frozenset())


def asks_no_name(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trust, "check_party", lambda *_: None)


def believes_any_receipt(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    def gullible(answer: HttpAnswer, **_: Any) -> Verdict:
        return Verdict(Outcome.ACKNOWLEDGED, receipt=answer.body, signer="anybody")

    patch.setattr(sender, "judge", gullible)


def keeps_properties_to_itself(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    deliver = target.node.deliver

    async def without(message: Any, payloads: Sequence[bytes]) -> None:
        await deliver(replace(message, message_properties=()), payloads)

    patch.setattr(target.node, "deliver", without)


def party(number: int, text: str) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        list(root.iter(Q(names.EB, "PartyId")))[number].text = text

    return change


def misspells_the_recipient(root: Any) -> None:
    for one in root.iter(Q(names.EB, "Property")):
        if one.get("name") == "finalRecipient":
            one.set("name", "FinalRecipient")


def speaks_for_the_corner(root: Any) -> None:
    (sender_of,) = (
        one.text
        for one in root.iter(Q(names.EB, "Property"))
        if one.get("name") == "originalSender"
    )
    party(0, sender_of)(root)


BROKEN: list[tuple[str, str, Break]] = [
    ("AS4_4CT_TA01", "misspells the final recipient", forges(misspells_the_recipient)),
    ("AS4_4CT_TA02", "keeps the tracking identifier", keeps_properties_to_itself),
    ("AS4_4CT_TA03", "speaks for the corner", forges(speaks_for_the_corner)),
    ("AS4_SBDH_TA01", "puts the header last", sends_in_reverse),
    ("AS4_DR_TA01", "lets in only whom it knows", lets_in_whom_it_knows),
    ("AS4_DR_TA02", "checks no path", checks_no_path),
    ("AS4_DR_TA02", "takes whatever comes", receipts_anything),
    ("AS4_DR_TA03", "asks for no policy", asks_no_policy),
    ("AS4_DR_TA04", "compares no name", asks_no_name),
    ("AS4_DS_TA01", "names somebody else in To", forges(party(-1, "somebody-else"))),
    ("AS4_DS_TA03", "believes any receipt", believes_any_receipt),
]


@pytest.mark.parametrize(
    ("id_", "broken"),
    [pytest.param(id_, broken, id=f"{id_} {what}") for id_, what, broken in BROKEN],
)
async def test_a_broken_node_fails(
    ourselves: BreakableTarget, monkeypatch: pytest.MonkeyPatch, id_: str, broken: Break
) -> None:
    broken(ourselves, monkeypatch)
    must_fail(await run_one(ourselves, catalogue()[id_]))


def must_fail(result: Result) -> None:
    assert result.status is Status.FAIL, (result.reason, result.seen)
    assert result.expected
    assert result.seen
    assert result.exchanged, "nothing was attached"


# TLS servers


@asynccontextmanager
async def answering(octets: bytes) -> AsyncIterator[int]:
    """A server that gives the same answer to every hello: libraries with SSL are not to be had."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(octets)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def takes_old_versions(pki: Pki) -> AbstractAsyncContextManager[int]:
    return serving(antique(pki))


def takes_ssl(_pki: Pki) -> AbstractAsyncContextManager[int]:
    return answering(server_hello(0x0300, SUITES["TLS_RSA_WITH_3DES_EDE_CBC_SHA"]))


def takes_tls_1_3_only(pki: Pki) -> AbstractAsyncContextManager[int]:
    context = pki.tls_contexts("clinic")[1]
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return serving(context)


BROKEN_TLS = {
    "AS4_CP_TA40": takes_old_versions,
    "AS4_CP_TA41": takes_ssl,
    "AS4_CP_TA42": takes_old_versions,
    "AS4_CP_TA43": takes_tls_1_3_only,
}


@pytest.mark.parametrize("id_", BROKEN_TLS)
async def test_a_server_of_other_settings_fails(
    ourselves: BreakableTarget, monkeypatch: pytest.MonkeyPatch, pki: Pki, id_: str
) -> None:
    async with BROKEN_TLS[id_](pki) as port:
        url = f"https://127.0.0.1:{port}/as4"
        monkeypatch.setattr(BreakableTarget, "endpoint", property(lambda _: url))
        must_fail(await run_one(ourselves, catalogue()[id_]))


async def test_a_server_that_cannot_be_configured_fails(
    ourselves: BreakableTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def as_ever(_tls: object) -> AsyncIterator[str]:
        yield ourselves.endpoint

    monkeypatch.setattr(ourselves, "reconfigured", as_ever)
    must_fail(await run_one(ourselves, catalogue()["AS4_CP_TA39"]))


async def test_an_exchange_that_fails_is_no_exchange(ourselves: BreakableTarget) -> None:
    """The hello is taken, the message is not."""
    ourselves.node.as4, whole = Refusing(), ourselves.node.as4
    try:
        async with ourselves.reconfigured(ourselves.node.configuration.tls) as endpoint:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(BreakableTarget, "endpoint", property(lambda _: endpoint))
                must_fail(await run_one(ourselves, catalogue()["AS4_CP_TA43"]))
    finally:
        ourselves.node.as4 = whole


class Refusing:
    async def handle(self, _request: Any) -> Any:
        return web.Response(status=500)


def test_every_assertion_has_a_broken_node() -> None:
    def is_covered_here(one: Assertion) -> bool:
        return one.group != "Common Profile" and one.level is not Level.NOT_TESTABLE

    wanted = {one.id for one in catalogue().values() if is_covered_here(one)} - NOT_OURS
    tls = {"AS4_CP_TA39", *BROKEN_TLS}
    assert {id_ for id_, _, _ in BROKEN} | set(RULES) == wanted
    assert tls == {f"AS4_CP_TA{number}" for number in range(39, 44)}
