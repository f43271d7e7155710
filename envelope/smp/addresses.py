"""The names and paths that lead to service metadata: hashed for the locator's zone, encoded for the publisher.

Nothing here is trusted: a record gives an address to ask, and the signature of what is answered there decides.

Spec: OASIS BDXL 1.0; Busdox service metadata locator 1.0; OASIS SMP 1.0 section 2.4, SMP 2.0 section 5.2; RFC 3403, RFC 4848.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote

from envelope import names
from envelope.errors import SmpRefused
from envelope.smp.model import CASE, SmpForm, SmpIdentifier, check_url

SMP2_PREFIX: Final = "bdxr-smp-2/"


def participant_path(participant: SmpIdentifier, form: SmpForm = SmpForm.OASIS_1) -> str:
    """Give the path of a participant's ServiceGroup, relative to the publisher, its identifier one encoded segment."""
    prefix = SMP2_PREFIX if form is SmpForm.OASIS_2 else ""
    return prefix + _segment(participant)


def metadata_path(
    participant: SmpIdentifier, document_id: SmpIdentifier, form: SmpForm = SmpForm.OASIS_1
) -> str:
    """Give the path of signed service metadata, relative to the publisher; a raw `#` would cut it off.

    Spec: OASIS SMP 1.0 section 2.4 (percent-encoding of each segment); OASIS SMP 2.0 section 5.2 (the prefix).
    """
    return f"{participant_path(participant, form)}/services/{_segment(document_id)}"


def read_path(path: str) -> tuple[SmpIdentifier, SmpIdentifier | None] | None:
    """Read what a request asks for: a participant, and a document when it asks for metadata; None for another path.

    `path` is raw and relative to the publisher. An identifier without scheme may stand with `::` before it or without.

    Spec: OASIS SMP 1.0 section 2.4.
    """
    match path.split("/"):
        case [participant]:
            return _read_segment(participant), None
        case [participant, "services", document]:
            return _read_segment(participant), _read_segment(document)
    return None


def _segment(identifier: SmpIdentifier) -> str:
    return quote(f"{identifier.scheme or ''}::{identifier.value}", safe="")


def _read_segment(segment: str) -> SmpIdentifier:
    scheme, separator, value = unquote(segment).partition("::")
    return SmpIdentifier(scheme or None, value) if separator else SmpIdentifier(None, scheme)


def bdxl_label(canonical: str) -> str:
    """Hash a participant's canonical form to one DNS label: SHA-256 in base32, without padding.

    Spec: OASIS BDXL 1.0, hash of the participant identifier.
    """
    return base64.b32encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")


def bdxl_owner_name(
    participant: str,
    zone: str,
    *,
    scheme: str | None = names.ISO6523_ACTORID,
    environment: str | None = None,
    fold: bool = True,
) -> str:
    """Give the name whose NAPTR record leads to a participant's publisher.

    Communities differ: `fold` lowers the case of the identifier first, `scheme` and `environment` are labels
    between the hash and the zone, None for none.

    Spec: OASIS BDXL 1.0; EHMI use of the locator.
    """
    labels = [
        bdxl_label(participant.translate(CASE) if fold else participant),
        scheme,
        environment,
        zone,
    ]
    return ".".join(label for label in labels if label)


def busdox_owner_name(participant: str, zone: str, *, scheme: str = names.ISO6523_ACTORID) -> str:
    """Give the name that is an alias (CNAME) of a participant's publisher, and the host that is asked.

    Spec: Busdox service metadata locator 1.0: `B-`, the MD5 of the identifier in lower case, the scheme, the zone.
    """
    # MD5 spreads names over a zone here; nothing relies on it being hard to invert or to collide.
    digest = hashlib.md5(participant.translate(CASE).encode(), usedforsecurity=False).hexdigest()
    return f"B-{digest}.{scheme}.{zone}"


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """One NAPTR record as texts; `replacement` is `.` where the regexp is used."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str = "."


SMP_SERVICES: Final[Mapping[SmpForm, tuple[str, ...]]] = MappingProxyType(
    {
        SmpForm.OASIS_1: ("meta:smp", "oasis-bdxr-smp-1"),
        SmpForm.BUSDOX: ("meta:smp", "oasis-bdxr-smp-1"),
        SmpForm.OASIS_2: ("oasis-bdxr-smp-2",),
    }
)
"""The services of NAPTR records that lead to a publisher of each form, in lower case, without what follows a `#`."""
_MOST_RECORDS: Final = 32
_WHOLE_NAME: Final = frozenset({".*", "^.*$", "^.*", ".*$"})


def read_naptr(records: Sequence[NaptrRecord], *, form: SmpForm = SmpForm.OASIS_1) -> str:
    """Give the publisher's address from the records of a name.

    The lowest order and then preference wins among records that end a look-up in the address of a publisher of `form`
    (services are compared without case). No regular expression is ever run: its pattern must stand for the whole name, and what
    replaces it must be an address and nothing else.

    Raises SmpRefused (`smp.naptr`): no usable record, too many, or one that tries more than that.

    Spec: RFC 3403 section 4.1, RFC 4848; OASIS BDXL 1.0.
    """
    if len(records) > _MOST_RECORDS:
        raise SmpRefused("too many NAPTR records", reason="smp.naptr")
    usable = [
        record
        for record in records
        if record.flags.lower() == "u"
        and record.service.lower().partition("#")[0] in SMP_SERVICES[form]
    ]
    if not usable:
        raise SmpRefused("no NAPTR record leads to service metadata", reason="smp.naptr")
    record = min(usable, key=lambda found: (found.order, found.preference))
    delimiter = record.regexp[:1]
    parts = record.regexp.split(delimiter) if delimiter else []
    if (
        len(parts) != 4
        or delimiter.isalnum()
        or delimiter == "\\"
        or parts[1] not in _WHOLE_NAME
        or parts[3] not in ("", "i")
        or record.replacement not in (".", "")
    ):
        raise SmpRefused("NAPTR regexp does more than give an address", reason="smp.naptr")
    try:
        return check_url(parts[2])
    except SmpRefused:
        raise SmpRefused("NAPTR regexp gives no plain address", reason="smp.naptr") from None
