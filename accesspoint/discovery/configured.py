"""The directory that a configuration describes: configured partners first, then locator and publisher, cached."""

import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from cryptography import x509

from accesspoint.clock import Clock
from accesspoint.config import Configuration
from accesspoint.config_directory import Directory as Settings
from accesspoint.config_partner import Partner
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.discovery.dynamic import DynamicDirectory
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.discovery.smp import MetadataPublisher
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from accesspoint.generation import encryption_certificate, transport_profile_of
from accesspoint.identity import mode_of, partner_certificates
from accesspoint.networks import AllowedNetworks
from envelope.smp import SmpForm
from keys.certificate import der
from keys.errors import KeyStoreError
from keys.path import Usage, Validator

_DNS_PORT: Final = 53


def build_directory(
    configuration: Configuration,
    stack: AsyncExitStack,
    *,
    clock: Clock,
    publishers: Validator,
    tls: ssl.SSLContext,
) -> StaticDirectory:
    """Build the directory of one node; `publishers` says whose service metadata is believed, `tls` whose https."""
    partners = static_partners(configuration)
    settings = configuration.directory
    if settings is None:
        return StaticDirectory(partners)
    return StaticDirectory(
        partners, otherwise=build_dynamic(settings, stack, clock, publishers, tls)
    )


def static_partners(configuration: Configuration) -> list[StaticPartner]:
    """The partners whose address and certificate the configuration names; raises KeysError."""
    return [
        _static(name, one.gln, one.url, one)
        for name, one in configuration.partners.items()
        if one.gln is not None and one.url is not None
    ]


def _static(name: str, gln: str, url: str, partner: Partner) -> StaticPartner:
    """The partner under the preferred generation, with the certificate that this one encrypts for."""
    generation = mode_of(partner).generations[0]
    certificate = encryption_certificate(partner_certificates(partner), generation)
    if certificate is None:
        raise KeyStoreError(
            f"{partner.certificate}: no certificate to encrypt for under eDelivery AS4 {generation}"
        )
    return StaticPartner(name, gln, url, der(certificate), transport_profile_of(generation))


def build_dynamic(
    settings: Settings,
    stack: AsyncExitStack,
    clock: Clock,
    publishers: Validator,
    tls: ssl.SSLContext,
) -> CachedDirectory:
    """Build the directory that asks the network, which closes with `stack`."""

    def check(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> object:
        return publishers.validate(certificate, chain, usage=Usage.SIGNING, at=clock.now())

    networks = AllowedNetworks(settings.networks)
    form = SmpForm.OASIS_2 if settings.smp_version == "2.0" else SmpForm.OASIS_1
    nameserver = settings.nameserver
    locator = None
    if settings.sml is not None:
        where = None if nameserver is None else (nameserver.host, nameserver.port or _DNS_PORT)
        locator = MetadataLocator(
            settings.sml,
            clock=clock,
            nameserver=where,
            form=form,
            busdox=settings.locator == "busdox",
            port=settings.busdox_port,
        )
    publisher = MetadataPublisher(
        networks=networks,
        check=check,
        clock=clock,
        document_scheme=settings.document_scheme,
        form=form,
        tls=tls,
        resolver=None if locator is None else locator.host_resolver(),
    )
    stack.push_async_callback(publisher.close)
    dynamic = DynamicDirectory(
        publisher=publisher,
        networks=networks,
        clock=clock,
        locator=locator,
        publisher_url=settings.smp,
        transport_profiles=settings.transport_profiles,
    )
    cache = settings.cache
    return CachedDirectory(
        dynamic,
        clock=clock,
        fresh_for=cache.fresh,
        refused_for=cache.refused,
        stale_for=cache.stale,
    )
