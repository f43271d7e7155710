"""The table of faults: what each finding means, whose it is, and what to do about it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from accesspoint.problems import Whose
from accesspoint.verification.report import Fault

_REPORT: Final = "keep the store as it is and report this with the ids; do not resend by hand yet"
_RESTORE: Final = "stop the node, keep this store aside, and restore the backup or the replica"
_ASK: Final = (
    "ask the partner, by MessageId, whether it has the message, before anything is sent again"
)
_OURS, _UNKNOWN, _THEIRS = Whose.OURS, Whose.UNKNOWN, Whose.THEIRS

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        # I1, I2, I6: messages and contents
        "submission-lost": Fault(
            "a document was accepted for sending and no envelope was made of it", _OURS, _REPORT
        ),
        "envelope-lost": Fault(
            "an envelope was made and never passed to the access point", _OURS, _REPORT
        ),
        "end-without-reason": Fault(
            "a message ended without delivery and no problem says why", _OURS, _REPORT
        ),
        "outcome-missing": Fault(
            "a message ended and its submitter is owed no word of it", _OURS, _REPORT
        ),
        "delivery-missing": Fault(
            "a received document is owed to the backend by nobody", _OURS, _REPORT
        ),
        "delivery-doubled": Fault(
            "a received document has several delivery ids, so the backend may take it twice",
            _OURS,
            "tell the backend's operator the delivery ids; then report this",
        ),
        "delivery-unknown": Fault(
            "something is owed to the backend that no received document explains", _OURS, _REPORT
        ),
        "delivered-nowhere": Fault(
            "a message counts as delivered and the next station has nothing of it", _OURS, _REPORT
        ),
        "content-differs": Fault(
            "what is delivered has another digest or size than what was submitted", _OURS, _RESTORE
        ),
        "confirmation-differs": Fault(
            "delivery and document disagree on whether the backend confirmed", _OURS, _REPORT
        ),
        "message-doubled": Fault(
            "one MessageId of one sender is stored more than once", _OURS, _REPORT
        ),
        "duplicate-key-missing": Fault(
            "a received message would not be recognised when it comes again", _OURS, _RESTORE
        ),
        "duplicate-key-differs": Fault(
            "a MessageId leads to another message than the one received under it", _OURS, _RESTORE
        ),
        "contents-accepted": Fault(
            "two contents were acknowledged positively as one message",
            _THEIRS,
            "ask the sending organisation which one is meant; then report this",
        ),
        # I3, I4, I5: signatures
        "signature-missing": Fault(
            "a received message has no record of its sender's signature", _OURS, _RESTORE
        ),
        "signature-invalid": Fault(
            "the record of a sender's signature does not verify", _OURS, _RESTORE
        ),
        "signature-signer": Fault(
            "the signer on record was not good when the message came", _OURS, _RESTORE
        ),
        "signature-digest": Fault(
            "the sender signed other digests than those stored", _OURS, _RESTORE
        ),
        "receipt-missing": Fault(
            "a message was acknowledged and its receipt is not stored", _OURS, _ASK
        ),
        "receipt-signature": Fault(
            "the stored receipt's signature does not verify", _UNKNOWN, _ASK
        ),
        "receipt-signer": Fault(
            "the stored receipt is not signed by a certificate of the expected holder in its time",
            _UNKNOWN,
            _ASK,
        ),
        "receipt-digest": Fault(
            "the stored receipt does not repeat the digests that we signed", _UNKNOWN, _ASK
        ),
        "receipt-invalid": Fault(
            "the stored receipt cannot be read as one for this message", _UNKNOWN, _ASK
        ),
        "signed-references-missing": Fault(
            "a receipt is stored and what we signed is not, so it proves nothing", _OURS, _RESTORE
        ),
        "own-receipt-missing": Fault(
            "a message was received and the receipt we sent is not stored", _OURS, _RESTORE
        ),
        "own-receipt-alone": Fault(
            "we signed a receipt for a message that is not stored", _OURS, _RESTORE
        ),
        "own-receipt-signature": Fault(
            "the signature of a receipt of ours does not verify", _OURS, _RESTORE
        ),
        "own-receipt-signer": Fault(
            "a stored receipt of ours was not signed by us with the key that is noted",
            _OURS,
            _RESTORE,
        ),
        "own-receipt-digest": Fault(
            "a receipt of ours is over other digests than those stored", _OURS, _RESTORE
        ),
        "own-receipt-invalid": Fault(
            "a stored receipt of ours cannot be read as one", _OURS, _RESTORE
        ),
        # I7: delivery events
        "event-missing": Fault(
            "a step was taken and its delivery event was never written", _OURS, _REPORT
        ),
        "event-doubled": Fault("one delivery event is stored twice", _OURS, _RESTORE),
        "event-order": Fault(
            "delivery events of a message stand in another order than its steps", _OURS, _REPORT
        ),
        "event-overtaken": Fault(
            "a delivery event was never tried although a later one of its message is sent",
            _OURS,
            _REPORT,
        ),
        # I8, I11, I14: states
        "lease-without-owner": Fault(
            "a message is in hand, and in nobody's", _OURS, "stop the node and report this"
        ),
        "lease-without-end": Fault(
            "somebody holds this and nothing ends it", _OURS, "restart the node that holds it"
        ),
        "lease-ran-out": Fault(
            "a lease ran out and no node took up what it held",
            _OURS,
            "see that a node runs and its workers do; a restart takes it up",
        ),
        "lease-too-long": Fault(
            "a lease ends later than any may: a clock was wrong",
            _OURS,
            "check the clocks of all nodes; a restart takes it up",
        ),
        "lease-after-stop": Fault(
            "every node has stopped in order and somebody still holds this",
            _OURS,
            "report this; the next start takes it up",
        ),
        "lease-left": Fault("somebody still holds what has ended", _OURS, _REPORT),
        "table-differs": Fault(
            "the database allows other steps than this program", _OURS, _RESTORE
        ),
        "history-breaks": Fault("the history takes a step that there is none of", _OURS, _RESTORE),
        "history-ends-elsewhere": Fault(
            "the history ends in another state than the message is in", _OURS, _RESTORE
        ),
        # I9, I12: files
        "payload-missing": Fault("a row refers to a payload that is gone", _OURS, _RESTORE),
        "payload-damaged": Fault("a payload is not what was written", _OURS, _RESTORE),
        "payload-differs": Fault(
            "a payload has another size or digest than its row says", _OURS, _RESTORE
        ),
        "payload-let-go": Fault("a payload that is still owed was let go of", _OURS, _RESTORE),
        "payload-orphaned": Fault(
            "a payload has no row, and the sweeper did not remove it",
            _OURS,
            "start the node and leave it running for an hour; then verify again",
        ),
        "temporary-file-personal": Fault(
            "a temporary file that nobody uses holds what looks like a patient number",
            _OURS,
            "start the node: it removes what dead processes left",
        ),
        "log-personal": Fault(
            "a log holds what looks like a patient number",
            _OURS,
            "restrict the file at once, then report which event wrote it",
        ),
        "journal-personal": Fault(
            "a stored note holds what looks like a patient number", _OURS, _REPORT
        ),
        # I10, I13: tables
        "row-damaged": Fault("a sealed value is not what was written there", _OURS, _RESTORE),
        "row-key-missing": Fault(
            "a value is sealed under a key that is not configured",
            _OURS,
            "put the key that is named into [store] previous_keys",
        ),
        "unreadable": Fault(
            "the store could not be read far enough to tell", _OURS, _RESTORE
        ),
        "database-damaged": Fault("the database finds its own files damaged", _OURS, _RESTORE),
        "reference-broken": Fault("a row refers to one that is not there", _OURS, _RESTORE),
        "journal-differs": Fault(
            "the journal tells of more or fewer steps than there are rows", _OURS, _REPORT
        ),
        # comparison of two stores
        "lost": Fault(
            "acknowledged by the receiver and not in its store", _THEIRS, _ASK
        ),
        "doubled": Fault("the receiver has one message more than once", _THEIRS, _REPORT),
        "changed": Fault("the receiver has other content than was sent", _UNKNOWN, _REPORT),
        "never-sent": Fault(
            "the receiver has a message that the sender does not know", _UNKNOWN, _REPORT
        ),
    }
)  # fmt: skip
