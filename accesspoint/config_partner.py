"""What the configuration says of another access point: where it is, who it is, and what is agreed with it.

Everything has a default: the preset of its product or network, and below that the eDelivery common profile.
"""

from typing import Literal, Self

from pydantic import model_validator

from accesspoint.config_values import FilePath, Gln, HttpsUrl, Table
from envelope.pmode import Generation, Mep, Quirk


class Partner(Table):
    """Another access point, as far as it differs from what the directory says.

    `generations` are those of eDelivery AS4 that are agreed, the preferred one first; unsaid it is 1.15 for a
    configured certificate, else what the directory looks for. For 2.0 the certificate file holds two, one that signs
    and one that agrees on keys.
    """

    gln: Gln | None = None
    url: HttpsUrl | None = None
    certificate: FilePath | None = None
    preset: Literal["domibus-like", "peppol-like", "phase4-like", "holodeck-like"] = "domibus-like"
    quirks: tuple[Quirk, ...] = ()
    mep: Mep = Mep.ONE_WAY
    generations: tuple[Generation, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.generations)) != len(self.generations):
            raise ValueError("generations names one twice")
        if (self.url is None) != (self.certificate is None):
            raise ValueError("url and certificate go together")
        return self
