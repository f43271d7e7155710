"""HTTP: connections that wait, headers with two readings, requests out of place, and TLS that is not spoken."""

from typing import Final

from tests.hostile.cases import Case

SYNTAX: Final = ("G1", "http.syntax", "HTTP 400")
SLOW: Final = ("G1", "http.slow", "HTTP 408")
STALLED: Final = ("G1", "http.stalled", "HTTP 408")

CASES: Final = (
    Case("HTP-01", "A connection on which nothing is said", expected="closed without a word; nothing was asked, so nothing is recorded"),
    Case("HTP-02", "A header that stops in the middle", *SLOW),
    Case("HTP-03", "A header that drips", *SLOW),
    Case("HTP-04", "A body that never begins", *STALLED),
    Case("HTP-05", "A body that drips, of a stranger and of a known sender", *STALLED),
    Case("HTP-06", "A body that stops in the middle", *STALLED),
    Case("HTP-07", "The second request of a connection drips", *SLOW),
    Case("HTP-08", "A length beyond the limit", "G1", "http.size", "HTTP 413"),
    Case("HTP-09", "More than the limit, in chunks", "G1", "http.size", "HTTP 413"),
    Case(
        "HTP-10",
        "Length and chunks, two lengths, folding, bare LF, NUL, 200 headers, a header of 9 KB",
        *SYNTAX,
    ),
    Case(
        "HTP-11",
        "Five thousand requests in one breath",
        *("G1", "http.media-type", "HTTP 415"),
        expected="the first refusal ends the connection; good requests have a number that it ends after",
    ),
    Case("HTP-12", "A compressed request", "G1", "http.encoding", "HTTP 415"),
    Case(
        "HTP-13",
        "Another media type, SOAP 1.1, an action beside the message",
        *("G1", "http.media-type", "HTTP 415"),
        expected="SOAP 1.1 inside the right type is refused at G4 as soap.version; an action that nobody signed is not read",
    ),
    Case(
        "HTP-14",
        "Another method, another path, no Host or two",
        *("G1", "http.path", "HTTP 404"),
        expected="http.method with 405, http.syntax with 400; which name the Host is decides nothing",
    ),
    Case(
        "HTP-15",
        "Expect: 100-continue on a request that is refused",
        *("G1", "http.encoding", "HTTP 415"),
        expected="no 100 Continue before the refusal; another expectation is refused as http.expect with 417",
    ),
    Case(
        "HTP-16",
        "HTTP/1.0, HTTP/2 and other versions",
        *("G1", "http.version", "HTTP 505"),
        expected="1.0 is answered and closed, since old balancers speak it; the preface of HTTP/2 is http.syntax",
    ),
    Case(
        "HTP-17",
        "TLS 1.0 and 1.1, weak suites, renegotiation, no client certificate or a stranger's",
        expected="ends in the handshake: there was no request, so nothing is recorded",
    ),
    Case(
        "HTP-18",
        "Thousands of connections at once, dripping",
        expected="those that are too many are closed at G0 before a byte is read, told once a second; the others have their "
        "deadlines, and valid messages flow meanwhile (`python -m tests.hostile.dripping` measures)",
    ),
)  # fmt: skip
