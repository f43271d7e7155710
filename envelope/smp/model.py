"""What service metadata says, whichever standard it was written by, and which of its endpoints is chosen.

Spec: OASIS SMP 1.0; OASIS SMP 2.0; EHMI use of SMP.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from cryptography import x509

from envelope.errors import CertificateRefused, SmpRefused
from envelope.security_token import load_certificate


class SmpForm(StrEnum):
    """The standards that service metadata is written by; the first two are told apart by their namespace alone."""

    OASIS_1 = "oasis-1.0"
    BUSDOX = "busdox"
    OASIS_2 = "oasis-2.0"


@dataclass(frozen=True, slots=True)
class SmpIdentifier:
    """An identifier with the scheme it belongs to, as SMP writes both; `scheme` may be missing on a process."""

    scheme: str | None
    value: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to reach the receiver; `certificate` is DER, valid from `activation` until before `expiration`.

    Messages are encrypted for `certificate`. `signing_certificate` is set where the publisher tells another one that
    the receiver signs receipts with, which only SMP 2.0 can.
    """

    transport_profile: str
    url: str
    certificate: bytes
    activation: datetime | None = None
    expiration: datetime | None = None
    service_description: str = ""
    technical_contact_url: str = ""
    signing_certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the receiver and the endpoints that serve it."""

    process_id: SmpIdentifier
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class ServiceMetadata:
    """What a participant takes for one kind of document."""

    participant: SmpIdentifier
    document_id: SmpIdentifier
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """The answer is at another publisher, whose signing certificate is named by identifier or given (DER).

    SMP 1.0 names one; SMP 2.0 gives as many as it likes, or none, and then any trusted publisher may answer.
    """

    href: str
    certificate_uid: str = ""
    certificates: tuple[bytes, ...] = ()


MetadataContent: TypeAlias = ServiceMetadata | Redirect


@dataclass(frozen=True, slots=True)
class SignedServiceMetadata:
    """Evidence: `certificate` signed `content`, and `evidence` is what the check of that certificate gave."""

    content: MetadataContent
    certificate: x509.Certificate
    evidence: object


@dataclass(frozen=True, slots=True)
class ServiceGroup:
    """The kinds of documents a participant is registered for, as addresses; never signed, so only a hint."""

    participant: SmpIdentifier
    references: tuple[str, ...]


def select_endpoint(
    metadata: ServiceMetadata,
    process_id: str,
    profiles: Sequence[str],
    at: datetime,
) -> Endpoint:
    """Choose the endpoint of a process: the first of `profiles` that is active at `at`.

    Raises SmpRefused: `smp.process` and `smp.profile` (none such), `smp.ambiguous` (two alike), `smp.inactive`
    (only endpoints not yet or no longer valid), `smp.url`, `smp.plaintext` (not https), `smp.certificate` (does
    not parse).

    Spec: OASIS SMP 1.0 section 2.3.4, SMP 2.0 section 3.5; EHMI: receiver, DOCUMENTID and PROCESSID give one answer; AS4 over TLS only.
    """
    processes = [found for found in metadata.processes if found.process_id.value == process_id]
    if not processes:
        raise SmpRefused("the receiver does not serve this process", reason="smp.process")
    if len(processes) > 1:
        raise SmpRefused("the process is listed twice", reason="smp.ambiguous")
    inactive = False
    for profile in profiles:
        matching = [end for end in processes[0].endpoints if end.transport_profile == profile]
        # One whose time is over may stand beside the one that follows it.
        active = [end for end in matching if _is_active(end, at)]
        if len(active) > 1:
            raise SmpRefused("two endpoints of one transport profile", reason="smp.ambiguous")
        for endpoint in active:
            if urlsplit(check_url(endpoint.url)).scheme != "https":
                raise SmpRefused("the endpoint is not https", reason="smp.plaintext")
            _check_certificate(endpoint.certificate)
            return endpoint
        inactive = inactive or bool(matching)
    if inactive:
        raise SmpRefused("no endpoint is valid at this time", reason="smp.inactive")
    raise SmpRefused("no endpoint has a transport profile we use", reason="smp.profile")


_NAME: Final = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)
_URL: Final = re.compile(r"[!-~]{1,2048}", re.ASCII)


def check_url(url: str) -> str:
    """Give back an address that is plain http or https with a host; any other raises SmpRefused (`smp.url`)."""
    try:
        parts = urlsplit(url)
        plain = (
            _URL.fullmatch(url)
            and parts.scheme in ("http", "https")
            and parts.hostname
            and "@" not in parts.netloc
            and "\\" not in url
            and not parts.fragment
            and parts.port != 0
            and _is_name_or_address(parts.hostname, bracketed="[" in parts.netloc)
        )
    except ValueError:
        plain = False
    if not plain:
        raise SmpRefused("an address is not plain http or https", reason="smp.url")
    return url


def _is_name_or_address(host: str, *, bracketed: bool) -> bool:
    """Whether a host is a name or a canonical address, and no number that resolvers turn into an address (127.1).

    Raises ValueError for what looks like an address and is none.
    """
    if bracketed:
        # A zone names an interface of the machine that wrote the address.
        return IPv6Address(host).scope_id is None
    if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return str(IPv4Address(host)) == host
    return _NAME.fullmatch(host) is not None


CASE: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def fold(identifier: SmpIdentifier) -> SmpIdentifier:
    """Give the one spelling of an identifier whose letters may be in any case.

    Spec: OASIS SMP 1.0 section 2 (identifiers are compared ignoring case unless their scheme says otherwise).
    """
    # Only ASCII letters fold: str.lower() would make letters of other scripts equal to them.
    scheme = None if identifier.scheme is None else identifier.scheme.translate(CASE)
    return SmpIdentifier(scheme, identifier.value.translate(CASE))


def _is_active(endpoint: Endpoint, at: datetime) -> bool:
    return (endpoint.activation is None or endpoint.activation <= at) and (
        endpoint.expiration is None or at < endpoint.expiration
    )


def _check_certificate(data: bytes) -> None:
    try:
        load_certificate(data)
    except CertificateRefused:
        raise SmpRefused("the endpoint's certificate does not parse", reason="smp.certificate") from None  # fmt: skip
