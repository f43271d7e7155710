"""Logs and personal data: what strangers send must not forge, flood or leak into what we write down."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case("LOG-01", "line breaks, escape codes and JSON in every field that a peer fills",
         expected="one event is one line that parses, and says what it would have said"),
    Case("LOG-02", "ten thousand bad requests in a second",
         expected="a few lines, then one that says how many more; each refusal is still recorded"),
    Case("LOG-03", "a patient number, with and without hyphen, in envelope, payload, properties, file name, query, certificate and error",
         expected="it stands in no log at debug, error text, metric, address, temporary file or core dump"),
    Case("LOG-04", "the loggers of libraries forced to debug",
         expected="what they write carries no text of theirs, and a logger that logs plaintext stays silent"),
    Case("LOG-05", "a private key or a token in what is logged", expected="it is cut out"),
    Case("LOG-06", "a request with a query", expected="no line holds the query"),
    Case("LOG-07", "a line of the audit log is taken out, changed or cut off",
         expected="the tables refuse it, and where they are made to take it the chain says which line"),
    Case("LOG-08", "somebody sees a payload and leaves no trace of who, what, whom and why",
         expected="a line says all five, a person by keyed digest, and is over after six months"),
)  # fmt: skip
