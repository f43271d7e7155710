"""The first words of TLS, made by hand: what a server answers to a version and to cipher suites it should refuse.

No TLS library of today can still offer SSL 2 or SSL 3, and most refuse to offer TLS 1.0; a server that would
accept them cannot be found out with one. So the octets of a ClientHello are written here, and the first
message that comes back is read as far as it decides: a ServerHello that names version and suite, an alert,
or a closed connection. Nothing is ever negotiated further, so no key and no certificate is needed.

Spec: RFC 8446 section 4.1, RFC 5246 section 7.4.1, RFC 6101, draft-hickman-netscape-ssl; eDelivery AS4 1.15 (TLS).
"""

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Final, TypeAlias

_HANDSHAKE: Final = 22
_ALERT: Final = 21
_SERVER_HELLO: Final = 2
_SSL2_SERVER_HELLO: Final = 4
_ANSWER_BYTES: Final = 64 * 1024

_SERVER_NAME: Final = 0
_SUPPORTED_GROUPS: Final = 10
_POINT_FORMATS: Final = 11
_SIGNATURE_ALGORITHMS: Final = 13
_SUPPORTED_VERSIONS: Final = 43
_KEY_SHARE: Final = 51

_X25519, _SECP256R1, _SECP384R1 = 0x001D, 0x0017, 0x0018
_GROUPS: Final = (_X25519, _SECP256R1, _SECP384R1)
_SIGNATURES: Final = (
    0x0403,
    0x0804,
    0x0805,
    0x0806,
    0x0401,
    0x0501,
    0x0601,
    0x0503,
    0x0807,
    0x0201,
)


class Version(Enum):
    """A protocol version by its number on the wire."""

    SSL_2 = 0x0002
    SSL_3 = 0x0300
    TLS_1_0 = 0x0301
    TLS_1_1 = 0x0302
    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304

    def __str__(self) -> str:
        family, number = self.name.split("_", 1)
        return f"{family} {number.replace('_', '.')}"


SUITES: Final[dict[str, int]] = {
    "TLS_RSA_WITH_NULL_SHA256": 0x003B,
    "TLS_RSA_WITH_RC4_128_SHA": 0x0005,
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": 0x000A,
    "TLS_RSA_WITH_AES_128_CBC_SHA": 0x002F,
    "TLS_RSA_WITH_AES_256_CBC_SHA": 0x0035,
    "TLS_RSA_WITH_AES_128_CBC_SHA256": 0x003C,
    "TLS_RSA_WITH_AES_128_GCM_SHA256": 0x009C,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": 0xC009,
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": 0xC00A,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": 0xC023,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": 0xC027,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": 0xC013,
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": 0xC014,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": 0xC02B,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": 0xC02C,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": 0xC02F,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": 0xC030,
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
"""Cipher suites by their registered names."""

ACCEPTABLE: Final = tuple(name for name in SUITES if "_ECDHE_" in name and "_GCM_" in name)
"""Those of TLS 1.2 that eDelivery names: ephemeral keys and authenticated encryption."""
UNACCEPTABLE: Final = tuple(name for name in SUITES if "_WITH_" in name and name not in ACCEPTABLE)
"""Those of TLS 1.2 without forward secrecy, without authenticated encryption, or without any encryption."""
LEGACY: Final = tuple(name for name in SUITES if name.endswith("_SHA"))
"""Those that versions before TLS 1.2 know."""
MODERN: Final = tuple(name for name in SUITES if SUITES[name] >> 8 == 0x13)
"""Those of TLS 1.3."""
_SSL2_SUITES: Final = (0x010080, 0x020080, 0x030080, 0x0700C0)
_SIGNALLING: Final = 0x00FF
"""TLS_EMPTY_RENEGOTIATION_INFO_SCSV: without it, strict servers refuse for a reason that is not the version."""

_ALERTS: Final = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
    40: "handshake_failure", 42: "bad_certificate", 47: "illegal_parameter", 48: "unknown_ca",
    49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
    71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
    109: "missing_extension", 112: "unrecognized_name", 120: "no_application_protocol",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server goes on with this version and this suite, by its registered name or number."""

    version: Version
    suite: str

    def __str__(self) -> str:
        return f"goes on with {self.version} and {self.suite}"


@dataclass(frozen=True, slots=True)
class Alerted:
    """The server said why it does not go on: the name of the alert, or its number."""

    description: str

    def __str__(self) -> str:
        return f"alert {self.description}"


@dataclass(frozen=True, slots=True)
class Closed:
    """The server ended the connection, or reset it, without a word."""

    def __str__(self) -> str:
        return "closed"


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing that decides came in time."""

    def __str__(self) -> str:
        return "silence"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What came is not TLS."""

    def __str__(self) -> str:
        return "something that is not TLS"


Answer: TypeAlias = Accepted | Alerted | Closed | Silent | Unreadable


@dataclass(frozen=True, slots=True)
class Offer:
    """One ClientHello and what came back, octet by octet and as it reads."""

    version: Version
    suites: tuple[str, ...]
    sent: bytes
    received: bytes
    answer: Answer

    @property
    def accepted(self) -> bool:
        """Whether the server would have gone on."""
        return isinstance(self.answer, Accepted)


def build_client_hello(
    version: Version, suites: Sequence[str], *, server_name: str, random: bytes
) -> bytes:
    """The record of a ClientHello that offers `version` as the newest and these suites and nothing else.

    `random` is 32 octets; SSL 2 takes no suites of ours and is given its own. For TLS 1.3 `random` also stands
    for the key share: any 32 octets are a public key of X25519. Raises KeyError for a suite without a number
    here, ValueError for another length of `random`.
    """
    if len(random) != 32:
        raise ValueError("a ClientHello has 32 octets of random")
    if version is Version.SSL_2:
        return _build_ssl2(random[:16])
    numbers = [SUITES[name] for name in suites]
    if version is not Version.TLS_1_3:
        numbers.append(_SIGNALLING)
    newest = min(version.value, Version.TLS_1_2.value)
    body = struct.pack(">H", newest) + random
    # An empty session, except where TLS 1.3 wants to look like 1.2 to what stands between.
    body += _vector8(random if version is Version.TLS_1_3 else b"")
    body += _vector16(b"".join(struct.pack(">H", number) for number in numbers))
    body += _vector8(b"\x00")
    if version is not Version.SSL_3:
        body += _vector16(_extensions(version, server_name, random))
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    record = min(newest, Version.TLS_1_0.value)
    return struct.pack(">BH", _HANDSHAKE, record) + _vector16(handshake)


def _extensions(version: Version, server_name: str, random: bytes) -> bytes:
    found = []
    if not _is_address(server_name):
        found.append((_SERVER_NAME, _vector16(b"\x00" + _vector16(server_name.encode("ascii")))))
    found.append((_SUPPORTED_GROUPS, _vector16(b"".join(struct.pack(">H", g) for g in _GROUPS))))
    found.append((_POINT_FORMATS, _vector8(b"\x00")))
    if version.value >= Version.TLS_1_2.value:
        algorithms = b"".join(struct.pack(">H", one) for one in _SIGNATURES)
        found.append((_SIGNATURE_ALGORITHMS, _vector16(algorithms)))
    if version is Version.TLS_1_3:
        found.append((_SUPPORTED_VERSIONS, _vector8(struct.pack(">H", version.value))))
        share = struct.pack(">H", _X25519) + _vector16(random)
        found.append((_KEY_SHARE, _vector16(share)))
    return b"".join(struct.pack(">H", number) + _vector16(data) for number, data in found)


def _build_ssl2(challenge: bytes) -> bytes:
    ciphers = b"".join(number.to_bytes(3, "big") for number in _SSL2_SUITES)
    body = struct.pack(">BHHHH", 1, Version.SSL_2.value, len(ciphers), 0, len(challenge))
    body += ciphers + challenge
    return struct.pack(">H", 0x8000 | len(body)) + body


def read_answer(data: bytes, *, ended: bool) -> Answer | None:
    """Read what a server said so far; None when more is needed and may come (`ended` says that it will not)."""
    if not data:
        return Closed() if ended else None
    if data[0] & 0x80:
        return _read_ssl2(data, ended=ended)
    if data[0] not in (_ALERT, _HANDSHAKE):
        return Unreadable()
    if len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
        return Unreadable() if ended else None
    record = data[5 : 5 + int.from_bytes(data[3:5], "big")]
    if data[0] == _ALERT:
        if len(record) != 2:
            return Unreadable()
        return Alerted(_ALERTS.get(record[1], str(record[1])))
    return _read_server_hello(record)


def _read_server_hello(record: bytes) -> Answer:
    try:
        if record[0] != _SERVER_HELLO:
            return Unreadable()
        body = record[4 : 4 + int.from_bytes(record[1:4], "big")]
        version = int.from_bytes(body[:2], "big")
        at = 34 + 1 + body[34]
        suite = int.from_bytes(body[at : at + 2], "big")
        at += 3
        if len(body) < at:
            return Unreadable()
        if len(body) >= at + 2:
            end = at + 2 + int.from_bytes(body[at : at + 2], "big")
            at += 2
            while at + 4 <= min(end, len(body)):
                number, length = struct.unpack(">HH", body[at : at + 4])
                if number == _SUPPORTED_VERSIONS:
                    version = int.from_bytes(body[at + 4 : at + 4 + length], "big")
                at += 4 + length
        return Accepted(Version(version), _suite_name(suite))
    except (IndexError, ValueError):
        return Unreadable()


def _read_ssl2(data: bytes, *, ended: bool) -> Answer | None:
    if len(data) < 3:
        return Unreadable() if ended else None
    if data[2] != _SSL2_SERVER_HELLO:
        return Unreadable()
    return Accepted(Version.SSL_2, "of SSL 2")


async def offer(
    host: str,
    port: int,
    version: Version,
    suites: Sequence[str],
    *,
    random: bytes,
    server_name: str | None = None,
    seconds: float = 5.0,
) -> Offer:
    """Send one ClientHello to a server and read its answer; raises OSError where nobody listens."""
    sent = build_client_hello(version, suites, server_name=server_name or host, random=random)
    reader, writer = await asyncio.open_connection(host, port)
    received = b""
    answer: Answer | None = None
    try:
        async with asyncio.timeout(seconds):
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            while answer is None:
                chunk = await _read(reader)
                received += chunk
                answer = read_answer(received, ended=not chunk or len(received) > _ANSWER_BYTES)
    except TimeoutError:
        answer = Silent()
    finally:
        writer.transport.abort()
    return Offer(version, tuple(suites), sent, received, answer)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next octets; a reset is an end like any other."""
    with contextlib.suppress(ConnectionError):
        return await reader.read(_ANSWER_BYTES)
    return b""


def _suite_name(number: int) -> str:
    return next((name for name, one in SUITES.items() if one == number), f"0x{number:04X}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _vector8(data: bytes) -> bytes:
    return struct.pack(">B", len(data)) + data


def _vector16(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
