"""`accesspoint address find`: who the right receiver is, as the addressing service says."""

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from accesspoint import log
from accesspoint.addressing.client import AddressingFailed
from accesspoint.addressing.configured import build_addressing
from accesspoint.addressing.receivers import Receiver
from accesspoint.addressing.service import AddressingService
from accesspoint.cli.current import find_config, load_given
from accesspoint.cli.speaker import build_speaker
from accesspoint.problems import ExitStatus, find_problem
from envelope.ehmi import recognise_document_id

_CPR: Final = re.compile(r"[0-9]{6}-?[0-9]{4}", re.ASCII)


def run(
    config: Path | None,
    *,
    sor: Sequence[str],
    ydernummer: str | None,
    postal_codes: Sequence[str],
    patient: bool,
    document: str | None,
    as_json: bool,
) -> int:
    """Ask, and tell who was found; the exit status is that of the problem."""
    log.configure(level="error")
    if [bool(sor), ydernummer is not None, bool(postal_codes), patient].count(True) != 1:
        sys.stderr.write("give one of --sor, --gp, --postal-code and --patient\n")
        return ExitStatus.USAGE
    cpr = sys.stdin.readline().strip() if patient else ""
    if patient and not _CPR.fullmatch(cpr):
        sys.stderr.write("standard input has no patient number (ten digits)\n")
        return ExitStatus.USAGE
    documents = [] if document is None else [document]

    async def ask(service: AddressingService) -> tuple[Receiver, ...]:
        if patient:
            return await service.find_by_patient(cpr.replace("-", ""), documents)
        if ydernummer is not None:
            return await service.find_by_ydernummer(ydernummer, documents)
        if sor:
            return await service.find_by_sor(*sor, documents=documents)
        return await service.list_practices(*postal_codes)

    configuration = load_given(find_config(config))
    if configuration.addressing is None:
        sys.stderr.write("the configuration has no [addressing]: no addressing service to ask\n")
        return ExitStatus.CONFIGURATION

    async def work() -> tuple[Receiver, ...]:
        node, _ = build_speaker(configuration)
        async with aiohttp.ClientSession(trust_env=False) as session:
            service = build_addressing(configuration, node.client_tls, lambda: session, node.clock)
            return () if service is None else await ask(service)

    try:
        found = asyncio.run(work())
    except AddressingFailed as failed:
        return _tell(failed)
    sys.stdout.write(_to_json(found) if as_json else render(found))
    return ExitStatus.OK


def render(found: Sequence[Receiver]) -> str:
    """The receivers for a person."""
    lines = []
    for one in found:
        where = " ".join(part for part in (one.postal_code, one.city) if part)
        number = f"ydernummer {one.ydernummer}" if one.ydernummer else ""
        lines.append(
            "  ".join(part for part in (one.name, f"SOR {one.sor}", number, where) if part)
        )
        for endpoint in one.endpoints:
            lines.append(f"  GLN {endpoint.gln}")
            lines += [f"    {_name(document)}" for document in endpoint.documents]
    return "".join(f"{line}\n" for line in lines)


def _name(document: str) -> str:
    known = recognise_document_id(document)
    return document if known is None else f"{known.standard} {document.rpartition('::')[2]}"


def _to_json(found: Sequence[Receiver]) -> str:
    said: list[dict[str, Any]] = [
        {
            "sor": one.sor,
            "name": one.name,
            "ydernummer": one.ydernummer,
            "postal_code": one.postal_code,
            "city": one.city,
            "endpoints": [
                {"gln": end.gln, "documents": list(end.documents)} for end in one.endpoints
            ],
        }
        for one in found
    ]
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def _tell(failed: AddressingFailed) -> int:
    problem = find_problem(failed.slug)
    text = problem.render(detail="; ".join((failed.detail, *failed.outcomes)))
    sys.stderr.write(f"{text}\n")
    return problem.exit_status
