"""Who stands behind a request to the interface: the node's own token, a token of the issuer, or a certificate.

A secret is looked at in a time that does not depend on it. A token that is bound to a certificate is only good over
a connection with that certificate. Identification says who it is; what that one may do is the table of the interface.

Spec: hostile ADM-01, SID-01; RFC 6750; RFC 8705 section 3; RFC 9068 section 4.
"""

import hmac
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import hdrs, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from accesspoint.access.caller import OWNER, Caller, Unidentified
from accesspoint.access.issuer import Issuer, IssuerUnreachable
from accesspoint.config_access import Access, Scope
from accesspoint.identity import holder_certificates
from keys.certificate import describe, fingerprint
from keys.errors import KeysError, KeyStoreError, TokenRefused
from keys.jwk import bound_thumbprint
from keys.tls import peer_certificate

_OWN: Final = frozenset(scope.value for scope in Scope)


class Identification:
    """Knows the callers of one node; `issuer` is None where only certificates and the token file count."""

    def __init__(self, token: str, access: Access, issuer: Issuer | None) -> None:
        """Raises ValueError for an empty token, which every request would match; KeyStoreError for an unreadable file, or a certificate
        that two have.
        """
        if not token:
            raise ValueError("the interface needs a token")
        self._token = token.encode()
        self._access = access
        self._issuer = issuer
        self._by_certificate: dict[str, Caller] = {}
        for one in access.certificates:
            caller = Caller(
                f"certificate:{one.name}", frozenset(one.scopes), frozenset(one.glns) or None
            )
            for certificate in holder_certificates(one.certificate):
                known = self._by_certificate.setdefault(fingerprint(certificate), caller)
                if known is not caller:
                    raise KeyStoreError(
                        f"{one.certificate}: {known.actor} has this certificate too, and who comes with it"
                        f" can be one only: {describe(certificate)}"
                    )

    async def identify(self, request: web.Request) -> Caller:
        """Tell who asks over this connection; the token of the node's own file is good on this machine only.

        Raises: Unidentified.
        """
        certificate = _certificate_of(request)
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if not given:
            return self._known(certificate)
        if scheme.lower() != "bearer":
            raise Unidentified("no bearer token")
        # aiohttp hands octets that are no UTF-8 on as lone surrogates.
        sent = given.encode("utf-8", "surrogateescape")
        if request.transport is not None and request.transport.get_extra_info("ssl_object") is None:
            if hmac.compare_digest(sent, self._token):
                return OWNER
        elif self._issuer is None:
            return self._known(certificate)
        return await self._issued(given.strip(), certificate)

    def _known(self, certificate: x509.Certificate | None) -> Caller:
        known = None if certificate is None else self._by_certificate.get(fingerprint(certificate))
        if known is None:
            raise Unidentified("no identity is known for this connection")
        return known

    async def _issued(self, token: str, certificate: x509.Certificate | None) -> Caller:
        settings = self._access.issuer
        if self._issuer is None or settings is None:
            raise Unidentified("not the token of this node")
        try:
            claims = await self._issuer.verify(token, audience=settings.audience)
            if "cnf" in claims:
                _require_binding(claims, certificate)
        except TokenRefused as refused:
            raise Unidentified(refused.reason) from None
        except IssuerUnreachable as error:
            raise Unidentified(str(error)) from None
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise Unidentified("token.claims")
        named = words_of(claims.get("scope"))
        scopes = {Scope(word) for word in named if word in _OWN}
        for role in words_of(claims.get(settings.roles_claim)):
            scopes.update(settings.roles.get(role, ()))
        glns = None
        if settings.glns_claim is not None:
            glns = frozenset(words_of(claims.get(settings.glns_claim)))
        return Caller(f"token:{subject[:200]}", frozenset(scopes), glns)


def words_of(claim: object) -> list[str]:
    """The words of a claim that is a list of texts, or one text with blanks between them; none for anything else."""
    if isinstance(claim, str):
        return claim.split()
    return [one for one in claim if isinstance(one, str)] if isinstance(claim, list) else []


def _certificate_of(request: web.Request) -> x509.Certificate | None:
    try:
        return peer_certificate(request.get_extra_info("ssl_object"))
    except KeysError:
        return None


def _require_binding(claims: Mapping[str, Any], certificate: x509.Certificate | None) -> None:
    thumbprint = bound_thumbprint(claims)
    if certificate is None or not hmac.compare_digest(
        thumbprint, certificate.fingerprint(hashes.SHA256())
    ):
        raise TokenRefused("the token is bound to another certificate", reason="token.binding")
