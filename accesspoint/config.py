"""The configuration: one strict TOML file, overridden by the environment, checked as a whole.

Every key is known, every problem is told at once with its line, and nothing starts until there is none.
Names of files are relative to the TOML file. Secrets never stand in the file: keys are files of their
own, and a database password belongs into the environment or the PostgreSQL password file.

`ACCESSPOINT__LISTEN__AS4=0.0.0.0:8443` overrides `[listen] as4`; a value that begins with `[` or `{` is
read as TOML, any other as text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from accesspoint.config_access import Access
from accesspoint.config_directory import Addressing, Directory
from accesspoint.config_listen import Listen
from accesspoint.config_organisation import Organisation, Sharing
from accesspoint.config_partner import Partner, no_gln_twice
from accesspoint.config_trust import Tls, Trust
from accesspoint.config_validation import Validation
from accesspoint.config_values import (
    Duration,
    FileOrBucket,
    FilePath,
    Gln,
    HttpsUrl,
    Network,
    Size,
    Table,
    Text,
    Url,
    is_this_machine,
)
from accesspoint.retry import RetrySchedule
from envelope.ehmi import TIME_TO_ACKNOWLEDGE
from envelope.lifetime import RETRANSMISSION


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: where it stands, the piece of text it is about, and what is wrong."""

    where: str
    text: str
    shown: str = ""
    column: int = 0
    width: int = 0

    def render(self) -> str:
        """Return one line, or two with marks under the piece it is about."""
        if not self.shown:
            return f"{self.where}  {self.text}"
        lead = f"{self.where}  "
        marks = " " * (len(lead) + self.column) + "^" * max(1, self.width)
        return f"{lead}{self.shown}\n{marks}  {self.text}"


class ConfigurationProblem(Exception):
    """The configuration has problems; all of them. `again` is the command that looks at it anew."""

    def __init__(
        self, findings: tuple[Finding, ...], *, again: str = "accesspoint config check"
    ) -> None:
        super().__init__(f"{len(findings)} problems in the configuration")
        self.findings = findings
        self._again = again

    def render(self) -> str:
        """Return the text for a person: the problems in the order of the file, then what to do."""
        count = len(self.findings)
        closing = f"{count} problem{'' if count == 1 else 's'}. Nothing was started.   check again: {self._again}"
        return "\n".join([*(finding.render() for finding in self.findings), closing])


class Profile(StrEnum):
    """How serious this instance is."""

    DEV = "dev"
    TEST = "test"
    PRODUCTION = "production"


class Station(StrEnum):
    """The EHMI stations in the order a message passes them on its way out."""

    EUA = "EUA"
    MSH = "MSH"
    AP = "AP"


class BackendKind(StrEnum):
    """Where delivered messages go."""

    FOLDER = "folder"
    SINK = "sink"
    PULL = "pull"
    WEBHOOK = "webhook"


class ServedOrganisation(Organisation):
    """An organisation that this node sends and receives for; `glns` are further addresses of it.

    Its stations may report as devices of its own, each a client of its own at the authorization server; what is not
    said here is that of [stations] and [delivery_status]. `keys` is a directory with a message key of its own, under
    whose name its messages are sent and received.
    """

    glns: tuple[Gln, ...] = ()
    device_ids: Mapping[Station, Text] = Field(default_factory=dict)
    client_ids: Mapping[Station, Text] = Field(default_factory=dict)
    keys: FilePath | None = None

    @property
    def addresses(self) -> tuple[Self, ...]:
        """The same organisation once for each of its addresses."""
        others = (self.model_copy(update={"gln": gln}) for gln in self.glns)
        return (self, *others)


class Stations(Table):
    """Which stations this process is, and the device id each reports its delivery events with."""

    runs: tuple[Station, ...] = (Station.EUA, Station.MSH, Station.AP)
    device_ids: Mapping[Station, Text]

    @model_validator(mode="after")
    def _check(self) -> Self:
        order = tuple(Station)
        first = order.index(self.runs[0]) if self.runs else 0
        if not self.runs or self.runs != order[first : first + len(self.runs)]:
            raise ValueError('runs must be neighbours in the order "EUA", "MSH", "AP"')
        # MSH and AP in one process report together as AP-MSH with the device id of the AP.
        needed = set(self.runs) - ({Station.MSH} if Station.AP in self.runs else set())
        missing = [
            station for station in order if station in needed and station not in self.device_ids
        ]
        if missing:
            raise ValueError(f"device_ids lacks {', '.join(missing)}")
        return self


class Keys(Table):
    """The directory with our private keys and certificates."""

    directory: FilePath


class Node(Table):
    """This process among those that share one database: its name, and how long a row is its own without a heartbeat."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")] | None = None
    lease: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not timedelta(seconds=2) <= self.lease <= timedelta(minutes=10):
            raise ValueError("lease must be from 2 s to 10 min")
        return self


class Store(Table):
    """This process's own directory, the database when it is not a SQLite file in it, and payloads and their encryption.

    `payloads` is a directory that all nodes of one database share, or `s3://bucket/prefix` (extra `s3`); the
    credentials for a bucket stand in the environment. `previous_keys` open what was encrypted under
    them; what is new is encrypted under `encryption_key`. With less than `reserve` free nothing new is taken in.
    """

    directory: FilePath
    payloads: FileOrBucket | None = None
    s3_endpoint: Url | None = None
    s3_region: Text | None = None
    database: Annotated[str, Field(pattern=r"^(sqlite|postgresql)://")] | None = None
    encryption: Literal["on", "off"] = "on"
    encryption_key: FilePath | None = None
    previous_keys: tuple[FilePath, ...] = ()
    reserve: Size = 256 * 1024 * 1024

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.s3_endpoint is not None:
            parts = urlsplit(self.s3_endpoint)
            if parts.scheme != "https" and not is_this_machine(parts.hostname):
                raise ValueError("s3_endpoint must begin with https://, unless it is this machine")
        return self


class Retention(Table):
    """How long what is kept; see `accesspoint.store.retention`. `orphans` is how old a file without a row must be."""

    delivered: Duration = timedelta(hours=24)
    undelivered: Duration = timedelta(days=60)
    metadata: Duration = timedelta(days=365)
    refusals: Duration = timedelta(days=30)
    journal: Duration = timedelta(days=183)
    audit: Duration = timedelta(days=183)
    orphans: Duration = timedelta(hours=24)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.orphans < timedelta(hours=1):
            raise ValueError(
                "orphans must be at least 1 h: a younger file may be about to get its row"
            )
        if self.metadata < self.undelivered or self.metadata < self.delivered:
            raise ValueError("metadata must be kept at least as long as payloads")
        return self


class DeliveryStatus(Table):
    """The EHMI delivery status component; without this table no delivery events are recorded.

    Each station that reports is a client of its own at the authorization server, with its own device id.
    `created_apart` has the end-user application report `msg-created` and `msg-sent` instead of the one
    `msg-created-and-sent`.
    """

    endpoint: HttpsUrl
    token_endpoint: HttpsUrl
    client_ids: Mapping[Station, Text]
    created_apart: bool = False


class Retry(Table):
    """The waits between attempts; see `accesspoint.retry`."""

    first: Duration = timedelta(seconds=10)
    factor: float = 2.0
    longest: Duration = timedelta(hours=1)
    give_up_after: Duration = timedelta(hours=24)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.schedule()
        return self

    def schedule(self) -> RetrySchedule:
        """Return the schedule these values describe."""
        return RetrySchedule(self.first, self.factor, self.longest, self.give_up_after)


class Sending(Table):
    """How much is sent at once, in all and to one destination, and how long one attempt may take."""

    workers: Annotated[int, Field(ge=1, le=256)] = 16
    per_partner: Annotated[int, Field(ge=1, le=256)] = 4
    timeout: Duration = timedelta(seconds=60)
    retry: Retry = Retry()


class Link(Table):
    """The process of a neighbouring station."""

    url: HttpsUrl
    certificate: FilePath


class Links(Table):
    """The neighbours when stations run apart: `down` towards the network, `up` towards the user."""

    up: Link | None = None
    down: Link | None = None


class Backend(Table):
    """Where messages for our organisations are handed over, and outcomes of those they sent.

    A webhook has an address, a file with the secret that signs (made when it is missing), and the networks
    that it may be in.
    """

    kind: BackendKind
    directory: FilePath | None = None
    url: HttpsUrl | None = None
    secret_file: FilePath | None = None
    networks: tuple[Network, ...] = ()
    timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind is BackendKind.FOLDER) != (self.directory is not None):
            raise ValueError('directory belongs to kind "folder", and to no other')
        given = {self.url is not None, self.secret_file is not None, bool(self.networks)}
        if given != {self.kind is BackendKind.WEBHOOK}:
            raise ValueError('url, secret_file and networks belong to kind "webhook", all three')
        return self


class System(Backend):
    """One of several end-user systems: each message for one of its GLNs is handed over to it, and to the others."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    glns: Annotated[tuple[Gln, ...], Field(min_length=1)]


Acknowledge = Literal["automatic", "on-demand", "off"]
"""Whether messages are answered as they come, when somebody says how, or never."""


class Acknowledging(Table):
    """How this node answers, and how long it waits for the answers of others.

    `fhir`: whether the end-user application answers with a MedCom acknowledgement by itself, or when it is told to.
    Nobody has acknowledged an envelope: after `alert` it is told of, after `resend` the message goes out in another
    envelope, by itself, at most `resends` times; without `resend` only a person sends it again. `answer` is how long the
    receiving application may take to answer before that is told of.
    """

    fhir: Acknowledge = "automatic"
    alert: Duration = TIME_TO_ACKNOWLEDGE
    resend: Duration | None = None
    resends: Annotated[int, Field(ge=1, le=2)] = 2
    answer: Duration = timedelta(minutes=30)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.resend is not None and self.resend < self.alert:
            raise ValueError("resend must not come before alert")
        return self


class Configuration(Table):
    """One node; `addresses` are organisations it can address besides those a message names itself."""

    profile: Profile
    label: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    organisation: ServedOrganisation | None = None
    organisations: tuple[ServedOrganisation, ...] = ()
    addresses: tuple[Organisation, ...] = ()
    stations: Stations
    listen: Listen = Listen()
    access: Access = Access()
    node: Node = Node()
    keys: Keys
    store: Store
    retention: Retention = Retention()
    trust: Trust = Trust()
    tls: Tls = Tls()
    directory: Directory | None = None
    addressing: Addressing | None = None
    partners: Annotated[Mapping[str, Partner], AfterValidator(no_gln_twice)] = Field(
        default_factory=dict
    )
    delivery_status: DeliveryStatus | None = None
    sending: Sending = Sending()
    links: Links = Links()
    backend: Backend | None = None
    systems: tuple[System, ...] = ()
    acknowledging: Acknowledging = Acknowledging()
    validation: Validation = Validation()
    sharing: Sharing | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        runs = self.stations.runs
        wanted: list[str] = []
        wanted += self._check_organisations()
        if Station.EUA not in runs and self.links.up is None:
            wanted.append("without an EUA there must be [links] up")
        if Station.AP not in runs and self.links.down is None:
            wanted.append("without an AP there must be [links] down")
        if self.listen.submission is not None and self.trust.tls is None:
            wanted.append(
                "[listen] submission asks for client certificates, which [trust.tls] tells apart"
            )
        if self.listen.submission is not None and self.access == Access():
            wanted.append(
                "[listen] submission is for systems that [access] names; it names none, by certificate or issuer"
            )
        if Station.AP in runs and self.trust.message is None:
            wanted.append(
                "an AP needs [trust.message]: without it no message and no receipt is believed"
            )
        if self.retention.metadata < 2 * max(self.sending.retry.give_up_after, RETRANSMISSION):
            wanted.append(
                "[retention] metadata must be at least twice [sending.retry] give_up_after, and four days: "
                "while a message may come again, its MessageId is remembered"
            )
        if self.trust.tls is None:
            wanted.append(
                "every node needs [trust.tls]: it speaks TLS with partners and neighbours"
            )
        if (
            self.profile is Profile.PRODUCTION
            and self.store.encryption == "on"
            and self.store.encryption_key is None
        ):
            wanted.append(
                'production needs [store] encryption_key (make one: openssl rand -hex 32), or encryption = "off"'
            )
        if len(runs) < len(Station) and self.listen.stations is None:
            wanted.append("stations that run apart need [listen] stations")
        if self.sharing is not None and Station.MSH not in runs:
            wanted.append("[sharing] belongs to the node that runs the MSH")
        if self.delivery_status is not None:
            reporting = set(runs) - ({Station.MSH} if Station.AP in runs else set())
            lacking = sorted(reporting - set(self.delivery_status.client_ids))
            if lacking:
                wanted.append(f"[delivery_status] client_ids lacks {', '.join(lacking)}")
        if wanted:
            raise ValueError("; ".join(wanted))
        return self

    def _check_organisations(self) -> Iterator[str]:
        """What is wrong between organisations, their devices and their systems."""
        glns = [one.gln for one in self.served]
        if not glns:
            yield "needs [organisation], or [[organisations]] where there are several"
        if len(set(glns)) < len(glns):
            yield "two organisations have the same gln"
        for one in self.served:
            if self.delivery_status is not None and set(one.device_ids) - set(one.client_ids):
                yield f"{one.name} has device_ids of its own, so it needs client_ids for them"
        if strangers := sorted(self.access.glns - set(glns)):
            yield f"[access] names {', '.join(strangers)}, which no organisation here has"
        if len({one.name for one in self.systems}) < len(self.systems):
            yield "two [[systems]] have the same name"
        named = {gln for system in self.systems for gln in system.glns}
        if strangers := sorted(named - set(glns)):
            yield f"[[systems]] names {', '.join(strangers)}, which no organisation here has"
        lacking = sorted(set(glns) - named)
        if Station.EUA in self.stations.runs and self.backend is None and lacking:
            yield "an EUA needs [backend]" + (
                f", or [[systems]] for {', '.join(lacking)}" if self.systems else ""
            )

    @property
    def node_name(self) -> str:
        """What the journal, the log and the list of nodes call this process."""
        return self.node.name or self.label

    @property
    def peppol_receivers(self) -> frozenset[str]:
        """The GLNs of partners that expect BinaryContent in Peppol's namespace."""
        partners = self.partners.values()
        return frozenset(one.gln for one in partners if one.gln and one.binary_content == "peppol")

    @property
    def served(self) -> tuple[ServedOrganisation, ...]:
        """Every organisation this node sends and receives for, once for each of its addresses, its own first."""
        first = () if self.organisation is None else (self.organisation,)
        return tuple(one for each in (*first, *self.organisations) for one in each.addresses)

    def systems_for(self, gln: str) -> tuple[str, ...]:
        """The names of the systems that messages for this GLN go to; none where they go to [backend]."""
        return tuple(system.name for system in self.systems if gln in system.glns)


ENVIRONMENT_PREFIX: Final = "ACCESSPOINT__"


def load(path: Path, environment: Mapping[str, str] | None = None) -> Configuration:
    """Read and check the configuration of one node.

    `environment` is `os.environ` unless given.

    Raises: ConfigurationProblem with every problem there is.
    """
    from accesspoint.configuration_file import validated  # which names this module's models

    return validated(path, environment)


def model_at(location: tuple[Any, ...]) -> type[Table] | None:
    """Return the table that holds the key at a path of the file, or None when it is no table of ours."""
    model: Any = Configuration
    named = False
    for part in location:
        if isinstance(part, int):
            continue
        if named:
            # The name of a partner or a P-Mode leads to the same table as the key before it.
            named = False
            continue
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            return None
        annotation = fields[part].annotation
        model = _table_of(annotation)
        named = get_origin(annotation) is Mapping
    return model if isinstance(model, type) and issubclass(model, Table) else None


def _table_of(annotation: Any) -> Any:
    """Return the table inside an annotation such as `Directory | None` or `tuple[Organisation, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _table_of(argument)
        if found is not None:
            return found
    return None
