"""Signing in at a real OpenID Connect issuer that we have not written, by the whole Authorization Code flow.

The issuer is the certified npm package `oidc-provider`, a process of its own, installed by its lock from
tests/e2e/issuer. A client without a screen does what a browser does.
"""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from held_ports import free_ports
from interop_process import PeerProcess
from journeys import HAVNEGADE, samples
from yarl import URL

from accesspoint.access.issuer import Issuer
from accesspoint.clock import SystemClock
from accesspoint.config_pages import PublishedPages
from accesspoint.network.listening import Listeners
from accesspoint.status_component.store import EventStore
from accesspoint.tracking.configured import build_pages
from keys.errors import TokenRefused

SOURCES = Path(__file__).parent / "issuer"
SECRET = "a secret with signs: %+&="
ACCOUNTS = {
    "anna": {"roles": ["eds-support"]},
    "bo": {"roles": ["eds-organisation"], "gln": HAVNEGADE.gln},
    "carl": {"roles": ["something else"]},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("npm") is None or shutil.which("node") is None, reason="needs Node.js with npm"
    ),
]


@pytest.fixture(scope="module")
def issuer_url(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[str]:
    """The address of a running issuer."""
    place = tmp_path_factory.mktemp("issuer")
    for file in SOURCES.iterdir():
        shutil.copy(file, place)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    installed = subprocess.run(
        ["npm", "ci", *quiet], cwd=place, capture_output=True, text=True, timeout=90, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install the issuer: {installed.stderr[-300:]}")
    given = {
        "accounts": ACCOUNTS,
        "client_id": "pages",
        "client_secret": SECRET,
        "redirect_uri": f"http://127.0.0.1:{port}/sign-in/done",
    }
    peer = PeerProcess.start(["node", "issuer.mjs", json.dumps(given)], place)
    yield peer.listen(30)["issuer"]
    assert peer.process.stdin is not None
    peer.process.stdin.close()
    peer.process.wait(10)


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
async def pages(issuer_url: str, port: int, tmp_path: Path) -> AsyncIterator[str]:
    """The address of pages that are published for this issuer."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    published = PublishedPages.model_validate(
        {
            "url": f"http://127.0.0.1:{port}",
            "sign_on": {
                "issuer": issuer_url, "client_id": "pages", "client_secret_file": str(secret), "acr_values": ["high"],
            },
        }
    )  # fmt: skip
    store, listeners, clock = await EventStore.open(), Listeners(), SystemClock()
    for story in samples(clock.now()).values():
        await store.add_all(story.reports, received_at=story.now)
    async with aiohttp.ClientSession(trust_env=False) as ours:
        built = build_pages(store, published, session=lambda: ours, clock=clock)
        yield await listeners.start(built.application(), port=port)
    await listeners.stop()
    await store.close()


async def follow(browser: aiohttp.ClientSession, url: URL, account: str, acr: str) -> Any:
    """Go where one is sent; at the issuer's page say who one is, and how well one proved it."""
    for _ in range(12):
        if url.path.startswith("/interaction/"):
            url = url.with_query({"as": account, "acr": acr})
        async with browser.get(url, allow_redirects=False) as answer:
            text = await answer.text()
        if answer.status not in {302, 303}:
            return answer.status, text
        url = url.join(URL(answer.headers["Location"]))
    raise AssertionError("sent on and on")


async def enter(pages: str, account: str, acr: str = "high") -> tuple[int, str, str]:
    """Status and text of the end of a sign-in, and what the list of messages shows afterwards."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(trust_env=False, cookie_jar=jar, headers={"Accept-Language": "en"}) as browser:  # fmt: skip
        status, text = await follow(browser, URL(pages + "/sign-in/start"), account, acr)
        async with browser.get(pages + "/messages") as answer:
            shown = await answer.text() if answer.url.path == "/messages" else ""
        return status, text, shown


@pytest.mark.attack("ADM-06")
async def test_people_sign_in_at_a_real_issuer_and_see_what_it_says(pages: str) -> None:
    stories = samples(SystemClock().now()).values()
    status, text, shown = await enter(pages, "anna")
    assert status == 200, text
    assert shown.count('href="/messages/') >= len(stories)
    status, text, shown = await enter(pages, "bo")
    assert status == 200, text
    own = {one.message for one in stories if HAVNEGADE in (one.sender, one.receiver)}
    assert own
    assert all((one.message in shown) is (one.message in own) for one in stories)
    for account, acr in (("anna", "low"), ("carl", "high"), ("nobody", "high")):
        status, text, shown = await enter(pages, account, acr)
        assert (status, shown) == (403, ""), account
        assert "not accepted" in text


async def test_its_discovery_document_and_keys_are_understood(issuer_url: str) -> None:
    async with aiohttp.ClientSession(trust_env=False) as session:
        issuer = Issuer(issuer_url, session=lambda: session, tls=None, clock=SystemClock())
        found = await issuer.endpoints()
        assert found.authorization.startswith(issuer_url)
        with pytest.raises(TokenRefused):
            await issuer.verify("e30.e30.e30", audience="pages")
