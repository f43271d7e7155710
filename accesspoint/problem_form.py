"""What the text of a problem consists of, and the plain words for the facts that it may name in braces.

So it reads as sentences whatever is known of what happened, and never shows a brace or a `None`.

Spec: experience section 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class ProblemText:
    """The words of one problem: title, what happened, why most likely, and what to do.

    `given_up` stands in place of a step that says that it is tried again, once nothing is tried any more;
    `uncertain` does where the message may have arrived all the same.
    """

    title: str
    what: str
    why: str
    do: tuple[str, ...]
    given_up: str = "this message is not tried again; when the reason is gone, send its content as a new message"
    uncertain: str = (
        "it may have arrived: ask the receiver, or send the very same message again with `accesspoint messages retry`;"
        " its content as a new message might arrive twice"
    )


FALLBACKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "peer": "the receiving access point",
        "address": "its address",
        "participant": "the receiver",
        "document": "this kind of document",
        "smp": "the metadata publisher",
        "next": "later, by itself",
        "attempt": "This attempt",
        "message": "the message",
        "identifier": "ID",
        "code": "it named no ebMS code",
        "certificate": "the certificate",
        "what": "something in it does not fit",
        "subject": "another party",
        "expected": "the expected one",
        "status": "an error",
        "endpoint": "the delivery status component",
        "pending": "the",
        "rules": "the MedCom rules",
        "size": "more than is agreed",
        "limit": "what is agreed",
        "file": "the configuration file",
        "backend": "the backend",
        "station": "one of the stations",
        "host": "the other side",
        "role": "ROLE",
        "until": "two days after the switch",
    }
)
