"""Where a node listens, and within which limits it does: `[listen]` and `[listen.limits]`."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from accesspoint.admission import EdgeLimits
from accesspoint.config_values import Address, Duration, Endpoint, Size, Table, is_this_machine

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _loopback(value: Address) -> Address:
    if not is_this_machine(value.host):
        raise ValueError(
            "the interface speaks plain HTTP, so it listens on this machine only: 127.0.0.1, [::1] or localhost"
        )
    return value


class HttpLimits(Table):
    """What is let in at every door, each counted for itself.

    `header` is how long a header may take, `body` how long a body, or longer where it comes with at least `body_rate` a
    second. A connection is closed when nothing was asked for `idle`, and after `requests_per_connection`; an address
    opens no more than `openings_per_address` in ten seconds; behind a balancer that hides addresses all callers share
    these. However many `connections` are allowed, all doors together let in half as many as the process may open files,
    each an equal part. At the end requests under way have `drain` to be answered. `spool` is how much of received
    messages may wait on disk to be verified; who brings more is told to come again.
    """

    header: Duration = timedelta(seconds=10)
    body: Duration = timedelta(seconds=30)
    body_rate: Annotated[Size, Field(ge=1)] = 8 * 1024
    idle: Duration = timedelta(seconds=75)
    drain: Duration = timedelta(seconds=5)
    connections: _Count = 2_048
    connections_per_address: _Count = 512
    openings_per_address: _Count = 1_000
    requests: _Count = 1_024
    requests_per_address: _Count = 256
    requests_per_connection: _Count = 1_000
    spool: Size = 4 * 1024**3

    def edge(self) -> EdgeLimits:
        """The same for a door."""
        return EdgeLimits(
            header_seconds=self.header.total_seconds(),
            body_seconds=self.body.total_seconds(),
            body_rate=self.body_rate,
            idle_seconds=self.idle.total_seconds(),
            drain_seconds=self.drain.total_seconds(),
            connections=self.connections,
            connections_per_address=self.connections_per_address,
            openings_per_address=self.openings_per_address,
            requests=self.requests,
            requests_per_address=self.requests_per_address,
            requests_per_connection=self.requests_per_connection,
        )


class Listen(Table):
    """Where this process listens; `submission` is for systems elsewhere that submit, over mutual TLS, as [access] says."""

    as4: Endpoint = Address("127.0.0.1", 8443)
    api: Annotated[Endpoint, AfterValidator(_loopback)] = Address("127.0.0.1", 8401)
    submission: Endpoint | None = None
    stations: Endpoint | None = None
    limits: HttpLimits = HttpLimits()
