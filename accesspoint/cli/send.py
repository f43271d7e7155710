"""`accesspoint send`: submit a MedCom FHIR message to a running node and follow it to its end."""

import asyncio
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from accesspoint.api.client import ApiProblem, Json, NodeClient
from accesspoint.cli.current import address_of, find_config
from accesspoint.demo.timeline import Moment, Timeline
from accesspoint.problems import PROBLEMS, ExitStatus, Occurrence
from envelope import fhir
from envelope.ehmi import check_gln
from envelope.errors import SbdRefused

MOST_FINDINGS: Final = 20
_LIKE_GLN: Final = re.compile(r"[0-9:]{1,14}|0088:.*", re.ASCII)
"""What is meant as a GLN: a SOR id has 15 digits and more, and a name is not made of digits."""
_ENDS: Final = frozenset({"not-sent", "uncertain", "refused", "not-acknowledged"})
_ANSWERS: Final = {
    "receipt": "receipt",
    "acknowledged": "SBDH Ack",
    "fhir-acknowledged": "FHIR Ack",
}
"""The events that settle something, as the closing line calls them."""


def run(
    file: Path,
    *,
    to: str | None,
    config: Path | None,
    watch: bool,
    seconds: float,
    idempotency_key: str | None = None,
) -> int:
    """Send the file; the exit status."""
    if to is not None and _LIKE_GLN.fullmatch(to) and not _is_gln(to):
        sys.stderr.write(f"{to} is not a GLN (thirteen digits with a check digit)\n")
        return ExitStatus.USAGE
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        sys.stderr.write(f"{file}: {error.strerror}\n")
        return ExitStatus.USAGE
    return asyncio.run(
        _send(data, to=to, config=config, watch=watch, seconds=seconds, key=idempotency_key)
    )


async def _send(
    data: bytes,
    *,
    to: str | None,
    config: Path | None,
    watch: bool,
    seconds: float,
    key: str | None,
) -> int:
    node_config = find_config(config)
    async with NodeClient(address_of(node_config)) as node:
        start = await node.position()
        try:
            accepted = await node.submit(data, to=to, idempotency_key=key)
        except ApiProblem as problem:
            facts = {"participant": _named(to) if to else None, "file": str(node_config)}
            sys.stderr.write(describe_refusal(problem, data, facts))
            return ExitStatus.FAILED
        out = Timeline(sys.stdout)
        identifier = accepted["message_identifier"]
        if accepted.get("repeated"):
            start = 0
            out.say("  accepted before; this is what became of it")
        out.say(f"  {accepted['type']} {identifier}")
        out.say(f"  {accepted['bytes']} bytes   {accepted['from']} → {accepted['to']}")
        for note in accepted["notes"]:
            out.say(f"  note: {note}")
        for line in list_findings(accepted["warnings"]):
            out.say(f"  warning: {line}")
        if not watch:
            out.say(f"  accepted   follow it: accesspoint watch {identifier}")
            return ExitStatus.OK
        waiting: list[str] = []
        try:
            async with asyncio.timeout(seconds):
                return await _follow(node, accepted, out, after=start, waiting=waiting)
        except TimeoutError:
            # Nothing else was told of it since: it is what stands in the way still.
            why = f": {PROBLEMS[waiting[-1]].title} [{waiting[-1]}]" if waiting else ""
            sys.stderr.write(
                f"accepted and not lost, but not acknowledged after {seconds:g} s{why}\n"
                f"  do: accesspoint watch {identifier}\n"
            )
            return ExitStatus.TIMED_OUT


async def _follow(
    node: NodeClient, accepted: Json, out: Timeline, *, after: int, waiting: list[str]
) -> int:
    """Show what happens to the message until it is acknowledged as far as its kind can be, or has failed.

    `waiting` gets the problem for which the message is tried again, as long as it is.
    """
    identifier = accepted["message_identifier"]
    about = await node.about()
    last = "acknowledged" if accepted["type"] == "acknowledgement-message" else "fhir-acknowledged"
    began: datetime | None = None
    answers: list[str] = []
    async for entry in node.follow(after=after):
        if identifier not in (entry["message_identifier"], entry["subject"]):
            continue
        moment = Moment(about["label"], datetime.fromisoformat(entry["at"]), entry)
        out.show(moment)
        began = began or moment.at
        if moment.problem is None and entry["subject"] == identifier and entry["event"] in _ANSWERS:
            answers.append(_ANSWERS[entry["event"]])
        if entry["message_identifier"] == identifier and entry["station"] == "AP":
            slug = moment.problem
            waiting[:] = [slug] if slug is not None and slug in PROBLEMS else []
        acknowledged = entry["event"] == last and entry["subject"] == identifier
        ended = entry["event"] in _ENDS and entry["message_identifier"] == identifier
        if moment.problem is not None and (acknowledged or ended):
            return _tell(moment.problem, entry)
        if acknowledged:
            seconds = (moment.at - began).total_seconds()
            # A message's receipt and those of its answers: each kind is named once.
            out.say(f"  acknowledged in {seconds:.1f} s: {', '.join(dict.fromkeys(answers))}")
            return ExitStatus.OK
    raise AssertionError("a journal has no end")


def _tell(slug: str, entry: Json) -> int:
    """Name what stopped the message; the exit status of that problem."""
    detail = entry["detail"]
    why = detail.get("why", "") if isinstance(detail, dict) else detail
    event = entry["event"]
    met = Occurrence.of(
        slug, str(why), given_up=event == "not-sent", uncertain=event == "uncertain"
    )
    sys.stderr.write(f"\n{met.render()}\n")
    return met.exit_status


def describe_refusal(problem: ApiProblem, data: bytes, facts: dict[str, Any]) -> str:
    """A refusal in words: the rule, the places, that nothing was sent, and what to do.

    `facts` are what the texts of the catalogue name; `data` is the message, whose identifier they may name.
    """
    slug, findings = str(problem.body["title"]), problem.body.get("findings", [])
    known = PROBLEMS.get(slug)
    lines = [f"{slug}   (ours: the message is not sent)"]
    told = {**facts}
    if known is not None:
        with contextlib.suppress(fhir.MessageRefused):
            told["identifier"] = fhir.recognise(fhir.read_message(data)).message_id
    if slug == "receiver-unknown" and known is not None:
        lines.append(f"  {known.what(**told)}")
        if not str(told.get("participant")).startswith("GLN "):
            lines.append(
                "  do: accesspoint address find --help   finds organisations by SOR id, ydernummer or postal code"
            )
    elif len(findings) != 1:
        lines.append(f"  {problem.body['detail']}")
    lines += [f"  {line}" for line in list_findings(findings)]
    if known is not None:
        lines += [f"  do: {step}" for step in known.do(**told)]
    else:
        steps = dict.fromkeys(str(found["do"]) for found in findings if found.get("do"))
        lines += [f"  do: {step}" for step in list(steps)[:MOST_FINDINGS]]
    return "\n".join(lines) + "\n"


def list_findings(findings: Iterable[Json]) -> list[str]:
    """One line for each rule and text: the first place, and how many more there are."""
    findings = list(findings)
    counts = Counter((found["rule"], found["text"]) for found in findings)
    first = {(found["rule"], found["text"]): found["path"] for found in reversed(findings)}
    lines = []
    for rule, text in list(counts)[:MOST_FINDINGS]:
        count = counts[rule, text]
        more = "" if count == 1 else f"   ({count} times)"
        lines.append(f"{rule} at {first[rule, text]}: {text}{more}")
    if len(counts) > MOST_FINDINGS:
        lines.append(f"and {len(counts) - MOST_FINDINGS} more")
    return lines


def _named(receiver: str) -> str:
    """What a receiver was called by, and as what that was taken."""
    if _is_gln(receiver):
        return f"GLN {receiver}"
    return f"{'SOR id' if receiver.isdecimal() else 'The name'} {receiver}"


def _is_gln(text: str) -> bool:
    try:
        check_gln(text)
    except SbdRefused:
        return False
    return True
