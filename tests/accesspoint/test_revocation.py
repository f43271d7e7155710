"""Lists and answers in the background: from where, how often, from files, from the start before, and how old."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from as4_stage import Pki
from background import background
from cryptography import x509
from cryptography.x509 import ocsp
from pydantic import ValidationError

from accesspoint.clock import ManualClock
from accesspoint.config_trust import MessageTrust, TrustPurpose
from accesspoint.network.listening import Listeners
from accesspoint.revocation import (
    AGAIN,
    REFRESH,
    Known,
    RevocationRefresher,
    _answer_name,
    recall_answer,
)
from accesspoint.trust import open_validator
from keys.crl import CrlStore
from keys.devca import DevelopmentAuthority
from keys.errors import RevocationUnknown, Revoked
from keys.ocsp import MAX_ANSWER_BYTES, OcspStore
from keys.path import Usage, Validator
from keys.trust import Purpose


class Responder:
    """Answers lists by GET and questions by POST, and counts."""

    def __init__(self, pki: Pki) -> None:
        root, issuing = pki.authority.keys
        self.pki, self.authority = pki, DevelopmentAuthority(root, issuing)
        self.asked: list[str] = []
        self.fetched = 0
        self.body: bytes | None = None
        self.url = ""

    async def list(self, _: web.Request) -> web.Response:
        self.fetched += 1
        return web.Response(body=self.body or self.authority.crl(self.pki.now))

    async def root_list(self, _: web.Request) -> web.Response:
        return web.Response(body=self.authority.root_crl(self.pki.now))

    async def answer(self, request: web.Request) -> web.Response:
        question = ocsp.load_der_ocsp_request(await request.read())
        self.asked.append(f"{question.serial_number:x}")
        if self.body is not None:
            return web.Response(body=self.body)
        for one in (self.pki.clinic, self.pki.municipality):
            if one.certificate.serial_number == question.serial_number:
                said = self.authority.ocsp_answer(one.certificate, self.pki.now)
                return web.Response(body=said)
        raise web.HTTPNotFound


@pytest.fixture
def clock(pki: Pki) -> ManualClock:
    return ManualClock(pki.now)


@pytest_asyncio.fixture
async def responder(pki: Pki) -> AsyncIterator[Responder]:
    made = Responder(pki)
    application = web.Application()
    application.router.add_get("/crl", made.list)
    application.router.add_get("/root", made.root_list)
    application.router.add_post("/ocsp", made.answer)
    listeners = Listeners()
    made.url = await listeners.start(application)
    yield made
    await listeners.stop()


def stores(pki: Pki) -> tuple[CrlStore, OcspStore]:
    return CrlStore((*pki.authority.anchors, *pki.authority.intermediates)), OcspStore()


async def test_a_responder_is_asked_once_about_each_certificate_that_was_seen(
    pki: Pki, clock: ManualClock, responder: Responder
) -> None:
    crls, answers = stores(pki)
    refresher = RevocationRefresher(
        crls, [], clock=clock, answers=answers, responders=[f"{responder.url}/ocsp"],
        networks=[ip_network("127.0.0.0/8")],
    )  # fmt: skip
    assert await refresher.refresh()
    assert responder.asked == []
    answers.watch(pki.clinic.certificate, pki.authority.issuing)
    assert await refresher.refresh()
    assert await refresher.refresh()
    assert responder.asked == [f"{pki.clinic.certificate.serial_number:x}"]
    (known,) = refresher.known()
    assert known.kind == "ocsp"
    clock.advance(timedelta(hours=23, minutes=30))
    assert "1 day" not in known.sentence(clock.now())
    await refresher.refresh()
    assert len(responder.asked) == 2


@pytest.mark.parametrize("body", [b"nonsense", b"\x00" * (MAX_ANSWER_BYTES + 1)])
async def test_an_answer_that_is_none_is_asked_for_again_a_minute_later(
    pki: Pki, clock: ManualClock, responder: Responder, body: bytes
) -> None:
    crls, answers = stores(pki)
    answers.watch(pki.clinic.certificate, pki.authority.issuing)
    refresher = RevocationRefresher(
        crls, [], clock=clock, answers=answers, responders=[f"{responder.url}/ocsp"]
    )
    responder.body = body
    for _ in range(3):
        assert await refresher.refresh()
    assert len(responder.asked) == 1
    responder.body = None
    clock.advance(timedelta(minutes=1))
    await refresher.refresh()
    assert len(responder.asked) == 2
    assert len(answers.facts()) == 1


async def test_a_certificate_chooses_among_the_configured_responders_and_adds_none(
    pki: Pki, clock: ManualClock, responder: Responder
) -> None:
    elsewhere = DevelopmentAuthority(*pki.authority.keys, ocsp_url=f"{responder.url}/stranger")
    issued = elsewhere.issue_system_certificate(
        "ap", "Test", "10000009", uuid="x", not_before=pki.now, private_key=pki.spare_key
    )
    crls, answers = stores(pki)
    answers.watch(issued.certificate, pki.authority.issuing)
    refresher = RevocationRefresher(
        crls, [], clock=clock, answers=answers, responders=[f"{responder.url}/ocsp"]
    )
    assert await refresher.refresh()
    assert responder.asked == []


async def test_nothing_is_fetched_outside_the_networks(
    pki: Pki, clock: ManualClock, responder: Responder
) -> None:
    crls, answers = stores(pki)
    answers.watch(pki.clinic.certificate, pki.authority.issuing)
    refresher = RevocationRefresher(
        crls, [f"{responder.url}/crl"], clock=clock, answers=answers,
        responders=[f"{responder.url}/ocsp"], networks=[ip_network("10.0.0.0/8")],
    )  # fmt: skip
    assert not await refresher.refresh()
    assert (responder.asked, crls.facts()) == ([], [])


async def test_files_serve_where_there_is_no_network_and_are_told_when_missing(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path
) -> None:
    crls, answers = stores(pki)
    answers.watch(pki.clinic.certificate, pki.authority.issuing)
    files = [tmp_path / name for name in ("issuing.crl", "clinic.ocsp")]
    refresher = RevocationRefresher(crls, [], clock=clock, answers=answers, files=files)
    assert not await refresher.refresh()
    files[0].write_bytes(pki.authority.crl(pki.now))
    files[1].write_bytes(responder.authority.ocsp_answer(pki.clinic.certificate, pki.now))
    assert await refresher.refresh()
    assert sorted(one.kind for one in refresher.known()) == ["crl", "ocsp"]
    files[0].write_bytes(b"torn")
    assert not await refresher.refresh()
    assert len(crls.facts()) == 1


async def test_a_file_that_is_not_taken_costs_no_fetching_and_is_read_again_when_it_changed(
    pki: Pki,
    clock: ManualClock,
    responder: Responder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crls, answers = stores(pki)
    stale, unasked = tmp_path / "root.crl", tmp_path / "clinic.ocsp"
    day = timedelta(days=1)
    stale.write_bytes(pki.authority.root_crl(pki.now - 9 * day, next_update=pki.now - day))
    unasked.write_bytes(responder.authority.ocsp_answer(pki.clinic.certificate, pki.now))
    refresher = RevocationRefresher(
        crls, [f"{responder.url}/crl"], clock=clock, answers=answers, files=[stale, unasked]
    )
    monkeypatch.setattr("accesspoint.revocation.RETRY", timedelta(milliseconds=10))
    with structlog.testing.capture_logs() as told:
        running = asyncio.create_task(refresher.run())
        async with asyncio.timeout(5):
            while not crls.facts():
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            assert responder.fetched == 1
            assert [(one["event"], one["path"]) for one in told] == [
                ("revocation_file_missing", "root.crl")
            ]
            stale.write_bytes(pki.authority.root_crl(pki.now))
            answers.watch(pki.clinic.certificate, pki.authority.issuing)
            while len(crls.facts()) < 2 or not answers.facts():
                await asyncio.sleep(0.005)
            assert responder.fetched == 1
            clock.advance(REFRESH)
            while responder.fetched < 2:
                await asyncio.sleep(0.005)
        running.cancel()


async def test_a_file_older_than_what_was_fetched_is_nothing_new(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path
) -> None:
    crls, answers = stores(pki)
    older = tmp_path / "issuing.crl"
    older.write_bytes(pki.authority.crl(pki.now - timedelta(hours=1)))
    crls.add(pki.authority.crl(pki.now), at=pki.now)
    refresher = RevocationRefresher(crls, [], clock=clock, answers=answers, files=[older])
    assert await refresher.refresh()
    assert [one.this_update for one in crls.facts()] == [pki.now.replace(microsecond=0)]


async def test_what_was_fetched_is_known_at_the_next_start_fresh_or_not(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path
) -> None:
    settings = TrustPurpose.model_validate(
        {**pki.trust, "crl_urls": [f"{responder.url}/crl"]}, context={"base": tmp_path}
    )
    cache = tmp_path / "revocation"
    _, first = open_validator(Purpose.MESSAGE, settings, clock=clock, cache=cache)
    assert first is not None
    assert await first.refresh()
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o600}
    _, second = open_validator(Purpose.MESSAGE, settings, clock=clock, cache=cache)
    assert second is not None
    (known,) = second.known()
    assert known.sentence(clock.now()).endswith("less than a minute old, good for another 6 days")
    clock.advance(timedelta(days=8))
    assert "RAN OUT 1 day ago" in known.sentence(clock.now())
    _, third = open_validator(Purpose.MESSAGE, settings, clock=clock, cache=cache)
    assert third is not None
    assert list(third.known()) == [known]


def started(
    pki: Pki, clock: ManualClock, tmp_path: Path, **said: object
) -> tuple[Validator, RevocationRefresher]:
    """What a node has right after its start, when nothing was fetched yet."""
    settings = TrustPurpose.model_validate({**pki.trust, **said}, context={"base": tmp_path})
    cache = tmp_path / "revocation"
    validator, refresher = open_validator(Purpose.MESSAGE, settings, clock=clock, cache=cache)
    assert refresher is not None
    return validator, refresher


@pytest.mark.parametrize("source", ["crl", "ocsp"])
async def test_what_was_revoked_stays_revoked_for_the_first_message_after_a_restart(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path, source: str
) -> None:
    clinic = pki.clinic.certificate
    responder.authority.revoke(clinic, at=pki.now - timedelta(minutes=30))
    start = partial(
        started, pki, clock, tmp_path, revocation="prefer",
        **{f"{source}_urls": [f"{responder.url}/{source}"]},
    )  # fmt: skip
    validator, refresher = start()
    validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())
    await refresher.refresh()
    with pytest.raises(Revoked):
        validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())
    # The issuer and its responder are away for longer than what they said counts.
    clock.advance(timedelta(days=8))
    validator, _ = start()
    with pytest.raises(Revoked):
        validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())


@pytest.mark.parametrize("source", ["crl", "ocsp"])
async def test_what_is_about_another_takes_no_place_of_what_was_kept(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path, source: str
) -> None:
    clinic, municipality = pki.clinic.certificate, pki.municipality.certificate
    responder.authority.revoke(clinic, at=pki.now - timedelta(minutes=30))
    url = f"{responder.url}/{source}"
    start = partial(
        started, pki, clock, tmp_path, revocation="prefer", **{f"{source}_urls": [url, f"{url}?2"]}
    )
    validator, refresher = start()
    for one in (clinic, municipality):
        validator.validate(one, usage=Usage.SIGNING, at=clock.now())
    await refresher.refresh()
    # Somebody between us sends good and fresh answers, about others than was asked for.
    clock.advance(timedelta(hours=23, minutes=30))
    responder.body = {
        "crl": responder.authority.root_crl(clock.now()),
        "ocsp": responder.authority.ocsp_answer(municipality, clock.now()),
    }[source]
    responder.asked.clear()
    await refresher.refresh()
    if source == "ocsp":
        # That was no answer, so the other responder was asked as well.
        assert responder.asked.count(f"{clinic.serial_number:x}") == 2
        assert responder.asked.count(f"{municipality.serial_number:x}") == 1
    validator, _ = start()
    with pytest.raises(Revoked):
        validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())


async def test_the_first_message_after_a_restart_passes_where_an_answer_is_required_and_kept(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path
) -> None:
    clinic = pki.clinic.certificate
    start = partial(
        started, pki, clock, tmp_path, revocation="require",
        crl_urls=[f"{responder.url}/root"], ocsp_urls=[f"{responder.url}/ocsp"],
    )  # fmt: skip
    validator, refresher = start()
    with pytest.raises(RevocationUnknown):
        validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())
    await refresher.refresh()
    validator, _ = start()
    validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())
    clock.advance(timedelta(days=2))
    validator, _ = start()
    with pytest.raises(RevocationUnknown, match="OCSP answer ran out"):
        validator.validate(clinic, usage=Usage.SIGNING, at=clock.now())


async def test_an_answer_is_known_at_the_next_start_fresh_or_not(
    pki: Pki,
    clock: ManualClock,
    responder: Responder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clinic, issuing = pki.clinic.certificate, pki.authority.issuing

    async def started_anew(certificate: x509.Certificate) -> list[Known]:
        crls, _ = stores(pki)
        answers = OcspStore(recall=partial(recall_answer, tmp_path / "revocation"))
        answers.ask(certificate, issuing)
        refresher = RevocationRefresher(
            crls, [], clock=clock, answers=answers, responders=[f"{responder.url}/ocsp"],
            cache=tmp_path / "revocation",
        )  # fmt: skip
        await refresher.refresh()
        return list(refresher.known())

    (first,) = await started_anew(clinic)
    (kept,) = (tmp_path / "revocation").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    responder.body = b"the responder is away"
    assert await started_anew(clinic) == [first]
    # What is kept is checked like what comes: for this certificate, and whole; only when it ends is for policy.
    municipality = pki.municipality.certificate
    kept.with_name(_answer_name(municipality)).write_bytes(kept.read_bytes())
    assert await started_anew(municipality) == []
    clock.advance(timedelta(days=8))
    assert await started_anew(clinic) == [first]
    # Of all that came no more are kept than are held.
    responder.body = None
    clock.set_wall(pki.now)
    monkeypatch.setattr("keys.ocsp.WATCHED", 1)
    await started_anew(municipality)
    assert len(list((tmp_path / "revocation").iterdir())) == 1


async def test_grace_is_a_soft_failure_with_an_end(
    pki: Pki, clock: ManualClock, responder: Responder, tmp_path: Path
) -> None:
    (tmp_path / "root.crl").write_bytes(
        pki.authority.root_crl(pki.now, next_update=pki.now + timedelta(days=30))
    )
    (tmp_path / "issuing.crl").write_bytes(pki.authority.crl(pki.now))
    settings = TrustPurpose.model_validate(
        {
            **pki.trust,
            "revocation_files": ["root.crl", "issuing.crl"],
            "revocation_grace": "24 h",
        },
        context={"base": tmp_path},
    )
    validator, refresher = open_validator(Purpose.MESSAGE, settings, clock=clock)
    assert refresher is not None
    assert await refresher.refresh()
    clock.advance(timedelta(days=7, hours=23))
    validator.validate(pki.clinic.certificate, usage=Usage.SIGNING, at=clock.now())
    clock.advance(timedelta(hours=2))
    with pytest.raises(RevocationUnknown):
        validator.validate(pki.clinic.certificate, usage=Usage.SIGNING, at=clock.now())


async def test_a_certificate_that_is_new_is_asked_about_within_seconds(
    pki: Pki, clock: ManualClock, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    crls, answers = stores(pki)
    refresher = RevocationRefresher(
        crls, [], clock=clock, answers=answers, responders=[f"{responder.url}/ocsp"]
    )
    monkeypatch.setattr("accesspoint.revocation.RETRY", timedelta(milliseconds=10))
    running = asyncio.create_task(refresher.run())
    await asyncio.sleep(0)
    answers.watch(pki.clinic.certificate, pki.authority.issuing)
    async with asyncio.timeout(5):
        while not answers.facts():
            await asyncio.sleep(0.005)
    running.cancel()


async def test_what_has_no_answer_or_one_that_ends_is_asked_about_again_within_a_minute(
    pki: Pki, clock: ManualClock, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    crls, answers = stores(pki)
    clinic = pki.clinic.certificate
    answers.watch(clinic, pki.authority.issuing)
    refresher = RevocationRefresher(
        crls, [], clock=clock, answers=answers, responders=[f"{responder.url}/ocsp"]
    )
    monkeypatch.setattr("accesspoint.revocation.RETRY", timedelta(milliseconds=10))
    responder.body = b"the responder is away"
    async with background(refresher.run()), asyncio.timeout(5):
        while len(responder.asked) < 1:
            await asyncio.sleep(0.005)
        # An answer that lives shorter than the time between two refreshments of everything.
        end = pki.now + AGAIN + REFRESH / 2
        responder.body = responder.authority.ocsp_answer(clinic, pki.now, next_update=end)
        clock.advance(AGAIN)
        while not answers.facts():
            await asyncio.sleep(0.005)
        clock.advance(REFRESH / 2 - AGAIN / 2)
        while len(responder.asked) < 3:
            await asyncio.sleep(0.005)
    assert len(responder.asked) == 3


def test_the_configuration_says_how_certain_we_must_be(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="needs crl_urls"):
        TrustPurpose.model_validate({**pki.trust}, context={"base": tmp_path})
    with pytest.raises(ValidationError, match="never while a message waits"):
        MessageTrust.model_validate(
            {
                **pki.trust, "ocsp_urls": ["http://a/"], "unknown_senders": "accept", "policies": ["1.2"],
            },
            context={"base": tmp_path},
        )  # fmt: skip
