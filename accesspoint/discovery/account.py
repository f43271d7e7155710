"""One look-up told in full: every step with its time, what was found, or what is wrong and whose fault that is.

The interface of a node and the command line tell the same account, so that it is plain data.
"""

from typing import Any

from accesspoint.clock import Clock
from accesspoint.discovery.directory import (
    Directory,
    Endpoint,
    Hop,
    LookupFailed,
    RememberingDirectory,
)
from accesspoint.problems import find_problem
from keys.certificate import describe, fingerprint, load_certificate
from keys.errors import UnreadableCertificate

Account = dict[str, Any]


async def look_up(
    directory: Directory,
    participant: str,
    document_id: str,
    process_id: str,
    *,
    clock: Clock,
    fresh: bool = False,
) -> Account:
    """Look up a participant (`0088:` and GLN) and tell it; with `fresh` nothing is answered from memory.

    `found` says how it ended; then there is either an `endpoint` or a `problem`, a slug with its words.
    """
    find = directory.find_endpoint
    if fresh and isinstance(directory, RememberingDirectory):
        find = directory.find_afresh
    started = clock.monotonic()
    said: Account = {"participant": participant, "document": document_id, "process": process_id}
    try:
        endpoint = await find(participant, document_id, process_id)
    except LookupFailed as failure:
        problem = find_problem(failure.slug)
        outcome: Account = {
            "found": False,
            "steps": _steps(failure.hops, holds=False),
            "problem": {
                "slug": problem.slug,
                "whose": problem.who.value,
                "what": problem.what(participant=participant, document=document_id),
                "detail": failure.detail,
                "permanent": failure.permanent,
                "do": list(problem.do(participant=participant, by_hand=True)),
            },
        }
    else:
        outcome = {
            "found": True,
            "steps": _steps(endpoint.hops, holds=True),
            "endpoint": _describe(endpoint),
        }
    milliseconds = round((clock.monotonic() - started) * 1000, 3)
    return {**said, **outcome, "milliseconds": milliseconds}


def _steps(hops: tuple[Hop, ...], *, holds: bool) -> list[Account]:
    last = len(hops) - 1
    return [
        {
            "name": hop.kind.value,
            "holds": holds or number < last,
            "milliseconds": hop.milliseconds,
            "detail": hop.detail,
        }
        for number, hop in enumerate(hops)
    ]


def _describe(endpoint: Endpoint) -> Account:
    expires = endpoint.expires_at
    return {
        "url": endpoint.url,
        "transport_profile": endpoint.transport_profile,
        "expires_at": None if expires is None else expires.isoformat(),
        "certificate": _describe_certificate(endpoint.certificate),
        "signing_certificate": (
            None
            if endpoint.signing_certificate is None
            else _describe_certificate(endpoint.signing_certificate)
        ),
    }


def _describe_certificate(data: bytes) -> Account:
    try:
        certificate = load_certificate(data)
    except UnreadableCertificate:
        return {"text": "a certificate that does not parse", "sha256": None, "not_after": None}
    return {
        "text": describe(certificate),
        "sha256": fingerprint(certificate),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }
