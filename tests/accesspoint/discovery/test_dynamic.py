"""The whole look-up against the miniature network: every hop, every planted fault, every hostile publisher."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509

from accesspoint.clock import SystemClock
from accesspoint.discovery.directory import Endpoint, HopKind, LookupFailed, LookupProblem
from accesspoint.discovery.dynamic import DynamicDirectory
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.discovery.smp import MetadataPublisher
from accesspoint.network.faults import Fault
from accesspoint.network.listening import Listeners
from accesspoint.network.locator import Locator
from accesspoint.network.publisher import Publisher, Registration
from accesspoint.networks import AllowedNetworks
from envelope import names
from envelope.smp import (
    Endpoint as PublishedEndpoint,
)
from envelope.smp import (
    Process,
    Redirect,
    ServiceMetadata,
    SmpIdentifier,
    bdxl_owner_name,
    build_signed_service_metadata,
)
from keys.certificate import der
from keys.path import Usage, Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.trust import Purpose, TrustStore

PARTICIPANT = "0088:5790009990027"
DOCUMENT = "urn:dk:healthcare::observation-message##urn:dk:medcom::1.1"
SCHEME = "busdox-docid-qns"
ZONE = "sml.test"
CLOCK = SystemClock()
LOOPBACK = AllowedNetworks(["127.0.0.0/8"])
KEY = (PARTICIPANT, DOCUMENT, names.EHMI_PROCESS)


@pytest.fixture
def parties(authority: Any, rsa_keys: Any) -> dict[str, Any]:
    """Publisher, second publisher, receiver of one authority, and a stranger of another."""
    from keys.devca import DevelopmentAuthority

    at = datetime.now(UTC) - timedelta(hours=1)
    stranger = DevelopmentAuthority.create(at=at, name="Stranger", private_keys=rsa_keys[:2])
    return {
        name: issuer.issue_system_certificate(
            name, "TEST", "00000000", uuid=name, not_before=at, private_key=key
        )
        for name, issuer, key in [
            ("publisher", authority, rsa_keys[0]),
            ("second", authority, rsa_keys[1]),
            ("receiver", authority, rsa_keys[2]),
            ("stranger", stranger, rsa_keys[3]),
        ]
    }


@pytest.fixture
def check(authority: Any) -> Callable[[x509.Certificate, Sequence[x509.Certificate]], object]:
    """Trust whoever the development authority issued to, as of now."""
    trust = TrustStore(Purpose.SMP, authority.anchors, authority.intermediates)
    off = RevocationPolicy(RevocationMode.OFF, why_off="tests of the look-up")
    validator = Validator(trust, revocation=off)

    def validate(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> object:
        return validator.validate(certificate, chain, usage=Usage.SIGNING, at=CLOCK.now())

    return validate


class World:
    """A locator, a publisher, and a directory that looks things up in them."""

    def __init__(self, parties: dict[str, Any], check: Any) -> None:
        self.parties, self.check = parties, check
        self.faults: set[Fault] = set()
        self.listeners = Listeners()
        self.locator = Locator(ZONE, faults=self.faults)
        self.publisher = Publisher(
            parties["publisher"],
            stranger=parties["stranger"],
            somebody_else=parties["second"],
            faults=self.faults,
        )
        self.registration = Registration(
            PARTICIPANT, (DOCUMENT,), "https://127.0.0.1/as4", der(parties["receiver"].certificate)
        )
        self.directory: DynamicDirectory | None = None
        self.smp_url = ""

    async def start(self) -> None:
        await self.locator.start()
        self.smp_url = await self.listeners.start(self.publisher.application())
        self.publisher.register(self.registration)
        self.locate(self.smp_url)
        self.look_through(LOOPBACK)

    def locate(self, url: str, *, service: str = "Meta:SMP") -> None:
        self.locator.register(bdxl_owner_name(PARTICIPANT, ZONE), url, services=[service])

    def look_through(self, networks: AllowedNetworks, *, seconds: float = 5.0) -> None:
        publisher = MetadataPublisher(
            networks=networks,
            check=self.check,
            clock=CLOCK,
            document_scheme=SCHEME,
            seconds=seconds,
        )
        self.directory = DynamicDirectory(
            publisher=publisher,
            networks=networks,
            clock=CLOCK,
            locator=MetadataLocator(
                ZONE, clock=CLOCK, nameserver=self.locator.address, seconds=0.5
            ),
        )

    async def find(self, key: tuple[str, str, str] = KEY) -> Endpoint:
        assert self.directory is not None
        try:
            return await self.directory.find_endpoint(*key)
        finally:
            await self.directory.close()

    async def fail(self, key: tuple[str, str, str] = KEY) -> LookupFailed:
        with pytest.raises(LookupFailed) as failed:
            await self.find(key)
        return failed.value

    async def publish(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        """Replace the publisher by a handler of the test's own; returns its URL."""
        application = web.Application()
        application.router.add_get("/{path:.*}", answer)
        url = await self.listeners.start(application)
        self.locate(url)
        return url

    def sign(self, content: ServiceMetadata | Redirect, party: str = "publisher") -> bytes:
        issued = self.parties[party]
        return build_signed_service_metadata(
            content, key=issued.private_key, certificate=issued.certificate, chain=issued.chain
        )

    def metadata(self, **changes: Any) -> ServiceMetadata:
        endpoint = {
            "transport_profile": names.TRANSPORT_AS4_V1,
            "url": "https://127.0.0.1/as4",
            "certificate": der(self.parties["receiver"].certificate),
            **changes,
        }
        return ServiceMetadata(
            SmpIdentifier(names.ISO6523_ACTORID, endpoint.pop("participant", PARTICIPANT)),
            SmpIdentifier(SCHEME, endpoint.pop("document", DOCUMENT)),
            (Process(SmpIdentifier("p", names.EHMI_PROCESS), (PublishedEndpoint(**endpoint),)),),
        )


@pytest.fixture
async def world(parties: dict[str, Any], check: Any) -> AsyncIterator[World]:
    made = World(parties, check)
    await made.start()
    yield made
    await made.listeners.stop()
    await made.locator.stop()


def answering(
    body: bytes, *, status: int = 200
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type="text/xml")

    return answer


async def test_a_registered_receiver_is_found_with_every_hop(world: World) -> None:
    endpoint = await world.find()

    assert endpoint.url == "https://127.0.0.1/as4"
    assert endpoint.certificate == world.registration.certificate
    assert endpoint.transport_profile == names.TRANSPORT_AS4_V1
    assert (endpoint.participant, endpoint.document_id, endpoint.process_id) == KEY
    assert [hop.kind for hop in endpoint.hops] == [HopKind.SML, HopKind.SMP, HopKind.SIGNATURE]
    assert all(hop.milliseconds >= 0 for hop in endpoint.hops)
    assert world.smp_url in endpoint.hops[0].detail


async def test_one_publisher_without_a_locator(world: World) -> None:
    publisher = MetadataPublisher(
        networks=LOOPBACK, check=world.check, clock=CLOCK, document_scheme=SCHEME
    )
    world.directory = DynamicDirectory(
        publisher=publisher, networks=LOOPBACK, clock=CLOCK, publisher_url=world.smp_url + "/"
    )

    assert [hop.kind for hop in (await world.find()).hops] == [HopKind.SMP, HopKind.SIGNATURE]


def test_a_directory_has_a_locator_or_a_publisher(world: World) -> None:
    publisher = MetadataPublisher(
        networks=LOOPBACK, check=world.check, clock=CLOCK, document_scheme=SCHEME
    )
    with pytest.raises(ValueError, match="either"):
        DynamicDirectory(publisher=publisher, networks=LOOPBACK, clock=CLOCK)


PLANTED = [
    (Fault.LOCATOR_SILENT, LookupProblem.UNREACHABLE, False, HopKind.SML),
    (Fault.PARTICIPANT_UNREGISTERED, LookupProblem.NO_PARTICIPANT, True, HopKind.SML),
    (Fault.DOCUMENT_MISSING, LookupProblem.NO_ENDPOINT, True, HopKind.SMP),
    (Fault.METADATA_UNSIGNED, LookupProblem.SIGNATURE, False, HopKind.SIGNATURE),
]


@pytest.mark.parametrize(("fault", "slug", "permanent", "last"), PLANTED)
async def test_a_planted_fault_is_named_at_the_hop_where_it_is(
    world: World, fault: Fault, slug: LookupProblem, permanent: bool, last: HopKind
) -> None:
    world.faults.add(fault)

    failure = await world.fail()

    assert (failure.slug, failure.permanent) == (slug, permanent)
    assert failure.hops[-1].kind is last
    assert failure.hops[0].kind is HopKind.SML
    world.faults.clear()
    world.look_through(LOOPBACK)
    assert await world.find()


async def test_the_fault_wrong_certificate_is_not_seen_by_a_look_up(world: World) -> None:
    world.faults.add(Fault.WRONG_CERTIFICATE)

    assert (await world.find()).certificate == der(world.parties["second"].certificate)


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        (("0088:5790009990041", *KEY[1:]), LookupProblem.NO_PARTICIPANT),
        ((PARTICIPANT, "another document", KEY[2]), LookupProblem.NO_ENDPOINT),
        ((*KEY[:2], "another process"), LookupProblem.NO_ENDPOINT),
    ],
)
async def test_what_is_not_registered_is_permanent(
    world: World, key: tuple[str, str, str], slug: LookupProblem
) -> None:
    failure = await world.fail(key)

    assert (failure.slug, failure.permanent) == (slug, True)


@pytest.mark.attack("DSC-01")
async def test_dsc_01_a_publisher_outside_the_allowed_networks_is_never_asked(world: World) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    await world.publish(answer)
    world.look_through(AllowedNetworks(["10.20.0.0/16"]))

    failure = await world.fail()

    assert failure.slug is LookupProblem.FORBIDDEN_NETWORK
    assert asked == []


@pytest.mark.attack("DSC-01")
async def test_dsc_01_an_endpoint_outside_the_allowed_networks_is_not_given_out(
    world: World,
) -> None:
    body = world.sign(world.metadata(url="https://169.254.169.254/latest"))
    await world.publish(answering(body))

    assert (await world.fail()).slug is LookupProblem.FORBIDDEN_NETWORK


@pytest.mark.attack("DSC-03")
async def test_dsc_03_an_http_redirect_is_not_followed(world: World) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound(world.smp_url + request.rel_url.raw_path)

    await world.publish(answer)

    assert (await world.fail()).slug is LookupProblem.UNREACHABLE


@pytest.mark.attack("DSC-04", "DSC-05")
@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://user:secret@127.0.0.1/"]
)
async def test_dsc_04_and_05_other_schemes_and_credentials_in_the_locator(
    world: World, url: str
) -> None:
    world.locate(url)

    failure = await world.fail()

    assert failure.slug is LookupProblem.REFUSED
    assert "secret" not in str(failure)


@pytest.mark.attack("DSC-04", "DSC-05")
@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://user:secret@127.0.0.1/as4"])
async def test_dsc_04_and_05_other_schemes_and_credentials_in_the_endpoint(
    world: World, url: str
) -> None:
    await world.publish(answering(world.sign(world.metadata(url=url))))

    failure = await world.fail()

    assert failure.slug is LookupProblem.REFUSED
    assert "secret" not in str(failure)


@pytest.mark.attack("DSC-01")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/as4", "smp.plaintext"),
        ("https://2130706433/as4", "smp.url"),
        ("https://xn--a/as4", "smp.url"),
    ],
)
async def test_dsc_01_an_endpoint_that_nobody_may_post_to_ends_the_look_up(
    world: World, url: str, reason: str
) -> None:
    """Signed by a trusted publisher: found out while it is certain that nothing was sent, and never asked again."""
    await world.publish(answering(world.sign(world.metadata(url=url))))

    failure = await world.fail()

    assert (failure.slug, failure.permanent) == (LookupProblem.REFUSED, True)
    assert failure.detail.endswith(reason)


@pytest.mark.attack("DSC-07")
async def test_dsc_07_an_answer_about_another_participant_or_document(world: World) -> None:
    await world.publish(answering(world.sign(world.metadata(participant="0088:5790009990010"))))
    assert (await world.fail()).slug is LookupProblem.REFUSED

    world.look_through(LOOPBACK)
    await world.publish(answering(world.sign(world.metadata(document="other"))))
    assert (await world.fail()).slug is LookupProblem.REFUSED


@pytest.mark.attack("DSC-07")
async def test_dsc_07_a_changed_and_an_unsigned_answer(world: World) -> None:
    signed = world.sign(world.metadata())
    await world.publish(answering(signed.replace(b"127.0.0.1/as4", b"127.0.0.9/as4")))
    assert (await world.fail()).slug is LookupProblem.SIGNATURE

    world.look_through(LOOPBACK)
    start, end = signed.index(b"<ds:Signature"), signed.index(b"</ds:Signature>")
    await world.publish(answering(signed[:start] + signed[end + len(b"</ds:Signature>") :]))
    assert (await world.fail()).slug is LookupProblem.SIGNATURE


@pytest.mark.attack("DSC-07")
@pytest.mark.parametrize(
    ("changes", "slug"),
    [
        ({"expiration": datetime(2020, 1, 1, tzinfo=UTC)}, LookupProblem.NO_ENDPOINT),
        ({"activation": datetime(2120, 1, 1, tzinfo=UTC)}, LookupProblem.NO_ENDPOINT),
        ({"transport_profile": "carrier-pigeon"}, LookupProblem.NO_ENDPOINT),
        ({"certificate": b"rubbish"}, LookupProblem.REFUSED),
    ],
)
async def test_an_endpoint_that_cannot_be_used_now(
    world: World, changes: dict[str, Any], slug: LookupProblem
) -> None:
    await world.publish(answering(world.sign(world.metadata(**changes))))

    assert (await world.fail()).slug is slug


async def test_the_expiry_of_an_endpoint_is_passed_on(world: World) -> None:
    until = datetime(2120, 1, 1, tzinfo=UTC)
    await world.publish(answering(world.sign(world.metadata(expiration=until))))

    assert (await world.find()).expires_at == until


@pytest.mark.attack("DSC-08")
async def test_dsc_08_an_endless_answer_is_cut_off(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(10_000):
                await response.write(b"x" * 65_536)
        except ConnectionError:
            pass
        return response

    await world.publish(answer)

    failure = await world.fail()
    assert (failure.slug, failure.permanent) == (LookupProblem.REFUSED, False)
    assert "262144" in failure.detail


@pytest.mark.attack("DSC-08")
async def test_dsc_08_a_dripping_answer_is_given_up(world: World) -> None:
    import asyncio

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"<")
        await asyncio.Event().wait()
        return response

    await world.publish(answer)
    world.look_through(LOOPBACK, seconds=0.2)

    assert (await world.fail()).slug is LookupProblem.UNREACHABLE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<SignedServiceMetadata xmlns="http://docs.oasis-open.org/bdxr/ns/SMP/2016/05"/>',
    ],
)
async def test_rubbish_is_refused(world: World, body: bytes) -> None:
    await world.publish(answering(body))

    assert (await world.fail()).slug in (LookupProblem.REFUSED, LookupProblem.SIGNATURE)


@pytest.mark.parametrize("status", [500, 503, 403])
@pytest.mark.parametrize("length", [0, 1 << 20])
async def test_a_publisher_in_trouble_is_asked_again_later(
    world: World, status: int, length: int
) -> None:
    await world.publish(answering(b"x" * length, status=status))

    failure = await world.fail()
    assert (failure.slug, failure.permanent) == (LookupProblem.UNREACHABLE, False)


async def test_nobody_at_the_publishers_address(world: World) -> None:
    world.locate("http://127.0.0.1:9")

    failure = await world.fail()
    assert (failure.slug, failure.permanent) == (LookupProblem.UNREACHABLE, False)


async def redirecting(world: World, *, uid: str, second: bytes) -> None:
    target = await world.publish(answering(second))
    redirect = Redirect(target + "/there", uid)
    await world.publish(answering(world.sign(redirect)))


def serial_number(certificate: x509.Certificate) -> str:
    (found,) = certificate.subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)
    return str(found.value)


async def test_a_redirect_is_followed_once_to_the_signer_it_names(world: World) -> None:
    uid = serial_number(world.parties["second"].certificate)
    await redirecting(world, uid=uid, second=world.sign(world.metadata(), "second"))

    endpoint = await world.find()

    assert [hop.kind for hop in endpoint.hops] == [
        HopKind.SML,
        HopKind.SMP,
        HopKind.SIGNATURE,
        HopKind.REDIRECT,
        HopKind.SIGNATURE,
    ]


async def test_a_redirect_to_another_signer_than_named_is_refused(world: World) -> None:
    uid = serial_number(world.parties["second"].certificate)
    await redirecting(world, uid=uid, second=world.sign(world.metadata(), "publisher"))

    assert (await world.fail()).slug is LookupProblem.REFUSED


async def test_a_redirect_to_a_redirect_is_refused(world: World) -> None:
    uid = serial_number(world.parties["second"].certificate)
    again = world.sign(Redirect(world.smp_url, uid), "second")
    await redirecting(world, uid=uid, second=again)

    assert (await world.fail()).slug is LookupProblem.REFUSED


@pytest.mark.attack("DSC-13")
async def test_dsc_13_a_record_of_another_service_is_not_used(world: World) -> None:
    world.locate(world.smp_url, service="E2U+sip")

    assert (await world.fail()).slug is LookupProblem.REFUSED


async def test_a_name_server_that_refuses_the_zone(world: World) -> None:
    world.directory = DynamicDirectory(
        publisher=MetadataPublisher(
            networks=LOOPBACK, check=world.check, clock=CLOCK, document_scheme=SCHEME
        ),
        networks=LOOPBACK,
        clock=CLOCK,
        locator=MetadataLocator(
            "other.test", clock=CLOCK, nameserver=world.locator.address, seconds=0.5
        ),
    )

    failure = await world.fail()
    assert (failure.slug, failure.permanent) == (LookupProblem.UNREACHABLE, False)
