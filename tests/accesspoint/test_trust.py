"""Trust at work: who may sign for whom, the pin of a receipt, the recipient's certificate, and fresh lists."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from as4_parts import trust_in
from as4_stage import Pki
from background import background
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from accesspoint.clock import ManualClock
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.network.listening import Listeners
from accesspoint.revocation import AGAIN, REFRESH, RETRY, RevocationRefresher
from accesspoint.trust import (
    MessageTrust,
    PinnedTrust,
    common_name,
)
from envelope import names
from envelope.errors import CertificateRefused
from envelope.messaging import PartyId
from envelope.pmode import TokenForm
from envelope.security_token import TokenReference
from keys.certificate import der, subject_key_identifier
from keys.crl import MAX_CRL_BYTES, CrlStore
from keys.devca import DevelopmentAuthority, IssuedCertificate
from keys.path import ValidatedCertificate, Validator
from keys.revocation import PREFER, RevocationMode, RevocationPolicy
from keys.trust import Purpose, TrustStore


def party(name: str) -> PartyId:
    return PartyId(name, names.PARTY_UNREGISTERED)


@pytest.fixture
def clock(pki: Pki) -> ManualClock:
    return ManualClock(pki.now)


def test_the_common_name_is_the_party_id(pki: Pki) -> None:
    assert common_name(pki.clinic.certificate) == CLINIC.access_point


@pytest.mark.parametrize("name", [None, "with a space", "æøå", "line\nbreak"])
def test_a_name_that_no_header_can_carry_is_no_party_id(pki: Pki, name: str | None) -> None:
    subject = x509.Name(
        [] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)]
    )
    key = pki.spare_key
    certificate = x509.CertificateBuilder(
        subject, subject, key.public_key(), 1, pki.now, pki.now + timedelta(days=1)
    ).sign(key, SHA256())
    with pytest.raises(CertificateRefused) as refused:
        common_name(certificate)
    assert refused.value.reason == "cert.party"


def test_a_certificate_speaks_for_the_party_of_its_name(pki: Pki, clock: ManualClock) -> None:
    trust = trust_in(pki, clock)
    evidence = trust.check(pki.clinic.certificate, (), party=party(CLINIC.access_point))
    assert isinstance(evidence, ValidatedCertificate)
    assert evidence.certificate == pki.clinic.certificate
    with pytest.raises(CertificateRefused) as refused:
        trust.check(pki.clinic.certificate, (), party=party(MUNICIPALITY.access_point))
    assert refused.value.reason == "cert.party"


def test_who_is_not_configured_is_let_in_only_where_that_is_said(
    pki: Pki, clock: ManualClock
) -> None:
    validator = trust_in(pki, clock)._validator
    certificate, name = pki.clinic.certificate, CLINIC.access_point
    closed = MessageTrust(validator, clock=clock, partners={})
    with pytest.raises(CertificateRefused) as refused:
        closed.check(certificate, (), party=party(name))
    assert refused.value.reason == "cert.unknown"
    # A receipt is pinned to what discovery gave: who sends nothing to us need not be known.
    assert closed.pinned(der(certificate)).check(certificate, (), party=None)
    for known in (
        MessageTrust(validator, clock=clock, partners={}, unknown_senders=True),
        MessageTrust(validator, clock=clock, partners={name: ()}),
        MessageTrust(validator, clock=clock, partners={name: [certificate]}),
    ):
        assert known.check(certificate, (), party=party(name))


@pytest.mark.attack("KEY-05")
@pytest.mark.parametrize(
    "lenient",
    [RevocationPolicy(grace=timedelta(days=2)), PREFER],
    ids=["two days of grace", "what is known counts"],
)
def test_an_issuer_that_is_late_is_forgiven_to_those_we_agreed_with_only(
    pki: Pki, clock: ManualClock, lenient: RevocationPolicy
) -> None:
    """Bounded and configured: a stranger, of whom nothing else is known, needs an answer that is good today."""
    name = CLINIC.access_point
    certificate = pki.clinic.certificate
    stored = TrustStore(Purpose.MESSAGE, pki.authority.anchors, pki.authority.intermediates)
    crls = store_of(pki)
    for made in (pki.authority.crl, pki.authority.root_crl):
        crls.add(made(pki.now), at=pki.now)
    validator = Validator(stored, revocation=lenient, crls=crls)
    partner = MessageTrust(validator, clock=clock, partners={name: [certificate]})
    stranger = MessageTrust(validator, clock=clock, partners={}, unknown_senders=True)
    for trust in (partner, stranger):
        assert trust.check(certificate, (), party=party(name))
    clock.advance(timedelta(days=8))
    assert partner.check(certificate, (), party=party(name))
    with pytest.raises(CertificateRefused) as refused:
        stranger.check(certificate, (), party=party(name))
    assert refused.value.reason == "cert.revocation-unknown"
    clock.advance(timedelta(days=2))
    if lenient.grace:
        with pytest.raises(CertificateRefused):
            partner.check(certificate, (), party=party(name))


def test_a_configured_partner_has_the_agreed_certificate_and_no_other(
    pki: Pki, clock: ManualClock
) -> None:
    trust = trust_in(pki, clock, partners={CLINIC.access_point: [pki.clinic.certificate]})
    trust.check(pki.clinic.certificate, (), party=party(CLINIC.access_point))
    twin = pki.certify(CLINIC.access_point, serial=818)
    with pytest.raises(CertificateRefused) as refused:
        trust.check(twin.certificate, (), party=party(CLINIC.access_point))
    assert refused.value.reason == "cert.party"


Issue = Callable[[Pki], IssuedCertificate]


@pytest.mark.parametrize(
    ("issue", "reason"),
    [
        (lambda pki: pki.revoked, "cert.revoked"),
        (
            lambda pki: pki.certify(
                "gone",
                not_before=pki.now - timedelta(minutes=50),
                not_after=pki.now - timedelta(minutes=1),
            ),
            "cert.time",
        ),
        (
            lambda pki: pki.certify("early", not_before=pki.now + timedelta(minutes=50)),
            "cert.time",
        ),
        (lambda pki: pki.certify("x", authority=pki.untrusted_authority), "cert.untrusted"),
    ],
)
def test_a_certificate_that_is_not_good_is_refused_for_signing_and_for_encryption(
    pki: Pki, clock: ManualClock, issue: Issue, reason: str
) -> None:
    certificate = issue(pki).certificate
    trust = trust_in(pki, clock, lists=reason == "cert.revoked")
    attempts: list[Callable[[], Any]] = [
        lambda: trust.check(certificate, (), party=None),
        lambda: trust.validate_recipient(der(certificate)),
        lambda: trust.pinned(der(certificate)).check(certificate, (), party=None),
    ]
    for attempt in attempts:
        with pytest.raises(CertificateRefused) as refused:
            attempt()
        assert refused.value.reason == reason


def test_without_a_list_that_is_required_nobody_is_trusted(pki: Pki, clock: ManualClock) -> None:
    trust = trust_in(pki, clock, lists=True)
    trust.check(pki.clinic.certificate, (), party=None)
    clock.advance(timedelta(days=30))
    with pytest.raises(CertificateRefused):
        trust.check(pki.clinic.certificate, (), party=None)


def test_a_recipient_is_validated_for_encryption(pki: Pki, clock: ManualClock) -> None:
    validated = trust_in(pki, clock).validate_recipient(der(pki.clinic.certificate))
    assert validated.certificate == pki.clinic.certificate


def test_a_receipt_is_pinned_to_one_certificate(pki: Pki, clock: ManualClock) -> None:
    pinned = trust_in(pki, clock).pinned(der(pki.clinic.certificate))
    assert pinned.check(pki.clinic.certificate, (), party=None)
    namesake = pki.authority.issue_system_certificate(
        CLINIC.access_point, "Andre", "20000008", uuid="other", not_before=pki.now - timedelta(hours=1),
        private_key=pki.spare_key,
    )  # fmt: skip
    for other in (pki.municipality, namesake):
        with pytest.raises(CertificateRefused) as refused:
            pinned.check(other.certificate, (), party=None)
        assert refused.value.reason == "cert.party"


def test_a_receipt_may_be_signed_with_the_renewed_certificate_of_the_same_holder_only(
    pki: Pki, clock: ManualClock
) -> None:
    """Directory and holder do not change at one moment; another issuer of the same subject is not believed."""
    second = DevelopmentAuthority.create(
        at=pki.now, name="Second", private_keys=(pki.spare_key, pki.spare_key)
    )
    anchors = (*pki.authority.anchors, *second.anchors)
    between = (*pki.authority.intermediates, *second.intermediates)
    validator = Validator(
        TrustStore(Purpose.MESSAGE, anchors, between),
        revocation=RevocationPolicy(RevocationMode.OFF, "no lists"),
    )
    expected = der(pki.clinic.certificate)
    renewed = pki.certify(CLINIC.access_point, serial=819).certificate
    foreign = pki.certify(CLINIC.access_point, authority=second).certificate
    assert foreign.subject == renewed.subject == pki.clinic.certificate.subject

    def pinned(agreed: dict[str, list[x509.Certificate]]) -> PinnedTrust:
        return MessageTrust(validator, clock=clock, partners=agreed).pinned(expected)

    assert pinned({}).check(renewed, (), party=None)
    with pytest.raises(CertificateRefused) as refused:
        pinned({}).check(foreign, (), party=None)
    assert refused.value.reason == "cert.party"
    both = {CLINIC.access_point: [pki.clinic.certificate, foreign]}
    assert pinned(both).check(foreign, (), party=None)


def test_references_find_agreed_certificates_only(pki: Pki, clock: ManualClock) -> None:
    reference = TokenReference(
        TokenForm.KEY_IDENTIFIER, key_identifier=subject_key_identifier(pki.clinic.certificate)
    )
    agreed = {CLINIC.access_point: [pki.clinic.certificate]}
    assert trust_in(pki, clock, partners=agreed).find(reference) == pki.clinic.certificate
    assert trust_in(pki, clock).find(reference) is None
    assert trust_in(pki, clock).pinned(der(pki.clinic.certificate)).find(reference) is not None
    assert trust_in(pki, clock).pinned(der(pki.third.certificate)).find(reference) is None


@pytest.mark.attack("KEY-13")
def test_a_reference_that_names_two_certificates_names_none(pki: Pki, clock: ManualClock) -> None:
    twins = [pki.certify("one", serial=820), pki.certify("two", serial=821)]
    reference = TokenReference(
        TokenForm.KEY_IDENTIFIER, key_identifier=subject_key_identifier(twins[0].certificate)
    )
    partners = {"both": [twin.certificate for twin in twins]}
    with pytest.raises(CertificateRefused) as refused:
        trust_in(pki, clock, partners=partners).find(reference)
    assert refused.value.reason == "key.ambiguous"


# Revocation lists


class Point:
    """Serves lists, or whatever it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], web.Response]] = {}
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return self.answers[request.path]()


@pytest.fixture
async def point() -> Any:
    serving = Point()
    application = web.Application()
    application.router.add_get("/{name}", serving.handle)
    listeners = Listeners()
    serving.url = await listeners.start(application)  # type: ignore[attr-defined]
    yield serving
    await listeners.stop()


def store_of(pki: Pki) -> CrlStore:
    return CrlStore((*pki.authority.anchors, *pki.authority.intermediates))


async def test_every_list_is_fetched_from_its_configured_address(
    pki: Pki, clock: ManualClock, point: Any
) -> None:
    point.answers = {
        "/issuing": lambda: web.Response(body=pki.authority.crl(pki.now)),
        "/root": lambda: web.Response(body=pki.authority.root_crl(pki.now)),
    }
    crls = store_of(pki)
    urls = [f"{point.url}/issuing", f"{point.url}/root"]
    assert await RevocationRefresher(crls, urls, clock=clock).refresh()
    assert point.asked == ["/issuing", "/root"]
    assert len(crls.facts()) == 2


@pytest.mark.attack("DSC-10", "DSC-03")
@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=404),
        lambda: web.Response(status=302, headers={"Location": "/root"}),
        lambda: web.Response(body=b"no list"),
        lambda: web.Response(body=b"\x00" * (MAX_CRL_BYTES + 1)),
    ],
    ids=["missing", "redirect", "no list", "endless"],
)
async def test_a_list_that_does_not_come_is_missed_and_the_others_are_kept(
    pki: Pki, clock: ManualClock, point: Any, answer: Callable[[], web.Response]
) -> None:
    point.answers = {
        "/issuing": answer,
        "/root": lambda: web.Response(body=pki.authority.root_crl(pki.now)),
    }
    crls = store_of(pki)
    urls = [f"{point.url}/issuing", f"{point.url}/root", "http://127.0.0.1:1/nobody"]
    assert not await RevocationRefresher(crls, urls, clock=clock).refresh()
    assert point.asked == ["/issuing", "/root"]
    assert len(crls.facts()) == 1


@pytest.mark.parametrize("is_stale", [True, False], ids=["run out", "endless"])
async def test_a_list_that_came_and_is_no_good_is_fetched_again_after_a_minute(
    pki: Pki, clock: ManualClock, point: Any, monkeypatch: pytest.MonkeyPatch, is_stale: bool
) -> None:
    past = pki.now - timedelta(days=1)
    stale = pki.authority.crl(past - timedelta(days=7), next_update=past)
    refused = stale if is_stale else b"\x00" * (MAX_CRL_BYTES + 1)
    point.answers = {
        "/issuing": lambda: web.Response(body=refused),
        "/root": lambda: web.Response(status=503),
    }
    crls = store_of(pki)
    urls = [f"{point.url}/issuing", f"{point.url}/root"]
    monkeypatch.setattr("accesspoint.revocation.RETRY", timedelta(milliseconds=10))
    async with (
        background(RevocationRefresher(crls, urls, clock=clock).run()),
        asyncio.timeout(5),
    ):
        # The other one does not come at all, and is what shows that it was looked at what is missing.
        while point.asked.count("/root") < 4:
            await asyncio.sleep(0.005)
        assert point.asked.count("/issuing") == 1
        point.answers["/issuing"] = lambda: web.Response(body=pki.authority.crl(pki.now))
        clock.advance(AGAIN)
        while not crls.facts():
            await asyncio.sleep(0.005)
    assert point.asked.count("/issuing") == 2


async def test_only_the_list_that_is_missing_is_fetched_again_soon(
    pki: Pki, clock: ManualClock, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    point.answers = {
        "/issuing": lambda: web.Response(status=503),
        "/root": lambda: web.Response(body=pki.authority.root_crl(pki.now)),
    }
    crls = store_of(pki)
    urls = [f"{point.url}/issuing", f"{point.url}/root"]
    assert (RETRY.total_seconds(), REFRESH.total_seconds()) == (2.0, 600.0)
    monkeypatch.setattr("accesspoint.revocation.RETRY", timedelta(milliseconds=10))
    running = asyncio.create_task(RevocationRefresher(crls, urls, clock=clock).run())
    async with asyncio.timeout(5):
        while len(point.asked) < 5:
            await asyncio.sleep(0.005)
        point.answers["/issuing"] = lambda: web.Response(body=pki.authority.crl(pki.now))
        while len(crls.facts()) < 2:
            await asyncio.sleep(0.005)
    asked = len(point.asked)
    await asyncio.sleep(0.05)
    running.cancel()
    assert point.asked[:3] == ["/issuing", "/root", "/issuing"]
    assert point.asked.count("/root") == 1
    assert len(point.asked) == asked
