"""A signal as nodes: what a receipt repeats, held against the message where it was given; what an error says.

Spec: ebMS 3.0 Core sections 5.2.3 and 6; AS4 Profile 1.0 section 5.1.8.
"""

from collections.abc import Iterator

from envelope.errors import InvalidReceipt
from envelope.explain.gates import SentMessage
from envelope.explain.node import Mark, Node, broken
from envelope.explain.security import short
from envelope.signals import ErrorEntry, Receipt, SignalMessage


def show_signal(signal: SignalMessage, sent: SentMessage | None) -> Node:
    """A receipt, an error or a pull request; `sent` is the message that a receipt should answer."""
    children = [Node("Timestamp", signal.timestamp)]
    if signal.ref_to_message_id:
        children.append(_show_answered(signal.ref_to_message_id, sent))
    label = "SignalMessage"
    if signal.receipt is not None:
        label = "Receipt"
        children += _show_receipt(signal.receipt, sent)
    if signal.errors:
        label = "Error"
        children += map(_show_error, signal.errors)
    if signal.pull_request_mpc is not None:
        label = "PullRequest"
        children.append(Node("channel", signal.pull_request_mpc))
    return Node(label, signal.message_id, children=tuple(children))


def _show_answered(message_id: str, sent: SentMessage | None) -> Node:
    label = "RefToMessageId"
    if sent is None:
        return Node(label, message_id)
    if sent.message_id != message_id:
        refusal = InvalidReceipt("the receipt is for another message", reason="rcp.other")
        return Node(label, f"{message_id}: not {sent.message_id}", Mark.BROKEN, refusal=refusal)
    return Node(label, f"{message_id}: the message given", Mark.HOLDS)


def _show_receipt(receipt: Receipt, sent: SentMessage | None) -> Iterator[Node]:
    if not receipt.references:
        nothing = "none: it says that something came, and proves nothing"
        yield Node("non-repudiation", nothing, Mark.NOTED)
        return
    count = len(receipt.references)
    because = "" if sent else "; give the message to see whether they are its own"
    yield Node("non-repudiation", f"repeats {count} references{because}")
    signed = {} if sent is None else {each.uri: each for each in sent.references}
    for each in receipt.references:
        label = f"reference {each.uri}"
        said = f"{short(each.digest_algorithm)} {each.digest_value.hex()}"
        own = signed.pop(each.uri, None)
        if sent is None:
            yield Node(label, said)
        elif own is None:
            refusal = InvalidReceipt("repeats what the message did not sign", reason="rcp.extra")
            yield broken(label, refusal)
        elif (own.digest_algorithm, own.digest_value) != (each.digest_algorithm, each.digest_value):
            refusal = InvalidReceipt("repeats another digest", reason="rcp.digest")
            yield broken(label, refusal, Node("signed", own.digest_value.hex()), Node("said", said))
        else:
            yield Node(label, f"{said}: as the message signed it", Mark.HOLDS)
    for uri in signed:
        yield broken(
            f"reference {uri}",
            InvalidReceipt("the message signed it, and it is left out", reason="rcp.missing"),
        )


def _show_error(error: ErrorEntry) -> Node:
    known = error.known
    name = known.short_description if known else error.short_description or "not in the table"
    said = (
        ("about", error.ref_to_message_in_error),
        ("says", error.description or error.short_description),
    )
    return Node(
        error.code,
        f"{name}, severity {error.severity}",
        Mark.NOTED,
        tuple(Node(what, text) for what, text in said if text),
    )
