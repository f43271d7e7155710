"""`accesspoint partner migrate NAME --dry-run`: what is still missing before a partner moves to eDelivery AS4 2.0."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from accesspoint.app import AccessPoint
from accesspoint.cli.current import find_config, load_given
from accesspoint.cli.partner_show import Named, find_partner, unknown
from accesspoint.cli.speaker import build_speaker
from accesspoint.config import Configuration
from accesspoint.discovery.configured import build_directory
from accesspoint.discovery.directory import Directory
from accesspoint.generation import transport_profile_of
from accesspoint.problems import ExitStatus, Whose
from accesspoint.rehearsal import Rehearsal, Step
from envelope import names
from envelope.ehmi import HOSPITAL_NOTIFICATION_3_0
from envelope.pmode import Generation
from envelope.sbdh_values import PARTICIPANT_PREFIX
from keys.certificate import agrees_only, describe_key
from keys.trust import Purpose

_DOCUMENT: Final = HOSPITAL_NOTIFICATION_3_0.document_id


def migrate(
    name: str,
    config: Path | None,
    *,
    dry_run: bool,
    to: Generation | None,
    document: str | None,
    as_json: bool,
) -> int:
    """Rehearse the move of one partner; the exit status says whether only the agreement is left to change."""
    configuration = load_given(find_config(config))
    one = find_partner(configuration, name)
    if one is None:
        sys.stderr.write(unknown(configuration, name))
        return ExitStatus.FAILED
    if not dry_run:
        sys.stderr.write(
            "moving a partner is a change of its table, which is yours to make: generations = [...]\n"
            "what is missing before that:  accesspoint partner migrate NAME --dry-run\n"
        )
        return ExitStatus.USAGE
    target = to or _likely(one)
    steps = asyncio.run(_rehearse(configuration, one, target, document or _DOCUMENT))
    ready = all(step.held for step in steps if step.generation is target and _counts(step))
    if as_json:
        said: dict[str, Any] = {
            "partner": one.name,
            "party": one.party,
            "to": str(target),
            "ready": ready,
            "sent": 0,
            "steps": [
                {
                    "generation": str(step.generation),
                    "step": step.what,
                    "whose": str(step.whose),
                    "held": step.held,
                    "detail": step.detail,
                }
                for step in steps
            ],
        }
        sys.stdout.write(json.dumps(said, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_render(one, target, steps, ready=ready))
    return ExitStatus.OK if ready else ExitStatus.FAILED


def _counts(step: Step) -> bool:
    """The agreement is what the migration itself will change: it keeps nobody from it."""
    return step.whose is not Whose.BOTH


def _likely(one: Named) -> Generation:
    """The set of algorithms for which the partner has shown an agreement key already."""
    for certificate in one.certificates:
        if agrees_only(certificate) and describe_key(certificate).startswith("EC"):
            return Generation.V2_0_P256
    return Generation.V2_0


async def _rehearse(
    configuration: Configuration, one: Named, target: Generation, document: str
) -> list[Step]:
    node, trust = build_speaker(configuration)
    rehearsal = Rehearsal(
        party=one.party,
        mode=node.agreements.mode_for(one.party),
        configured=one.certificates,
        keystore=node.keystore,
        identity=node.identity,
        trust=trust,
        clock=node.clock,
        ids=node.ids,
    )
    participant = f"{PARTICIPANT_PREFIX}{one.partner.gln or ''}"
    steps = []
    async with AsyncExitStack() as stack:
        directories = {
            generation: _directory(node, one, generation, stack)
            for generation in (Generation.V1_15, target)
        }
        await node.refresh_revocation()
        for generation, directory in directories.items():
            steps += await rehearsal.steps(
                generation,
                directory=directory,
                asked=(participant, document, names.EHMI_PROCESS),
            )
    return steps


def _directory(
    node: AccessPoint, one: Named, generation: Generation, stack: AsyncExitStack
) -> Directory | None:
    """The node's directory as it would look for this generation alone; None for a partner with an address of its own."""
    settings = node.configuration.directory
    if settings is None or one.partner.url is not None or one.partner.gln is None:
        return None
    looking = settings.model_copy(
        update={"transport_profiles": (transport_profile_of(generation),)}
    )
    return build_directory(
        node.configuration.model_copy(update={"directory": looking, "partners": {}}),
        stack,
        clock=node.clock,
        publishers=node.build_validator(Purpose.SMP, node.configuration.trust.smp),
        tls=node.client_tls,
    )


def _render(one: Named, target: Generation, steps: list[Step], *, ready: bool) -> str:
    lines = [f"eDelivery AS4 {target} with {one.name} ({one.party}): a rehearsal, nothing was sent"]
    for generation in dict.fromkeys(step.generation for step in steps):
        lines.append(f"\n{generation}")
        for step in steps:
            if step.generation is generation:
                answer = "holds" if step.held else ("to do" if not _counts(step) else "MISSING")
                whose = "" if step.held else f"{step.whose}: "
                lines.append(f"  {answer:7}  {step.what:12}  {whose}{step.detail}")
    missing = sorted(
        {
            str(step.whose)
            for step in steps
            if step.generation is target and not step.held and _counts(step)
        }
    )
    lines.append(
        "\nready: only the partner's table is left to change"
        if ready
        else f"\nnot ready: something is missing that is {' and '.join(missing)}"
    )
    return "\n".join(lines) + "\n"
