"""Published pages: in through an issuer, in a session that ends, by forms that nobody else can send."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.fernet import Fernet
from held_ports import free_ports
from issuer_parts import Signer
from journeys import ANNA, BO, HAVNEGADE, samples
from tracking_parts import Served, Visitor
from yarl import URL

from accesspoint.clock import ManualClock
from accesspoint.config import ConfigurationProblem
from accesspoint.config_pages import PublishedPages, read_pages
from accesspoint.network.listening import Listeners
from accesspoint.status_component.store import EventStore
from accesspoint.store.audit import read_audit, verify_audit
from accesspoint.tracking.configured import build_pages

SUPPORT = {"roles": ["eds-support"], "acr": "high"}
SESSION = "tracking"
FORMS = ["/patient", "/permissions", "/permissions/1/withdraw", "/sign-out"]


class Published(Visitor):
    """A browser at published pages; `signer` is the issuer, `clock` the time of the pages."""

    signer: Signer
    clock: ManualClock

    async def enter(self, **claims: Any) -> tuple[int, str]:
        """Sign in as whoever these claims are about; follow as a browser does, up to the page that goes on."""
        self.signer.claims = claims
        status, text, _ = await self.get("/sign-in/start")
        return status, text

    @property
    def secret(self) -> str | None:
        """The secret of the session, as the browser has it."""
        return {one.key: one.value for one in self.session.cookie_jar}.get(SESSION)


@pytest.fixture
async def visitor() -> AsyncIterator[Published]:
    store, listeners = await EventStore.open(), Listeners()
    clock, signer = ManualClock(datetime.now(UTC)), Signer()
    signer.now = lambda: clock.now().timestamp()
    signer.url = await listeners.start(signer.application())
    async with aiohttp.ClientSession(trust_env=False) as ours:
        # The port is known only afterwards: what is published stands in what the pages compare with.
        settings: dict[str, Any] = {"issuer": signer.url, "client_id": "pages", "acr_values": ["high"], "cpr_claim": "cpr"}  # fmt: skip
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        published = PublishedPages.model_validate({"url": url, "sign_on": settings})
        pages = build_pages(store, published, session=lambda: ours, clock=clock)
        await listeners.start(pages.application(), port=port)
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(
            trust_env=False, cookie_jar=jar, headers={"Accept-Language": "en"}
        ) as session:
            one = Published(Served(pages, url, store, {}), session)
            one.signer, one.clock = signer, clock
            yield one
    await listeners.stop()
    await store.close()


async def test_a_person_gets_in_and_sees_what_the_issuer_says(visitor: Published) -> None:
    stories = samples(visitor.clock.now())
    for story in stories.values():
        await visitor.served.store.add_all(story.reports, received_at=story.now)
    good = stories["good"].message
    assert (await visitor.get("/messages"))[2].url.path == "/sign-in"

    status, text = await visitor.enter(**SUPPORT)

    assert status == 200
    assert 'http-equiv="refresh" content="0; url=/"' in text
    assert good in (await visitor.get("/messages"))[1]
    assert visitor.signer.wanted["code_challenge_method"] == "S256"
    assert visitor.signer.wanted["acr_values"] == "high"
    await visitor.enter(roles="eds-organisation", gln=HAVNEGADE.gln, acr="high")
    for story in stories.values():
        is_own = HAVNEGADE in (story.sender, story.receiver)
        assert (await visitor.get(f"/messages/{story.message}"))[0] == (200 if is_own else 404)
    await visitor.enter(cpr=BO, acr="high")
    assert (await visitor.get("/messages"))[0] == 403
    assert (await visitor.get(f"/mine/{good}"))[0] == 404


WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "for another client": {"aud": "elsewhere"},
    "for several, and not made for us": {"aud": ["pages", "other"], "azp": "other"},
    "for several, and for nobody in particular": {"aud": ["pages", "other"]},
    "of another issuer": {"iss": "https://elsewhere.example"},
    "over": {"exp": -1},
    "an old one": {"iat": 1_700_000_000},
    "nobody's": {"sub": None},
    "without a signature": {"algorithm": "none"},
    "signed with the public key as if it were a secret": {"algorithm": "HS256"},
    "of no role": {"roles": []},
    "of an organisation without a GLN": {"roles": ["eds-organisation"]},
    "of a citizen whom nobody vouches for": {"roles": [], "cpr": "1"},
}


@pytest.mark.attack("ADM-01")
@pytest.mark.parametrize("wrong", list(WRONG))
async def test_an_id_token_that_does_not_hold_opens_nothing(visitor: Published, wrong: str) -> None:
    status, text = await visitor.enter(**{**SUPPORT, **WRONG[wrong]})

    assert status == 403
    assert "not accepted" in text
    assert visitor.secret is None


@pytest.mark.attack("ADM-06")
@pytest.mark.parametrize("acr", [None, "low", ["high"]])
async def test_a_sign_in_with_one_factor_opens_nothing(visitor: Published, acr: Any) -> None:
    assert (await visitor.enter(roles=["eds-support"], acr=acr))[0] == 403
    assert visitor.secret is None


@pytest.mark.attack("ADM-06")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"acr_values": []}, "acr_values"),
        ({"listen": "0.0.0.0:0"}, "certificate and key"),
        ({"url": "http://tracking.example.dk"}, "https"),
        ({"url": "https://tracking.example.dk/x"}, "no path"),
        ({"issuer": "http://login.example.dk"}, "https"),
        ({"anchors": []}, "needs anchors"),
    ],
)
def test_pages_for_others_are_not_published_without_tls_and_a_level(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    top = {"url": "https://tracking.example.dk", "listen": "127.0.0.1:0"}
    sign_on = {"issuer": "https://login.example.dk", "anchors": ["root.pem"], "client_id": "x", "acr_values": ["high"]}  # fmt: skip

    def write(**changes: Any) -> Path:
        here = {key: changes.get(key, value) for key, value in top.items()}
        there = {key: changes.get(key, value) for key, value in sign_on.items()}
        lines = [f"{key} = {value!r}" for key, value in here.items()] + ["[sign_on]"]
        path = tmp_path / "pages.toml"
        path.write_text("\n".join(lines + [f"{key} = {value!r}" for key, value in there.items()]))
        return path

    assert read_pages(write()).sign_on.acr_values == ("high",)
    with pytest.raises(ConfigurationProblem) as refused:
        read_pages(write(**changed))
    assert said in refused.value.render()


@pytest.mark.attack("ADM-04")
async def test_an_answer_that_this_browser_did_not_ask_for_opens_nothing(
    visitor: Published,
) -> None:
    visitor.signer.claims = SUPPORT
    async with visitor.session.get(
        visitor.served.url + "/sign-in/start", allow_redirects=False
    ) as to:
        assert to.status == 303
    async with visitor.session.get(to.headers["Location"], allow_redirects=False) as back:
        answer = back.headers["Location"]
    mine = {one.key: one.value for one in visitor.session.cookie_jar}
    async with aiohttp.ClientSession(trust_env=False) as other, other.get(answer) as refused:
        assert refused.status == 403
    for wrong in ("state=x", "code=once", f"{answer.partition('?')[2]}&error=access_denied"):
        await visitor.get("/sign-in/start", allow_redirects=False)
        assert (await visitor.get(f"/sign-in/done?{wrong}"))[0] == 403
    visitor.session.cookie_jar.clear()
    visitor.session.cookie_jar.update_cookies(mine, URL(visitor.served.url))
    async with visitor.session.get(answer) as good:
        assert good.status == 200
    visitor.session.cookie_jar.update_cookies(mine, URL(visitor.served.url))
    async with visitor.session.get(answer) as again:
        assert again.status == 403, "an attempt is good for one answer"


async def test_however_many_others_begin_whoever_began_gets_in(visitor: Published) -> None:
    visitor.signer.claims = SUPPORT
    _, _, back = await visitor.get("/sign-in/start", allow_redirects=False)
    assert back.status == 303
    others = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
    async with others:
        for _ in range(1_001):
            start = visitor.served.url + "/sign-in/start"
            async with others.get(start, allow_redirects=False) as begun:
                assert begun.status == 303
    async with visitor.session.get(back.headers["Location"]) as good:
        assert good.status == 200
    assert visitor.secret is not None


async def test_an_attempt_that_was_not_sealed_here_or_is_too_old_opens_nothing(
    visitor: Published,
) -> None:
    visitor.signer.claims = SUPPORT
    _, _, back = await visitor.get("/sign-in/start", allow_redirects=False)
    (cookie,) = visitor.session.cookie_jar
    for planted in ("", "x", "ø", Fernet(Fernet.generate_key()).encrypt(b"[]").decode()):
        other = aiohttp.ClientSession(trust_env=False, headers={"Cookie": f"sign-on={planted}"})
        async with other, other.get(back.headers["Location"]) as answer:
            assert answer.status in (403, 429)
    visitor.clock.advance(timedelta(minutes=10))
    assert cookie.key == "sign-on"
    async with visitor.session.get(back.headers["Location"]) as late:
        assert late.status == 403


@pytest.mark.attack("ADM-04")
async def test_a_planted_session_is_worth_nothing_after_the_sign_in(visitor: Published) -> None:
    visitor.session.cookie_jar.update_cookies({SESSION: "planted-by-somebody-else"})
    await visitor.enter(**SUPPORT)
    first = visitor.secret
    assert first != "planted-by-somebody-else"
    await visitor.enter(**SUPPORT)
    assert visitor.secret != first
    async with (
        aiohttp.ClientSession(trust_env=False, cookies={SESSION: str(first)}) as other,
        other.get(visitor.served.url + "/messages", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")


@pytest.mark.attack("ADM-04")
async def test_a_session_ends_when_idle_when_old_and_when_left(visitor: Published) -> None:
    async def is_in() -> bool:
        return (await visitor.get("/messages"))[2].url.path == "/messages"

    await visitor.enter(**SUPPORT)
    for _ in range(16):
        visitor.clock.advance(timedelta(minutes=29))
        assert await is_in()
    visitor.clock.advance(timedelta(minutes=17))
    assert not await is_in(), "eight hours are over"
    await visitor.enter(**SUPPORT)
    assert await is_in()
    visitor.clock.advance(timedelta(minutes=31))
    assert not await is_in(), "nobody did anything for half an hour"
    await visitor.enter(**SUPPORT)
    await visitor.get("/messages")
    left = visitor.secret
    await visitor.post("/sign-out", {})
    visitor.session.cookie_jar.update_cookies({SESSION: str(left)})
    assert not await is_in()


@pytest.mark.attack("ADM-04")
async def test_a_page_that_reloads_itself_does_not_keep_its_session(visitor: Published) -> None:
    """Nor does what it loads with it; whoever asks for something does, for the same page too."""
    story = samples(visitor.clock.now())["good"]
    await visitor.served.store.add_all(story.reports, received_at=story.now)
    page = f"/messages/{story.message}"
    await visitor.enter(**SUPPORT)
    for _ in range(2):
        visitor.clock.advance(timedelta(minutes=29))
        _, text, shown = await visitor.get(f"{page}?live=1")
        assert shown.url.path == page, "somebody followed it anew within half an hour"
    for _ in range(2):
        again = re.search(r'http-equiv="refresh" content="5(?:; url=([^"]+))?"', text)
        assert again is not None
        visitor.clock.advance(timedelta(minutes=14))
        await visitor.get("/static/style.css")
        _, text, shown = await visitor.get(again[1] or shown.url.path_qs)
        assert shown.url.path == page
    visitor.clock.advance(timedelta(minutes=3))
    assert (await visitor.get(shown.url.path_qs))[2].url.path == "/sign-in"


@pytest.mark.attack("ADM-03")
@pytest.mark.parametrize("path", FORMS)
async def test_a_form_of_a_foreign_page_changes_nothing(visitor: Published, path: str) -> None:
    await visitor.enter(cpr=ANNA, acr="high")
    await visitor.get("/permissions")
    token, own = visitor.token, visitor.served.url
    for origin, sent in (
        ("https://elsewhere.example", token),
        ("null", token),
        (own.replace("http:", "https:"), token),
        (None, token),
        (own, ""),
        (own, "x" * len(token)),
        (own, None),
    ):
        form = {"cpr": BO} | ({} if sent is None else {"token": sent})
        headers = {} if origin is None else {"Origin": origin}
        async with visitor.session.post(own + path, data=form, headers=headers) as answer:
            assert answer.status == 403
    assert await visitor.served.store.database.fetch("SELECT * FROM permissions") == []
    assert (await visitor.get("/mine"))[2].url.path == "/mine", "still signed in"


@pytest.mark.attack("ADM-03")
async def test_every_form_is_on_the_list(visitor: Published) -> None:
    routes = visitor.served.pages.application().router.routes()
    named = {route.resource.canonical for route in routes if route.method == "POST" and route.resource}  # fmt: skip
    assert named == {path.replace("/1/", "/{number}/") for path in FORMS}


@pytest.mark.attack("ADM-05")
async def test_guessing_closes_the_sign_in_for_a_while(visitor: Published) -> None:
    for _ in range(5):
        assert (await visitor.get("/sign-in/done?code=x&state=x"))[0] == 403
    assert (await visitor.enter(**SUPPORT))[0] == 429
    _, _, other = await visitor.get("/sign-in/done?code=x", headers={"X-Forwarded-For": "x, 192.0.2.1"})  # fmt: skip
    assert other.status == 403, "somebody else is not kept out"
    visitor.clock.advance(timedelta(seconds=31))
    assert (await visitor.enter(**SUPPORT))[0] == 200


@pytest.mark.attack("ADM-07")
async def test_over_tls_cookies_and_visits_stay_with_tls(visitor: Published) -> None:
    from accesspoint.access.issuer import Issuer
    from accesspoint.access.sign_on import SignOn
    from accesspoint.tracking.entrance import IssuerEntrance
    from accesspoint.tracking.pages import Pages

    settings = {"issuer": visitor.signer.url, "client_id": "pages", "acr_values": ["high"]}
    published = PublishedPages.model_validate(
        {"url": "https://tracking.example.dk", "sign_on": settings}
    )
    issuer = Issuer(
        visitor.signer.url, session=lambda: visitor.session, tls=None, clock=visitor.clock
    )
    sign_on = SignOn(
        issuer, client_id="pages", client_secret=None, redirect_uri="https://x", clock=visitor.clock
    )
    entrance = IssuerEntrance(visitor.clock, published, sign_on)
    pages = Pages(visitor.served.store, clock=visitor.clock, entrance=entrance)
    listeners = Listeners()
    url = await listeners.start(pages.application())
    for path in ("/sign-in", "/messages", "/nowhere", "/sign-in/start", "/static/style.css"):
        headers = {"Host": "tracking.example.dk"}
        async with visitor.session.get(
            url + path, headers=headers, allow_redirects=False
        ) as answer:
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "script-src" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=63072000")
            for cookie in answer.headers.getall("Set-Cookie", []):
                assert re.match(r"__Host-[a-z-]+=", cookie)
                assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
        async with visitor.session.get(url + path, allow_redirects=False) as answer:
            assert answer.status == 403, "another name than the published one"
    await listeners.stop()


@pytest.mark.attack("ADM-07")
async def test_no_page_can_be_framed_or_run_a_script(visitor: Published) -> None:
    await visitor.enter(**SUPPORT)
    for path in ("/messages", "/overview", "/patient", "/sign-in", "/nowhere"):
        _, text, answer = await visitor.get(path)
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" not in text
        assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.attack("ADM-09")
async def test_a_search_for_a_patient_is_written_down_before_it_is_answered(
    visitor: Published,
) -> None:
    await visitor.enter(**SUPPORT)
    await visitor.get("/patient")
    await visitor.post("/patient", {"cpr": "no number"})
    await visitor.post("/patient", {"cpr": ANNA})
    await visitor.post("/patient", {"cpr": ANNA})
    await visitor.post("/patient", {"cpr": BO})

    database = visitor.served.store.database
    lines = await database.read(lambda tx: _all(tx))
    assert [(one.actor, one.action) for one in lines] == [
        (f"somebody@{visitor.signer.url}", "patient.searched")
    ] * 3
    assert lines[0].person == lines[1].person != lines[2].person
    assert ANNA not in str(lines)
    assert (await database.read(verify_audit)).last == 3
    visitor.clock.advance(timedelta(days=184))
    await visitor.enter(**SUPPORT)
    await visitor.get("/patient")
    await visitor.post("/patient", {"cpr": BO})
    lines = await database.read(lambda tx: _all(tx))
    assert [one.action for one in lines] == ["audit.expired", "patient.searched"]
    await database.read(verify_audit)


@pytest.mark.attack("LOG-07")
async def test_a_search_while_the_clock_was_wrong_lets_go_of_no_young_line(
    visitor: Published,
) -> None:
    right = visitor.clock.now()
    for at in (right, right - timedelta(days=210), right + timedelta(minutes=1)):
        visitor.clock.set_wall(at)
        await visitor.enter(**SUPPORT)
        await visitor.get("/patient")
        await visitor.post("/patient", {"cpr": ANNA})
    database = visitor.served.store.database
    lines = await database.read(lambda tx: _all(tx))
    assert [(one.seq, one.action) for one in lines] == [(n, "patient.searched") for n in (1, 2, 3)]
    await database.read(verify_audit)


async def _all(tx: Any) -> list[Any]:
    return [line async for line in read_audit(tx)]


@pytest.mark.attack("ADM-09")
async def test_who_was_searched_for_is_found_again_after_a_restart(tmp_path: Path) -> None:
    first = await EventStore.open(tmp_path)
    await first.close()
    second = await EventStore.open(tmp_path)
    await second.close()
    assert first.person_key == second.person_key
    (kept,) = tmp_path.glob("*.key")
    assert kept.stat().st_mode & 0o777 == 0o600
