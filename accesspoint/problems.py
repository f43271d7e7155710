"""The catalogue of problems: everything that can go wrong in an exchange, told in the same five parts.

What happened (with the values), where, whose it is (ours, theirs, the network's, or unknown), why most
likely, and what to do (a command). One entry serves the command line, the API, the timeline and the
log, so that a slug in one of them can be looked up in all of them. The facts of an entry are here; its
words are in one table for each language (`problem_texts`, `rotation_texts`), and a text names its values in braces.

Facts are scrubbed like log values before they are put into a text: a text never carries a patient.

Spec: experience section 7 (anatomy) and section 3 (exit statuses).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import PurePath
from string import Formatter
from types import MappingProxyType
from typing import Final

from accesspoint.log import scrub
from accesspoint.problem_form import FALLBACKS, ProblemText
from accesspoint.problem_texts import BY_HAND, ENGLISH, TRIED_AGAIN
from accesspoint.rotation_texts import ROTATION


class Whose(StrEnum):
    """Who can do something about it."""

    OURS = "ours"
    THEIRS = "theirs"
    NETWORK = "network"
    BOTH = "agreement"
    UNKNOWN = "unknown"


class ExitStatus(IntEnum):
    """What the command ends with; scripts rely on the numbers."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    REFUSED = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    TRUST = 7
    NOT_READY = 8
    CONFORMANCE = 9
    STORAGE = 70
    INTERRUPTED = 130


class Layer(StrEnum):
    """Where in the exchange a problem belongs."""

    SETUP = "setup"
    SUBMISSION = "submission"
    LOOKUP = "look-up"
    TRANSPORT = "transport"
    ANSWER = "answer"
    SECURITY = "message security"
    CONTENT = "message content"
    STORE = "store"
    DELIVERY_STATUS = "delivery status"
    ACKNOWLEDGEMENT = "acknowledgement"
    BACKEND = "backend"


class Language(StrEnum):
    """Languages there are texts for."""

    ENGLISH = "en"


TEXTS: Final[Mapping[Language, Mapping[str, ProblemText]]] = MappingProxyType(
    {Language.ENGLISH: {**ENGLISH, **ROTATION}}
)

WIDTH: Final = 100
_REFUSED: Final = "peer-refused"
_REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {"EBMS:0101": "peer-refused-signature", "EBMS:0102": "peer-refused-decryption"}
)
_CODE: Final = re.compile(r"(?P<code>EBMS:\d{4}(?: [A-Za-z ]+)?)(?P<unsigned> \(unsigned\))?")


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry: what a program needs to know of it."""

    slug: str
    who: Whose
    layer: Layer
    exit_status: ExitStatus
    http_status: int = 500
    ebms: str | None = None

    def text(self, language: Language = Language.ENGLISH) -> ProblemText:
        """Return the words of this entry."""
        return TEXTS[language][self.slug]

    @property
    def title(self) -> str:
        """The short English title."""
        return self.text().title

    def what(self, *, language: Language = Language.ENGLISH, **facts: object) -> str:
        """Return one sentence with the values: what happened."""
        template = self.text(language).what
        sentence = fill(template, {"code": self.ebms, **facts})
        _, first, _, _ = next(iter(Formatter().parse(template)))
        begins_with_words = template.startswith("{") and not facts.get(first or "")
        # A value keeps its spelling: host names and identifiers begin as they do.
        return sentence[:1].upper() + sentence[1:] if begins_with_words else sentence

    def do(self, *, language: Language = Language.ENGLISH, **facts: object) -> tuple[str, ...]:
        """Return the commands or steps that help; the fact `given_up` says that nothing is tried any more.

        With the fact `uncertain` nothing is tried any more either, but the message may have arrived; with
        `by_hand` there is no message, only a person's question.
        """
        text, again = self.text(language), TRIED_AGAIN
        if facts.get("by_hand"):
            again = BY_HAND
        elif facts.get("uncertain"):
            again = text.uncertain
        elif facts.get("given_up"):
            again = text.given_up
        steps = (again if step == TRIED_AGAIN else step for step in text.do)
        return tuple(fill(step, facts) for step in steps)

    def render(self, *, language: Language = Language.ENGLISH, **facts: object) -> str:
        """Return the whole text for a person, in the five parts.

        Facts that the text names and that are not given are replaced by plain words. `where` (a field, a
        file and line), `detail` (one more sentence) and `id` (of this occurrence) are shown when given.
        """
        code = _scrubbed(facts.get("code") or self.ebms or "").partition(" ")[0]
        head = f"{code} · {self.slug}" if code else self.slug
        lines = [f"{head}{self.who.value.rjust(max(2 + len(self.who), WIDTH - len(head)))}"]
        lines.append(f"  {self.what(language=language, **facts)}")
        where = facts.get("where")
        lines.append(f"  where: {self.layer}{f', {_scrubbed(where)}' if where else ''}")
        lines.append(f"  why: {fill(self.text(language).why, facts)}")
        if facts.get("detail"):
            lines.append(f"  detail: {_scrubbed(facts['detail'])}")
        lines += [f"  do: {step}" for step in self.do(language=language, **facts)]
        if facts.get("id"):
            lines.append(f"  id {_scrubbed(facts['id'])}")
        return "\n".join(lines)

    def to_json(
        self, *, language: Language = Language.ENGLISH, **facts: object
    ) -> dict[str, object]:
        """Return the RFC 9457 form for the API."""
        body: dict[str, object] = {
            "type": f"/docs/problems/{self.slug}",
            "title": self.text(language).title,
            "status": self.http_status,
            "whose": self.who.value,
            "detail": self.what(language=language, **facts),
            "remedy": list(self.do(language=language, **facts)),
        }
        code = facts.get("code") or self.ebms
        if code:
            body["code"] = _scrubbed(code)
        if facts.get("id"):
            body["id"] = _scrubbed(facts["id"])
        return body


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A problem that a journal tells of: its entry, with what the detail beside it says.

    `given_up` says that nothing is tried by itself any more, `uncertain` that it may have arrived nevertheless.
    """

    problem: Problem
    detail: str = ""
    code: str | None = None
    given_up: bool = False
    uncertain: bool = False

    @classmethod
    def of(
        cls, slug: str, detail: str = "", *, given_up: bool = False, uncertain: bool = False
    ) -> "Occurrence":
        """Find the entry that fits; the ebMS code in the detail of a refusal decides which that is."""
        entry = find_problem(refine(slug, detail))
        said = _CODE.fullmatch(detail) if slug == _REFUSED else None
        if said is None:
            return cls(entry, detail, given_up=given_up, uncertain=uncertain)
        unsigned = " (the answer is unsigned)" if said["unsigned"] else ""
        return cls(entry, code=f"{said['code']}{unsigned}", given_up=given_up, uncertain=uncertain)

    @property
    def exit_status(self) -> ExitStatus:
        """What a command that meets this ends with."""
        return self.problem.exit_status

    def render(self, *, language: Language = Language.ENGLISH) -> str:
        """Return the whole text for a person."""
        return self.problem.render(
            language=language,
            given_up=self.given_up,
            uncertain=self.uncertain,
            detail=self.detail or None,
            code=self.code,
        )


def refine(slug: str, detail: str) -> str:
    """Return the slug of a refusal that its ebMS code narrows down; any other slug as it is."""
    said = _CODE.fullmatch(detail) if slug == _REFUSED else None
    return slug if said is None else _REFUSALS.get(said["code"].partition(" ")[0], slug)


class ProblemRaised(Exception):
    """A problem on its way to the command line or the API, with its facts."""

    def __init__(self, slug: str, **facts: object) -> None:
        self.problem = find_problem(slug)
        self.facts = facts
        super().__init__(self.problem.slug)

    @property
    def exit_status(self) -> ExitStatus:
        """What the command should end with."""
        return self.problem.exit_status

    def render(self, *, language: Language = Language.ENGLISH) -> str:
        """Return the whole text for a person."""
        return self.problem.render(language=language, **self.facts)


_CERTIFICATES: Final = {
    "cert.revoked": "certificate-revoked",
    "cert.time": "certificate-expired",
    "cert.revocation-unknown": "revocation-unknown",
    **dict.fromkeys(
        ("cert.usage", "cert.policy", "cert.path", "cert.extension", "cert.key", "cert.parse"),
        "certificate-unsuitable",
    ),
}


def certificate_problem(reason: str) -> str:
    """The slug of what the certificate rules refused a partner's certificate for; `reason` is that of the refusal."""
    return _CERTIFICATES.get(reason, "certificate-untrusted")


def find_problem(slug: str) -> Problem:
    """Return the entry of a slug; a slug that is not in the catalogue is an internal error."""
    return PROBLEMS.get(slug) or PROBLEMS["internal"]


def fill(template: str, facts: Mapping[str, object]) -> str:
    """Put scrubbed facts into a text; a missing one becomes plain words, never an error."""
    return "".join(
        literal + ("" if name is None else _fact(name, facts))
        for literal, name, _, _ in Formatter().parse(template)
    )


def named(template: str) -> frozenset[str]:
    """Return the names of the facts that a text uses."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def _fact(name: str, facts: Mapping[str, object]) -> str:
    value = facts.get(name)
    return FALLBACKS.get(name, "") if value is None or value == "" else _scrubbed(value)


def _scrubbed(value: object) -> str:
    return (
        scrub(str(value))
        if isinstance(value, (str, int, float, PurePath))
        else type(value).__name__
    )


def _table(problems: Iterable[Problem]) -> Mapping[str, Problem]:
    return MappingProxyType({problem.slug: problem for problem in problems})


_O, _T, _N, _U = Whose.OURS, Whose.THEIRS, Whose.NETWORK, Whose.UNKNOWN
_X, _L = ExitStatus, Layer

PROBLEMS: Final[Mapping[str, Problem]] = _table(
    (
        # setup
        Problem("configuration", _O, _L.SETUP, _X.CONFIGURATION),
        Problem("port-taken", _O, _L.SETUP, _X.CONFIGURATION),
        Problem("failpoints-armed", _O, _L.SETUP, _X.CONFIGURATION),
        Problem("certificate-import", _O, _L.SETUP, _X.TRUST),
        Problem("certificate-of-another-key", _O, _L.SETUP, _X.TRUST),
        Problem("answer-without-request", _O, _L.SETUP, _X.TRUST),
        Problem("request-waits-already", _O, _L.SETUP, _X.TRUST),
        Problem("next-pair-waits-already", _O, _L.SETUP, _X.TRUST),
        Problem("rotation-without-next", _O, _L.SETUP, _X.TRUST),
        Problem("rotation-without-previous", _O, _L.SETUP, _X.TRUST),
        Problem("rotation-unfinished", _O, _L.SETUP, _X.TRUST),
        Problem("rotation-finished-too-early", _O, _L.SETUP, _X.TRUST),
        Problem("certificate-unreadable", _O, _L.SETUP, _X.USAGE),
        Problem("certificate-unreadable-key", _O, _L.SETUP, _X.USAGE),
        Problem("certificate-unreadable-request", _O, _L.SETUP, _X.USAGE),
        Problem("certificate-unreadable-passphrase", _O, _L.SETUP, _X.USAGE),
        Problem("request-unreadable", _O, _L.SETUP, _X.USAGE),
        Problem("keys-unusable", _O, _L.SETUP, _X.TRUST),
        Problem("file-unreadable", _O, _L.SETUP, _X.USAGE),
        Problem("not-ready", _O, _L.SETUP, _X.NOT_READY, 503),
        Problem("usage", _O, _L.SETUP, _X.USAGE, 400),
        Problem("interrupted", _O, _L.SETUP, _X.INTERRUPTED),
        Problem("internal", _O, _L.SETUP, _X.FAILED),
        # submission
        Problem("message-invalid", _O, _L.SUBMISSION, _X.FAILED, 422),
        Problem("message-not-judged", _O, _L.SUBMISSION, _X.FAILED, 422),
        Problem("message-not-recognised", _O, _L.SUBMISSION, _X.FAILED, 422),
        Problem("message-not-in-ehmi", _O, _L.SUBMISSION, _X.FAILED, 422),
        Problem("message-too-large", _O, _L.SUBMISSION, _X.FAILED, 413),
        Problem("message-already-submitted", _O, _L.SUBMISSION, _X.FAILED, 409),
        Problem("idempotency-key-reused", _O, _L.SUBMISSION, _X.FAILED, 422),
        Problem("message-unknown", _O, _L.SUBMISSION, _X.FAILED, 404),
        Problem("sender-not-served", _O, _L.SUBMISSION, _X.FAILED, 422),
        Problem("receiver-unknown", _O, _L.SUBMISSION, _X.FAILED, 422),
        # look-up
        Problem("lookup-no-participant", _T, _L.LOOKUP, _X.FAILED, 422),
        Problem("lookup-no-endpoint", _T, _L.LOOKUP, _X.FAILED, 422),
        Problem("pmode-missing", _O, _L.LOOKUP, _X.CONFIGURATION),
        Problem("lookup-unreachable", _N, _L.LOOKUP, _X.UNREACHABLE, 503),
        Problem("lookup-forbidden-network", _U, _L.LOOKUP, _X.FAILED, 502),
        Problem("smp-signature", _T, _L.LOOKUP, _X.TRUST, 502),
        Problem("smp-refused", _T, _L.LOOKUP, _X.FAILED, 502),
        Problem("generation-not-agreed", _U, _L.LOOKUP, _X.FAILED, 502),
        # addressing
        Problem("addressing-not-found", _T, _L.LOOKUP, _X.FAILED, 422),
        Problem("addressing-refused", _U, _L.LOOKUP, _X.REFUSED, 502),
        Problem("addressing-unreachable", _N, _L.LOOKUP, _X.UNREACHABLE, 503),
        # transport
        Problem("peer-unreachable", _N, _L.TRANSPORT, _X.UNREACHABLE, 503),
        Problem("peer-timeout", _N, _L.TRANSPORT, _X.TIMED_OUT, 504),
        Problem("peer-tls", _U, _L.TRANSPORT, _X.TRUST, 502),
        # what the peer answered
        Problem("peer-unavailable", _T, _L.ANSWER, _X.UNREACHABLE, 503),
        Problem("peer-answer", _T, _L.ANSWER, _X.FAILED, 502),
        Problem("peer-refused", _U, _L.ANSWER, _X.REFUSED, 502),
        Problem("peer-refused-decryption", _T, _L.ANSWER, _X.REFUSED, 502, "EBMS:0102"),
        Problem("peer-refused-signature", _O, _L.ANSWER, _X.REFUSED, 502, "EBMS:0101"),
        Problem("receipt-invalid", _T, _L.ANSWER, _X.TRUST, 502, "EBMS:0302"),
        Problem("receipt-signer", _T, _L.ANSWER, _X.TRUST, 502, "EBMS:0302"),
        Problem("receipt-digest", _T, _L.ANSWER, _X.TRUST, 502, "EBMS:0302"),
        Problem("receipt-missing", _U, _L.ANSWER, _X.TIMED_OUT, 504, "EBMS:0301"),
        # message security
        Problem("certificate-untrusted", _O, _L.SECURITY, _X.TRUST, 502, "EBMS:0101"),
        Problem("certificate-unsuitable", _T, _L.SECURITY, _X.TRUST, 502, "EBMS:0101"),
        Problem("certificate-expired", _T, _L.SECURITY, _X.TRUST, 502, "EBMS:0101"),
        Problem("certificate-revoked", _T, _L.SECURITY, _X.TRUST, 502, "EBMS:0101"),
        Problem("certificate-other-party", _T, _L.SECURITY, _X.TRUST, 502, "EBMS:0101"),
        Problem("revocation-unknown", _N, _L.SECURITY, _X.TRUST, 503, "EBMS:0101"),
        Problem("key-unavailable", _O, _L.SECURITY, _X.TRUST, 503),
        Problem("decryption-failed", _U, _L.SECURITY, _X.TRUST, 502, "EBMS:0102"),
        Problem("payload-changed", _T, _L.SECURITY, _X.TRUST, 502, "EBMS:0101"),
        # message content, as received
        Problem("duplicate-content", _T, _L.CONTENT, _X.REFUSED, 409),
        Problem("duplicate-envelope", _T, _L.CONTENT, _X.REFUSED, 409),
        # store
        Problem("storage-failed", _O, _L.STORE, _X.STORAGE, 503, "EBMS:0202"),
        Problem("storage-full", _O, _L.STORE, _X.STORAGE, 507, "EBMS:0202"),
        Problem("payload-damaged", _O, _L.STORE, _X.STORAGE, 500, "EBMS:0202"),
        Problem("storage-refused", _O, _L.STORE, _X.CONFIGURATION, 503),
        Problem("backup-place-used", _O, _L.STORE, _X.CONFIGURATION),
        Problem("backup-elsewhere", _O, _L.STORE, _X.CONFIGURATION),
        Problem("storage-in-use", _O, _L.STORE, _X.CONFIGURATION, 503),
        # delivery status
        Problem("token-refused", _O, _L.DELIVERY_STATUS, _X.TRUST, 502),
        Problem("token-unreachable", _N, _L.DELIVERY_STATUS, _X.UNREACHABLE, 503),
        Problem("status-refused", _O, _L.DELIVERY_STATUS, _X.REFUSED, 502),
        Problem("status-unreachable", _N, _L.DELIVERY_STATUS, _X.UNREACHABLE, 503),
        Problem("event-missing", _U, _L.DELIVERY_STATUS, _X.FAILED),
        Problem("event-failed", _U, _L.DELIVERY_STATUS, _X.FAILED),
        # acknowledgements
        Problem("acknowledgement-missing", _T, _L.ACKNOWLEDGEMENT, _X.TIMED_OUT, 504),
        Problem("acknowledgement-negative", _T, _L.ACKNOWLEDGEMENT, _X.REFUSED, 502),
        Problem("acknowledgement-unexpected", _T, _L.ACKNOWLEDGEMENT, _X.FAILED, 409),
        Problem("fhir-acknowledgement-missing", _T, _L.ACKNOWLEDGEMENT, _X.TIMED_OUT, 504),
        Problem("fhir-acknowledgement-negative", _T, _L.ACKNOWLEDGEMENT, _X.REFUSED, 502),
        Problem("fhir-acknowledgement-unexpected", _T, _L.ACKNOWLEDGEMENT, _X.FAILED, 409),
        Problem("sharing-missing", _T, _L.ACKNOWLEDGEMENT, _X.TIMED_OUT, 504),
        Problem("sharing-not-built", _O, _L.ACKNOWLEDGEMENT, _X.FAILED, 500),
        # backend
        Problem("backend-not-accepting", _O, _L.BACKEND, _X.FAILED, 503),
        Problem("delivery-unknown", _O, _L.BACKEND, _X.FAILED, 404),
        Problem("delivery-not-leased", _O, _L.BACKEND, _X.FAILED, 409),
        Problem("delivery-confirmed", _O, _L.BACKEND, _X.FAILED, 410),
        Problem("lease-lost", _O, _L.BACKEND, _X.FAILED, 409),
        Problem("nothing-to-pull", _O, _L.BACKEND, _X.CONFIGURATION, 404),
        Problem("backend-refused", _O, _L.BACKEND, _X.REFUSED, 502),
        Problem("delivery-failed", _T, _L.BACKEND, _X.FAILED, 503),
    )
)
