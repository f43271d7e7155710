"""The addressing service that a configuration names, asked with our TLS certificate and tokens bound to it."""

import ssl
from collections.abc import Callable

import aiohttp

from accesspoint.addressing.client import FhirClient
from accesspoint.addressing.service import AddressingService
from accesspoint.addressing.vocabulary import ADDRESSING_SCOPE
from accesspoint.clock import Clock
from accesspoint.config import Configuration
from accesspoint.delivery.token import TokenSource


def build_addressing(
    configuration: Configuration,
    tls: ssl.SSLContext,
    session: Callable[[], aiohttp.ClientSession],
    clock: Clock,
) -> AddressingService | None:
    """Build the client of the addressing service, or None where the configuration names none."""
    settings = configuration.addressing
    if settings is None:
        return None
    tokens = TokenSource(
        settings.token_endpoint,
        client_id=settings.client_id,
        ssl_context=tls,
        session=session,
        clock=clock,
    )
    client = FhirClient(
        settings.endpoint,
        scope=ADDRESSING_SCOPE,
        tokens=tokens,
        ssl_context=tls,
        session=session,
    )
    return AddressingService(client, clock=clock)
