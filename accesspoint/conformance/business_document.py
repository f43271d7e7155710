"""The kit's payload as the business document of an EHMI node, which takes nothing but StandardBusinessDocuments.

What is inside stays the kit's own few octets: the envelope is valid, so that a receiving access point judges the
exchange and not the envelope, and the content is no message about anybody, so that no application takes it for one.

Spec: ehmiSBDH 2.0.
"""

import base64
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from envelope.ehmi import DOCUMENTS, check_gln, envelope_for_message
from envelope.errors import SbdRefused
from envelope.sbdh import PARTICIPANT_PREFIX, build_sbd


@dataclass(frozen=True, slots=True)
class _Organisation:
    gln: str
    sor: str = "000000"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What an envelope repeats of its message; of the kit's there is nothing but who sends it to whom, as what."""

    event_code: str
    definition_version: str | None
    sender: _Organisation
    receiver: _Organisation
    message_id: str
    bundle_id: str
    mime_type: str = "application/fhir+xml"
    patient_id: None = None
    statistical_postfix: None = None
    response: None = None


_BY_DOCUMENT_ID: Final = {
    document.document_id: key for key, document in DOCUMENTS.items() if key[1] is not None
}


def _gln(name: str, participant: str) -> str:
    try:
        check_gln(participant.removeprefix(PARTICIPANT_PREFIX))
    except SbdRefused as refused:
        raise ValueError(f"{name}, written as 0088:GLN: {refused.detail}") from None
    if not participant.startswith(PARTICIPANT_PREFIX):
        raise ValueError(f"{name} is written as 0088:GLN")
    return participant.removeprefix(PARTICIPANT_PREFIX)


@dataclass(frozen=True, slots=True)
class Route:
    """Between whom test documents go, and as which document of the EHMI table."""

    sender: str
    receiver: str
    event_code: str
    definition_version: str | None

    @classmethod
    def of(cls, *, original_sender: str, final_recipient: str, action: str) -> "Route":
        """From what was agreed with the partner; raises ValueError that says which value does not fit."""
        if action not in _BY_DOCUMENT_ID:
            raise ValueError(
                f"action is no document of EHMI with an envelope: one of {', '.join(_BY_DOCUMENT_ID)}"
            )
        sender = _gln("original_sender", original_sender)
        return cls(sender, _gln("final_recipient", final_recipient), *_BY_DOCUMENT_ID[action])

    def wrap(self, content: bytes) -> bytes:
        """A StandardBusinessDocument around the content, under identifiers of its own."""
        facts = _Facts(
            self.event_code,
            self.definition_version,
            _Organisation(self.sender),
            _Organisation(self.receiver),
            str(uuid.uuid4()),
            str(uuid.uuid4()),
        )
        header = envelope_for_message(
            facts, instance_identifier=str(uuid.uuid4()), created_at=datetime.now(UTC)
        )
        before, after = build_sbd(header)
        return before + base64.b64encode(content) + after
