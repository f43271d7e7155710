"""The service metadata locator in miniature: an authoritative name server for one zone, over UDP and TCP.

Registered participants have U-NAPTR records that lead to the publisher, or are aliases of its host, or both: under
different names. Names that are not registered do not exist (NXDOMAIN); other zones are refused. As long as not
everybody is registered, a name that is not is no proof of anything: it is answered as a failure of ours (SERVFAIL),
after which who asks asks again, while a name that does not exist would end its message. Real DNS packets, so that any
resolver can ask.

Spec: BDXL 1.0; Busdox service metadata locator 1.0; RFC 1035, RFC 2308 (the SOA in negative answers), RFC 4848
(U-NAPTR), RFC 7766 (TCP).
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence, Set
from typing import Final, Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import structlog
from dns.rdtypes.ANY.CNAME import CNAME

from accesspoint.network.faults import Fault

TTL: Final = 60
_PLAIN_UDP: Final = 512
_LARGEST_UDP: Final = 1232
_IDLE_SECONDS: Final = 10.0
_LENGTH: Final = struct.Struct("!H")
_ATTEMPTS: Final = 20

log = structlog.get_logger()


class Locator:
    """The name server of one zone on loopback; start it, register owner names, stop it."""

    def __init__(
        self,
        zone: str,
        *,
        faults: Set[Fault] = frozenset(),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.zone = dns.name.from_text(zone)
        self._faults = faults
        self._records: dict[dns.name.Name, list[dns.rdata.Rdata]] = {}
        self._datagrams: asyncio.DatagramTransport | None = None
        self._streams: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.address = (host, port)
        self.is_complete = True
        """Whether everybody is registered who will be."""

    async def start(self) -> Self:
        """Listen on one port for both transports; raise OSError when it, or any, is not free in both."""
        loop = asyncio.get_running_loop()
        attempts = 1 if self.address[1] else _ATTEMPTS
        for attempt in range(attempts):
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=self.address
            )
            host, port = self._datagrams.get_extra_info("sockname")[:2]
            try:
                self._streams = await asyncio.start_server(self._converse, host, port)
            except OSError:
                # Another program has that port in TCP: take a new one in UDP.
                self._datagrams.close()
                if attempt == attempts - 1:
                    raise
            else:
                self.address = (host, port)
                break
        return self

    async def stop(self) -> None:
        """Close both listeners and every open connection."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            self._streams.close()
            for connection in tuple(self._connections):
                connection.cancel()
            await self._streams.wait_closed()

    def register(
        self, owner_name: str, url: str, *, services: Sequence[str] = ("Meta:SMP",)
    ) -> None:
        """Publish that this owner name's metadata of these services is at `url`; ValueError when outside the zone."""
        self._put(
            owner_name,
            *(
                dns.rdata.from_text("IN", "NAPTR", f'100 10 "U" "{service}" "!.*!{url}!" .')
                for service in services
            ),
        )

    def register_alias(self, owner_name: str, host_name: str) -> None:
        """Publish that this owner name is an alias of a host; ValueError when outside the zone."""
        self._put(owner_name, dns.rdata.from_text("IN", "CNAME", f"{host_name.rstrip('.')}."))

    def register_host(self, host_name: str, address: str) -> None:
        """Publish the IPv4 address of a host of the zone; ValueError when outside the zone."""
        self._put(host_name, dns.rdata.from_text("IN", "A", address))

    def _put(self, name: str, *records: dns.rdata.Rdata) -> None:
        owner = dns.name.from_text(name)
        if not owner.is_subdomain(self.zone):
            raise ValueError("the owner name is not in the zone of this locator")
        self._records[owner] = list(records)

    def unregister(self, owner_name: str) -> None:
        """Let this name not exist any more."""
        self._records.pop(dns.name.from_text(owner_name), None)

    def answer(self, packet: bytes, *, limit: int | None = None) -> bytes | None:
        """Answer one DNS message; None when it is not one, or when the fault is planted.

        `limit` is the size of a UDP answer without EDNS; longer answers come back truncated.
        """
        if Fault.LOCATOR_SILENT in self._faults:
            return None
        try:
            query = dns.message.from_wire(packet)
            if query.flags & dns.flags.QR:
                return None
            response = dns.message.make_response(query)
        except dns.exception.DNSException:
            return None
        self._fill(query, response)
        # With EDNS the client says how much it takes; without it 512 octets is the agreement.
        size = 65535 if limit is None else min(max(query.payload, limit), _LARGEST_UDP)
        try:
            return response.to_wire(max_size=size)
        except dns.exception.TooBig:
            cut = dns.message.make_response(query)
            cut.set_rcode(response.rcode())
            cut.flags |= dns.flags.TC | dns.flags.AA
            return cut.to_wire()

    def _fill(self, query: dns.message.Message, response: dns.message.Message) -> None:
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            response.set_rcode(dns.rcode.NOTIMP)
            return
        question = query.question[0]
        if not question.name.is_subdomain(self.zone):
            response.set_rcode(dns.rcode.REFUSED)
            return
        response.flags |= dns.flags.AA
        known = self._known()
        records = known.get(question.name)
        asked = (question.rdtype, dns.rdatatype.CNAME)
        if question.rdtype == dns.rdatatype.ANY:
            asked = tuple(record.rdtype for record in records or ())
        if found := [record for record in records or () if record.rdtype in asked]:
            response.answer.append(dns.rrset.from_rdata_list(question.name, TTL, found))
            alias = found[0]
            if isinstance(alias, CNAME) and question.rdtype != dns.rdatatype.CNAME:
                # What the alias stands for, where that is in our zone too (RFC 1034 section 4.3.2).
                host = alias.target
                if beyond := [one for one in known.get(host, ()) if one.rdtype == question.rdtype]:
                    response.answer.append(dns.rrset.from_rdata_list(host, TTL, beyond))
            return
        if question.name == self.zone and question.rdtype == dns.rdatatype.SOA:
            response.answer.append(self._authority())
            return
        if records is None and question.name != self.zone and not self._is_between(question.name):
            if not self.is_complete:
                response.set_rcode(dns.rcode.SERVFAIL)
                return
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(self._authority())

    def _known(self) -> Mapping[dns.name.Name, list[dns.rdata.Rdata]]:
        return {} if Fault.PARTICIPANT_UNREGISTERED in self._faults else self._records

    def _is_between(self, name: dns.name.Name) -> bool:
        """Tell whether something exists below this name: then the name exists too, empty (RFC 8020)."""
        return any(owner.is_subdomain(name) for owner in self._known())

    def _authority(self) -> dns.rrset.RRset:
        text = f"ns.{self.zone} hostmaster.{self.zone} 1 3600 600 86400 {TTL}"
        return dns.rrset.from_text(self.zone, TTL, dns.rdataclass.IN, dns.rdatatype.SOA, text)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of one TCP connection, each behind its length, until it is idle."""
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    packet = await reader.readexactly(length)
                answer = self.answer(packet)
                if answer is None:
                    break
                writer.write(_LENGTH.pack(len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            log.debug("locator_connection_ended")
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP side of a locator."""

    def __init__(self, locator: Locator) -> None:
        self._locator = locator
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's transport has the methods but not the base class before Python 3.12.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._locator.answer(data, limit=_PLAIN_UDP)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)
