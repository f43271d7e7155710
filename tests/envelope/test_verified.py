"""Evidence comes from the gates only: every other way to get hold of one is refused."""

import dataclasses

import pytest

from envelope import verified
from envelope.errors import LocalProtocolError
from envelope.messaging import UserMessage

EVIDENCE = [
    verified.ParsedUserMessage,
    verified.AuthenticatedUserMessage,
    verified.DecryptedUserMessage,
    verified.PartEvidence,
    verified.VerifiedUserMessage,
    verified.ParsedSignal,
    verified.AuthenticatedSignal,
    verified.ReceiptEvidence,
]


@pytest.mark.parametrize("kind", EVIDENCE)
@pytest.mark.parametrize("proof", [None, True, object(), "proof"])
def test_evidence_made_by_hand_is_refused(kind, proof):
    fields = {field.name: None for field in dataclasses.fields(kind)}

    with pytest.raises(LocalProtocolError):
        kind(**fields, proof=proof)


@pytest.mark.parametrize("kind", EVIDENCE)
def test_evidence_wants_a_proof(kind):
    fields = {field.name: None for field in dataclasses.fields(kind)}

    with pytest.raises(TypeError):
        kind(**fields)


def test_every_evidence_type_is_listed_here():
    guarded = {
        value
        for value in vars(verified).values()
        if dataclasses.is_dataclass(value) and hasattr(value, "__post_init__")
    }

    assert guarded == set(EVIDENCE)


def test_a_proof_of_another_making_is_refused():
    with pytest.raises(LocalProtocolError):
        verified.ParsedUserMessage(user_message=None, document=None, proof=type(verified._PROOF)())


def test_changed_evidence_is_refused(workshop):
    parsed = workshop.parse(workshop.send().data)

    # dataclasses raises ValueError because the proof is not kept in the value.
    with pytest.raises((ValueError, TypeError)):
        dataclasses.replace(parsed, user_message=None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.user_message = None


def test_parsed_values_and_document_belong_together(workshop):
    sent = workshop.send()
    document = workshop.document(sent.data)

    parsed = verified.ParsedUserMessage.read(document)

    assert isinstance(parsed.user_message, UserMessage)
    assert parsed.user_message == sent.user_message
    assert parsed.document is document


def test_the_content_key_is_not_shown(workshop):
    decrypted = workshop.decrypt(workshop.send(content_key=b"secret-secret-16").data)

    assert decrypted.content_key == b"secret-secret-16"
    assert "secret" not in repr(decrypted)
    assert "m-1@alpha.example" in repr(decrypted)
