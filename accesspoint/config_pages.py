"""The pages of track and trace for people elsewhere: where they are, and through which issuer one signs in.

Without this file the pages serve this machine only. Pages that others reach want TLS and an issuer that proves a level
of assurance, which is how more than one factor is asked for.
"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import ValidationError, model_validator

from accesspoint.config import ConfigurationProblem, Finding
from accesspoint.config_access import IssuerUrl
from accesspoint.config_values import (
    Address,
    Duration,
    Endpoint,
    FilePath,
    Table,
    Text,
    is_this_machine,
)


class PeopleSignOn(Table):
    """The client that the pages are at the issuer, and which claims of its ID tokens say who may see what.

    `acr_values` are the levels of assurance one of which a sign-in must have. A person is support, or looks for an
    organisation, by a value of `roles_claim`, for the organisation in `gln_claim`; a citizen by `cpr_claim`, where
    the issuer vouches for patient numbers. Whoever is none of these sees nothing. `anchors` are the authorities of
    the issuer's TLS certificate: there are no others that could be meant.
    """

    issuer: IssuerUrl
    client_id: Text
    client_secret_file: FilePath | None = None
    anchors: tuple[FilePath, ...] = ()
    scope: Text = "openid"
    acr_values: tuple[Text, ...] = ()
    roles_claim: Text = "roles"
    support: Text = "eds-support"
    organisation: Text = "eds-organisation"
    gln_claim: Text = "gln"
    cpr_claim: Text | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if urlsplit(self.issuer).scheme == "https" and not self.anchors:
            raise ValueError("an issuer with https:// needs anchors, who certified its TLS server")
        return self


class PublishedPages(Table):
    """`url` is the address that people type, without a path; the certificate is for it."""

    url: IssuerUrl
    listen: Endpoint = Address("127.0.0.1", 0)
    certificate: FilePath | None = None
    key: FilePath | None = None
    sign_on: PeopleSignOn
    idle: Duration = timedelta(minutes=30)
    longest: Duration = timedelta(hours=8)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if urlsplit(self.url).path.strip("/") or urlsplit(self.url).query:
            raise ValueError("url has no path: the pages begin at /")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        if not self.is_local and (self.certificate is None or urlsplit(self.url).scheme != "https"):
            raise ValueError(
                "pages that others reach need certificate and key, and a url with https://"
            )
        if not (self.is_local and self.reaches_here) and not self.sign_on.acr_values:
            raise ValueError(
                "pages that others reach need sign_on.acr_values, a level that asks for more than a password"
            )
        return self

    @property
    def is_local(self) -> bool:
        """Whether they listen on this machine only, as behind a proxy on it."""
        return is_this_machine(self.listen.host)

    @property
    def reaches_here(self) -> bool:
        """Whether the address that people type is this machine itself."""
        return is_this_machine(urlsplit(self.url).hostname)


def read_pages(path: Path) -> PublishedPages:
    """Read the file; names in it are relative to it.

    Raises: ConfigurationProblem with everything that is wrong in it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return PublishedPages.model_validate(document, context={"base": path.parent})
    except OSError as error:
        findings = [Finding(path.name, f"cannot be read: {error.strerror}")]
    except ValidationError as error:
        findings = [
            Finding(f"{path.name} {'.'.join(map(str, one['loc']))}".strip(), one["msg"])
            for one in error.errors(include_input=False, include_url=False)
        ]
    except ValueError as error:
        findings = [Finding(path.name, str(error))]
    raise ConfigurationProblem(tuple(findings), again="accesspoint network serve")
