"""Every way that a configuration can look receivers up, over real DNS and HTTP; and what the name server says of time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from yarl import URL

from accesspoint.clock import ManualClock, SystemClock
from accesspoint.config_directory import Directory as Settings
from accesspoint.discovery.cache import PAUSE, CachedDirectory
from accesspoint.discovery.configured import build_dynamic
from accesspoint.discovery.directory import HopKind, LookupFailed, LookupProblem
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.network.faults import Fault
from accesspoint.network.listening import Listeners
from accesspoint.network.locator import TTL, Locator
from accesspoint.network.publisher import Publisher, Registration
from accesspoint.networks import AllowedNetworks
from envelope import names
from envelope.ehmi import DOCUMENTS, SBDH_ACKNOWLEDGEMENT
from envelope.smp import (
    Redirect,
    SmpIdentifier,
    bdxl_owner_name,
    build_metadata_2,
    build_signed_service_metadata,
    busdox_owner_name,
    read_service_group,
)
from keys.certificate import der
from keys.path import Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.trust import Purpose, TrustStore

ZONE = "sml.test"
PARTICIPANT = "0088:5790009990027"
DOCUMENT = SBDH_ACKNOWLEDGEMENT.document_id
KEY = (PARTICIPANT, DOCUMENT, names.EHMI_PROCESS)
FORMS: list[dict[str, Any]] = [
    {"locator": "bdxl", "smp_version": "1.0"},
    {"locator": "bdxl", "smp_version": "2.0"},
    {"locator": "busdox", "smp_version": "1.0"},
    {"locator": "busdox", "smp_version": "2.0"},
]
BY_RECORD = FORMS[0]


class Network:
    """A name server and a publisher that know one receiver under all its names."""

    def __init__(self, authority: Any, rsa_keys: Any, tls_party: Any) -> None:
        self.party = tls_party("publisher")
        self.tls = self.party.client()
        at = datetime.now(UTC) - timedelta(days=2)

        def issue(name: str, key: Any, **more: Any) -> Any:
            return authority.issue_system_certificate(
                name, "TEST", "00000000", uuid=name, not_before=at, private_key=key, **more
            )

        self.signer = issue("publisher", rsa_keys[0])
        self.receiver = issue("receiver", rsa_keys[1])
        self.other = issue("other", rsa_keys[2])
        self.faults: set[Fault] = set()
        self.locator = Locator(ZONE, faults=self.faults)
        self.publisher = Publisher(
            self.signer, stranger=self.other, somebody_else=self.other, faults=self.faults
        )
        self.publisher.register(
            Registration(
                PARTICIPANT,
                tuple(kind.document_id for kind in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT)),
                "https://127.0.0.1/as4",
                der(self.receiver.certificate),
                signing_certificate=der(self.other.certificate),
            )
        )
        self.listeners = Listeners()
        self.stack = AsyncExitStack()
        trust = TrustStore.pinned(Purpose.SMP, [self.signer.certificate])
        off = RevocationPolicy(RevocationMode.OFF, why_off="tests of the look-up")
        self.validator = Validator(trust, revocation=off)
        self.smp_url = ""

    async def start(self) -> None:
        if self.locator.address[1] == 0:
            await self.locator.start()
        self.smp_url = await self.listeners.start(self.publisher.application())
        self.locate(self.smp_url)
        self.locator.register_alias(busdox_owner_name(PARTICIPANT, ZONE), f"smp.{ZONE}")
        self.locator.register_host(f"smp.{ZONE}", "127.0.0.1")

    def locate(self, url: str) -> None:
        services = ("Meta:SMP", "oasis-bdxr-smp-2")
        self.locator.register(bdxl_owner_name(PARTICIPANT, ZONE), url, services=services)

    def settings(self, **form: Any) -> Settings:
        host, port = self.locator.address
        return Settings.model_validate(
            {
                "sml": ZONE,
                "nameserver": f"{host}:{port}",
                "busdox_port": urlsplit(self.smp_url).port,
                "networks": ["127.0.0.0/8"],
                **form,
            }
        )

    def directory(self, clock: Any = None, **form: Any) -> CachedDirectory:
        return build_dynamic(
            self.settings(**form), self.stack, clock or SystemClock(), self.validator, self.tls
        )


@pytest.fixture
async def network(authority: Any, rsa_keys: Any, tls_party: Any) -> AsyncIterator[Network]:
    made = Network(authority, rsa_keys, tls_party)
    await made.start()
    yield made
    await made.stack.aclose()
    await made.listeners.stop()
    await made.locator.stop()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
@pytest.mark.parametrize(
    "document", [kind.document_id for kind in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT)]
)
async def test_a_receiver_is_found_in_every_form(
    network: Network, form: dict[str, Any], document: str
) -> None:
    found = await network.directory(**form).find_endpoint(PARTICIPANT, document, names.EHMI_PROCESS)

    assert [hop.kind for hop in found.hops] == [HopKind.SML, HopKind.SMP, HopKind.SIGNATURE]
    assert (found.url, found.certificate) == (
        "https://127.0.0.1/as4", der(network.receiver.certificate),
    )  # fmt: skip
    assert f"(for {TTL} s)" in found.hops[0].detail
    assert ("is an alias of smp.sml.test" in found.hops[0].detail) == (form["locator"] == "busdox")
    assert ("/bdxr-smp-2/" in found.hops[1].detail) == (form["smp_version"] == "2.0")
    # Only version 2.0 can tell a second certificate.
    two = form["smp_version"] == "2.0"
    assert found.signing_certificate == (der(network.other.certificate) if two else None)


async def test_who_comes_by_the_busdox_name_is_answered_in_busdox(network: Network) -> None:
    locator = MetadataLocator(
        ZONE, clock=SystemClock(), nameserver=network.locator.address, busdox=True,
        port=urlsplit(network.smp_url).port or 0,
    )  # fmt: skip
    located = await locator.locate(PARTICIPANT)
    session = AllowedNetworks(["127.0.0.0/8"]).open_session(
        seconds=5, resolver=locator.host_resolver()
    )
    async with session, session.get(f"{located.url}/iso6523-actorid-upis::{PARTICIPANT}") as answer:
        body = await answer.read()

    assert names.BUSDOX.encode() in body
    assert read_service_group(body).participant == SmpIdentifier(names.ISO6523_ACTORID, PARTICIPANT)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
async def test_who_is_not_registered_stays_unknown_for_as_long_as_the_name_server_says(
    network: Network, form: dict[str, Any]
) -> None:
    directory = network.directory(cache={"refused": "10 min"}, **form)

    with pytest.raises(LookupFailed) as failed:
        await directory.find_endpoint("0088:5790009990010", *KEY[1:])

    assert (failed.value.slug, failed.value.permanent) == (LookupProblem.NO_PARTICIPANT, True)
    assert failed.value.seconds == TTL


@pytest.mark.attack("DSC-07")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
async def test_dsc_07_only_the_configured_signer_is_believed_and_while_its_certificate_lasts(
    network: Network, form: dict[str, Any]
) -> None:
    later = ManualClock(datetime.now(UTC) + timedelta(days=4 * 366))
    with pytest.raises(LookupFailed) as expired:
        await network.directory(later, **form).find_endpoint(*KEY)
    network.faults.add(Fault.METADATA_UNSIGNED)
    with pytest.raises(LookupFailed) as strange:
        await network.directory(**form).find_endpoint(*KEY)

    for failed, reason in ((expired, "cert.time"), (strange, "cert.")):
        assert failed.value.slug is LookupProblem.SIGNATURE
        assert failed.value.hops[-1].kind is HopKind.SIGNATURE
        assert reason in failed.value.hops[-1].detail


async def test_the_forms_of_version_1_and_2_do_not_stand_in_for_each_other(
    network: Network,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        # Whatever is asked, the publisher's answer of the other version.
        path = request.rel_url.raw_path
        other = (
            path.replace("/bdxr-smp-2/", "/") if "/bdxr-smp-2/" in path else f"/bdxr-smp-2{path}"
        )
        session = AllowedNetworks(["127.0.0.0/8"]).open_session(seconds=5)
        async with session, session.get(URL(network.smp_url + other, encoded=True)) as found:
            return web.Response(body=await found.read(), content_type="text/xml")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    network.locate(await network.listeners.start(application))

    for form in ({"smp_version": "1.0"}, {"smp_version": "2.0"}):
        with pytest.raises(LookupFailed) as failed:
            await network.directory(**form).find_endpoint(*KEY)
        assert (failed.value.slug, "smp.namespace" in failed.value.detail) == (LookupProblem.REFUSED, True)  # fmt: skip


@pytest.mark.attack("DSC-03")
@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_a_redirect_from_https_to_http_is_not_followed(
    network: Network, version: str
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.scheme)
        signing = {"key": network.signer.private_key, "certificate": network.signer.certificate}
        participant = SmpIdentifier(names.ISO6523_ACTORID, PARTICIPANT)
        document = SmpIdentifier("busdox-docid-qns", DOCUMENT)
        redirect = Redirect(f"{network.smp_url}/elsewhere", "UID")
        body = (
            build_signed_service_metadata(redirect, **signing)
            if version == "1.0"
            else build_metadata_2(
                redirect, participant=participant, document_id=document, **signing
            )
        )
        return web.Response(body=body, content_type="text/xml")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    url = await network.listeners.start(application, tls=network.party.server())
    network.locate(url)

    with pytest.raises(LookupFailed) as failed:
        await network.directory(smp_version=version).find_endpoint(*KEY)

    assert (failed.value.slug, asked) == (LookupProblem.REFUSED, ["https"])
    assert "from https to http" in failed.value.detail


async def test_what_the_name_server_says_shortens_the_memory_and_never_lengthens_it(
    network: Network,
) -> None:
    for fresh, lasts in (("5 min", TTL), ("10 s", 10)):
        clock = ManualClock(datetime.now(UTC))
        directory = network.directory(clock, cache={"fresh": fresh}, **BY_RECORD)
        await directory.find_endpoint(*KEY)
        clock.advance(timedelta(seconds=lasts - 1))
        known = await directory.find_endpoint(*KEY)
        assert [hop.detail for hop in known.hops] == [
            f"found {lasts - 1} s ago, asked again in 1 s"
        ]

        clock.advance(timedelta(seconds=1))
        assert (await directory.find_endpoint(*KEY)).hops[0].kind is HopKind.SML


async def test_asking_afresh_passes_the_memory_and_fills_it(network: Network) -> None:
    clock = ManualClock(datetime.now(UTC))
    directory = network.directory(clock, **BY_RECORD)
    await directory.find_endpoint(*KEY)
    clock.advance(timedelta(seconds=20))

    assert (await directory.find_afresh(*KEY)).hops[0].kind is HopKind.SML
    assert (await directory.find_endpoint(*KEY)).hops[0].detail.startswith("found 0 s ago")
    await network.listeners.stop()
    with pytest.raises(LookupFailed) as failed:
        await directory.find_afresh(*KEY)
    assert failed.value.slug is LookupProblem.UNREACHABLE


async def test_a_silent_directory_is_left_alone_for_a_while(network: Network) -> None:
    clock = ManualClock(datetime.now(UTC))
    directory = network.directory(clock, **BY_RECORD)
    await directory.find_endpoint(*KEY)
    await network.listeners.stop()
    clock.advance(timedelta(minutes=5))

    stale = await directory.find_endpoint(*KEY)
    assert "the directory does not answer" in stale.hops[0].detail
    await network.start()
    clock.advance(timedelta(seconds=PAUSE - 1))
    again = await directory.find_endpoint(*KEY)
    assert again.hops[0].detail.startswith("found 329 s ago; the directory does not answer")
    clock.advance(timedelta(seconds=1))
    assert (await directory.find_endpoint(*KEY)).hops[0].kind is HopKind.SML


async def test_an_alias_without_a_host_is_a_directory_that_does_not_answer(
    network: Network,
) -> None:
    network.locator.unregister(f"smp.{ZONE}")

    with pytest.raises(LookupFailed) as failed:
        await network.directory(locator="busdox").find_endpoint(*KEY)

    assert failed.value.slug is LookupProblem.UNREACHABLE
    assert [hop.kind for hop in failed.value.hops] == [HopKind.SML, HopKind.SMP]


@pytest.mark.attack("DSC-01")
async def test_dsc_01_an_alias_may_not_lead_out_of_the_allowed_networks(network: Network) -> None:
    network.locator.register_host(f"smp.{ZONE}", "169.254.169.254")

    with pytest.raises(LookupFailed) as failed:
        await network.directory(locator="busdox").find_endpoint(*KEY)

    assert failed.value.slug is LookupProblem.FORBIDDEN_NETWORK


@pytest.mark.attack("DSC-11")
async def test_dsc_11_an_alias_that_leads_to_itself_is_no_host(network: Network) -> None:
    network.locator.register_alias(f"smp.{ZONE}", f"other.{ZONE}")
    network.locator.register_alias(f"other.{ZONE}", f"smp.{ZONE}")

    with pytest.raises(LookupFailed) as failed:
        await network.directory(locator="busdox").find_endpoint(*KEY)

    assert (failed.value.slug, failed.value.permanent) == (LookupProblem.UNREACHABLE, False)


@pytest.mark.attack("DSC-08")
async def test_dsc_08_a_document_type_or_a_bomb_is_refused_in_every_version(
    network: Network,
) -> None:
    bodies = [
        b'<!DOCTYPE x [<!ENTITY a "b">]><ServiceMetadata>&a;</ServiceMetadata>',
        b"<ServiceMetadata "
        + b" ".join(b'xmlns:n%d="urn:%d"' % (n, n) for n in range(3_000))
        + b"/>",
    ]
    served: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=served[-1], content_type="text/xml")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    network.locate(await network.listeners.start(application))
    for body in bodies:
        served.append(body)
        for version in ("1.0", "2.0"):
            with pytest.raises(LookupFailed) as failed:
                await network.directory(smp_version=version).find_endpoint(*KEY)
            assert failed.value.slug is LookupProblem.REFUSED
            assert "smp.xml" in failed.value.detail
