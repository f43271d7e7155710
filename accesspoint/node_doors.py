"""The doors of a node: which there are, who stands behind each, and what each demands of those who come.

The interface is for this machine, over plain HTTP; everybody else comes over mutual TLS. A door that the
configuration does not name stays shut, and a node whose access point runs elsewhere has none for AS4.

Spec: reliability section 6.6; hostile input: HTTP.
"""

import ssl
from contextlib import AsyncExitStack
from dataclasses import replace

from aiohttp import web

from accesspoint.api.rights import Door
from accesspoint.api.routes import Api
from accesspoint.as4.server import As4Server
from accesspoint.config_listen import Listen
from accesspoint.doors import open_door
from accesspoint.stations.carrier import PATH
from accesspoint.stations.reception import StationServer
from envelope.limits import DEFAULT_LIMITS, MIB


async def open_doors(
    stack: AsyncExitStack,
    listen: Listen,
    tls: ssl.SSLContext,
    *,
    api: Api,
    as4: As4Server | None,
    stations: StationServer,
) -> dict[str, str]:
    """Open what `listen` names until the stack ends; return the `host:port` of each door by its name.

    Raises: ProblemRaised `port-taken`.
    """
    others = (listen.submission, as4, listen.stations)
    limits = replace(listen.limits.edge(), doors=1 + sum(door is not None for door in others))
    opened = {
        "api": await open_door(stack, api.build(), listen.api, limits=limits.for_one_address())
    }
    if listen.submission is not None:
        opened["submission"] = await open_door(
            stack, api.build(Door.SUBMISSION), listen.submission, tls, limits=limits
        )
    if as4 is not None:
        application = _application()
        as4.serve(application.router)
        stack.push_async_callback(as4.settle)
        opened["as4"] = await open_door(
            stack, application, listen.as4, tls, limits=limits, tell=as4.tell_refused
        )
    if listen.stations is not None:
        application = _application()
        application.router.add_post(PATH, stations.handle)
        opened["stations"] = await open_door(
            stack, application, listen.stations, tls, limits=limits
        )
    return opened


def _application() -> web.Application:
    """One that takes a document of the largest size, and the messages around it."""
    return web.Application(client_max_size=DEFAULT_LIMITS.sbd_bytes + MIB)
