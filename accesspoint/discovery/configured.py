"""The directory that a configuration describes: configured partners first, then locator and publisher, cached."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from cryptography import x509

from accesspoint.clock import Clock
from accesspoint.config import Configuration
from accesspoint.config import Directory as Settings
from accesspoint.config_partner import Partner
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.discovery.directory import Directory
from accesspoint.discovery.dynamic import DynamicDirectory
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.discovery.smp import MetadataPublisher
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from accesspoint.generation import encryption_certificate, transport_profile_of
from accesspoint.identity import mode_of, partner_certificates
from accesspoint.networks import AllowedNetworks
from keys.certificate import der
from keys.errors import KeyStoreError
from keys.path import Usage, Validator

_DNS_PORT: Final = 53


def build_directory(
    configuration: Configuration, stack: AsyncExitStack, *, clock: Clock, publishers: Validator
) -> Directory:
    """Build the directory of one node; `publishers` says whose service metadata is believed."""
    partners = [
        _static(name, one.gln, one.url, one)
        for name, one in configuration.partners.items()
        if one.gln is not None and one.url is not None
    ]
    settings = configuration.directory
    if settings is None:
        return StaticDirectory(partners)
    return StaticDirectory(partners, otherwise=_build_dynamic(settings, stack, clock, publishers))


def _static(name: str, gln: str, url: str, partner: Partner) -> StaticPartner:
    """The partner under the preferred generation, with the certificate that this one encrypts for."""
    generation = mode_of(partner).generations[0]
    certificate = encryption_certificate(partner_certificates(partner), generation)
    if certificate is None:
        raise KeyStoreError(
            f"{partner.certificate}: no certificate to encrypt for under eDelivery AS4 {generation}"
        )
    return StaticPartner(name, gln, url, der(certificate), transport_profile_of(generation))


def _build_dynamic(
    settings: Settings, stack: AsyncExitStack, clock: Clock, publishers: Validator
) -> Directory:
    def check(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> object:
        return publishers.validate(certificate, chain, usage=Usage.SIGNING, at=clock.now())

    networks = AllowedNetworks(settings.networks)
    publisher = MetadataPublisher(
        networks=networks, check=check, clock=clock, document_scheme=settings.document_scheme
    )
    stack.push_async_callback(publisher.close)
    nameserver = settings.nameserver
    locator = None
    if settings.sml is not None:
        where = None if nameserver is None else (nameserver.host, nameserver.port or _DNS_PORT)
        locator = MetadataLocator(settings.sml, clock=clock, nameserver=where)
    dynamic = DynamicDirectory(
        publisher=publisher,
        networks=networks,
        clock=clock,
        locator=locator,
        publisher_url=settings.smp,
        transport_profiles=settings.transport_profiles,
    )
    return CachedDirectory(dynamic, clock=clock)
