"""The tables `[trust.*]` and `[tls]`: whom we believe for which purpose, and what TLS is spoken."""

import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from accesspoint.config_values import Duration, FilePath, Network, Table, Text, Url
from keys.revocation import RevocationMode
from keys.tls import ALLOWED, TlsSettings


class TrustPurpose(Table):
    """Whom we believe for one purpose, and how sure we must be that a certificate is not revoked.

    A certificate must have one of the certificate `policies`, which are dotted numbers; none asks nothing.

    Revocation is known from lists (`crl_urls`), from responders (`ocsp_urls`), and from files of either kind that
    somebody else brings (`revocation_files`); all are read in the background. Under `require` a certificate that
    nobody speaks for is refused, under `prefer` it passes; `revocation_grace` is how long an answer counts past its
    end. `revocation_networks` are where the addresses may be; none means anywhere, since they stand here.
    """

    anchors: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    intermediates: tuple[FilePath, ...] = ()
    revocation: RevocationMode = RevocationMode.REQUIRE
    revocation_reason: Text | None = None
    revocation_grace: Duration = timedelta(0)
    revocation_networks: tuple[Network, ...] = ()
    revocation_files: tuple[FilePath, ...] = ()
    crl_urls: tuple[Url, ...] = ()
    ocsp_urls: tuple[Url, ...] = ()
    policies: tuple[Annotated[str, Field(pattern=r"^[0-2](\.[0-9]+)+$")], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.revocation is RevocationMode.OFF and self.revocation_reason is None:
            raise ValueError('revocation "off" needs a revocation_reason')
        if self.revocation is RevocationMode.REQUIRE and not (
            self.crl_urls or self.ocsp_urls or self.revocation_files
        ):
            raise ValueError(
                'revocation "require" needs crl_urls, ocsp_urls or revocation_files:'
                " without an answer every certificate is refused"
            )
        return self


class MessageTrust(TrustPurpose):
    """Whose messages we believe; `unknown_senders` says whether partners that are not configured may send to us.

    In a network with a directory everybody is configured nowhere, so there it is `accept`. Whoever is let in so has
    a certificate that leads to an anchor, has one of the policies, and names the party.
    """

    unknown_senders: Literal["refuse", "accept"] = "refuse"

    @model_validator(mode="after")
    def _check_policies(self) -> Self:
        if self.unknown_senders == "accept" and not self.policies:
            raise ValueError(
                'unknown_senders = "accept" needs policies: an authority certifies for many purposes'
            )
        if (
            self.unknown_senders == "accept"
            and self.revocation is RevocationMode.REQUIRE
            and not (self.crl_urls or self.revocation_files)
        ):
            raise ValueError(
                'unknown_senders = "accept" needs crl_urls beside ocsp_urls:'
                " a responder is asked about certificates that were seen before, never while a message waits"
            )
        return self


_NO_TLS_REVOCATION: Final = "revocation is not checked for TLS certificates yet, so nothing may be said about it here; remove the key"


class Tls(Table):
    """What TLS is spoken, as client and as server: the oldest version, and cipher suites of 1.2 by OpenSSL's names."""

    minimum: Literal["1.2", "1.3"] = "1.2"
    ciphers: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        strangers = sorted(set(self.ciphers) - ALLOWED)
        if strangers:
            raise ValueError(
                f"ciphers names {', '.join(strangers)}; allowed are {', '.join(sorted(ALLOWED))}"
            )
        return self

    def settings(self) -> TlsSettings:
        """The same for `keys.tls`."""
        minimum = ssl.TLSVersion.TLSv1_3 if self.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
        return TlsSettings(minimum, self.ciphers)


class TlsTrust(Table):
    """Whose TLS certificates we believe, as client and as server; their revocation is not checked."""

    not_taken: ClassVar[Mapping[str, str]] = {
        name: _NO_TLS_REVOCATION
        for name in TrustPurpose.model_fields
        if name.startswith(("revocation", "crl_", "ocsp_"))
    }

    anchors: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    intermediates: tuple[FilePath, ...] = ()


class Trust(Table):
    """Trust by purpose; a purpose that is not configured trusts nobody."""

    message: MessageTrust | None = None
    tls: TlsTrust | None = None
    smp: TrustPurpose | None = None

    @property
    def lets_unknown_in(self) -> bool:
        """Whether senders that are not configured may send messages."""
        return self.message is not None and self.message.unknown_senders == "accept"
