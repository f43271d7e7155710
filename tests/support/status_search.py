"""Asks the status component what stations may ask it: with their certificates and tokens, over mutual TLS."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp

from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.delivery.token import TokenSource
from keys.store import KeyStore, load_certificate_files
from keys.tls import client_context


async def search(configs: Iterable[Path]) -> list[dict[str, Any]]:
    """Every AuditEvent that the stations of these nodes may read."""
    found: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(trust_env=False) as session:
        for path in configs:
            configuration = load(path, {})
            status, tls = configuration.delivery_status, configuration.trust.tls
            assert status is not None
            assert tls is not None
            files = KeyStore.load(configuration.keys.directory).tls
            context = client_context(
                files.certificate_file, files.key_file, load_certificate_files(tls.anchors)
            )
            organisation = configuration.served[0]
            for station in configuration.stations.runs:
                source = TokenSource(
                    status.token_endpoint,
                    client_id=status.client_ids[station],
                    ssl_context=context,
                    session=lambda: session,
                    clock=SystemClock(),
                )
                token = await source.token(organisation.sor, organisation.gln)
                async with session.post(
                    f"{status.endpoint}/AuditEvent/_search",
                    data={"_count": "1000"},
                    headers={"Authorization": f"Bearer {token}"},
                    ssl=context,
                ) as response:
                    assert response.status == 200
                    bundle = await response.json(content_type=None)
                found += [entry["resource"] for entry in bundle["entry"]]
    return found
