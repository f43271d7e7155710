"""The backends that the configuration names."""

import ssl
from collections.abc import Callable
from pathlib import Path

from accesspoint.backends.base import Backend
from accesspoint.backends.folder import FolderBackend
from accesspoint.backends.sink import SinkBackend
from accesspoint.backends.webhook import WebhookBackend
from accesspoint.clock import Clock
from accesspoint.config import Backend as Settings
from accesspoint.config import BackendKind, Configuration
from accesspoint.networks import AllowedNetworks
from accesspoint.stations.link import BACKEND


def build_backends(
    configuration: Configuration,
    *,
    tls: ssl.SSLContext,
    clock: Clock,
    load_secret: Callable[[Path], str],
) -> dict[str, Backend | None]:
    """Every backend by the target of its hand-overs, None where it comes and pulls them.

    The first one is that which outcomes are told to: the one for all, else the first of several systems.
    """
    settings: dict[str, Settings] = {f"{BACKEND}:{one.name}": one for one in configuration.systems}
    if configuration.backend is not None:
        settings = {BACKEND: configuration.backend, **settings}
    return {
        target: build_backend(
            one, tls=tls, label=configuration.label, clock=clock, load_secret=load_secret
        )
        for target, one in settings.items()
    }


def build_backend(
    settings: Settings | None,
    *,
    tls: ssl.SSLContext,
    label: str,
    clock: Clock,
    load_secret: Callable[[Path], str],
) -> Backend | None:
    """Return the backend that hand-overs are brought to, or None where it comes and pulls them."""
    kind = BackendKind.SINK if settings is None else settings.kind
    if settings is None or kind is BackendKind.SINK:
        return SinkBackend()
    if kind is BackendKind.PULL:
        return None
    if settings.directory is not None:
        return FolderBackend(settings.directory)
    if settings.url is None or settings.secret_file is None:
        raise ValueError("a webhook needs url and secret_file")
    return WebhookBackend(
        settings.url,
        secret=load_secret(settings.secret_file).encode(),
        key_id=label,
        tls=tls,
        networks=AllowedNetworks(settings.networks),
        timeout_seconds=settings.timeout.total_seconds(),
        clock=clock,
    )
