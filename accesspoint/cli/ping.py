"""`accesspoint ping`: does a configured partner receipt a message of the test service now."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from cryptography import x509

from accesspoint.as4.configured import build_client
from accesspoint.cli.current import find_config, load_given
from accesspoint.cli.speaker import build_speaker
from accesspoint.config import Configuration
from accesspoint.generation import encryption_certificate
from accesspoint.identity import mode_of, partner_certificates
from accesspoint.outbound.ping import Ping, ping
from accesspoint.problems import ExitStatus, Occurrence, certificate_problem, find_problem
from accesspoint.trust import common_name
from envelope.errors import CertificateRefused
from keys.certificate import der


def run(partner: str, *, config: Path | None, seconds: float, as_json: bool) -> int:
    """Ping a partner of the configuration, by the name it has there; the exit status."""
    path = find_config(config)
    configuration = load_given(path)
    agreed = configuration.partners.get(partner)
    if agreed is None or agreed.url is None or agreed.certificate is None:
        known = ", ".join(name for name, one in configuration.partners.items() if one.url) or "none"
        sys.stderr.write(
            f"{path} has no partner {partner} with url and certificate; it has: {known}\n"
            "who is found in the directory is asked by GLN:  accesspoint partner probe GLN\n"
        )
        return ExitStatus.USAGE
    generation = mode_of(agreed).generations[0]
    certificate = encryption_certificate(partner_certificates(agreed), generation)
    if certificate is None:
        return _fail(
            partner,
            "generation-not-agreed",
            f"{agreed.certificate} holds no certificate to encrypt for under {generation}",
            as_json=as_json,
        )
    try:
        came_to = asyncio.run(_ping(configuration, agreed.url, certificate, seconds=seconds))
    except CertificateRefused as refused:
        slug = certificate_problem(refused.reason)
        return _fail(partner, slug, refused.detail, as_json=as_json)
    if not came_to.answered:
        slug = came_to.verdict.problem or "peer-answer"
        return _fail(partner, slug, came_to.verdict.detail, as_json=as_json)
    said: dict[str, Any] = {
        "partner": partner,
        "answered": True,
        "url": came_to.url,
        "message_id": came_to.message_id,
        "milliseconds": came_to.milliseconds,
        "receipt_signed_by": came_to.verdict.signer,
    }
    sys.stdout.write(
        json.dumps(said) + "\n"
        if as_json
        else f"{partner} answered in {came_to.milliseconds:.0f} ms with a receipt that verifies\n"
        f"  {came_to.url}\n  {came_to.message_id}\n"
    )
    return ExitStatus.OK


async def _ping(
    configuration: Configuration, url: str, certificate: x509.Certificate, *, seconds: float
) -> Ping:
    """Put together what a node speaks to partners with, without its store, and ping once."""
    node, trust = build_speaker(configuration)
    await node.refresh_revocation()
    async with build_client(configuration, node.client_tls, seconds=seconds) as client:
        return await ping(
            url,
            der(certificate),
            identity=node.identity,
            mode=node.agreements.mode_for(common_name(certificate)),
            trust=trust,
            client=client,
            clock=node.clock,
            ids=node.ids,
            domain=node.domain,
        )


def _fail(partner: str, slug: str, detail: str, *, as_json: bool) -> int:
    problem = find_problem(slug)
    if as_json:
        said = {"partner": partner, "answered": False, "problem": slug, "detail": detail}
        sys.stdout.write(json.dumps(said) + "\n")
    else:
        met = Occurrence.of(slug, detail)
        words = met.problem.render(by_hand=True, detail=met.detail or None, code=met.code)
        sys.stderr.write(f"{words}\n")
    return problem.exit_status
