"""Which P-Mode a message belongs to, and when it belongs to none, which came nearest and in what it differs.

A partner has one P-Mode or several, told apart by what the ebMS header says: agreement, roles, service and action. A
value that a P-Mode leaves open fits every message. The test service belongs to every P-Mode whatever its service and
action are, since each agreement has to be testable.

Spec: AS4 Profile 1.0 section 4; eDelivery AS4 1.15 common profile: test service, `AgreementRef/@pmode` is not relied on.
"""

from collections.abc import Sequence
from typing import Final

from envelope import names
from envelope.errors import ProcessingModeMismatch
from envelope.messaging import UserMessage
from envelope.pmode import PMode, Quirk

_REASONS: Final = {
    "agreement": "pmode.agreement",
    "agreement type": "pmode.agreement",
    "party id type": "pmode.party",
    "initiator role": "pmode.role",
    "responder role": "pmode.role",
    "service": "pmode.service",
    "service type": "pmode.service",
    "action": "pmode.action",
}


def differences(mode: PMode, message: UserMessage) -> tuple[str, ...]:
    """In what a message differs from a P-Mode, in the words of the P-Mode's parameters; empty when it fits."""
    info = message.collaboration_info
    sender, receiver = message.from_party, message.to_party
    agreement = info.agreement_ref
    types = {sender.party_id.type, receiver.party_id.type}
    if mode.policy.allows(Quirk.UNTYPED_NAMES):
        types.discard(None)
    any_type = mode.party_id_type is None or mode.policy.allows(Quirk.ANY_PARTY_TYPE)
    found = {
        "agreement": mode.agreement is not None
        and (agreement is None or agreement.value != mode.agreement),
        "agreement type": mode.agreement_type is not None
        and (agreement is None or agreement.type != mode.agreement_type),
        "party id type": not any_type and not types <= {mode.party_id_type},
        "initiator role": sender.role != mode.initiator_role,
        "responder role": receiver.role != mode.responder_role,
    }
    if not is_test_service(message):
        found |= {
            "service": mode.service not in (None, info.service.value),
            "service type": mode.service_type not in (None, info.service.type),
            "action": mode.action not in (None, info.action),
        }
    return tuple(name for name, differs in found.items() if differs)


def is_test_service(message: UserMessage) -> bool:
    """Whether a message is for the test service, which is receipted and never delivered."""
    info = message.collaboration_info
    return info.service.value == names.EB_TEST_SERVICE and info.action == names.EB_TEST_ACTION


def select_mode(modes: Sequence[PMode], message: UserMessage) -> PMode:
    """The first of the P-Modes agreed with the sender that the message fits.

    Raises `ProcessingModeMismatch` (`pmode.agreement`, `.party`, `.role`, `.service`, `.action`), whose detail names
    the nearest one for our log; the sender is told the code alone.
    """
    judged = [(differences(mode, message), mode) for mode in modes]
    for found, mode in judged:
        if not found:
            return mode
    found, nearest = min(judged, key=lambda each: len(each[0]))
    info = message.collaboration_info
    raise ProcessingModeMismatch(
        f"no P-Mode for service {info.service.value}, action {info.action}"
        f" from party {message.from_party.party_id.value}; nearest: {nearest.id} differs in {', '.join(found)}",
        reason=_REASONS[found[0]],
    )
