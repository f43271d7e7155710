"""`accesspoint lookup`: where the access point would send, every step of the look-up, and what is wrong when it fails.

A running node is asked, so that what it remembers is seen. Where none runs the look-up is made here, with what the
configuration of the node says, and nothing is remembered.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from accesspoint import log
from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient, NodeUnreachable
from accesspoint.cli.current import find_config, load_given
from accesspoint.cli.speaker import build_speaker
from accesspoint.config import Configuration
from accesspoint.discovery.account import Account, look_up
from accesspoint.discovery.directory import LookupProblem
from accesspoint.problems import ExitStatus, find_problem
from envelope import names
from envelope.ehmi import DOCUMENT_NAMES, resolve_document_name
from envelope.fhir import formats
from envelope.sbdh_values import PARTICIPANT_PREFIX


def run(
    gln: str,
    config: Path | None,
    *,
    document: str,
    process: str | None,
    fresh: bool,
    as_json: bool,
) -> int:
    """Look a GLN up and tell it; the exit status is that of the problem."""
    log.configure(level="error")
    gln = gln.removeprefix(PARTICIPANT_PREFIX)
    if not formats.is_gln(gln):
        sys.stderr.write(f"{gln} is not a GLN (thirteen digits with a check digit)\n")
        if formats.is_sor(gln) and not formats.is_thirteen_digits(gln):
            sys.stderr.write(f"  do: accesspoint address find --sor {gln}\n")
        return ExitStatus.USAGE
    document_id = resolve_document_name(document)
    if document_id is None and ":" not in document:
        sys.stderr.write(
            f"no document is called {document}; there are: {', '.join(DOCUMENT_NAMES)},"
            " and every DOCUMENTID\n"
        )
        return ExitStatus.USAGE
    configuration = load_given(find_config(config))
    asked = {
        "participant": gln,
        "document": document_id or document,
        "process": process or names.EHMI_PROCESS,
    }
    told = asyncio.run(_look_up(configuration, asked, fresh=fresh))
    text = json.dumps(told, indent=2, ensure_ascii=False) + "\n" if as_json else render(told)
    sys.stdout.write(text)
    return ExitStatus.OK if told["found"] else find_problem(told["problem"]["slug"]).exit_status


async def _look_up(configuration: Configuration, asked: dict[str, str], *, fresh: bool) -> Account:
    try:
        async with NodeClient(NodeAddress.load(configuration.store.directory)) as node:
            told = await _tell(partial(node.look_up, fresh=fresh), asked)
            return {**told, "asked": "the running node"}
    except (NodeUnreachable, ApiProblem):
        # None runs here, or one without an access point: the configuration says how to look all the same.
        node_alone, _ = build_speaker(configuration)
    async with AsyncExitStack() as stack:
        directory = node_alone.build_directory(stack)
        await node_alone.refresh_revocation()

        async def ask(participant: str, document: str, process: str) -> Account:
            return await look_up(
                directory, PARTICIPANT_PREFIX + participant, document, process,
                clock=node_alone.clock,
            )  # fmt: skip

        told = await _tell(ask, asked)
    return {**told, "asked": "without a running node; nothing is remembered"}


async def _tell(ask: Callable[..., Awaitable[Account]], asked: dict[str, str]) -> Account:
    """Look up what is asked, and where the receiver does not take that document, which ones of ours it takes."""
    told = await ask(**asked)
    if told["found"] or told["problem"]["slug"] != LookupProblem.NO_ENDPOINT:
        return told
    offers = [
        name
        for name, document_id in DOCUMENT_NAMES.items()
        if (await ask(**{**asked, "document": document_id}))["found"]
    ]
    if asked["document"] not in DOCUMENT_NAMES.values():
        first = "Compare the document with what the receiver takes: no message here has this DOCUMENTID."
        told["problem"]["do"] = [first, *told["problem"]["do"]]
    return {**told, "offers": offers}


def render(told: Account) -> str:
    """The account for a person."""
    lines = [f"{told['participant']}  {told['document']}", f"  {told['process']}"]
    width = max((len(step["name"]) for step in told["steps"]), default=0)
    for step in told["steps"]:
        mark = "✓" if step["holds"] else "✗"
        lines.append(
            f"  {mark} {step['name']:{width}}  {step['milliseconds']:7.1f} ms  {step['detail']}"
        )
    lines.append(f"  {told['milliseconds']:.1f} ms in all, asked {told['asked']}")
    if told["found"]:
        endpoint = told["endpoint"]
        lines += [
            "",
            f"sends to      {endpoint['url']}",
            f"as            {endpoint['transport_profile']}",
            f"encrypts for  {endpoint['certificate']['text']}",
            f"              SHA-256 {endpoint['certificate']['sha256']}",
        ]
        if endpoint["signing_certificate"]:
            lines.append(f"receipts by   {endpoint['signing_certificate']['text']}")
        if endpoint["expires_at"]:
            lines.append(f"until         {endpoint['expires_at']}")
        return "\n".join([*lines, ""])
    wrong = told["problem"]
    lines += ["", f"{wrong['slug']}   ({wrong['whose']})", f"  {wrong['what']}"]
    lines.append(f"  {wrong['detail']}")
    if "offers" in told:
        lines.append(f"  it takes: {', '.join(told['offers']) or 'no document that is known here'}")
    lines.append(f"  why, most likely: {find_problem(wrong['slug']).text().why}")
    lines += [f"  do: {step}" for step in wrong["do"]]
    return "\n".join([*lines, ""])
