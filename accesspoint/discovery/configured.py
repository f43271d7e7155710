"""The directory that a configuration describes: configured partners first, then the network's locator and publisher, cached."""

from collections.abc import Callable

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from accesspoint.clock import Clock
from accesspoint.config import Configuration
from accesspoint.discovery.directory import Directory
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from keys.path import Validator
from keys.store import load_certificate_files


def build_directory(
    configuration: Configuration,
    *,
    session: Callable[[], aiohttp.ClientSession],
    clock: Clock,
    smp: Validator,
) -> Directory:
    """Build the directory of one node."""
    partners = [
        StaticPartner(
            name,
            partner.gln,
            partner.url,
            load_certificate_files([partner.certificate])[0].public_bytes(Encoding.DER),
        )
        for name, partner in configuration.partners.items()
        if partner.gln is not None and partner.url is not None and partner.certificate is not None
    ]
    return StaticDirectory(partners)
