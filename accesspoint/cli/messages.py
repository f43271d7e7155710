"""`accesspoint messages`: what stands still at a node, and what a person does about it."""

import asyncio
import contextlib
import errno
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from accesspoint.api.client import (
    LONGEST_REASON,
    ApiProblem,
    Json,
    NodeClient,
    NodeUnreachable,
)
from accesspoint.cli.current import address_of, as_option, nodes_meant
from accesspoint.cli.standing import BAD_ANSWERS, is_copy, is_in_vain, tell, tell_waiting
from accesspoint.clock import SystemClock
from accesspoint.problems import ExitStatus

_SAFE_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z@._-]{0,199}")
_NOTHING_SAID: Final = (None, "none", "awaited")
_COPY: Final = "  copy for the document register"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def list_standing(state: str | None, *, everything: bool, config: Path | None) -> int:
    """Print what stands still, or all in one state, or everything; the exit status."""

    async def ask(node: NodeClient) -> None:
        found = await node.exchanges(state=state, everything=everything)
        overdue = await node.overdue() if state is None else []
        if state is None and not everything:
            # They go on by themselves, but a person may know why they do not come through.
            for waits in ("ACCEPTED", "RETRY_WAIT"):
                found += [one for one in await node.exchanges(state=waits) if one["problem"]]
        for one in found:
            sys.stdout.write(f"{_line(one)}\n")
        for one in overdue:
            sys.stdout.write(
                f"{one['envelope_id'] or one['message_identifier']}  OVERDUE  {one['since']}  to {one['receiver']}"
                f"  {one['message_identifier']}  [{one['problem']}]\n"
            )
        if not found and not overdue:
            nothing = "nothing is here" if everything else "nothing stands still"
            sys.stderr.write(f"{nothing if state is None else f'nothing is {state}'}\n")
        if any(one["state"] in ("ACCEPTED", "RETRY_WAIT") and one["problem"] for one in found):
            sys.stderr.write(
                "what one waits for, till when, and what to type: accesspoint messages show ID\n"
            )
        if state is None and not everything:
            rows = await node.exchanges(everything=True)
            ended = {one["message_identifier"] for one in rows if is_in_vain(one)}
            if ended:
                sys.stderr.write(
                    f"refused or not sent: {len(ended)} of the latest messages; accesspoint messages list --all\n"
                )

    return _with_nodes(nodes_meant(config), ask)


def show(id_: str, *, config: Path | None) -> int:
    """Print where a message stands, and its exchanges, the newest first, or the one with this id; the exit status.

    The first node that knows it tells; where others know it, too, they are named.
    """
    nodes = nodes_meant(config)

    async def ask(node: NodeClient) -> None:
        told, exchanges = await _look_for(node, id_)
        if told:
            _print_message(told)
        for exchange in sorted(exchanges, key=lambda one: str(one["id"]), reverse=True):
            _print(exchange, config, copy=bool(told) and is_copy(told, exchange))
        for event in told.get("events", ()):
            if event["problem"]:
                sys.stdout.write(
                    f"  event {event['station']} {event['subtype']}: {event['state']}, {event['problem']}"
                    f" ({event['detail'] or 'no answer'})\n"
                )

    status = _with_nodes(nodes, ask)
    if status == ExitStatus.OK and len(nodes) > 1:
        here, *elsewhere = dict.fromkeys(one.config for one in _find_all(nodes, id_)) or nodes[:1]
        if elsewhere:
            sys.stderr.write(f"this is what {here.parent.name} knows of it; also known at:\n")
        for other in elsewhere:
            sys.stderr.write(
                f"  {other.parent.name}: accesspoint messages show {id_}{as_option(other)}\n"
            )
    return status


def act(id_: str, verb: str, *, reason: str, config: Path | None) -> int:
    """Do one act and print what is true afterwards; the exit status."""

    async def ask(node: NodeClient) -> None:
        _print(await node.act(id_, verb, reason=reason), config)

    return _with_nodes(nodes_meant(config), ask)


def resend(id_: str, *, reason: str, anyway: bool, config: Path | None) -> int:
    """Put a message into another envelope and print which; the exit status."""

    async def ask(node: NodeClient) -> None:
        told = await node.resend(id_, reason=reason, anyway=anyway)
        sys.stdout.write(f"{told['message_identifier']}\n")
        _print_envelopes(told)

    return _with_nodes(nodes_meant(config), ask)


def acknowledge(id_: str, verdict: dict[str, str], *, config: Path | None) -> int:
    """Answer a received message and print what stands now; the exit status."""

    async def ask(node: NodeClient) -> None:
        told = await node.acknowledge(id_, verdict)
        said = "was answered so before" if told["repeated"] else "answered"
        sys.stdout.write(f"{told['message_identifier']}  {said}: {verdict['code']}\n")

    return _with_nodes(nodes_meant(config), ask)


def evidence(id_: str, *, output: Path | None, payload_for: str | None, config: Path | None) -> int:
    """Write the evidence bundle of one exchange to a new file, with the payload for a reason; the exit status.

    Where a message has several exchanges, or both sides of one are here, it is the one by which the first node sent or
    received the message itself; the others are named. Where there are several of these, nothing is written.
    """
    if output is None and not _SAFE_ID.fullmatch(id_):
        sys.stderr.write("an id that is no file name: say with -o where the bundle goes\n")
        return ExitStatus.USAGE
    target = output or Path(f"evidence-{id_}.zip")
    nodes = nodes_meant(config)
    found = _find_all(nodes, id_)
    first = [one for one in found if one.config == found[0].config and not one.copy]
    meant = found[0] if len(found) == 1 else first[0] if len(first) == 1 else None
    if found and meant is None:
        sys.stderr.write(f"{len(found)} exchanges belong to {id_}; name the one that is meant:\n")
        sys.stderr.writelines(one.line for one in found)
        return ExitStatus.FAILED

    async def ask(node: NodeClient) -> None:
        named = id_ if meant is None else str(meant.exchange["id"])
        bundle = await node.evidence(named, payload_for=payload_for)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(bundle)
        sys.stdout.write(f"{target}: {len(bundle)} octets; unpack it and run: python verify.py\n")
        if meant is not None and len(found) > 1:
            sys.stderr.write(f"it is about {named}, {meant.words}; others, each with its proof:\n")
            sys.stderr.writelines(one.line for one in found if one is not meant)

    try:
        return _with_nodes(nodes if meant is None else [meant.config], ask)
    except OSError as error:
        sys.stderr.write(f"{target} cannot be written: {error.strerror}\n")
        return ExitStatus.STORAGE if error.errno in _FULL else ExitStatus.USAGE


@dataclass(frozen=True, slots=True)
class _Found:
    """An exchange that belongs to what was asked about, and the node that has it."""

    config: Path
    exchange: Json
    copy: bool

    @property
    def words(self) -> str:
        """What it is, for a person."""
        one = self.exchange
        way = "received" if one["direction"] == "in" else f"sent to {one['final_recipient']}"
        return f"{way}{', a copy for the document register' if self.copy else ''}, at {self.config.parent.name}"

    @property
    def line(self) -> str:
        """How its proof is asked for."""
        return f"  accesspoint messages evidence {self.exchange['id']}{as_option(self.config)}   {self.words}\n"


def _find_all(nodes: list[Path], id_: str) -> list[_Found]:
    """The exchanges of all these nodes that belong to a message, or have this id; whoever does not answer has none."""

    async def run() -> list[_Found]:
        found: list[_Found] = []
        for path in nodes:
            with contextlib.suppress(ApiProblem, NodeUnreachable):
                async with NodeClient(address_of(path)) as node:
                    told, exchanges = await _look_for(node, id_)
                    found += [
                        _Found(path, one, bool(told) and is_copy(told, one)) for one in exchanges
                    ]
        return found

    return asyncio.run(run())


async def _look_for(node: NodeClient, id_: str) -> tuple[Json, list[Json]]:
    """What a node knows of a message and its exchanges, or of the one exchange with this id; raises `ApiProblem`."""
    try:
        told = await node.describe(id_)
        return told, told["exchanges"]
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
    exchange = await node.exchange(id_)
    identifier = exchange["message_identifier"]
    # A ping moves no message, and nothing is reported of it.
    return await node.describe(identifier) if identifier else {}, [exchange]


def _with_nodes(nodes: list[Path], ask: Callable[[NodeClient], Awaitable[None]]) -> int:
    """Ask the first of the nodes that has what is asked about; who has it not says so before anything is done."""

    async def run() -> int:
        failed: list[ApiProblem | NodeUnreachable] = []
        for path in nodes:
            try:
                async with NodeClient(address_of(path)) as node:
                    await ask(node)
                return ExitStatus.OK
            except (ApiProblem, NodeUnreachable) as problem:
                failed.append(problem)
                if not _is_elsewhere(problem):
                    break
        # A refusal tells most; and whoever does not answer may be the one that has it.
        refused = [one for one in failed if not _is_elsewhere(one)]
        silent = [one for one in failed if isinstance(one, NodeUnreachable)]
        first = (refused or silent or failed)[0]
        if isinstance(first, NodeUnreachable):
            raise first
        if first.body.get("title") == "reason-missing":
            sys.stderr.write(
                f"nothing was done: --reason, and --with-payload, say why, in 1 to {LONGEST_REASON} characters\n"
            )
            return ExitStatus.USAGE
        sys.stderr.write(f"{first}\n")
        for step in first.body.get("remedy", ()) if refused else ():
            sys.stderr.write(f"  do: {step}\n")
        if len(nodes) > 1 and not refused:
            asked = ", ".join(path.parent.name for path in nodes)
            sys.stderr.write(
                f"  asked: {asked} in {nodes[0].parents[1]}; another node: --config FILE\n"
            )
        return ExitStatus.FAILED

    return asyncio.run(run())


def _is_elsewhere(problem: ApiProblem | NodeUnreachable) -> bool:
    """Whether another node of the same network may have what this one has not."""
    return (
        isinstance(problem, NodeUnreachable)
        or problem.status == HTTPStatus.NOT_FOUND
        or problem.body.get("title") == "station-elsewhere"
    )


def _line(one: Json) -> str:
    way = "to" if one["direction"] == "out" else "from"
    said = [text for text in (one["problem"], one["answer"]) if text not in _NOTHING_SAID]
    problem = f"  [{', '.join(said)}]" if said else ""
    return f"{one['id']}  {one['state']:<13} {one['since']}  {way} {one['party'] or '?'}  {one['message_identifier']}{problem}"


def _print_message(told: Json) -> None:
    out = sys.stdout.write
    out(f"{told['message_identifier']}\n")
    for sentence in tell(told):
        out(f"  {sentence}.\n")
    for one in told["documents"]:
        when = f"  {one['acknowledged_at']}" if one["acknowledged_at"] else ""
        out(f"  FHIR acknowledgement: {one['acknowledgement']}{when}\n")
        if one["direction"] == "out" and one["acknowledgement"] in BAD_ANSWERS:
            watch = f"accesspoint watch {told['message_identifier']}"
            out(f"  reason: {watch}   names its code, and the acknowledgement in which it stands\n")
    _print_envelopes(told)


def _print(one: Json, config: Path | None, *, copy: bool = False) -> None:
    out = sys.stdout.write
    after = f" after {one['outcome']}" if one["outcome"] not in (None, one["state"]) else ""
    out(f"{one['id']}  {one['state']}{after}{_COPY if copy else ''}\n")
    for line in tell_waiting(one, SystemClock().now(), config=as_option(config)):
        out(f"  {line}\n")
    for name in (
        "direction",
        "message_id",
        "conversation_id",
        "ref_to_message_id",
        "envelope_id",
        "party",
        "original_sender",
        "final_recipient",
        "attempt",
        "problem",
    ):
        if one[name] not in (None, ""):
            out(f"  {name.replace('_', ' ')}: {one[name]}\n")
    receipt = one["receipt"]
    out(
        f"  receipt: {'none' if receipt is None else receipt['at'] + ', signed by ' + receipt['signer'][:16]}\n"
    )
    for step in one["history"]:
        note = f"  ({step['note']})" if step["note"] else ""
        out(f"  {step['at']}  {step['from'] or '-'} -> {step['to']}{note}\n")


def _print_envelopes(told: Json) -> None:
    ended = {
        one["envelope_id"]: one for one in told["exchanges"] if one["problem"] and one["outcome"]
    }
    for one in told["envelopes"]:
        acknowledgement = one["acknowledgement"]
        if acknowledgement == "awaited" and (end := ended.get(one["envelope_id"])) is not None:
            acknowledgement = f"none will come: {end['outcome']} ({end['problem']})"
        way = f"to {one['receiver']}" if one["direction"] == "out" else f"from {one['sender']}"
        sys.stdout.write(
            f"  envelope {one['envelope_id']}  {way}{_COPY if is_copy(told, one) else ''}"
            f"  SBDH acknowledgement: {acknowledgement}\n"
        )
