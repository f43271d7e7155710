"""Every route of the interface, one by one: nothing without an identity, nothing without its scope."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from as4_stage import Node, Pki, Stage
from issuer_parts import Signer

from accesspoint.api.client import NodeAddress
from accesspoint.api.rights import HEALTH, RIGHTS, check_table
from accesspoint.api.routes import Api
from accesspoint.config_access import Scope
from accesspoint.demo.scenery import MUNICIPALITY
from accesspoint.network.listening import Listeners

EVERY = sorted(RIGHTS)
ROLE = "clerk"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signer() -> AsyncIterator[Signer]:
    listeners = Listeners()
    signer = Signer()
    signer.url = await listeners.start(signer.application())
    yield signer
    await listeners.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory, signer: Signer
) -> AsyncIterator[Node]:
    stage = Stage(pki, tmp_path_factory.mktemp("rights"))
    issuer = {"url": signer.url, "audience": "node", "roles": {ROLE: [Scope.READ]}}
    path = stage.write_node(
        MUNICIPALITY, pki.municipality, partners={}, access={"issuer": issuer},
        backend={"kind": "pull"},
    )  # fmt: skip
    async with stage.run(path) as running:
        yield running


async def ask(
    node: Node, method: str, path: str, token: str | None, data: bytes | None = None
) -> tuple[int, Any]:
    """Status and body, with the placeholders of a path filled."""
    filled = path.format(message_identifier="x", id="x", act="retry")
    url = f"http://{node.point.addresses['api']}{filled}"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.request(method, url, headers=headers, data=data) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_table_has_every_route_and_no_other(node: Node) -> None:
    point = node.point
    served = Api(
        database=point.database, bells=point.bells, application=point.application, token="x", about={},
        exchanges=object(),  # type: ignore[arg-type]
    ).build()  # fmt: skip
    names = {
        (route.method, route.resource.canonical)
        for route in served.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert names == set(RIGHTS) | {("GET", path) for path in HEALTH}

    async def forgotten(_: web.Request) -> web.Response:
        return web.Response()

    served.router.add_post("/api/v1/forgotten", forgotten)
    with pytest.raises(LookupError, match="forgotten"):
        check_table(served.router.routes())


@pytest.mark.attack("ADM-01")
@pytest.mark.parametrize(("method", "path"), EVERY)
async def test_no_route_answers_whoever_is_not_known(
    node: Node, signer: Signer, method: str, path: str
) -> None:
    strangers = [None, "", "x", signer.token(scope=" ".join(Scope), aud="elsewhere")]
    for token in strangers:
        status, body = await ask(node, method, path, token)
        assert (status, body["title"]) == (401, "unauthorized")


@pytest.mark.attack("ADM-02")
@pytest.mark.parametrize(("method", "path"), EVERY)
async def test_no_route_answers_whoever_has_every_scope_but_its_own(
    node: Node, signer: Signer, method: str, path: str
) -> None:
    others = " ".join(set(Scope) - {RIGHTS[method, path].scope})
    status, body = await ask(node, method, path, signer.token(scope=others))
    assert (status, body["title"]) == (403, "not-allowed")


@pytest.mark.parametrize(("method", "path"), EVERY)
async def test_the_scope_alone_opens_the_route(
    node: Node, signer: Signer, method: str, path: str
) -> None:
    status, _ = await ask(node, method, path, signer.token(scope=RIGHTS[method, path].scope))
    assert status not in {401, 403}
    assert status < 500


async def test_a_role_of_the_issuer_stands_for_scopes(node: Node, signer: Signer) -> None:
    assert (await ask(node, "GET", "/api/v1/about", signer.token(roles=[ROLE])))[0] == 200
    assert (await ask(node, "GET", "/api/v1/audit", signer.token(roles=[ROLE])))[0] == 403
    assert (await ask(node, "GET", "/api/v1/about", signer.token(roles=["other"])))[0] == 403


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://elsewhere.example"},
    "another audience": {"aud": "elsewhere"},
    "over": {"exp": -10},
    "not begun": {"nbf": 3_600},
    "no end": {"exp": None},
    "no subject": {"sub": None},
    "bound to a certificate that is not shown": {"cnf": {"x5t#S256": "A" * 43}},
}


@pytest.mark.attack("ADM-01")
@pytest.mark.parametrize("wrong", list(WRONG))
async def test_a_token_that_does_not_hold_is_nobodys(
    node: Node, signer: Signer, wrong: str
) -> None:
    token = signer.token(scope=Scope.READ, **WRONG[wrong])
    assert (await ask(node, "GET", "/api/v1/about", token))[0] == 401


@pytest.mark.attack("ADM-01")
async def test_the_algorithm_is_ours_to_choose(node: Node, signer: Signer) -> None:
    for algorithm in ("none", "HS256", "RS512"):
        token = signer.token(scope=Scope.READ, algorithm=algorithm)
        assert (await ask(node, "GET", "/api/v1/about", token))[0] == 401
    for algorithm in ("RS256", "PS256"):
        token = signer.token(scope=Scope.READ, algorithm=algorithm)
        assert (await ask(node, "GET", "/api/v1/about", token))[0] == 200


async def test_made_up_keys_do_not_make_us_ask_the_issuer_again_and_again(
    node: Node, signer: Signer
) -> None:
    assert (await ask(node, "GET", "/api/v1/about", signer.token(scope=Scope.READ)))[0] == 200
    before = signer.asked
    for number in range(20):
        token = signer.token(scope=Scope.READ, kid=f"made-up-{number}")
        assert (await ask(node, "GET", "/api/v1/about", token))[0] == 401
    assert signer.asked - before <= 1


@pytest.mark.attack("ADM-10")
@pytest.mark.parametrize(
    "path",
    ["/api/v1/messages/x/resend", "/api/v1/exchanges/x/payload"]
    + [f"/api/v1/exchanges/x/{act}" for act in ("retry", "release", "cancel")],
)
@pytest.mark.parametrize(
    "body", [None, b"{}", b'{"reason": " "}', b'{"reason": 1}', b"[", b'{"reason": "%s"}' % (b"x" * 501)]
)  # fmt: skip
async def test_nothing_is_done_without_a_reason(
    node: Node, signer: Signer, path: str, body: bytes | None
) -> None:
    status, answer = await ask(node, "POST", path, signer.token(scope=" ".join(Scope)), body)
    assert (status, answer["title"]) == (400, "reason-missing")
    assert await node.rows("SELECT * FROM audit") == []


@pytest.mark.attack("ADM-12")
async def test_there_is_no_password_and_the_token_is_made_anew_for_each_node(
    node: Node, pki: Pki, tmp_path: Path
) -> None:
    own = NodeAddress.load(node.home / "store").token
    async with Stage(pki, tmp_path).run(
        Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})
    ) as other:
        assert NodeAddress.load(other.home / "store").token != own
        assert (await ask(other, "GET", "/api/v1/about", own))[0] == 401
    for usual in ("admin", "admin:123456", "changeit", "token", "secret"):
        assert (await ask(node, "GET", "/api/v1/about", usual))[0] == 401
