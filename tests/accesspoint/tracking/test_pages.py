"""The pages over HTTP: who sees what, what an address may hold, what headers say, what is refused."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import structlog
from aiohttp import web
from journeys import ANNA, BO, FJORDBY, HAVNEGADE, SUND
from status_parts import FACTS, report
from tracking_parts import Served, Visitor
from yarl import URL

from accesspoint.clock import SystemClock
from accesspoint.tracking.entrance import CodeEntrance

EMPLOYEE_PAGES = ["/messages", "/overview", "/negative", "/patient", "/messages.csv"]
CITIZEN_PAGES = ["/mine", "/permissions"]


@pytest.mark.attack("ADM-01")
@pytest.mark.parametrize("path", [*EMPLOYEE_PAGES, *CITIZEN_PAGES, "/", "/messages/x"])
async def test_nothing_is_shown_to_somebody_who_has_not_signed_in(
    visitor: Visitor, path: str
) -> None:
    status, text, answer = await visitor.get(path)

    assert (status, answer.url.path) == (200, "/sign-in")
    assert "Fjordby" not in text


@pytest.mark.attack("ADM-02")
@pytest.mark.parametrize("path", EMPLOYEE_PAGES)
async def test_a_citizen_gets_none_of_the_pages_for_employees(visitor: Visitor, path: str) -> None:
    await visitor.sign_in("citizen", cpr=ANNA)

    status, text, _ = await visitor.get(path)

    assert status == 403
    assert "Fjordby" not in text


@pytest.mark.attack("ADM-02")
@pytest.mark.parametrize("path", CITIZEN_PAGES)
async def test_an_employee_gets_none_of_the_pages_for_citizens(visitor: Visitor, path: str) -> None:
    await visitor.sign_in("support")

    assert (await visitor.get(path))[0] == 403


async def test_support_finds_every_message_an_organisation_its_own(visitor: Visitor) -> None:
    stories = visitor.served.stories
    await visitor.sign_in("support")
    _, everything, _ = await visitor.get("/messages")
    assert all(story.message in everything for story in stories.values())

    await visitor.sign_in("organisation", gln=HAVNEGADE.gln)
    _, own, _ = await visitor.get("/messages")
    for story in stories.values():
        is_own = HAVNEGADE in (story.sender, story.receiver)
        assert (story.message in own) is is_own
        assert (await visitor.get(f"/messages/{story.message}"))[0] == (200 if is_own else 404)


async def test_a_stranger_organisation_sees_nothing(visitor: Visitor) -> None:
    await visitor.sign_in("organisation", gln="5790000000000")

    _, text, _ = await visitor.get("/messages")

    assert "No message fits" in text
    assert (await visitor.get(f"/messages/{visitor.served.stories['good'].message}"))[0] == 404


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_an_organisation_looks_at_what_it_sent_or_received(
    visitor: Visitor, role: str
) -> None:
    await visitor.sign_in("organisation", gln=FJORDBY.gln)

    _, text, _ = await visitor.get(f"/messages?role={role}")

    for story in visitor.served.stories.values():
        assert (story.message in text) is (getattr(story, role) is FJORDBY)


async def test_every_identifier_of_an_exchange_leads_to_it(visitor: Visitor) -> None:
    await visitor.sign_in("support")
    story = visitor.served.stories["good"]
    identifiers = {
        entity["what"]["identifier"]["value"]
        for resource in story.reports
        for entity in resource["entity"]
        if entity["type"]["code"] != "ehmiPatient"
    }
    assert len(identifiers) == 12

    for identifier in identifiers:
        _, text, _ = await visitor.get(f"/messages?id={identifier}")
        assert f"/messages/{story.message}" in text, identifier


@pytest.mark.attack("LOG-03")
@pytest.mark.parametrize("field", ["id", "organisation"])
async def test_a_patient_number_in_an_address_is_neither_used_nor_repeated(
    visitor: Visitor, field: str
) -> None:
    await visitor.sign_in("support")

    _, text, answer = await visitor.get(f"/messages?{field}={ANNA}")

    assert answer.url.path == "/patient"
    assert ANNA not in text
    assert ANNA not in str(answer.url)


@pytest.mark.attack("LOG-03")
async def test_a_patient_is_searched_by_post_and_the_number_shows_nowhere(visitor: Visitor) -> None:
    await visitor.sign_in("support")
    with structlog.testing.capture_logs() as logs:
        status, text, answer = await visitor.post("/patient", {"cpr": "251248-9996"})

    assert status == 200
    for story in visitor.served.stories.values():
        assert (story.message in text) is (story.patient == ANNA)
    assert not re.search(r"251248-?9996", text + str(answer.url) + str(logs) + str(answer.history))
    csv_link = re.search(r'href="(/patients/[^"]+\.csv[^"]*)"', text)
    assert csv_link is not None
    _, exported, _ = await visitor.get(csv_link[1])
    assert visitor.served.stories["good"].message in exported
    assert ANNA not in exported


@pytest.mark.attack("ADM-08")
async def test_the_handle_of_a_patient_is_worth_nothing_to_somebody_else(visitor: Visitor) -> None:
    await visitor.sign_in("support")
    _, _, answer = await visitor.post("/patient", {"cpr": ANNA})
    await visitor.sign_in("support")

    assert (await visitor.get(answer.url.path))[0] == 404


async def test_an_organisation_finds_a_patient_only_in_its_own_messages(visitor: Visitor) -> None:
    await visitor.sign_in("organisation", gln=SUND.gln)

    _, text, _ = await visitor.post("/patient", {"cpr": ANNA})

    for story in visitor.served.stories.values():
        is_own = SUND in (story.sender, story.receiver) and story.patient == ANNA
        assert (story.message in text) is is_own


async def test_a_citizen_sees_what_is_about_itself_and_nobody_elses(visitor: Visitor) -> None:
    stories = visitor.served.stories
    await visitor.sign_in("citizen", cpr=BO)

    _, text, _ = await visitor.get("/mine")

    assert stories["other-patient"].message in text
    assert stories["good"].message not in text
    assert (await visitor.get(f"/mine/{stories['other-patient'].message}"))[0] == 200
    assert (await visitor.get(f"/mine/{stories['good'].message}"))[0] == 404


async def test_a_relative_sees_as_long_as_it_is_permitted(visitor: Visitor) -> None:
    good = visitor.served.stories["good"].message
    await visitor.sign_in("citizen", cpr=ANNA)
    status, text, _ = await visitor.post("/permissions", {"cpr": "010101-0101"})
    assert status == 200
    assert BO not in text
    withdraw = re.search(r'action="(/permissions/\d+/withdraw)"', text)
    assert withdraw is not None

    await visitor.sign_in("citizen", cpr=BO)
    assert (await visitor.get(f"/mine/{good}"))[0] == 200
    assert good in (await visitor.get("/mine?of=1"))[1]
    assert good not in (await visitor.get("/mine"))[1]
    # It is not the relative's to take back.
    await visitor.post(withdraw[1], {})
    assert (await visitor.get(f"/mine/{good}"))[0] == 200

    await visitor.sign_in("citizen", cpr=ANNA)
    await visitor.post(withdraw[1], {})
    await visitor.sign_in("citizen", cpr=BO)
    assert (await visitor.get(f"/mine/{good}"))[0] == 404
    assert good not in (await visitor.get("/mine?of=1"))[1]


async def test_nobody_permits_themselves(visitor: Visitor) -> None:
    await visitor.sign_in("citizen", cpr=ANNA)

    assert (await visitor.post("/permissions", {"cpr": ANNA}))[0] == 400


@pytest.mark.attack("ADM-05")
async def test_five_wrong_codes_close_the_door_for_a_while_also_for_the_right_one(
    visitor: Visitor,
) -> None:
    for _ in range(5):
        status, _, _ = await visitor.post("/sign-in", {"code": "AAAA-AAAA-AAAA", "role": "support"})
        assert status == 403

    status, text, _ = await visitor.post(
        "/sign-in", {"code": visitor.served.code, "role": "support"}
    )

    assert status == 429
    assert "Wait" in text


@pytest.mark.attack("ADM-12")
async def test_the_code_of_another_start_and_usual_words_open_nothing(visitor: Visitor) -> None:
    served = visitor.served
    other = CodeEntrance(SystemClock())
    assert other.code != served.code
    for code in (other.code, "", "admin", "123456"):
        assert (await visitor.post("/sign-in", {"code": code, "role": "support"}))[0] == 403


async def test_signing_out_ends_the_session(visitor: Visitor) -> None:
    await visitor.sign_in("support")
    await visitor.post("/sign-out", {})

    assert (await visitor.get("/messages"))[2].url.path == "/sign-in"


@pytest.mark.parametrize(
    "path", ["/sign-in", "/messages", "/static/style.css", "/nowhere", "/mine"]
)
async def test_every_answer_allows_nothing_but_its_own_style(visitor: Visitor, path: str) -> None:
    await visitor.sign_in("support")

    _, text, answer = await visitor.get(path)

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.content_type == "text/html":
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|https?://(?!www\.w3\.org)", text)


@pytest.mark.attack("ADM-03")
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://elsewhere.example"}, {"Host": "elsewhere.example"}, {"Origin": "null"}],
)
async def test_a_foreign_page_can_change_nothing_here(
    visitor: Visitor, headers: dict[str, str]
) -> None:
    form = {"code": visitor.served.code, "role": "support"}

    assert (await visitor.post("/sign-in", form, headers=headers))[0] == 403


@pytest.mark.attack("ADM-11")
async def test_the_pages_refuse_whoever_does_not_come_over_loopback(
    served: Served, tmp_path: Path
) -> None:
    """A socket of the file system is a way in that is not the loopback interface, and that every machine has."""
    runner = web.AppRunner(served.pages.application())
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "socket")).start()
    connector = aiohttp.UnixConnector(str(tmp_path / "socket"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/sign-in", headers={"Accept-Language": "en"}) as answer,
    ):
        text = await answer.text()
    await runner.cleanup()

    assert answer.status == 403
    assert "served on the loopback interface only" in text


async def test_the_language_follows_the_browser_until_somebody_chooses(visitor: Visitor) -> None:
    await visitor.sign_in("support")
    assert '<html lang="en">' in (await visitor.get("/messages"))[1]

    _, text, answer = await visitor.get("/messages?role=sender&lang=da")

    assert '<html lang="da">' in text
    assert dict(answer.url.query) == {"role": "sender"}
    assert '<html lang="da">' in (await visitor.get("/overview"))[1]


@pytest.mark.attack("FIL-06")
async def test_an_export_has_the_list_and_no_formula(visitor: Visitor) -> None:
    await visitor.sign_in("support")

    _, text, answer = await visitor.get("/messages.csv?state=stopped")

    rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=";"))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="messages.csv"'
    stories = visitor.served.stories
    assert {row[1] for row in rows[1:]} == {
        stories[n].message for n in ("silent", "held", "gave-up")
    }


async def test_the_overview_counts_what_the_list_shows(visitor: Visitor) -> None:
    await visitor.sign_in("support")

    for unit in ("day", "week", "month"):
        _, text, _ = await visitor.get(f"/overview.csv?by={unit}")
        rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=";"))
        assert sum(int(row[-1]) for row in rows[1:]) == len(visitor.served.stories)


async def test_an_absurd_period_or_field_is_no_error(visitor: Visitor) -> None:
    await visitor.sign_in("support")

    for query in (
        "from=0001-01-01&until=9999-12-31&by=day",
        "from=x&until=&by=y&state=z&after=1-x",
    ):
        for path in ("/overview", "/messages", "/messages.csv", "/overview.csv"):
            assert (await visitor.get(f"{path}?{query}"))[0] == 200, (path, query)


@pytest.mark.attack("ADM-08")
async def test_what_is_not_there_looks_like_what_is_not_yours(
    served: Served, visitor: Visitor
) -> None:
    await visitor.sign_in("organisation", gln=SUND.gln)

    there = await visitor.get(f"/messages/{served.stories['good'].message}")
    nowhere = await visitor.get("/messages/00000000-0000-0000-0000-000000000000")

    assert there[0] == nowhere[0] == 404
    identifiers = served.stories["good"].message, "00000000-0000-0000-0000-000000000000"
    assert there[1].replace(identifiers[0], "X") == nowhere[1].replace(identifiers[1], "X")


@pytest.mark.attack("ADM-07")
@pytest.mark.parametrize(
    "path", ["//elsewhere.example/x", "///elsewhere.example", "/\\elsewhere.example", "//"]
)
async def test_a_change_of_language_leads_to_no_other_host(visitor: Visitor, path: str) -> None:
    await visitor.sign_in("support")
    url = URL(f"{visitor.served.url}{path}?lang=da", encoded=True)

    async with visitor.session.get(url, allow_redirects=False) as answer:
        location = answer.headers["Location"]
    # Without the wish for a language it is a page that is not there, with a link to the other language.
    async with visitor.session.get(url.with_query(None), allow_redirects=False) as answer:
        page = await answer.text()

    for address in (location, *re.findall(r'href="([^#"]+)"', page)):
        assert address.startswith("/")
        assert address[1:2] not in ("/", "\\")


async def test_a_host_that_is_no_name_is_nobodys(visitor: Visitor) -> None:
    assert (await visitor.get("/sign-in", headers={"Host": "["}))[0] == 403


async def test_numbers_beyond_all_bounds_are_as_if_they_were_not_there(visitor: Visitor) -> None:
    digits = "9" * 4_400
    await visitor.sign_in("support")
    assert (await visitor.get(f"/messages?after=0-{digits[:30]}"))[0] == 200

    await visitor.sign_in("citizen", cpr=ANNA)
    assert (await visitor.get(f"/mine?of={digits}"))[0] == 200
    assert (await visitor.post(f"/permissions/{digits[:30]}/withdraw", {}))[0] == 404


async def test_who_pairs_its_number_with_a_strangers_sees_nothing_of_the_stranger(
    visitor: Visitor,
) -> None:
    """The status component takes a report in the name of one of its parties; what the other is called is only said."""
    own = "5790000000098"
    story = visitor.served.stories["good"]
    facts = replace(
        FACTS, message_identifier="forged", sender_sor="900000000000099", sender_gln=own,
        receiver_sor=story.sender.sor, receiver_gln=own,
    )  # fmt: skip
    await visitor.served.store.add(report(facts), received_at=story.now)
    await visitor.sign_in("organisation", gln=own)

    _, text, _ = await visitor.get("/messages")
    assert "/messages/forged" in text
    assert all(one.message not in text for one in visitor.served.stories.values())
    assert (await visitor.get(f"/messages/{story.message}"))[0] == 404
