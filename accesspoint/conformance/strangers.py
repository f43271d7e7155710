"""Senders that a node does not know, made for a run: with a certificate that should let them in, and with three that should not.

Spec: eDelivery AS4 1.15, dynamic receiver.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from cryptography.x509 import CertificatePolicies

from accesspoint.conformance.author import Author
from accesspoint.conformance.target import Stranger
from keys.devca import DevelopmentAuthority, IssuedCertificate, new_rsa_keys, system_name

_NAME: Final = "conformance-stranger-test"
_OTHER: Final = "conformance-another-test"


class Strangers:
    """Makes them of the network's authority and of one that nobody trusts; three RSA keys, made once."""

    def __init__(self, authority: DevelopmentAuthority, *, at: datetime) -> None:
        """`at` is from when the certificates are valid."""
        self._authority = authority
        self._at = at
        self._key, *others = new_rsa_keys(3)
        self._nobody = DevelopmentAuthority.create(at=at, name="Nobody", private_keys=others)

    def author(self, which: Stranger, like: Author) -> Author:
        """The stranger, writing to whom `like` writes to."""
        issued = self._issue(which)
        named = _OTHER if which is Stranger.IN_ANOTHER_NAME else _NAME
        return replace(like, signer=issued.signer(), party=replace(like.party, value=named))

    def _issue(self, which: Stranger) -> IssuedCertificate:
        authority = self._nobody if which is Stranger.UNCHAINED else self._authority
        extensions = authority.system_extensions(self._key)
        if which is Stranger.WITHOUT_POLICY:
            extensions = [one for one in extensions if not isinstance(one[0], CertificatePolicies)]
        return authority.issue(
            system_name(_NAME, "TEST", "00000000", _NAME),
            self._key,
            not_before=self._at,
            not_after=authority.issuing.not_valid_after_utc,
            extensions=extensions,
        )
