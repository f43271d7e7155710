"""The AS4 client as the configuration wants it: the node's own, and that of every command that asks a partner."""

import ssl

from accesspoint.as4.client import As4Client
from accesspoint.config import Configuration
from accesspoint.networks import AllowedNetworks


def build_client(
    configuration: Configuration, tls: ssl.SSLContext, *, seconds: float | None = None
) -> As4Client:
    """Build a client that reaches configured partners and, of discovered addresses, those in the allowed networks.

    `tls` presents our certificate; `seconds` is how long an answer may take, the configured time unless told.
    """
    sending, directory = configuration.sending, configuration.directory
    return As4Client(
        tls,
        timeout_seconds=sending.timeout.total_seconds() if seconds is None else seconds,
        per_partner=sending.per_partner,
        networks=AllowedNetworks(directory.networks if directory else ()),
        configured=[one.url for one in configuration.partners.values() if one.url],
    )
