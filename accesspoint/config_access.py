"""Who may ask the interface of a node for what: by certificate, or by token of the organisation's issuer.

The node's own token file stays beside these: whoever can read it sits at the machine as the node's own user.
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import chain
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from accesspoint.config_values import FilePath, Gln, Table, Text, Url, is_this_machine


class Scope(StrEnum):
    """What somebody may do; each route of the interface wants one of them."""

    SUBMIT = "messages:send"
    READ = "messages:read"
    INBOX = "inbox"
    PAYLOAD = "payload:read"
    OPERATE = "messages:operate"
    ADMINISTER = "admin"


def _issuer_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and not is_this_machine(parts.hostname):
        raise ValueError("must begin with https://, unless the issuer runs on this machine")
    return value


IssuerUrl = Annotated[Url, AfterValidator(_issuer_url)]
Scopes = Annotated[tuple[Scope, ...], Field(min_length=1)]


class Issuer(Table):
    """The organisation's issuer of tokens, found by its OpenID Connect discovery document.

    `audience` is what its tokens for this node name; it must be the client id of no sign-in, which only
    the issuer can see. Scopes come from the token's own `scope`, and from its `roles_claim` by the table `roles`. With
    `glns_claim` a token is good for the organisations that this claim lists, and for none without it. `anchors` are
    the authorities of its TLS certificate; without them those of [trust.tls].
    """

    url: IssuerUrl
    audience: Text
    anchors: tuple[FilePath, ...] = ()
    roles_claim: Text = "roles"
    roles: Mapping[Text, Scopes] = Field(default_factory=dict)
    glns_claim: Text | None = None


class ClientCertificate(Table):
    """A system that comes with a certificate of its own over mutual TLS, what it may do, and for which organisations.

    The file has the certificate, and the next one when it is about to change. No `glns` means every organisation here.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    certificate: FilePath
    scopes: Scopes
    glns: tuple[Gln, ...] = ()


class Access(Table):
    """Who besides the holder of the node's own token may use its interface."""

    issuer: Issuer | None = None
    certificates: tuple[ClientCertificate, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.certificates]
        if len(set(names)) < len(names):
            raise ValueError("two certificates have the same name")
        return self

    @property
    def glns(self) -> frozenset[str]:
        """Every organisation that a certificate is limited to."""
        return frozenset(chain.from_iterable(one.glns for one in self.certificates))
