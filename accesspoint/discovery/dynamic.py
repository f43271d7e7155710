"""The directory of a live network: name server, then publisher, then the one endpoint that fits.

Spec: EHMI SMP usage (receiver, DOCUMENTID and PROCESSID give one answer); BDXL 1.0, Busdox 1.0; OASIS SMP 1.0, SMP 2.0.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from yarl import URL

from accesspoint.clock import Clock
from accesspoint.discovery.directory import Endpoint, Hop, LookupFailed, LookupProblem
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.discovery.smp import MetadataPublisher
from accesspoint.networks import AllowedNetworks, ForbiddenAddress
from envelope import names
from envelope.errors import SmpRefused
from envelope.smp import select_endpoint

_ABSENT: Final = frozenset({"smp.process", "smp.profile", "smp.inactive"})
_UNUSABLE: Final = frozenset({"smp.url", "smp.plaintext"})
"""A trusted publisher signed an address that nobody may post to: asking again changes nothing."""


class DynamicDirectory:
    """Looks up every time; put a cache in front."""

    def __init__(
        self,
        *,
        publisher: MetadataPublisher,
        networks: AllowedNetworks,
        clock: Clock,
        locator: MetadataLocator | None = None,
        publisher_url: str | None = None,
        transport_profiles: Sequence[str] = (names.TRANSPORT_AS4_V1,),
    ) -> None:
        """Give either a `locator` or the `publisher_url` of the one publisher; ValueError otherwise.

        `transport_profiles` stand in the order of preference.
        """
        if (locator is None) == (publisher_url is None):
            raise ValueError("a directory has either a locator or one publisher")
        self._publisher = publisher
        self._networks = networks
        self._clock = clock
        self._locator = locator
        self._publisher_url = publisher_url
        self._profiles = tuple(transport_profiles)

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """Find the endpoint for this receiver, document and process. Raises LookupFailed."""
        hops: list[Hop] = []
        base_url, seconds = self._publisher_url or "", None
        if self._locator is not None:
            located = await self._locator.locate(participant)
            base_url, seconds = located.url, located.seconds
            hops.append(located.hop)
        try:
            metadata, more = await self._publisher.fetch(base_url, participant, document_id)
        except LookupFailed as failure:
            raise failure.after(hops) from failure
        hops += more
        try:
            chosen = select_endpoint(metadata, process_id, self._profiles, self._clock.now())
        except SmpRefused as error:
            absent = error.reason in _ABSENT
            raise LookupFailed(
                LookupProblem.NO_ENDPOINT if absent else LookupProblem.REFUSED,
                f"no endpoint of {participant} can be used: {error.reason}",
                permanent=absent or error.reason in _UNUSABLE,
                hops=hops,
            ) from error
        self._check_address(chosen.url, hops)
        return Endpoint(
            participant=participant,
            document_id=document_id,
            process_id=process_id,
            url=chosen.url,
            certificate=chosen.certificate,
            transport_profile=chosen.transport_profile,
            expires_at=chosen.expiration,
            hops=tuple(hops),
            seconds=seconds,
            signing_certificate=chosen.signing_certificate,
        )

    def _check_address(self, url: str, hops: Sequence[Hop]) -> None:
        """Refuse what is no address to post to, and a numeric one outside the allowed networks.

        Names are checked when connecting.
        """
        try:
            # The HTTP client's own reading: what it would not post to must end here, while that is still certain.
            host = URL(url).host or ""
        except ValueError:
            raise LookupFailed(
                LookupProblem.REFUSED,
                "no endpoint can be used: smp.url",
                permanent=True,
                hops=hops,
            ) from None
        try:
            ip_address(host)
        except ValueError:
            return
        try:
            self._networks.require(host)
        except ForbiddenAddress:
            raise LookupFailed(
                LookupProblem.FORBIDDEN_NETWORK,
                "the endpoint's address is outside the allowed networks",
                permanent=False,
                hops=hops,
            ) from None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._publisher.close()
