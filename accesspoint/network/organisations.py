"""The organisations of the miniature network, from one file: who they are, what they receive, whose patients are whose.

Locator, publisher, endpoint register and addressing service are all filled from it. The file that comes with the program
(`organisations.toml`) has the organisations of the demo; `accesspoint network serve --organisations FILE` takes another.

Spec: EHMI endpoint register, model (SOR organisation, GLN endpoint, devices); addressing service, use cases 1 to 4.
"""

import tomllib
import uuid
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from accesspoint.config import ConfigurationProblem, Finding
from accesspoint.config_values import Gln, HttpsUrl, Sor, Table, Text
from envelope.ehmi import DOCUMENT_NAMES, DOCUMENTS, SBDH_ACKNOWLEDGEMENT

SHIPPED: Final = "organisations.toml"
STATIONS: Final = ("EUA", "MSH", "AP")
EVERYTHING: Final = tuple(
    dict.fromkeys(kind.document_id for kind in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT))
)


class PostalAddress(Table):
    """Where an organisation is."""

    line: Text
    postal_code: Annotated[str, Field(pattern=r"^[0-9]{4}$")]
    city: Text


class RegisteredOrganisation(Table):
    """One organisation; without `gln` it is known and receives nothing.

    `messages` are written `homecareobservation-message 1.1`; without them everything is received. `access_point` is the
    common name of its access point's certificate; `url` and `certificate` (a PEM file beside this one) are given where
    its access point is not run from here.
    """

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
    name: Text
    gln: Gln | None = None
    sor: Sor
    cvr: Annotated[str, Field(pattern=r"^[0-9]{8}$")]
    ydernummer: Annotated[str, Field(pattern=r"^[0-9]{6}$")] | None = None
    hierarchy: Literal["IO", "HI", "OU", "IE", "SI", "OE"] = "SI"
    address: PostalAddress | None = None
    access_point: Text | None = None
    url: HttpsUrl | None = None
    certificate: Text | None = None
    messages: tuple[Text, ...] = ()
    devices: Mapping[str, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = sorted(set(self.messages) - set(DOCUMENT_NAMES))
        if unknown:
            known = ", ".join(sorted(DOCUMENT_NAMES))
            raise ValueError(f"messages has {', '.join(unknown)}; there are: {known}")
        strangers = sorted(set(self.devices) - set(STATIONS))
        if strangers:
            raise ValueError(
                f"devices has {', '.join(strangers)}; there are: {', '.join(STATIONS)}"
            )
        if (self.url is None) != (self.certificate is None):
            raise ValueError(
                "url and certificate belong together: an access point that is elsewhere"
            )
        if (self.access_point or self.url) and self.gln is None:
            raise ValueError("an organisation with an access point needs a gln")
        return self

    @property
    def documents(self) -> tuple[str, ...]:
        """The DOCUMENTIDs that it receives; acknowledgements are received by everybody who takes part."""
        if self.gln is None:
            return ()
        named = tuple(DOCUMENT_NAMES[message] for message in self.messages)
        return (*named, SBDH_ACKNOWLEDGEMENT.document_id) if named else EVERYTHING

    def device_ids(self) -> dict[str, str]:
        """The device identities of its stations, as the register, the status component and the tokens know them."""
        return {
            station: self.devices.get(station)
            or str(
                uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ehmi-accesspoint:demo:{self.key}:{station}")
            )
            for station in STATIONS
        }


class Patient(Table):
    """A test person and the general practitioner whom the insured register names."""

    cpr: Annotated[str, Field(pattern=r"^[0-9]{10}$")]
    ydernummer: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class Organisations(Table):
    """The whole file."""

    organisation: Annotated[tuple[RegisteredOrganisation, ...], Field(min_length=1)]
    patient: tuple[Patient, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("key", "gln", "sor", "ydernummer"):
            said = [value for one in self.organisation if (value := getattr(one, name))]
            twice = sorted({value for value in said if said.count(value) > 1})
            if twice:
                raise ValueError(f"two organisations have the {name} {', '.join(twice)}")
        return self

    def of_key(self, key: str) -> RegisteredOrganisation:
        """The organisation of this key; KeyError for none."""
        for one in self.organisation:
            if one.key == key:
                return one
        raise KeyError(key)


def read_organisations(path: Path | None = None) -> Organisations:
    """Read the organisations of a file, or those that come with the program.

    Raises: ConfigurationProblem with everything that is wrong in it.
    """
    name = SHIPPED if path is None else str(path)
    try:
        text = (
            (files("accesspoint.network") / SHIPPED).read_text(encoding="utf-8")
            if path is None
            else path.read_text(encoding="utf-8")
        )
        return Organisations.model_validate(tomllib.loads(text))
    except OSError as error:
        raise _wrong(Finding(name, f"cannot be read: {error.strerror}")) from error
    except ValidationError as error:
        findings = [
            Finding(f"{name} {'.'.join(map(str, one['loc']))}".strip(), one["msg"])
            for one in error.errors(include_input=False, include_url=False)
        ]
        raise _wrong(*findings) from error
    except ValueError as error:
        raise _wrong(Finding(name, str(error))) from error


def _wrong(*findings: Finding) -> ConfigurationProblem:
    return ConfigurationProblem(findings, again="accesspoint network serve")
