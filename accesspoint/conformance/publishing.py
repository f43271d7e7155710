"""Publishers to be judged: our own, made for a run with something of every kind to ask for, and how any is asked.

Our own is the publisher of the miniature network with a second one beside it that a redirect leads to.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import aiohttp
from aiohttp.typedefs import Middleware
from yarl import URL

from accesspoint.bounded import read_bounded
from accesspoint.config_values import Address
from accesspoint.conformance.case import NotApplicable, Unmet
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.smp_rules import Get, Published, PublisherAnswer
from accesspoint.network.listening import Listeners
from accesspoint.network.publisher import Publisher, Registration
from envelope.smp import Redirect, SmpIdentifier, metadata_path
from keys.certificate import der
from keys.devca import DevelopmentAuthority, IssuedCertificate, new_rsa_keys

ANSWER_BYTES: Final = 256 * 1024
SECONDS: Final = 10.0

_SCHEME: Final = "conformance-actorid"
_SENSITIVE_SCHEME: Final = "conformance-actorid-exact"
_DOCUMENT_SCHEME: Final = "bdx-docid-qns"
_SENSITIVE_DOCUMENT_SCHEME: Final = "conformance-docid-exact"
_DOCUMENT: Final = "urn:conformance:names:specification:Invoice-2##urn:conformance:1.0::2.1"
_MOVED: Final = "urn:conformance:names:specification:Moved-1##urn:conformance:1.0::1.0"
_URL: Final = "https://127.0.0.1/as4"


def make_signers(
    authority: DevelopmentAuthority, at: datetime
) -> tuple[IssuedCertificate, IssuedCertificate]:
    """Certificates for two publishers; makes two RSA keys, which takes a second."""
    first, second = (
        authority.issue_system_certificate(
            name, "TEST", "00000000", uuid=name, not_before=at, private_key=key
        )
        for name, key in zip(
            ("publisher-test", "second-publisher-test"), new_rsa_keys(2), strict=True
        )
    )
    return first, second


@asynccontextmanager
async def our_publisher(
    signer: IssuedCertificate,
    other: IssuedCertificate,
    *,
    middlewares: Sequence[Middleware] = (),
) -> AsyncIterator[Published]:
    """Serve a publisher that signs with `signer`, and one behind its redirect that signs with `other`.

    What is published where is its value; both keys are RSA. Tests break both publishers by `middlewares`.
    """
    listeners = Listeners()
    sensitive = frozenset({_SENSITIVE_SCHEME, _SENSITIVE_DOCUMENT_SCHEME})

    async def serve(publisher: Publisher) -> str:
        application = publisher.application()
        application.middlewares.extend(middlewares)
        return await listeners.start(application)

    def make(by: IssuedCertificate) -> Publisher:
        return Publisher(
            by,
            stranger=other,
            somebody_else=other,
            document_scheme=_DOCUMENT_SCHEME,
            case_sensitive=sensitive,
        )

    participant = SmpIdentifier(_SCHEME, "9999:Receiver")
    moved = SmpIdentifier(_DOCUMENT_SCHEME, _MOVED)
    certificate = der(signer.certificate)
    first, second = make(signer), make(other)
    try:
        behind = await serve(second)
        second.register(
            Registration(participant.value, (_MOVED,), _URL, certificate, scheme=_SCHEME)
        )
        redirect = Redirect(
            f"{behind}/{metadata_path(participant, moved)}",
            other.certificate.subject.rfc4514_string(),
        )
        for registration in (
            Registration(
                participant.value, (_DOCUMENT,), _URL, certificate, scheme=_SCHEME,
                redirects={_MOVED: redirect},
            ),
            Registration("urn:conformance:Schemeless", (_DOCUMENT,), _URL, certificate, scheme=None),
            Registration(
                "9999:Exactly", (_DOCUMENT,), _URL, certificate, scheme=_SENSITIVE_SCHEME,
                document_scheme=_SENSITIVE_DOCUMENT_SCHEME,
            ),
        ):  # fmt: skip
            first.register(registration)
        yield Published(
            await serve(first),
            participant,
            SmpIdentifier(_DOCUMENT_SCHEME, _DOCUMENT),
            redirected=moved,
            schemeless=SmpIdentifier(None, "urn:conformance:Schemeless"),
            sensitive_participant=SmpIdentifier(_SENSITIVE_SCHEME, "9999:Exactly"),
            sensitive_document=SmpIdentifier(_SENSITIVE_DOCUMENT_SCHEME, _DOCUMENT),
            hosts=frozenset({_host_of(URL(behind))}),
        )
    finally:
        await listeners.stop()


@asynccontextmanager
async def asking(recorder: Recorder, published: Published) -> AsyncIterator[Get]:
    """Ask publishers by plain GET; what is asked and answered goes to the recorder.

    Addresses come from the publisher's own answers, and what they answer stands in the report: so only the host that
    was described is asked, and those that are named beside it.

    Spec: hostile 1.16.
    """
    allowed = {_host_of(URL(published.base_url)), *published.hosts}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(
        timeout=timeout,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:

        async def get(url: str) -> PublisherAnswer:
            # As it is written: a client that decodes %3A first would ask for something else.
            try:
                asked = URL(url, encoded=True)
                host = _host_of(asked)
            except ValueError as error:
                raise Unmet("an http address", url[:200]) from error
            if host not in allowed:
                raise NotApplicable(
                    f"the publisher leads to {host}, which its description does not list in hosts: not asked"
                )
            recorder.sent("request", f"GET {url}", b"")
            async with session.get(
                asked,
                allow_redirects=False,
                headers={"Accept-Encoding": "identity"},
            ) as response:
                body = await read_bounded(response, ANSWER_BYTES)
                version = response.version
                fields = {name.lower(): value for name, value in response.headers.items()}
            spoken = "?" if version is None else f"{version.major}.{version.minor}"
            answer = PublisherAnswer(url, response.status, spoken, fields, body)
            recorder.received("answer", answer.describe(), body)
            return answer

        yield get


def _host_of(url: URL) -> str:
    """Whom the client would connect to, as host:port; raises ValueError for what is no address of HTTP."""
    if url.scheme not in ("http", "https") or not url.host or url.port is None:
        raise ValueError("no address of HTTP")
    return str(Address(url.host.lower(), url.port))
