"""`accesspoint send`: submit a MedCom FHIR message to a running node and follow it to its end."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from accesspoint.api.client import ApiProblem, Json, NodeClient
from accesspoint.cli.current import find_node
from accesspoint.demo.timeline import Moment, Timeline
from accesspoint.problems import ExitStatus, find_problem

MOST_FINDINGS: Final = 20
_ENDS: Final = frozenset({"not-sent", "refused", "not-acknowledged"})


def run(file: Path, *, to: str | None, config: Path | None, watch: bool, seconds: float) -> int:
    """Send the file; the exit status."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        sys.stderr.write(f"{file}: {error.strerror}\n")
        return ExitStatus.USAGE
    return asyncio.run(_send(data, to=to, config=config, watch=watch, seconds=seconds))


async def _send(
    data: bytes, *, to: str | None, config: Path | None, watch: bool, seconds: float
) -> int:
    async with NodeClient(find_node(config)) as node:
        start = await node.position()
        try:
            accepted = await node.submit(data, to=to)
        except ApiProblem as problem:
            sys.stderr.write(describe_refusal(problem))
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
        for warning in accepted["warnings"][:MOST_FINDINGS]:
            out.say(f"  warning: {warning['rule']} at {warning['path']}: {warning['text']}")
        if not watch:
            out.say(f"  accepted   follow it: accesspoint watch {identifier}")
            return ExitStatus.OK
        try:
            async with asyncio.timeout(seconds):
                return await _follow(node, accepted, out, after=start)
        except TimeoutError:
            sys.stderr.write(
                f"accepted and not lost, but not acknowledged after {seconds:g} s\n"
                f"  do: accesspoint watch {identifier}\n"
            )
            return ExitStatus.TIMED_OUT


async def _follow(node: NodeClient, accepted: Json, out: Timeline, *, after: int) -> int:
    """Show what happens to the message until it is acknowledged as far as its kind can be, or has failed."""
    identifier = accepted["message_identifier"]
    about = await node.about()
    last = "acknowledged" if accepted["type"] == "acknowledgement-message" else "fhir-acknowledged"
    async for entry in node.follow(after=after):
        if identifier not in (entry["message_identifier"], entry["subject"]):
            continue
        moment = Moment(about["label"], datetime.fromisoformat(entry["at"]), entry)
        out.show(moment)
        acknowledged = entry["event"] == last and entry["subject"] == identifier
        ended = entry["event"] in _ENDS and entry["message_identifier"] == identifier
        if moment.problem is not None and (acknowledged or ended):
            return _tell(moment.problem, entry)
        if acknowledged:
            return ExitStatus.OK
    raise AssertionError("a journal has no end")


def _tell(slug: str, entry: Json) -> int:
    """Name what stopped the message; the exit status of that problem."""
    problem, detail = find_problem(slug), entry["detail"]
    why = detail.get("why") if isinstance(detail, dict) else detail
    sys.stderr.write(f"\n{problem.render(detail=why or None)}\n")
    return problem.exit_status


def describe_refusal(problem: ApiProblem) -> str:
    """A refusal in words: the rule, the places, and that nothing was sent."""
    findings = problem.body.get("findings", [])
    lines = [f"{problem.body['title']}   (ours: the message is not sent)"]
    if len(findings) != 1:
        lines.append(f"  {problem.body['detail']}")
    lines += [f"  {f['rule']} at {f['path']}: {f['text']}" for f in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        lines.append(f"  and {len(findings) - MOST_FINDINGS} more")
    return "\n".join(lines) + "\n"
