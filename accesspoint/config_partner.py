"""What the configuration says of another access point: where it is, who it is, and what is agreed with it.

Everything has a default: the preset of its product or network, and below that the eDelivery common profile.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from accesspoint.config_values import FilePath, Gln, HttpsUrl, Table, Text
from envelope.pmode import PRESETS, Generation, Mep, Quirk, TokenForm

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_PHRASE: Final = re.compile(r"[!-~]+(?: [!-~]+)*")


def _phrase(value: str) -> str:
    if _PHRASE.fullmatch(value) is None:
        raise ValueError("write visible ASCII characters, with single spaces between words")
    return value


Phrase = Annotated[Text, AfterValidator(_phrase)]


class BusinessValues(Table):
    """The values of an ebMS header that are agreed; what is not given is the preset's, or open.

    Spec: AS4 Profile 1.0 section 4; ebMS 3.0 Core section 5.2.2: a value without a type is a URI.
    """

    agreement: Phrase | None = None
    agreement_type: Phrase | None = None
    service: Phrase | None = None
    service_type: Phrase | None = None
    action: Phrase | None = None
    initiator_role: Phrase | None = None
    responder_role: Phrase | None = None

    def said(self) -> dict[str, Any]:
        """What the file says of these values, by the names of the P-Mode."""
        return {
            name: getattr(self, name)
            for name in BusinessValues.model_fields
            if name in self.model_fields_set
        }


class Partner(BusinessValues):
    """Another access point, as far as it differs from what the directory says.

    `speaks_for` are the organisations whose messages it brings, by GLN: then it may bring those of nobody else, and no
    other access point theirs, unless its own table names them too. Without it this is left open.

    `binary_content` says in which namespace the content of envelopes for its receiver stands. With `pmodes` only
    messages of one of them are exchanged with it; each takes over what the partner's table says.

    `generations` are those of eDelivery AS4 that are agreed, the preferred one first; unsaid it is 1.15 for a
    configured certificate, else what the directory looks for. For 2.0 the certificate file holds two, one that signs
    and one that agrees on keys.
    """

    gln: Gln | None = None
    speaks_for: tuple[Gln, ...] = ()
    url: HttpsUrl | None = None
    certificate: Annotated[FilePath | None, Field(validate_default=True)] = None
    preset: Literal["domibus-like", "peppol-like", "phase4-like", "holodeck-like"] = "domibus-like"
    quirks: tuple[Quirk, ...] = ()
    mep: Mep = Mep.ONE_WAY
    generations: tuple[Generation, ...] = ()
    party_id_type: Phrase | None = None
    signing_token: TokenForm | None = None
    encryption_token: TokenForm | None = None
    inclusive_prefixes: bool | None = None
    signed_errors: bool | None = None
    binary_content: Literal["sbdh", "peppol"] = "sbdh"
    pmodes: Mapping[str, BusinessValues] = Field(default_factory=dict, validate_default=True)

    # Checked field by field, so that one mistake in a table does not hide the others.

    @field_validator("generations")
    @classmethod
    def _each_once(cls, value: tuple[Generation, ...]) -> tuple[Generation, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names one generation twice")
        return value

    @field_validator("certificate")
    @classmethod
    def _with_url(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "url" in info.data and (info.data["url"] is None) != (value is None):
            raise ValueError("url and certificate go together")
        return value

    @field_validator("binary_content")
    @classmethod
    def _with_gln(cls, value: str, info: ValidationInfo) -> str:
        if value != "sbdh" and "gln" in info.data and info.data["gln"] is None:
            raise ValueError("an envelope is addressed to a GLN, so this needs gln")
        return value

    @field_validator("pmodes")
    @classmethod
    def _hold(
        cls, value: Mapping[str, BusinessValues], info: ValidationInfo
    ) -> Mapping[str, BusinessValues]:
        """Hold the values of the table and of each P-Mode, with what it takes over, against the standard's rules."""
        preset = PRESETS.get(info.data.get("preset", ""))
        here = {name: info.data.get(name) for name in BusinessValues.model_fields}
        inherited = {name: each or getattr(preset, name, None) for name, each in here.items()}
        wrong = list(_mistakes(inherited))
        for name, entry in value.items():
            wrong += [f"{name}: {each}" for each in _mistakes({**inherited, **entry.said()})]
        for (one, first), (two, second) in combinations(value.items(), 2):
            if first == second:
                wrong.append(f"{one} and {two} say the same")
        if wrong:
            raise ValueError("; ".join(dict.fromkeys(wrong)))
        return value


def _mistakes(values: Mapping[str, str | None]) -> Iterator[str]:
    if values["agreement_type"] is not None and values["agreement"] is None:
        yield "agreement_type belongs to an agreement"
    for name in ("agreement", "service"):
        value, kind = values[name], values[f"{name}_type"]
        if value is not None and kind is None and _URI.fullmatch(value) is None:
            yield f"{name} is no URI, so it needs {name}_type"


def no_gln_twice(partners: Mapping[str, Partner]) -> Mapping[str, Partner]:
    """Refuse two partners for one receiver: nobody could say which of them is meant."""
    by_gln: dict[str, str] = {}
    for name, partner in partners.items():
        if partner.gln is not None and partner.gln in by_gln:
            raise ValueError(f"{by_gln[partner.gln]} and {name} have the same gln")
        by_gln[partner.gln or ""] = name
    return partners
