"""ADM: attacks on the interface of a node, on its pages, and on the people who use them.

These requests never reach the gates of receiving. What is asserted is the answer, that nothing was done, and where
somebody acted, that it is in the audit log.
"""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case(
        "ADM-01",
        "ask any route of the interface, the status component or the pages without an identity, or with a token that"
        " does not hold",
        code="HTTP 401",
        expected="every route of every application answers 401, pages lead to the sign-in; nothing is told or done",
    ),
    Case(
        "ADM-02",
        "ask a route with an identity that has every scope, or every role, but the one that the route wants",
        code="HTTP 403",
        expected="403 on each route, and the scope alone opens it",
    ),
    Case(
        "ADM-03",
        "let a foreign page send each form that changes something: other Origin, none, or no token of the session",
        code="HTTP 403",
        expected="refused on each such route, nothing changed; the session cookie is SameSite",
    ),
    Case(
        "ADM-04",
        "plant a session before somebody signs in, or use one after its end",
        expected="the session gets a new secret at sign-in, ends when idle, after its longest time, and at sign-out",
    ),
    Case(
        "ADM-05",
        "guess at the sign-in",
        code="HTTP 429",
        expected="five wrong tries close the sign-in for a while, for the right answer too",
    ),
    Case(
        "ADM-06",
        "sign in with one factor to pages that are reachable from elsewhere",
        code="HTTP 403",
        expected="the issuer is asked for the wanted level, a sign-in below it opens no session, and pages for"
        " elsewhere do not start without such a level configured",
    ),
    Case(
        "ADM-07",
        "put a page into a frame, run a script in it, or reach it without TLS",
        expected="every answer forbids frames and scripts, and over TLS every later visit without TLS",
    ),
    Case(
        "ADM-08",
        "use an identifier of another organisation's message",
        code="HTTP 404",
        expected="answered exactly as an identifier that nobody has",
    ),
    Case(
        "ADM-09",
        "look at a payload, or search for a patient, unseen",
        code="HTTP 403",
        expected="a payload wants a scope of its own; each view and each search is in the audit log with who, when,"
        " what and why, before anything is shown",
    ),
    Case(
        "ADM-10",
        "send again, release or withdraw a message without saying why",
        code="HTTP 400",
        expected="nothing is done without a reason; with one, act and audit row are one commit",
    ),
    Case(
        "ADM-11",
        "reach the interface from the network, or by the door of AS4",
        expected="it listens on this machine only, on a port of its own, and is refused any other address; what is open"
        " to the network takes submissions of named systems and nothing else",
    ),
    Case(
        "ADM-12",
        "try the passwords that products come with, or the code of an earlier start",
        code="HTTP 401",
        expected="there are none: the token is random and of each node alone, the code of the pages of each start alone",
    ),
)
