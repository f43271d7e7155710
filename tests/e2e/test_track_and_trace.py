"""Every user story of delivery status in a real browser, with a screenshot of what it shows.

The reports come in by the create interface of the miniature network: mutual TLS, tokens, one device and organisation
each; a crowd of others beside them straight into the store. Screenshots go where ACCESSPOINT_SCREENSHOTS points. A test
fails for any script error, any refusal of the page's own policy, and any request that leaves loopback.

| Story | Who wants what | Test | Screenshot |
|---|---|---|---|
| S1 | sender: where is one message | test_s1_sender_sees_where_one_message_is | s1-one-message |
| S2 | sender: a technician finds it | test_s2_a_technician_finds_it_by_its_envelope | s2-silent |
| S3 | sender: all by day, week, month | test_s3_r3_overview_by_period[sender-*] | s3-day, s3-week, s3-month |
| S4 | sender: of one type | test_s4_r4_overview_of_one_type[sender] | s4-type |
| S5 | sender: of one patient | test_s5_r5_messages_of_one_patient[sender] | s5-patient |
| S6 | sender: did it reach the receiver, no receipt came | test_s6_sender_follows_up_without_a_receipt | s6-held |
| S7 | sender: the same, the receiver says no | test_s7_sender_shows_that_it_arrived | s7-arrived |
| S8 | sender's system: repetitions do no harm | test_s8_a_repeated_report_changes_nothing | s8-repeated |
| R1 | receiver: where is one message | test_r1_receiver_sees_one_on_its_way | r1-underway |
| R2 | receiver: a technician finds it | test_r2_a_technician_finds_what_has_stopped | r2-stopped |
| R3 | receiver: all by day, week, month | test_s3_r3_overview_by_period[receiver-*] | r3-day, r3-week, r3-month |
| R4 | receiver: of one type | test_s4_r4_overview_of_one_type[receiver] | r4-type |
| R5 | receiver: of one patient | test_s5_r5_messages_of_one_patient[receiver] | r5-patient |
| R6 | receiver: did it reach us, the sender says sent | test_r6_receiver_sees_that_the_sender_gave_up | r6-gave-up |
| C1, C2 | component: registers received, sent | test_c1_c2_a_component_reports_and_it_shows | c1-received, c2-sent |
| C3 | component: the same after an outage | test_c3_what_is_reported_after_an_outage_is_not_lost | c3-late |
| P1 | citizen: where is one message | test_p1_citizen_sees_one_message | p1-one-message |
| P2 | citizen: support finds it | test_p2_support_finds_a_citizens_message | p2-support |
| P3 | citizen: by day, week, month | test_p3_citizen_looks_by_period | p3-day, p3-week, p3-month |
| P4 | citizen: nobody else, identity protected | test_p4_nobody_else_sees_it_and_no_number_shows | p4-masked |
| P5, P6 | citizen: was it sent, was it received | test_p5_p6_citizen_sees_sent_and_received | p5-sent, p6-received |
| P7 | citizen: permits a relative | test_p7_a_relative_is_permitted_and_not_any_more | p7-permitted, p7-relative |
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
import pytest_asyncio
from journeys import (
    ANNA,
    BO,
    FJORDBY,
    HAVNEGADE,
    HCO,
    ORGANISATIONS,
    SUND,
    Resource,
    Story,
    crowd,
    samples,
)

from accesspoint.clock import SystemClock
from accesspoint.delivery.events import Station
from accesspoint.ids import SystemIds
from accesspoint.network.faults import Fault
from accesspoint.network.miniature import MiniatureNetwork
from keys.devca import DevelopmentAuthority
from keys.jwk import OrganisationContext
from keys.store import write_pair
from keys.tls import client_context

driver = pytest.importorskip("playwright.async_api", reason="needs the browser's driver")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
]
UNITS = ["day", "week", "month"]


@dataclass
class Network:
    """The miniature network with the fixed journeys in it, and stations that report to it."""

    miniature: MiniatureNetwork
    session: aiohttp.ClientSession
    tls: Any
    stories: dict[str, Story] = field(default_factory=dict)
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    async def report(self, resource: Resource) -> int:
        """Create one report as the device that it names; the status of the answer."""
        device = resource["source"]["observer"]["identifier"]["value"]
        owner = next(one for one in ORGANISATIONS if device.startswith(one.key))
        token = self.tokens.get((device, owner.key))
        if token is None:
            scope = f"EDS system/AuditEvent.crs SOR:{owner.sor} GLN:{owner.gln}"
            form = {"grant_type": "client_credentials", "client_id": device, "scope": scope}
            async with self.session.post(
                self.miniature.token_url, data=form, ssl=self.tls
            ) as answer:
                token = self.tokens[device, owner.key] = (await answer.json())["access_token"]
        async with self.session.post(
            f"{self.miniature.status_url}/AuditEvent",
            data=orjson.dumps(resource),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"},
            ssl=self.tls,
        ) as answer:
            return answer.status

    async def tell(self, story: Story) -> Story:
        """Report a whole story."""
        for resource in story.reports:
            assert await self.report(resource) == 201
        return story


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    clock, now = SystemClock(), datetime.now(UTC)
    authority = await asyncio.to_thread(lambda: DevelopmentAuthority.create(at=now, name="Test"))
    place = tmp_path_factory.mktemp("station")
    issued = authority.issue_tls_certificate(
        "station", san=["127.0.0.1"], not_before=now - timedelta(hours=1)
    )
    write_pair(place, "tls", issued)
    tls = client_context(place / "tls.cert.pem", place / "tls.key.pem", [authority.root])
    async with (
        MiniatureNetwork((), authority, clock=clock, ids=SystemIds(clock)) as miniature,
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        for one in ORGANISATIONS:
            context = OrganisationContext(one.name, one.sor, one.gln)
            for station in Station:
                device = one.device(station)
                miniature.register_station(
                    issued.certificate, client_id=device, device_id=device, organisations=[context]
                )
        network = Network(miniature, session, tls, samples(now))
        for story in network.stories.values():
            await network.tell(story)
        for story in crowd(now - timedelta(days=1), days=64, a_day=3):
            await miniature.status.add_all(story.reports, received_at=story.now)
        yield network


class Look:
    """Somebody at a browser: signed in as a role, in a language, by day or night."""

    def __init__(self, page: Any, network: Network, directory: Path) -> None:
        self.page, self.network, self._directory = page, network, directory
        self.complaints: list[str] = []
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._check(request.url))

    def _complain(self, kind: str, text: str) -> None:
        # That a page is refused or not there is what some tests look for; the browser says so as an error too.
        if kind == "error" and "status of 40" not in text:
            self.complaints.append(text)

    def _check(self, url: str) -> None:
        if urlsplit(url).hostname != "127.0.0.1":
            self.complaints.append(f"left loopback: {url}")
        if ANNA in url or BO in url:
            self.complaints.append("a patient number in an address")

    async def open(self, path: str) -> "Look":
        """Go to a page."""
        await self.page.goto(self.network.miniature.pages_url + path)
        return self

    async def sign_in(self, role: str, **fields: str) -> "Look":
        """Sign in with the code that was printed."""
        await self.open("/sign-in")
        await self.page.fill("[name=code]", self.network.miniature.pages_code)
        await self.page.check(f"[name=role][value={role}]")
        for name, value in fields.items():
            await self.page.fill(f"[name={name}]", value)
        await self.page.press("[name=code]", "Enter")
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)
        return self

    async def text(self, selector: str = "main") -> str:
        """What can be read there."""
        return str(await self.page.inner_text(selector))

    async def shoot(self, name: str) -> None:
        """Keep what the page looks like."""
        await self.page.screenshot(path=self._directory / f"{name}.png", full_page=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    async with driver.async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("ACCESSPOINT_SCREENSHOTS")
    directory = Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest_asyncio.fixture(loop_scope="module")
async def look(
    chromium: Any, network: Network, screenshots: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Look]:
    """A fresh browser profile; every second test by night, every third in English."""
    number = sum(request.node.name.encode())
    context = await chromium.new_context(
        viewport={"width": 1280, "height": 860},
        locale="en-GB" if number % 3 == 0 else "da-DK",
        color_scheme="dark" if number % 2 else "light",
    )
    context.set_default_timeout(15_000)
    one = Look(await context.new_page(), network, screenshots)
    yield one
    await context.close()
    assert one.complaints == []


async def test_s1_sender_sees_where_one_message_is(look: Look) -> None:
    story = look.network.stories["good"]
    await look.sign_in("organisation", gln=story.sender.gln)
    await look.page.fill("[name=id]", story.message)
    await look.page.press("[name=id]", "Enter")
    await look.page.click(f'a[href="/messages/{story.message}"]')

    assert await look.page.locator(".journey .leg").count() == 4
    assert await look.page.locator(".steps tbody tr").count() == 32
    assert story.receiver.name in await look.text(".finding.answered .sentence")
    await look.shoot("s1-one-message")


async def test_s2_a_technician_finds_it_by_its_envelope(look: Look) -> None:
    story = look.network.stories["silent"]
    await look.sign_in("support")
    await look.page.fill("[name=id]", Story.envelope(story.message, 1))
    await look.page.press("[name=id]", "Enter")
    await look.page.click("tbody a")

    sentence = await look.text(".finding.stopped .sentence")
    assert story.receiver.name in sentence
    assert re.search(r"access point", sentence, re.I)
    assert story.receiver.gln in await look.text(".finding .todo")
    assert await look.page.locator(".journey .ghost").count() == 1
    await look.shoot("s2-silent")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_s3_r3_overview_by_period(look: Look, role: str, unit: str) -> None:
    await look.sign_in("organisation", gln=FJORDBY.gln)
    await look.open("/overview")
    await look.page.select_option("[name=by]", unit)
    await look.page.select_option("[name=role]", role)
    await look.page.fill("[name=from]", str((datetime.now(UTC) - timedelta(days=60)).date()))
    await look.page.press("[name=from]", "Enter")
    await look.page.wait_for_url(f"**/overview?by={unit}**role={role}**")

    tiles = [
        int(re.sub(r"\D", "", one)) for one in await look.page.locator(".tiles b").all_inner_texts()
    ]
    rows = (
        await look.page.locator("table")
        .first.locator("tbody tr td:nth-last-child(2)")
        .all_inner_texts()
    )
    assert sum(tiles) == sum(int(row) for row in rows) > 10
    assert await look.page.locator(".bars rect").count() > 5
    await look.shoot(f"{'s' if role == 'sender' else 'r'}3-{unit}")
    # A period of the table leads to its messages.
    await look.page.locator("tbody th a").first.click()
    assert await look.page.locator("h1").count() == 1


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_s4_r4_overview_of_one_type(look: Look, role: str) -> None:
    await look.sign_in("organisation", gln=FJORDBY.gln)
    await look.open(f"/overview?by=week&role={role}")
    await look.page.select_option("[name=type]", HCO)
    await look.page.click(".filters button")
    await look.page.wait_for_url(f"**type={HCO}**")

    assert await look.page.locator("table").last.locator("tbody tr").count() == 1
    await look.shoot(f"{'s' if role == 'sender' else 'r'}4-type")


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_s5_r5_messages_of_one_patient(look: Look, role: str) -> None:
    await look.sign_in("organisation", gln=HAVNEGADE.gln)
    await look.open("/patient")
    await look.page.fill("[name=cpr]", "251248-9996")
    await look.page.press("[name=cpr]", "Enter")
    await look.page.wait_for_url("**/patients/*")
    await look.page.select_option("[name=role]", role)
    await look.page.click(".filters button")
    await look.page.wait_for_url(f"**role={role}**")

    source = await look.page.content()
    assert ANNA not in source
    assert "251248" not in source
    for name in ("good", "gave-up", "other-patient"):
        story = look.network.stories[name]
        is_own = getattr(story, role) is HAVNEGADE and story.patient == ANNA
        assert (story.message in source) is is_own
    await look.shoot(f"{'s' if role == 'sender' else 'r'}5-patient")


async def test_s6_sender_follows_up_without_a_receipt(look: Look) -> None:
    story = look.network.stories["held"]
    await look.sign_in("organisation", gln=SUND.gln)
    await look.open("/messages?role=sender&state=stopped")
    await look.page.click(f'a[href="/messages/{story.message}"]')

    assert story.receiver.name in await look.text(".finding.stopped .sentence")
    await look.shoot("s6-held")


async def test_s7_sender_shows_that_it_arrived(look: Look) -> None:
    story = look.network.stories["slow"]
    await look.sign_in("organisation", gln=story.sender.gln)
    await look.open(f"/messages/{story.message}")

    assert await look.page.locator(".journey .fold").count() >= 3
    async with look.page.expect_download() as downloading:
        await look.page.click("a[href$='/steps.csv']")
    path = await (await downloading.value).path()
    lines = Path(path).read_text("utf-8-sig").splitlines()
    assert len(lines) == 33
    assert any("havnegade-eua" in line and "finalized" in line for line in lines)
    await look.shoot("s7-arrived")


async def test_s8_a_repeated_report_changes_nothing(look: Look) -> None:
    story = look.network.stories["resent"]
    await look.sign_in("organisation", gln=story.sender.gln)
    await look.open(f"/messages/{story.message}")
    before = await look.page.locator(".steps tbody tr").count()

    statuses = [await look.network.report(resource) for resource in story.reports]
    await look.page.reload()

    assert set(statuses) == {200}
    assert await look.page.locator(".steps tbody tr").count() == before == len(story.reports)
    assert await look.page.locator(".journey .attempt").all_text_contents() == ["①", "②"]
    await look.shoot("s8-repeated")


async def test_r1_receiver_sees_one_on_its_way(look: Look) -> None:
    now = datetime.now(UTC)
    story = await look.network.tell(Story("on its way", now, SUND, FJORDBY).send(upto=7))
    await look.sign_in("organisation", gln=FJORDBY.gln)
    await look.open(f"/messages/{story.message}")

    assert await look.page.locator(".finding.underway").count() == 1
    await look.page.click(".actions a >> nth=0")
    assert await look.page.locator("meta[http-equiv=refresh]").count() == 1
    await look.shoot("r1-underway")


async def test_r2_a_technician_finds_what_has_stopped(look: Look) -> None:
    await look.sign_in("support")
    await look.page.fill("[name=organisation]", "Lægerne")
    await look.page.select_option("[name=role]", "receiver")
    await look.page.select_option("[name=state]", "stopped")
    await look.page.click(".filters button")
    await look.page.wait_for_url("**state=stopped**")

    assert look.network.stories["silent"].message in await look.page.content()
    states = set(await look.page.locator("tbody .badge").all_inner_texts())
    assert len(states) == 1
    await look.shoot("r2-stopped")


async def test_r6_receiver_sees_that_the_sender_gave_up(look: Look) -> None:
    story = look.network.stories["gave-up"]
    await look.sign_in("organisation", gln=story.receiver.gln)
    await look.open(f"/messages?id={story.message}")
    await look.page.click("tbody a")

    assert story.sender.name in await look.text(".finding.stopped .sentence")
    assert await look.page.locator(".journey .failed").count() == 1
    await look.shoot("r6-gave-up")


async def test_c1_c2_a_component_reports_and_it_shows(look: Look) -> None:
    story = Story("step by step", datetime.now(UTC)).send(upto=5)
    *earlier, received, sent = story.reports
    for resource in [*earlier, received]:
        assert await look.network.report(resource) == 201
    await look.sign_in("support")
    await look.open(f"/messages/{story.message}")
    assert await look.page.locator(".steps tbody tr").count() == 4
    await look.shoot("c1-received")

    assert await look.network.report(sent) == 201
    await look.page.reload()
    assert await look.page.locator(".steps tbody tr").count() == 5
    await look.shoot("c2-sent")


async def test_c3_what_is_reported_after_an_outage_is_not_lost(look: Look) -> None:
    story = Story("outage", datetime.now(UTC) - timedelta(hours=3)).whole()
    look.network.miniature.faults.add(Fault.STATUS_DOWN)
    with pytest.raises(aiohttp.ClientError):
        await look.network.report(story.reports[0])
    look.network.miniature.faults.discard(Fault.STATUS_DOWN)
    await look.network.tell(story)
    await look.sign_in("support")
    await look.open(f"/messages/{story.message}")

    assert await look.page.locator(".steps tbody tr").count() == 32
    assert re.search(r"3 (t|h)", await look.text(".remarks"))
    await look.shoot("c3-late")


async def test_p1_citizen_sees_one_message(look: Look) -> None:
    story = look.network.stories["silent"]
    await look.sign_in("citizen", cpr=ANNA)
    await look.page.click(f'a[href="/mine/{story.message}"]')

    text = await look.text()
    assert story.sender.name in text
    assert story.receiver.name in text
    assert await look.page.locator(".journey").count() == 0
    await look.shoot("p1-one-message")


async def test_p2_support_finds_a_citizens_message(look: Look) -> None:
    story = look.network.stories["refused"]
    await look.sign_in("support")
    await look.open("/patient")
    await look.page.fill("[name=cpr]", ANNA)
    await look.page.press("[name=cpr]", "Enter")
    await look.page.wait_for_url("**/patients/*")
    await look.page.click(f'a[href="/messages/{story.message}"]')

    assert story.sender.name in await look.text(".finding.refused .todo")
    await look.shoot("p2-support")


async def test_p3_citizen_looks_by_period(look: Look) -> None:
    await look.sign_in("citizen", cpr=BO)
    groups = []
    for unit in UNITS:
        await look.page.select_option("[name=by]", unit)
        await look.page.fill("[name=from]", str((datetime.now(UTC) - timedelta(days=9)).date()))
        await look.page.click(".filters button")
        await look.page.wait_for_url(f"**by={unit}**")
        groups.append(await look.page.locator("main h2").count())
        await look.shoot(f"p3-{unit}")

    assert groups[0] > groups[1] >= groups[2] >= 1


async def test_p4_nobody_else_sees_it_and_no_number_shows(look: Look) -> None:
    story = look.network.stories["good"]
    await look.sign_in("citizen", cpr=BO)
    await look.open(f"/mine/{story.message}")
    assert story.sender.name not in await look.text()
    await look.sign_in("organisation", gln=SUND.gln)
    await look.open(f"/messages/{story.message}")
    assert story.receiver.name not in await look.text()

    await look.sign_in("organisation", gln=story.sender.gln)
    await look.open(f"/messages/{story.message}")
    source = await look.page.content()
    assert "••••" in source
    assert not re.search(r"251248-?9996", source)
    await look.shoot("p4-masked")


async def test_p5_p6_citizen_sees_sent_and_received(look: Look) -> None:
    await look.sign_in("citizen", cpr=ANNA)
    for name, is_received, shot in (("held", False, "p5-sent"), ("good", True, "p6-received")):
        await look.open(f"/mine/{look.network.stories[name].message}")
        sent, received, _ = await look.page.locator("dd").all_inner_texts()
        assert re.match(r"(ja|yes), ", sent)
        assert bool(re.match(r"(ja|yes), ", received)) is is_received
        await look.shoot(shot)


async def test_p7_a_relative_is_permitted_and_not_any_more(look: Look) -> None:
    story = look.network.stories["good"]
    await look.sign_in("citizen", cpr=ANNA)
    await look.open("/permissions")
    await look.page.fill("[name=cpr]", BO)
    await look.page.press("[name=cpr]", "Enter")
    await look.page.wait_for_selector(".given li")
    await look.shoot("p7-permitted")

    await look.sign_in("citizen", cpr=BO)
    await look.page.select_option("[name=of]", "1")
    await look.page.click(".filters button")
    await look.page.wait_for_url("**of=1**")
    assert story.message in await look.page.content()
    await look.shoot("p7-relative")

    await look.sign_in("citizen", cpr=ANNA)
    await look.open("/permissions")
    await look.page.click(".given button")
    await look.page.wait_for_selector(".given", state="detached")
    await look.sign_in("citizen", cpr=BO)
    await look.open(f"/mine/{story.message}")
    assert story.sender.name not in await look.text()


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(look: Look) -> None:
    await look.sign_in("support")
    await look.open("/messages")
    await look.page.keyboard.press("Tab")
    assert await look.page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(24):
        await look.page.keyboard.press("Tab")
        reached.add(
            await look.page.evaluate(
                "document.activeElement.name || document.activeElement.getAttribute('href')"
            )
        )
        outline = await look.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"

    assert {
        "/overview",
        "/negative",
        "id",
        "organisation",
        "role",
        "state",
        "from",
        "until",
    } <= reached


async def test_the_pages_fit_a_telephone_and_the_table_of_the_sector_a_page(look: Look) -> None:
    await look.sign_in("support")
    await look.open("/negative")
    assert await look.page.locator("table tbody tr").count() >= 6
    await look.shoot("negative")
    await look.page.set_viewport_size({"width": 390, "height": 844})
    for path, name in (
        ("/messages", "phone-list"),
        (f"/messages/{look.network.stories['silent'].message}", "phone-message"),
        ("/overview", "phone-overview"),
    ):
        await look.open(path)
        wide = await look.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, path
        for control in await look.page.locator(".filters input, .filters select").all():
            box = await control.bounding_box()
            assert box["x"] + box["width"] <= 374, path
        await look.page.screenshot(path=look._directory / f"{name}.png")
