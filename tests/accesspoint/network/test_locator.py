"""The name server answers real DNS packets: registered participants only, its own zone only."""

import asyncio
import struct
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.network.faults import Fault
from accesspoint.network.locator import Locator

ZONE = "sml.test"
OWNER = "abc234.iso6523-actorid-upis.sml.test"
URL = "http://127.0.0.1:8080/smp"


@pytest.fixture
def faults() -> set[Fault]:
    return set()


@pytest.fixture
async def locator(faults: set[Fault]) -> AsyncIterator[Locator]:
    server = await Locator(ZONE, faults=faults).start()
    server.register(OWNER, URL)
    yield server
    await server.stop()


async def ask(
    locator: Locator, name: str, kind: str = "NAPTR", *, tcp: bool = False
) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    ask_with = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await ask_with(query, locator.address[0], port=locator.address[1], timeout=5)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_registered_participant_has_one_naptr_record(locator: Locator, tcp: bool) -> None:
    answer = await ask(locator, OWNER, tcp=tcp)

    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    (record,) = answer.answer[0]
    assert (record.order, record.preference) == (100, 10)
    assert (record.flags, record.service) == (b"U", b"Meta:SMP")
    assert record.regexp == f"!.*!{URL}!".encode()


async def test_names_are_found_whatever_their_case(locator: Locator) -> None:
    assert len((await ask(locator, OWNER.upper())).answer) == 1


async def test_an_unknown_participant_does_not_exist(locator: Locator) -> None:
    answer = await ask(locator, "nobody.iso6523-actorid-upis.sml.test")

    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


async def test_a_name_above_a_participant_exists_without_records(locator: Locator) -> None:
    answer = await ask(locator, "iso6523-actorid-upis.sml.test")

    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


async def test_another_kind_of_record_is_absent_but_the_name_exists(locator: Locator) -> None:
    answer = await ask(locator, OWNER, "A")

    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


async def test_the_zone_has_a_start_of_authority(locator: Locator) -> None:
    assert len((await ask(locator, ZONE, "SOA")).answer) == 1


async def test_another_zone_is_refused(locator: Locator) -> None:
    assert (await ask(locator, "example.test")).rcode() == dns.rcode.REFUSED


async def test_an_unregistered_participant_is_gone(locator: Locator) -> None:
    locator.unregister(OWNER)

    assert (await ask(locator, OWNER)).rcode() == dns.rcode.NXDOMAIN


def test_an_owner_outside_the_zone_is_not_registered() -> None:
    with pytest.raises(ValueError, match="zone"):
        Locator(ZONE).register("abc.example.test", URL)


async def test_fault_participant_unregistered(locator: Locator, faults: set[Fault]) -> None:
    faults.add(Fault.PARTICIPANT_UNREGISTERED)

    assert (await ask(locator, OWNER)).rcode() == dns.rcode.NXDOMAIN


def test_fault_locator_silent(faults: set[Fault]) -> None:
    server = Locator(ZONE, faults=faults)
    packet = dns.message.make_query(OWNER, "NAPTR").to_wire()
    assert server.answer(packet) is not None

    faults.add(Fault.LOCATOR_SILENT)
    assert server.answer(packet) is None


async def test_an_answer_too_long_for_udp_comes_whole_over_tcp(locator: Locator) -> None:
    owner = ".".join(["x" * 58] * 4) + ".sml.test"
    locator.register(owner, "http://127.0.0.1/" + "a" * 230)
    query = dns.message.make_query(owner, "NAPTR")
    host, port = locator.address

    cut = await dns.asyncquery.udp(query, host, port=port, timeout=5)
    whole, over_tcp = await dns.asyncquery.udp_with_fallback(query, host, port=port, timeout=5)

    assert cut.flags & dns.flags.TC
    assert cut.answer == []
    assert (len(whole.answer), over_tcp) == (1, True)


async def test_rubbish_over_tcp_ends_the_connection_and_nothing_else(locator: Locator) -> None:
    reader, writer = await asyncio.open_connection(*locator.address)
    writer.write(struct.pack("!H", 4) + b"\xff\xff\xff\xff")
    assert await reader.read() == b""
    writer.close()

    assert (await ask(locator, OWNER)).rcode() == dns.rcode.NOERROR


@given(st.binary(max_size=200))
def test_any_packet_gets_dns_or_silence(packet: bytes) -> None:
    server = Locator(ZONE)
    server.register(OWNER, URL)

    answer = server.answer(packet, limit=512)

    if answer is not None:
        assert dns.message.from_wire(answer).flags & dns.flags.QR


async def test_before_everybody_is_registered_an_unknown_name_is_no_proof(
    locator: Locator,
) -> None:
    """A name that does not exist ends the message for it, so it is said only once all names are there."""
    locator.is_complete = False
    other = f"zzz999.iso6523-actorid-upis.{ZONE}"
    assert (await ask(locator, OWNER)).rcode() == dns.rcode.NOERROR
    assert (await ask(locator, other)).rcode() == dns.rcode.SERVFAIL
    locator.is_complete = True
    assert (await ask(locator, other)).rcode() == dns.rcode.NXDOMAIN
