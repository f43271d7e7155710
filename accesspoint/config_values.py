"""The values of the configuration file as they are written: addresses, sizes, durations, URLs, and what a table is.

A value that does not hold says what to write instead; where it stands is told by `configuration_file`.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from accesspoint.retry import parse_duration
from envelope.ehmi import check_gln
from envelope.errors import SbdRefused


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, written `host:port` or `[v6]:port`; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the written form."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's loopback; a name or a path is none."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_this_machine(host: str | None) -> bool:
    """Whether a host, as a URL or an address to listen on names it, is this machine itself."""
    return host is not None and (host == "localhost" or is_loopback(host))


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError('write an address as host:port, such as "127.0.0.1:8443"')
    return Address(host, int(port))


class KeyItself(ValueError):
    """A key stands where the name of its file belongs; whoever tells of it does not repeat it."""


_KEY: Final = re.compile(r"[0-9a-fA-F]{64}|[\s\S]*-----BEGIN [\s\S]*")


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or not value:
        return value
    if _KEY.fullmatch(value.strip()):
        raise KeyItself(
            "must name a file; a key itself is read from its file only, so use this one no more"
        )
    base = (info.context or {}).get("base", Path())
    return (base / value).absolute()


def _place(value: object, info: ValidationInfo) -> object:
    return value if isinstance(value, str) and value.startswith("s3://") else _path(value, info)


def _gln(value: str) -> str:
    try:
        check_gln(value)
    except SbdRefused as refused:
        raise ValueError(refused.detail) from refused
    return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.username
        or parts.fragment
    ):
        raise ValueError("write a URL as https://host/path, without user and fragment")
    return value


def _https(value: str) -> str:
    if urlsplit(value).scheme != "https":
        raise ValueError("must begin with https://; nothing is sent there in plain text")
    return value


def _network(value: object) -> object:
    return ipaddress.ip_network(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,9}) ?([KMGT]iB)", value)
    if match is None:
        raise ValueError('write a size as a number and a unit, such as "256 MiB"')
    return int(match[1]) << {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[match[2]]


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=200)]
Gln = Annotated[str, AfterValidator(_gln)]
Sor = Annotated[str, Field(pattern=r"^[0-9]{6,18}$")]
Url = Annotated[str, AfterValidator(_url)]
HttpsUrl = Annotated[Url, AfterValidator(_https)]
FilePath = Annotated[Path, BeforeValidator(_path)]
FileOrBucket = Annotated[Path | str, BeforeValidator(_place)]
Endpoint = Annotated[Address, BeforeValidator(_address)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0, strict=True)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Table(BaseModel):
    """A table of the file: unknown keys are errors, values never change.

    `not_taken` says of keys that one could expect here why they are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    not_taken: ClassVar[Mapping[str, str]] = {}
