"""Builds published pages from their configuration: the issuer as a client of it, its secret, and TLS."""

import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp

from accesspoint.access.issuer import Issuer
from accesspoint.access.sign_on import SignOn
from accesspoint.clock import Clock
from accesspoint.config_pages import PublishedPages
from accesspoint.status_component.store import EventStore
from accesspoint.store.filesystem import read_private
from accesspoint.tracking.entrance import DONE_PATH, IssuerEntrance
from accesspoint.tracking.pages import Pages
from keys.store import load_certificate_files
from keys.tls import client_context, server_context


def build_pages(
    store: EventStore,
    published: PublishedPages,
    *,
    session: Callable[[], aiohttp.ClientSession],
    clock: Clock,
) -> Pages:
    """Return the pages for people elsewhere.

    Raises: StorageRefused for a secret that others can read; KeyStoreError for anchors that cannot be used.
    """
    settings = published.sign_on
    tls = None
    if settings.anchors:
        tls = client_context(anchors=load_certificate_files(settings.anchors))
    sign_on = SignOn(
        Issuer(settings.issuer, session=session, tls=tls, clock=clock),
        client_id=settings.client_id,
        client_secret=_secret_in(settings.client_secret_file),
        redirect_uri=published.url.rstrip("/") + DONE_PATH,
        clock=clock,
        scope=settings.scope,
        acr_values=settings.acr_values,
    )
    return Pages(store, clock=clock, entrance=IssuerEntrance(clock, published, sign_on))


def _secret_in(file: Path | None) -> str | None:
    return None if file is None else read_private(file).strip().decode("latin-1")


def server_tls(published: PublishedPages) -> ssl.SSLContext | None:
    """The pages' own TLS; None where a proxy on this machine, or nobody, speaks it. Raises: KeyStoreError."""
    if published.certificate is None or published.key is None:
        return None
    return server_context(published.certificate, published.key)
