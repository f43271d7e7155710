"""Dynamic Receiver and Dynamic Sender: partners that nobody configured, let in by their certificate or looked up."""

from dataclasses import replace
from typing import Final

from accesspoint.conformance.author import Draft
from accesspoint.conformance.case import NotApplicable, case, expect
from accesspoint.conformance.interceptor import Act
from accesspoint.conformance.reading import Message, expect_error
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Stranger, Target
from envelope import names

_SOAP: Final = "application/soap+xml; charset=UTF-8"
_REFUSED: Final = ("EBMS:0101", "EBMS:0103")
"""The signature is not accepted, or its certificate does not meet the policy."""


async def _refuses(target: Target, stranger: Stranger, recorder: Recorder) -> str:
    """A message of a sender that the target does not know is answered with an error."""
    author = await target.stranger(stranger)
    request = author.write(target.agreed(Draft()))
    answer = await target.send(request, recorder, f"message of a sender {stranger}")
    return expect_error(answer, *_REFUSED, message_id=request.message_id)


@case("AS4_DR_TA01")
async def unknown_sender_is_accepted(target: Target, recorder: Recorder) -> str:
    """Chained, with a policy, in its own name."""
    author = await target.stranger(Stranger.WELCOME)
    request = author.write(target.agreed(Draft()))
    answer = await target.send(request, recorder, "message of an unknown sender")
    return target.receipted(request, answer)


@case("AS4_DR_TA02")
async def unchained_sender_is_refused(target: Target, recorder: Recorder) -> str:
    """A certificate of an authority that nobody trusts."""
    return await _refuses(target, Stranger.UNCHAINED, recorder)


@case("AS4_DR_TA03")
async def sender_without_policy_is_refused(target: Target, recorder: Recorder) -> str:
    """A certificate of the trusted authority for another purpose."""
    return await _refuses(target, Stranger.WITHOUT_POLICY, recorder)


@case("AS4_DR_TA04")
async def sender_in_another_name_is_refused(target: Target, recorder: Recorder) -> str:
    """A good certificate, and a party in From that it does not name."""
    return await _refuses(target, Stranger.IN_ANOTHER_NAME, recorder)


@case("AS4_DS_TA01")
async def recipient_is_looked_up(target: Target, recorder: Recorder) -> str:
    """A message of the daily work to a recipient whom only the publisher knows."""
    sent = await target.send_business(recorder)
    message = sent.first
    parties = message.texts(names.EB, "PartyId")
    ours = target.author.party.value
    expect(parties[-1:] == [ours], f"{ours} in To, as its published certificate says", f"{parties}")
    expect(target.open(message), "payloads encrypted for the published certificate", "none")
    kinds = [notice.kind for notice in sent.notices]
    expect(kinds == ["Receipt"], "a receipt, told to the producer", f"{kinds}")
    return f"sent to {ours}, encrypted for its published certificate, receipted"


@case("AS4_DS_TA02")
async def party_is_looked_up(_target: Target, _recorder: Recorder) -> str:
    """Nobody is looked up by party here."""
    raise NotApplicable(
        "EHMI is a network of four corners: the final recipient is looked up, never the access point itself"
    )


@case("AS4_DS_TA03")
async def receipt_of_another_is_reported(target: Target, recorder: Recorder) -> str:
    """The recipient's receipt, signed by somebody whose certificate is as good as any."""
    stranger = await target.stranger(Stranger.WELCOME)
    other = replace(target.author, signer=stranger.signer)

    def swap(request: Message, _answer: Message) -> Message:
        return Message(_SOAP, other.receipt(request), 200)

    sent = await target.send_business(recorder, lambda _number: Act(answer=swap))
    told = [(notice.kind, notice.code) for notice in sent.notices]
    expect(
        [kind for kind, _ in told] == ["Error"],
        "an error told to the producer",
        f"{told or 'nothing'}",
    )
    return f"{told[0][1]} told to the producer"
