"""Asks the service metadata locator which publisher knows a participant: one U-NAPTR query.

The answer is read as data: the NAPTR regular expression is never run. What does not exist is permanent,
what does not answer is not.

Spec: BDXL 1.0; RFC 3403, RFC 4848.
"""

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from accesspoint.clock import Clock
from accesspoint.discovery.directory import Hop, HopKind, LookupFailed, LookupProblem
from envelope.errors import SmpRefused
from envelope.smp import NaptrRecord, bdxl_owner_name, read_naptr


class MetadataLocator:
    """Resolves participants in one zone, through one name server or through the system's."""

    def __init__(
        self,
        zone: str,
        *,
        clock: Clock,
        nameserver: tuple[str, int] | None = None,
        seconds: float = 5.0,
    ) -> None:
        """`nameserver` is a numeric address and a port; None takes the system's resolvers."""
        self._zone = zone
        self._clock = clock
        self._resolver = dns.asyncresolver.Resolver(configure=nameserver is None)
        if nameserver is not None:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*nameserver)]
        self._resolver.lifetime = seconds
        # The directory in front of this has its own cache, with rules that fit.
        self._resolver.cache = None

    async def locate(self, participant: str) -> tuple[str, Hop]:
        """Return the publisher's base URL and the hop.

        Raises: LookupFailed.
        """
        owner = bdxl_owner_name(participant, self._zone)
        started = self._clock.monotonic()

        def hop(detail: str) -> Hop:
            return Hop(HopKind.SML, f"{owner} {detail}", _since(started, self._clock))

        try:
            answer = await self._resolver.resolve(owner, dns.rdatatype.NAPTR, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            raise LookupFailed(
                LookupProblem.NO_PARTICIPANT,
                f"{participant} has no record in the zone {self._zone}",
                permanent=True,
                hops=[hop("is not registered")],
            ) from None
        except dns.exception.DNSException as error:
            raise LookupFailed(
                LookupProblem.UNREACHABLE,
                f"no answer from the name server of {self._zone}: {type(error).__name__}",
                permanent=False,
                hops=[hop("gave no answer")],
            ) from None
        records = [
            NaptrRecord(
                record.order,
                record.preference,
                record.flags.decode("latin-1"),
                record.service.decode("latin-1"),
                record.regexp.decode("latin-1"),
                record.replacement.to_text(),
            )
            for record in answer
        ]
        try:
            url = read_naptr(records)
        except SmpRefused as error:
            raise LookupFailed(
                LookupProblem.REFUSED,
                f"the record of {participant} cannot be used: {error.reason}",
                permanent=False,
                hops=[hop("has a record that cannot be used")],
            ) from error
        return url, hop(f"leads to {url}")


def _since(started: float, clock: Clock) -> float:
    return round((clock.monotonic() - started) * 1000, 3)
