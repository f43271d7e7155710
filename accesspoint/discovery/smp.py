"""Fetches signed service metadata from a publisher and lets `envelope.smp` decide what it is worth.

One GET, to allowed networks only, without redirects of HTTP, read to a bound and within a time. A Redirect
inside the signed answer is followed once, and never from https to http: the second answer must be signed by
the certificate that the first one names, and may not redirect again.

Spec: OASIS SMP 1.0, SMP 2.0, Busdox 1.0; EHMI SMP usage; hostile 1.16.
"""

import ssl
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from cryptography import x509
from yarl import URL

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.clock import Clock
from accesspoint.discovery.directory import (
    Hop,
    HopKind,
    LookupFailed,
    LookupProblem,
)
from accesspoint.networks import AllowedNetworks, ForbiddenAddress
from envelope import names
from envelope.errors import SmpRefused
from envelope.smp import (
    VERSION_1,
    Redirect,
    ServiceMetadata,
    SignedServiceMetadata,
    SmpForm,
    SmpIdentifier,
    metadata_path,
    read_signed_service_metadata,
)
from keys.certificate import describe
from keys.errors import KeysError

ANSWER_LIMIT: Final = 256 * 1024

_SIGNATURE_REASONS: Final = frozenset({"smp.unsigned", "smp.signature", "smp.algorithm", "smp.key"})

CertificateCheck = Callable[[x509.Certificate, Sequence[x509.Certificate]], object]
"""Says whether this certificate may sign metadata: returns evidence or raises KeysError."""


class MetadataPublisher:
    """Reads service metadata from publishers."""

    def __init__(
        self,
        *,
        networks: AllowedNetworks,
        check: CertificateCheck,
        clock: Clock,
        document_scheme: str,
        form: SmpForm = SmpForm.OASIS_1,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
        seconds: float = 10.0,
    ) -> None:
        """Ask for metadata of version 1, OASIS or Busdox, or where `form` is that, of 2.0 and nothing else.

        `tls` says whom we believe where publishers speak https, and `resolver` finds the addresses of their hosts; None
        is what the system has.
        """
        self._networks = networks
        self._check = check
        self._clock = clock
        self._document_scheme = document_scheme
        self._form = form
        self._forms = {form} if form is SmpForm.OASIS_2 else VERSION_1
        self._tls = tls
        self._resolver = resolver
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(
        self, base_url: str, participant: str, document_id: str
    ) -> tuple[ServiceMetadata, list[Hop]]:
        """Return what the publisher signed about a participant and a document, and the hops.

        Raises: LookupFailed.
        """
        hops: list[Hop] = []
        asked = (
            SmpIdentifier(names.ISO6523_ACTORID, participant),
            SmpIdentifier(self._document_scheme, document_id),
        )
        url = f"{base_url.rstrip('/')}/{metadata_path(*asked, self._form)}"
        data = await self._get(url, HopKind.SMP, hops)
        content = self._read(data, asked, hops).content
        if isinstance(content, Redirect):
            if url.startswith("https:") and not content.href.startswith("https:"):
                raise _refused(LookupProblem.REFUSED, "a redirect leads from https to http", hops)
            data = await self._get(content.href, HopKind.REDIRECT, hops)
            content = self._read(data, asked, hops, redirected_by=content).content
        if isinstance(content, Redirect):
            # Reading refuses a second redirect already; this is for whoever changes that.
            raise _refused(LookupProblem.REFUSED, "a redirect leads to a redirect", hops)
        return content, hops

    async def _get(self, url: str, kind: HopKind, hops: list[Hop]) -> bytes:
        started = self._clock.monotonic()

        def hop(detail: str) -> None:
            milliseconds = round((self._clock.monotonic() - started) * 1000, 3)
            hops.append(Hop(kind, f"{url} {detail}", milliseconds))

        if self._session is None:
            self._session = self._networks.open_session(
                seconds=self._seconds, tls=self._tls, resolver=self._resolver
            )
        try:
            # Sent as written: a client that decodes %3A first would ask for another path.
            async with self._session.get(
                URL(url, encoded=True),
                allow_redirects=False,
                headers={"Accept": "text/xml, application/xml", "Accept-Encoding": "identity"},
            ) as response:
                status = response.status
                # The page of an error may be of any length, and none of it is read.
                body = await read_bounded(response, ANSWER_LIMIT) if status == 200 else b""
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddress):
                hop("is in a network that is not allowed")
                raise _refused(
                    LookupProblem.FORBIDDEN_NETWORK,
                    "the publisher's address is outside the allowed networks",
                    hops,
                ) from None
            hop("did not answer")
            raise _refused(LookupProblem.UNREACHABLE, _silence(error), hops) from None
        except AnswerTooLong as error:
            hop("said too much")
            # Nobody has signed it yet: whoever stands between could end every message to a receiver so.
            raise _refused(LookupProblem.REFUSED, str(error), hops) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            hop("did not answer")
            raise _refused(LookupProblem.UNREACHABLE, _silence(error), hops) from None
        hop(f"answered {status}")
        if status == 404:
            raise LookupFailed(
                LookupProblem.NO_ENDPOINT,
                "the publisher does not know the participant with this document",
                permanent=True,
                hops=hops,
            )
        if status != 200:
            raise _refused(LookupProblem.UNREACHABLE, f"the publisher answered {status}", hops)
        return body

    def _read(
        self,
        data: bytes,
        asked: tuple[SmpIdentifier, SmpIdentifier],
        hops: list[Hop],
        *,
        redirected_by: Redirect | None = None,
    ) -> SignedServiceMetadata:
        participant, document_id = asked
        started = self._clock.monotonic()

        def hop(detail: str) -> None:
            milliseconds = round((self._clock.monotonic() - started) * 1000, 3)
            hops.append(Hop(HopKind.SIGNATURE, detail, milliseconds))

        try:
            signed = read_signed_service_metadata(
                data,
                participant=participant,
                document_id=document_id,
                check=self._check,
                redirected_by=redirected_by,
                forms=self._forms,
            )
        except KeysError as error:
            hop(f"by a signer that is not trusted: {error.reason}")
            text = f"the publisher is not trusted: {error.reason}"
            raise _refused(LookupProblem.SIGNATURE, text, hops) from error
        except SmpRefused as error:
            hop(f"on an answer that is refused: {error.reason}")
            slug = (
                LookupProblem.SIGNATURE
                if error.reason in _SIGNATURE_REASONS
                else LookupProblem.REFUSED
            )
            text = f"the publisher's answer is refused: {error.reason}"
            raise _refused(slug, text, hops) from error
        hop(f"by {describe(signed.certificate)}")
        return signed


def _refused(slug: LookupProblem, detail: str, hops: Sequence[Hop]) -> LookupFailed:
    """A failure that another time may pass: publishers are repaired, and strangers can fake an answer."""
    return LookupFailed(slug, detail, permanent=False, hops=hops)


def _silence(error: Exception) -> str:
    return f"no answer from the publisher: {type(error).__name__}"
