"""What the configuration says of finding receivers: the directory, how long it is remembered, the addressing service."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from accesspoint.config_values import Duration, Endpoint, HttpsUrl, Network, Table, Text, Url
from envelope.names import TRANSPORT_AS4_V1


class DirectoryCache(Table):
    """How long answers are remembered: endpoints, refusals, and endpoints while the directory does not answer.

    What the name server says shortens the first two and never makes them longer.
    """

    fresh: Duration = timedelta(minutes=5)
    refused: Duration = timedelta(seconds=60)
    stale: Duration = timedelta(hours=24)


class Directory(Table):
    """How receivers are found: by the DNS zone of the SML, or at one fixed SMP.

    `locator` says how participants are named in the zone, `smp_version` what publishers speak: 1.0 is read by OASIS and
    by Busdox. Names of Busdox carry no port, so that `busdox_port` says where publishers listen.
    """

    sml: Text | None = None
    locator: Literal["bdxl", "busdox"] = "bdxl"
    busdox_port: Annotated[int, Field(ge=1, le=65535)] = 80
    nameserver: Endpoint | None = None
    smp: Url | None = None
    smp_version: Literal["1.0", "2.0"] = "1.0"
    transport_profiles: Annotated[tuple[Text, ...], Field(min_length=1)] = (TRANSPORT_AS4_V1,)
    document_scheme: Text = "busdox-docid-qns"
    process_scheme: Text = "dk-messaging-procid"
    networks: tuple[Network, ...] = ()
    cache: DirectoryCache = DirectoryCache()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.sml is None) == (self.smp is None):
            raise ValueError("give either sml or smp")
        if not self.networks:
            raise ValueError(
                'needs networks: those that publishers and access points may be in, such as ["10.0.0.0/8"]'
            )
        return self


class Addressing(Table):
    """The addressing service (EAS), which an end-user application asks who the right receiver is.

    Tokens for it are those of `client_id`, enrolled with the certificate that we present in TLS.
    """

    endpoint: HttpsUrl
    token_endpoint: HttpsUrl
    client_id: Text
