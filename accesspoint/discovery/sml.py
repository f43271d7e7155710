"""Asks the service metadata locator which publisher knows a participant: one query, in one of two ways.

BDXL has a U-NAPTR record under the hash of the participant, which gives the publisher's whole address; the NAPTR
regular expression is read as data and never run. Busdox has an alias (CNAME) there: the name itself is the host that is
asked, in plain HTTP, since the signature of what is answered is what counts.

What does not exist is permanent, what does not answer is not. Both are good for as long as the name server says.

Spec: BDXL 1.0; Busdox service metadata locator 1.0; RFC 3403, RFC 4848; RFC 2308 (how long a name stays absent).
"""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.message
import dns.nameserver
import dns.rdatatype
import dns.resolver
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from dns.rdtypes.IN.NAPTR import NAPTR

from accesspoint.clock import Clock
from accesspoint.discovery.directory import Hop, HopKind, LookupFailed, LookupProblem
from envelope.errors import SmpRefused
from envelope.smp import NaptrRecord, SmpForm, bdxl_owner_name, busdox_owner_name, read_naptr

HTTP_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Located:
    """The publisher's base URL, for how many seconds that is said, and the hop that led there."""

    url: str
    seconds: float
    hop: Hop


class MetadataLocator:
    """Resolves participants in one zone, through one name server or through the system's."""

    def __init__(
        self,
        zone: str,
        *,
        clock: Clock,
        nameserver: tuple[str, int] | None = None,
        form: SmpForm = SmpForm.OASIS_1,
        busdox: bool = False,
        port: int = HTTP_PORT,
        seconds: float = 5.0,
    ) -> None:
        """`nameserver` is a numeric address and a port; None takes the system's resolvers.

        With `busdox` names are aliases and publishers listen on `port`; else their records say where publishers of
        `form` are.
        """
        self._zone = zone
        self._clock = clock
        self._form = form
        self._busdox = busdox
        self._port = port
        self._resolver = dns.asyncresolver.Resolver(configure=nameserver is None)
        if nameserver is not None:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*nameserver)]
        self._resolver.lifetime = seconds
        # The directory in front of this has its own cache, with rules that fit.
        self._resolver.cache = None

    async def locate(self, participant: str) -> Located:
        """Find the publisher of `participant` (`0088:` and GLN).

        Raises: LookupFailed.
        """
        naming = busdox_owner_name if self._busdox else bdxl_owner_name
        owner = naming(participant, self._zone)
        kind = dns.rdatatype.CNAME if self._busdox else dns.rdatatype.NAPTR
        started = self._clock.monotonic()

        def hop(detail: str) -> Hop:
            return Hop(HopKind.SML, f"{owner} {detail}", _since(started, self._clock))

        try:
            answer = await self._resolver.resolve(owner, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise LookupFailed(
                LookupProblem.NO_PARTICIPANT,
                f"{participant} has no record in the zone {self._zone}",
                permanent=True,
                hops=[hop("is not registered")],
                seconds=_absent_for(error),
            ) from None
        except dns.exception.DNSException as error:
            raise LookupFailed(
                LookupProblem.UNREACHABLE,
                f"no answer from the name server of {self._zone}: {type(error).__name__}",
                permanent=False,
                hops=[hop("gave no answer")],
            ) from None
        seconds = 0.0 if answer.rrset is None else float(answer.rrset.ttl)
        lasts = f"(for {seconds:.0f} s)"
        if self._busdox:
            target = next(iter(answer)).target.to_text(omit_final_dot=True)
            url = f"http://{owner}" + ("" if self._port == HTTP_PORT else f":{self._port}")
            return Located(url, seconds, hop(f"is an alias of {target} {lasts}"))
        try:
            url = read_naptr(
                [_naptr(record) for record in answer if isinstance(record, NAPTR)], form=self._form
            )
        except SmpRefused as error:
            raise LookupFailed(
                LookupProblem.REFUSED,
                f"the record of {participant} cannot be used: {error.reason}",
                permanent=False,
                hops=[hop("has a record that cannot be used")],
            ) from error
        return Located(url, seconds, hop(f"leads to {url} {lasts}"))

    def host_resolver(self) -> AbstractResolver:
        """A resolver of host names for an HTTP client: those of the zone are asked where its records are."""
        return _ZoneResolver(self._resolver, self._zone)


class _ZoneResolver(AbstractResolver):
    """Hosts in one zone by its own name server, all others by the system."""

    def __init__(self, inside: dns.asyncresolver.Resolver, zone: str) -> None:
        self._inside = inside
        self._zone = f".{zone.strip('.').lower()}"
        self._outside = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if not host.lower().rstrip(".").endswith(self._zone):
            return await self._outside.resolve(host, port, family)
        try:
            found = await self._inside.resolve_name(host, family, search=False)
        except dns.exception.DNSException as error:
            raise OSError(f"the name server gives no address: {type(error).__name__}") from None
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found.addresses()
        ]

    async def close(self) -> None:
        await self._outside.close()


def _naptr(record: NAPTR) -> NaptrRecord:
    return NaptrRecord(
        record.order,
        record.preference,
        record.flags.decode("latin-1"),
        record.service.decode("latin-1"),
        record.regexp.decode("latin-1"),
        record.replacement.to_text(),
    )


def _absent_for(error: dns.exception.DNSException) -> float | None:
    """For how many seconds the name server says that there is nothing, None when it does not say.

    Spec: RFC 2308 section 5: the lower of the SOA record's own time and its last field.
    """
    responses: list[dns.message.Message] = (
        list(error.kwargs["responses"].values())
        if isinstance(error, dns.resolver.NXDOMAIN)
        else [error.kwargs["response"]]
    )
    times = [
        min(rrset.ttl, next(iter(rrset)).minimum)
        for response in responses
        for rrset in response.authority
        if rrset.rdtype == dns.rdatatype.SOA
    ]
    return float(min(times)) if times else None


def _since(started: float, clock: Clock) -> float:
    return round((clock.monotonic() - started) * 1000, 3)
