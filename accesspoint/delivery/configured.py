"""Which devices report for which organisation, and the relay that brings their events, as the configuration says.

Each device is a client of its own at the authorization server. An organisation that has devices of its own reports
with them; the others share those of the stations.
"""

import ssl
from collections.abc import Callable, Mapping

import aiohttp

from accesspoint.clock import Clock
from accesspoint.config import Configuration, DeliveryStatus
from accesspoint.config import Station as Runs
from accesspoint.delivery.events import Station
from accesspoint.delivery.outbox import Outbox
from accesspoint.delivery.relay import Relay
from accesspoint.delivery.token import TokenSource


def devices_of(configuration: Configuration) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The device of each station, and by GLN those of the organisations that have devices of their own."""
    common = configuration.stations.device_ids
    own = {
        one.gln: _by_station({**common, **one.device_ids})
        for one in configuration.served
        if one.device_ids
    }
    return _by_station(common), own


def _by_station(devices: Mapping[Runs, str]) -> dict[str, str]:
    by_station = {str(station): device for station, device in devices.items()}
    # Message service handler and access point built together report as one, with the access point's device.
    by_station[Station.AP_MSH] = by_station.get(Station.AP, "")
    return by_station


def build_relay(
    configuration: Configuration,
    status: DeliveryStatus,
    outbox: Outbox,
    *,
    tls: ssl.SSLContext,
    session: Callable[[], aiohttp.ClientSession],
    clock: Clock,
    random: Callable[[], float],
    timeout: float,
) -> Relay:
    """The relay to the status component, with the tokens of every device; `timeout` seconds are one attempt's."""
    devices = configuration.stations.device_ids
    clients = {devices[one]: id_ for one, id_ in status.client_ids.items() if one in devices}
    for organisation in configuration.served:
        for station, device in organisation.device_ids.items():
            clients[device] = organisation.client_ids[station]
    tokens = {
        device: TokenSource(
            status.token_endpoint,
            client_id=client_id,
            ssl_context=tls,
            session=session,
            clock=clock,
        )
        for device, client_id in clients.items()
    }
    return Relay(
        outbox, endpoint=status.endpoint, tokens=tokens, ssl_context=tls, session=session, clock=clock,
        random=random, timeout=timeout,
    )  # fmt: skip
