"""`accesspoint send`: submit a MedCom FHIR message to a running node and follow it to its end."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from accesspoint.api.client import ApiProblem, Json, NodeClient, NodeUnreachable
from accesspoint.cli.current import find_node
from accesspoint.demo.timeline import Moment, Timeline

OK, FAILED, USAGE, UNREACHABLE, TIMED_OUT = 0, 1, 2, 5, 6


def run(file: Path, *, to: str | None, config: Path | None, watch: bool, seconds: float) -> int:
    """Send the file; the exit status."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        sys.stderr.write(f"{file}: {error.strerror}\n")
        return USAGE
    try:
        return asyncio.run(_send(data, to=to, config=config, watch=watch, seconds=seconds))
    except NodeUnreachable as error:
        sys.stderr.write(f"{error}\n  do: accesspoint dev   (or give --config of a running node)\n")
        return UNREACHABLE
    except TimeoutError:
        sys.stderr.write(
            "the message is accepted and not lost, but not acknowledged yet: accesspoint watch\n"
        )
        return TIMED_OUT


async def _send(
    data: bytes, *, to: str | None, config: Path | None, watch: bool, seconds: float
) -> int:
    async with NodeClient(find_node(config)) as node:
        try:
            accepted = await node.submit(data, to=to)
        except ApiProblem as problem:
            sys.stderr.write(_refusal(problem))
            return USAGE if problem.status in (409, 422) else FAILED
        out = Timeline(sys.stdout)
        out.say(
            f"  {accepted['type']}  {accepted['bytes']} bytes  {accepted['from']} → {accepted['to']}"
        )
        for note in accepted["notes"]:
            out.say(f"  note: {note}")
        for warning in accepted["warnings"][:5]:
            out.say(f"  warning: {warning['rule']} at {warning['path']}: {warning['text']}")
        if not watch:
            out.say(f"  accepted as {accepted['message_identifier']}")
            return OK
        async with asyncio.timeout(seconds):
            return await _follow(node, accepted, out)


async def _follow(node: NodeClient, accepted: Json, out: Timeline) -> int:
    """Show what happens to the message until it is acknowledged as far as its kind can be."""
    identifier = accepted["message_identifier"]
    about = await node.about()
    last = "acknowledged" if accepted["type"] == "acknowledgement-message" else "fhir-acknowledged"
    failed = False
    async for entry in node.follow():
        if identifier not in (entry["message_identifier"], entry["subject"]):
            continue
        moment = Moment(about["label"], datetime.fromisoformat(entry["at"]), entry)
        out.show(moment)
        failed = failed or moment.problem is not None
        if entry["event"] == last and entry["subject"] == identifier:
            return FAILED if moment.problem else OK
        if (
            entry["event"] in ("not-sent", "refused", "not-acknowledged")
            and entry["message_identifier"] == identifier
        ):
            return FAILED
    return FAILED


def _refusal(problem: ApiProblem) -> str:
    """A refusal in words: the rule, the places, and that nothing was sent."""
    lines = [
        f"{problem.body['title']}  (ours: the message is not sent)",
        f"  {problem.body['detail']}",
    ]
    lines += [
        f"  {f['rule']} at {f['path']}: {f['text']}" for f in problem.body.get("findings", [])[:20]
    ]
    return "\n".join(lines) + "\n"
