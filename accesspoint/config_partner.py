"""What the configuration says of another access point: where it is, who it is, and what is agreed with it.

Everything has a default: the preset of its product or network, and below that the eDelivery common profile.
"""

from typing import Literal, Self

from pydantic import model_validator

from accesspoint.config_values import FilePath, Gln, HttpsUrl, Table
from envelope.pmode import Mep, Quirk


class Partner(Table):
    """Another access point, as far as it differs from what the directory says."""

    gln: Gln | None = None
    url: HttpsUrl | None = None
    certificate: FilePath | None = None
    preset: Literal["domibus-like", "peppol-like", "phase4-like", "holodeck-like"] = "domibus-like"
    quirks: tuple[Quirk, ...] = ()
    mep: Mep = Mep.ONE_WAY

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.url is None) != (self.certificate is None):
            raise ValueError("url and certificate go together")
        return self
