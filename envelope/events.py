"""What the multipart parser reports while octets arrive: small immutable events.

Spec: RFC 2046 section 5.1; RFC 2387.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ContentType:
    """A parsed Content-Type; `media_type` and parameter names in lower case, parameter values as sent."""

    media_type: str
    parameters: Mapping[str, str]

    def parameter(self, name: str) -> str | None:
        """The value of a parameter by its lower-case name, or None."""
        return self.parameters.get(name)


@dataclass(frozen=True, slots=True)
class PartStarted:
    """The header block of part `index` (0 is the root) is complete.

    `headers` has lower-case names. `content_id` is without angle brackets, None under the quirk that lets it
    be absent. `transfer_encoding` is already undone: `PartData` always carries the decoded octets.
    """

    index: int
    headers: Mapping[str, str]
    content_id: str | None
    content_type: ContentType | None
    transfer_encoding: str


@dataclass(frozen=True, slots=True)
class PartData:
    """Some octets of the part that started last."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """Part `index` is complete."""

    index: int


@dataclass(frozen=True, slots=True)
class MessageComplete:
    """The end boundary was read; `parts` counts the root too."""

    parts: int


Event: TypeAlias = PartStarted | PartData | PartEnded | MessageComplete
