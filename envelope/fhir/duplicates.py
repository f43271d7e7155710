"""What a receiving end-user application does with a message, by what it has seen before.

Two identifiers again, one layer up: that of the Bundle, new whenever the application builds it, and that of the
MessageHeader, the same for as long as the message is. The table of the message service handler (`envelope.duplicates`)
knows envelopes and stands below this one; what it passes up as a repetition is decided here.

A message identifier says what its sender calls the same message. So that nothing is dropped in silence when the
content is not the same after all, `content_digest` covers the message without what each sending makes anew.

Spec: medcom-fhir.md 14; decision D8.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import orjson

from envelope.fhir.finding import Finding, Kind
from envelope.fhir.reading import FhirMessage

_MADE_ANEW: Final = frozenset({"meta", "text"})
"""Members of a resource that tell when and by what it was written, not what it says."""


class Action(StrEnum):
    """What the receiver does next."""

    PROCESS = "process"
    ANSWER_AGAIN = "answer-again"
    ANSWER_AS_BEFORE = "answer-as-before"
    REFUSE = "refuse"


ACTIONS: Final[Mapping[tuple[bool, bool], Action]] = {
    (False, False): Action.PROCESS,
    (True, True): Action.ANSWER_AGAIN,
    (False, True): Action.ANSWER_AS_BEFORE,
    (True, False): Action.REFUSE,
}
"""Keyed by (Bundle.id seen, MessageHeader.id seen): a message not seen before; our answer was lost; its sender submitted
it again; a Bundle.id used for a second message. Neither of the two answers is preceded by showing it again."""

BUNDLE_REUSED: Final = Finding(
    "bundle-identifier-reused",
    "error",
    "Bundle.id",
    "the identifier of the Bundle was used before for another message",
    kind=Kind.IDENTIFIER_REUSED,
)
MESSAGE_REUSED: Final = Finding(
    "message-identifier-reused",
    "error",
    "Bundle.entry[0].resource.id",
    "the identifier of the message was used before for other content",
    kind=Kind.IDENTIFIER_REUSED,
)


def decide(bundle_seen: bool, message_seen: bool) -> Action:
    """Look up what to do with a message whose identifiers were, or were not, seen before."""
    return ACTIONS[bundle_seen, message_seen]


def content_digest(message: FhirMessage) -> str:
    """The SHA-256 in hex of what a message says, the same in JSON and XML and at each sending.

    Left out are the identifier and time of the Bundle, and the metadata and narrative of each resource.
    """
    entries = message.bundle.get("entry")
    resources = [
        {name: value for name, value in resource.items() if name not in _MADE_ANEW}
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(resource := entry.get("resource"), dict)
    ]
    said = orjson.dumps(resources, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()
