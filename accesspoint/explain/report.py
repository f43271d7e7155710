"""An inspection as it is told: the verdict in sentences, every broken rule once, and the tree, cleaned of what is personal.

Spec: experience section 7 (anatomy of an error); decision D3.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accesspoint.delivery.auditevent import check_audit_event
from accesspoint.explain.rules import CATALOGUE, Rule, answer_to, rule_of
from accesspoint.log import scrub
from accesspoint.problems import Whose, find_problem
from envelope.errors import RemoteProtocolError
from envelope.explain import Inspection, Mark, Means, Node, Role, Verdict, inspect
from envelope.quirks import NOTES

_MOST_AUDIT_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 64 * 1024
_BARE_DELIMITER: Final = re.compile(rb"(?:\A|\n)--[^\r\n]{1,70}\n")
_CLARK: Final = re.compile(r"'?\{[^{}]*\}([\w.-]+)'?")


@dataclass(frozen=True, slots=True)
class Broken:
    """One broken rule: the gate and slug that found it, where, and what follows.

    `follows` names the line of `answer`, since nobody answers a receipt; `hint` is what most likely happened to the
    message on its way, which then is nobody's but the way's.
    """

    gate: str
    reason: str
    detail: str
    where: str
    follows: str
    answer: str
    rule: Rule
    hint: str = ""
    cut: bool = False

    @property
    def whose(self) -> str:
        """Who can do something about it, in words."""
        if self.cut:
            return "not certain: the capture may be cut"
        if self.hint:
            return "something between, which changed it after it was signed"
        return str(self.rule.whose)

    @property
    def said(self) -> str:
        """What is broken, with what most likely happened."""
        return f"{self.detail}; {self.hint}" if self.hint else self.detail

    @property
    def ask(self) -> str:
        """The sentence to write to the partner."""
        return f"{self.rule.ask} What we see: {self.hint}." if self.hint else self.rule.ask


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the tree as it is shown; `content` is a payload, there only when it was asked for."""

    label: str
    value: str
    mark: Mark
    children: tuple["Branch", ...]
    content: str | None = field(default=None, repr=False)

    def count(self, mark: Mark) -> int:
        """How many nodes from here on down have this mark."""
        return (self.mark is mark) + sum(child.count(mark) for child in self.children)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is said about one capture.

    `lines` is the verdict, `broken` what the gates would refuse it for, `others` further broken rules in the
    tree, which a gate did not come to. `foreign` names bytes of which nothing could be judged, such as an image.
    """

    name: str
    headline: str
    lines: tuple[tuple[str, str], ...]
    broken: Broken | None
    others: tuple[Broken, ...]
    tree: Branch
    foreign: str | None = None

    @property
    def holds(self) -> bool:
        """Whether there was something to judge, and nothing broken was found."""
        return self.mark is Mark.HOLDS

    @property
    def mark(self) -> Mark:
        """What the whole comes to."""
        if self.broken is not None or self.tree.count(Mark.BROKEN):
            return Mark.BROKEN
        return Mark.HOLDS if self.foreign is None else Mark.UNSEEN


def build_report(
    data: bytes,
    means: Means,
    *,
    name: str,
    content_type: str | None = None,
    show_payload: bool = False,
) -> Report:
    """Explain captured bytes; `name` is what the capture is called in the report."""
    means = replace(means, keep_payload=show_payload)
    inspection = _audit_event(data) or inspect(data, means, content_type=content_type)
    found = tuple(_find_broken(inspection.root, (), inspection.role))
    verdict = inspection.verdict
    first = None
    if verdict is not None and verdict.strict.refusal is not None:
        refusal = verdict.strict.refusal
        same = [each for each in found if each.reason == refusal.reason]
        hint = same[0].hint if same and all(each.hint for each in same) else ""
        first = _broken(refusal, same[0].where if same else "", inspection.role, hint)
        if refusal.reason.startswith("mime.") and _BARE_DELIMITER.search(data, 0, _HEAD_BYTES):
            first = replace(first, detail=f"{first.detail}; lines end in LF alone, CRLF is needed")
        if verdict.lenient.refusal is None and verdict.profile != verdict.usual:
            ask = f"Please agree with us on {verdict.profile}: under it your message is sound."
            first = replace(first, rule=replace(first.rule, whose=Whose.UNKNOWN, ask=ask))
    others = _unique(each for each in found if first is None or each.reason != first.reason)
    if first is None and others:
        # The gates stopped for want of something; what the tree shows broken is what they would have come to.
        first, *rest = others
        others = tuple(rest)
    if first is not None and _may_be_cut(data, first.reason):
        first = replace(first, cut=True)
    tree = _branch(inspection.root)
    untrusted = tuple(_untrusted(inspection.root))
    return Report(
        name=scrub(name),
        headline=_headline(inspection, first, tree, untrusted=bool(untrusted)),
        lines=(*_tell(verdict, first), *untrusted),
        broken=first,
        others=others,
        tree=tree,
        foreign=inspection.foreign,
    )


def _audit_event(data: bytes) -> Inspection | None:
    """A delivery event, which is a FHIR resource of its own and no message."""
    if len(data) > _MOST_AUDIT_BYTES or not data.lstrip().startswith(b"{"):
        return None
    try:
        resource = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if resource.get("resourceType") != "AuditEvent":
        return None
    violations = check_audit_event(resource)
    children = tuple(
        Node(violation.path, violation.rule, Mark.BROKEN) for violation in violations
    ) or (Node("profile", "no rule of the delivery event profile is broken", Mark.HOLDS),)
    return Inspection(Node("AuditEvent", f"{len(data)} octets", children=children), None)


def _may_be_cut(data: bytes, reason: str) -> bool:
    """Whether the end is missing so that a tool which captured too little explains it as well as a sender."""
    return reason == "mime.truncated" or (
        reason == "xml.syntax" and not data.rstrip().endswith((b">", b"--"))
    )


def _find_broken(node: Node, path: tuple[str, ...], role: Role) -> Iterator[Broken]:
    here = (*path, node.label)
    if node.refusal is not None:
        yield _broken(node.refusal, " / ".join(here[1:]), role, node.hint)
    for child in node.children:
        yield from _find_broken(child, here, role)


def _broken(refusal: RemoteProtocolError, where: str, role: Role, hint: str) -> Broken:
    follows, answer = answer_to(refusal, role)
    return Broken(
        gate=str(refusal.gate),
        reason=refusal.reason,
        detail=_CLARK.sub(r"\1", scrub(refusal.detail)),
        where=scrub(where),
        follows=follows,
        answer=answer,
        rule=rule_of(refusal),
        hint=hint,
    )


def _unique(found: Iterator[Broken]) -> tuple[Broken, ...]:
    seen: dict[tuple[str, str], Broken] = {}
    for each in found:
        seen.setdefault((each.gate, each.reason), each)
    return tuple(seen.values())


def _headline(
    inspection: Inspection, first: Broken | None, tree: Branch, *, untrusted: bool
) -> str:
    verdict = inspection.verdict
    if first is not None:
        refused = verdict is not None and verdict.strict.refusal is not None
        return f"refused at gate {first.gate}: {first.said}" if refused else f"broken: {first.said}"
    if tree.count(Mark.BROKEN):
        return "rules of its content are broken"
    if inspection.foreign is not None:
        return f"not a message: {scrub(inspection.foreign)}"
    if untrusted:
        return "nothing broken, as far as could be looked: trust was not"
    if verdict is not None and verdict.strict.unseen:
        return "nothing broken, as far as could be looked"
    return "nothing broken"


def _tell(verdict: Verdict | None, first: Broken | None) -> Iterator[tuple[str, str]]:
    if first is not None:
        entry = CATALOGUE.get(first.reason)
        named = f"{first.reason} ({find_problem(entry).title.lower()})" if entry else first.reason
        yield "problem", f"{named}{f', at {first.where}' if first.where else ''}"
        yield "whose", first.whose
        yield "rule", first.rule.section
        yield first.follows, first.answer
        yield "write to the partner", first.ask
    if verdict is None:
        return
    if verdict.lenient is not verdict.strict:
        quirks = ", ".join(verdict.quirks)
        under = f"the quirk {quirks}" if len(verdict.quirks) == 1 else f"the quirks {quirks}"
        profile = f"under {verdict.profile}"
        how = f"{profile} and {under}" if verdict.quirks else profile
        end = verdict.lenient.refusal
        so_far = "passes" if end is None else f"comes as far as {end.gate} ({end.reason})"
        yield "otherwise", f"{so_far} {how}"
        yield "gates passed so", " ".join(verdict.lenient.passed) or "none"
        for quirk in verdict.quirks:
            yield f"quirk {quirk}", f"permits {NOTES[quirk].permits}"
    strict = verdict.strict
    stopped = None if strict.refusal is None else strict.refusal.gate
    yield "gates passed", " ".join(gate for gate in strict.passed if gate != stopped) or "none"
    if verdict.lenient.unseen:
        yield "not looked further", scrub(verdict.lenient.unseen)


def _untrusted(root: Node) -> Iterator[tuple[str, str]]:
    """Say that a certificate was taken as it came: its path is what makes a signature worth something."""
    unseen = next((n for n in root.walk() if n.label == "chain" and n.mark is Mark.UNSEEN), None)
    if unseen is not None:
        yield "trust", unseen.value


def _branch(node: Node) -> Branch:
    content = None if node.octets is None else node.octets.decode("utf-8", "replace")
    return Branch(
        scrub(node.label),
        scrub(node.value),
        node.mark,
        tuple(map(_branch, node.children)),
        content,
    )


def to_json(report: Report) -> dict[str, Any]:
    """The report as one JSON object."""

    def rule(each: Broken) -> dict[str, Any]:
        return {
            "gate": each.gate,
            "problem": each.reason,
            "detail": each.detail,
            "where": each.where,
            "whose": each.whose,
            "section": each.rule.section,
            "answer": each.answer,
            "ask": each.ask,
        }

    def branch(each: Branch) -> dict[str, Any]:
        shown: dict[str, Any] = {"label": each.label, "value": each.value, "mark": str(each.mark)}
        if each.children:
            shown["children"] = [branch(child) for child in each.children]
        if each.content is not None:
            shown["content"] = each.content
        return shown

    return {
        "name": report.name,
        "headline": report.headline,
        "verdict": dict(report.lines),
        "refused": None if report.broken is None else rule(report.broken),
        "others": [rule(each) for each in report.others],
        "tree": branch(report.tree),
    }
