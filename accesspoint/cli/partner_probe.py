"""`accesspoint partner probe`: the way to a partner hop by hop, the culprit, and the sentence to write to it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from accesspoint import log
from accesspoint.as4.configured import build_client
from accesspoint.cli.current import find_config, load_given
from accesspoint.cli.partner_show import find_partner, unknown
from accesspoint.cli.speaker import build_speaker
from accesspoint.config import Configuration
from accesspoint.networks import AllowedNetworks
from accesspoint.outbound.probe import Asked, Probe, Step
from accesspoint.problem_texts import TRIED_AGAIN
from accesspoint.problems import ExitStatus, Whose, fill, find_problem
from envelope import names
from envelope.ehmi import SBDH_ACKNOWLEDGEMENT, check_gln
from envelope.errors import SbdRefused
from envelope.sbdh_values import PARTICIPANT_PREFIX

DOCUMENT: Final = SBDH_ACKNOWLEDGEMENT.document_id
"""Asked for when nothing else is: every participant that takes anything takes acknowledgements."""
_WHOSE: Final = {
    Whose.OURS: "ours",
    Whose.THEIRS: "the partner's",
    Whose.NETWORK: "the network's",
    Whose.UNKNOWN: "not certain: ours or the partner's",
}


def run(
    name: str, config: Path | None, *, document: str | None, seconds: float, as_json: bool
) -> int:
    """Walk the way to a partner or a GLN; the exit status is that of the hop that does not hold."""
    log.configure(level="error")
    configuration = load_given(find_config(config))
    partner = find_partner(configuration, name)
    gln = name if partner is None else partner.partner.gln
    try:
        check_gln(gln or "")
    except SbdRefused:
        reason = f"{name} has no gln to look up\n" if partner else unknown(configuration, name)
        sys.stderr.write(reason)
        return ExitStatus.USAGE
    asked = Asked(f"{PARTICIPANT_PREFIX}{gln}", document or DOCUMENT, names.EHMI_PROCESS)
    steps = asyncio.run(_walk(configuration, asked, seconds=seconds))
    slug = steps[-1].problem
    status = ExitStatus.OK if slug is None else find_problem(slug).exit_status
    sys.stdout.write(_to_json(asked, steps) if as_json else _render(asked, steps))
    return status


async def _walk(configuration: Configuration, asked: Asked, *, seconds: float) -> list[Step]:
    async with build_probe(configuration, seconds=seconds) as probe:
        return await probe.walk(asked)


@asynccontextmanager
async def build_probe(configuration: Configuration, *, seconds: float) -> AsyncIterator[Probe]:
    """Put together what a node speaks to partners with, without its store."""
    node, trust = build_speaker(configuration)
    settings = configuration.directory
    networks = AllowedNetworks(settings.networks) if settings else None
    async with AsyncExitStack() as stack:
        directory = node.build_directory(stack)
        await node.refresh_revocation()
        client = await stack.enter_async_context(
            build_client(configuration, node.client_tls, seconds=seconds)
        )
        yield Probe(
            directory=directory,
            networks=networks,
            tls=node.client_tls,
            client=client,
            identity=node.identity,
            agreements=node.agreements,
            trust=trust,
            clock=node.clock,
            ids=node.ids,
            domain=node.domain,
            seconds=seconds,
        )


def _render(asked: Asked, steps: Sequence[Step]) -> str:
    lines = [f"{asked.participant}  {asked.document_id}"]
    width = max(len(step.name) for step in steps)
    for step in steps:
        mark = "✓" if step.holds else "✗"
        lines.append(f"  {mark} {step.name:{width}}  {step.milliseconds:7.1f} ms  {step.detail}")
        lines += [f"    {'':{width}}              {note}" for note in step.notes]
    last = steps[-1]
    if last.whose is None:
        return "\n".join([*lines, "", "every hop holds", ""])
    lines += ["", f"stopped at {last.name}; whose it is: {_WHOSE[last.whose]}"]
    if last.letter and last.whose is not Whose.OURS:
        lines += ["write to the partner:", f"  {last.letter}"]
    # Whose it is was found out by walking; the catalogue's general answer might be another.
    words = find_problem(last.problem or "").text()
    lines += [f"{last.problem}: {words.title}", f"  why, most likely: {fill(words.why, {})}"]
    lines += [f"  do: {fill(step, {})}" for step in words.do if step != TRIED_AGAIN]
    return "\n".join([*lines, ""])


def _to_json(asked: Asked, steps: Sequence[Step]) -> str:
    last = steps[-1]
    said = {
        "participant": asked.participant,
        "document": asked.document_id,
        "holds": last.holds,
        "stopped_at": None if last.holds else last.name,
        "whose": last.whose,
        "problem": last.problem,
        "letter": last.letter or None,
        "steps": [
            {
                "name": step.name,
                "holds": step.holds,
                "milliseconds": step.milliseconds,
                "detail": step.detail,
                "notes": step.notes,
            }
            for step in steps
        ],
    }
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"
