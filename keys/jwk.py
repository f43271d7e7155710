"""Access tokens that are bound to a TLS certificate, and the key sets that verify them.

EHMI's central services accept self-contained JSON Web Tokens, signed PS256 or ES256, that carry the SHA-256
of the client's certificate (`cnf`, RFC 8705): a stolen token is worth nothing without the key of that
certificate. Algorithms come from our list, never from the token; keys come from the key set that was
handed in, never from the token's header. Token text never appears in an exception.

Spec: ehmi.md 7.1, 7.4; RFC 7515, 7519, 8705, 9068.
"""

import base64
import binascii
import hmac
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, RSAKey

from keys.certificate import MIN_RSA_BITS
from keys.errors import TokenRefused, UnsupportedAlgorithm

ALGORITHMS: Final = ("PS256", "ES256")
ISSUER_ALGORITHMS: Final = (*ALGORITHMS, "RS256")
"""What an organisation's own issuer may sign with: OpenID Connect has every issuer able to sign RS256."""
MAX_TOKEN_BYTES: Final = 16 * 1024
CLOCK_SKEW: Final = timedelta(seconds=10)
"""How far `iat` and `nbf` may lie ahead of our clock (FAPI 2.0); `exp` gets no grace."""

LEVEL_OF_ASSURANCE_3: Final = "urn:dk:healthcare:loa:3"
POLICY_FAPI_STRICT: Final = "urn:dk:ehmi:policy:fapi-strict"
SYSTEM_SUBJECT: Final = "urn:dk:healthcare:eid:uuid:persistent:system:"

_HEADER_FIELDS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
_TYPES: Final = frozenset({None, "at+jwt", "application/at+jwt", "jwt"})

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Jwk = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OrganisationContext:
    """The organisation a system acts for, as the `ehmi:org_context` claim names it."""

    name: str
    sor: str
    gln: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of a token whose signature, issuer, audience, time and certificate binding hold.

    `scope` is split at blanks. Claims that a token may leave out are None.
    """

    token_id: str | None
    subject: str
    issuer: str
    scope: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    thumbprint: bytes
    cvr: str | None
    device_id: str | None
    organisation: OrganisationContext | None
    claims: Mapping[str, Any]


def x5t_s256(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate as RFC 8705 writes it: base64url without padding."""
    return _base64url(certificate.fingerprint(hashes.SHA256()))


def jwk_from_public_key(public_key: PublicKey, *, kid: str | None = None) -> dict[str, Any]:
    """Return a public key as JSON Web Key for verifying signatures; `kid` is its RFC 7638 thumbprint unless given.

    Raises:
        UnsupportedAlgorithm: an elliptic curve other than P-256.
    """
    key = _import(public_key)
    jwk: dict[str, Any] = dict(key.as_dict(private=False))
    jwk.update(kid=kid or key.thumbprint(), use="sig", alg=_algorithm(public_key))
    return jwk


def jwks(*keys: Jwk) -> dict[str, Any]:
    """Return JSON Web Keys as the key set an authorization server publishes."""
    return {"keys": [dict(key) for key in keys]}


def access_token_claims(
    *,
    issuer: str,
    audience: str,
    subject_uuid: str,
    scope: str,
    certificate: x509.Certificate,
    token_id: str,
    at: datetime,
    lifetime: timedelta = timedelta(seconds=300),
    cvr: str | None = None,
    organisation_name: str | None = None,
    device_id: str | None = None,
    organisation: OrganisationContext | None = None,
) -> dict[str, Any]:
    """Return the claims of a system client's access token, bound to its TLS certificate.

    Spec: ehmi.md 7.4.
    """
    issued = int(at.timestamp())
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": SYSTEM_SUBJECT + subject_uuid,
        "aud": audience,
        "jti": token_id,
        "iat": issued,
        "auth_time": issued,
        "exp": issued + int(lifetime.total_seconds()),
        "acr": LEVEL_OF_ASSURANCE_3,
        "iss_policy": POLICY_FAPI_STRICT,
        "scope": scope,
        "cnf": {"x5t#S256": x5t_s256(certificate)},
    }
    if cvr is not None:
        claims["cvr"] = cvr
    if organisation_name is not None:
        claims["org_name"] = organisation_name
    if device_id is not None:
        claims["ehmi:eer:device_id"] = device_id
    if organisation is not None:
        claims["ehmi:org_context"] = {
            "name": organisation.name,
            "sor": organisation.sor,
            "gln": organisation.gln,
        }
    return claims


def sign_access_token(
    claims: Mapping[str, Any], private_key: PrivateKey, *, kid: str | None = None
) -> str:
    """Sign claims as a JSON Web Token: PS256 with an RSA key, ES256 with a P-256 key.

    Raises:
        UnsupportedAlgorithm: another kind of key.
    """
    public_key = private_key.public_key()
    algorithm = _algorithm(public_key)
    key: RSAKey | ECKey
    if isinstance(private_key, rsa.RSAPrivateKey):
        key = RSAKey.import_key(private_key)
    else:
        key = ECKey.import_key(private_key)
    header = {
        "alg": algorithm,
        "typ": "at+jwt",
        "kid": kid or key.thumbprint(),
    }
    payload = json.dumps(dict(claims), ensure_ascii=False, separators=(",", ":")).encode()
    return jws.serialize_compact(header, payload, key, [algorithm])


def verify_access_token(
    token: str,
    *,
    keys: Jwk,
    issuer: str,
    audience: str,
    certificate: x509.Certificate,
    at: datetime,
) -> AccessToken:
    """Verify an access token that was presented over a TLS connection.

    Args:
        token: the compact form, without `Bearer`.
        keys: the issuer's key set, `{"keys": [...]}`.
        issuer: the only acceptable `iss`.
        audience: has to be `aud` or among it.
        certificate: the client's certificate of this very TLS connection.
        at: the time now, aware.

    Raises:
        TokenRefused: token.parse, token.algorithm, token.key, token.signature, token.claims, token.issuer,
            token.audience, token.time or token.binding.
    """
    claims, issued_at, expires_at = verify_claims(
        token, keys=keys, issuer=issuer, audience=audience, at=at
    )
    thumbprint = bound_thumbprint(claims)
    if not hmac.compare_digest(thumbprint, certificate.fingerprint(hashes.SHA256())):
        raise TokenRefused("the token is bound to another certificate", reason="token.binding")
    return AccessToken(
        token_id=_text(claims, "jti"),
        subject=_text(claims, "sub") or "",
        issuer=issuer,
        scope=tuple((_text(claims, "scope") or "").split()),
        issued_at=issued_at,
        expires_at=expires_at,
        thumbprint=thumbprint,
        cvr=_text(claims, "cvr"),
        device_id=_text(claims, "ehmi:eer:device_id"),
        organisation=_organisation(claims),
        claims=claims,
    )


def verify_claims(
    token: str,
    *,
    keys: Jwk,
    issuer: str,
    audience: str,
    at: datetime,
    algorithms: Sequence[str] = ALGORITHMS,
) -> tuple[dict[str, Any], datetime, datetime]:
    """Return the claims of a signed token, when it was issued and when it ends; whom it is bound to is not asked here.

    Raises:
        TokenRefused: with reason token.parse, token.algorithm, token.key, token.signature, token.claims, token.issuer,
            token.audience or token.time.
    """
    claims = _verified_claims(token, keys, algorithms)
    if claims.get("iss") != issuer:
        raise TokenRefused("the token is from another issuer", reason="token.issuer")
    named = claims.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):
        raise TokenRefused("the token is for another audience", reason="token.audience")
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    if at >= expires_at:
        raise TokenRefused(f"the token ended at {expires_at}", reason="token.time")
    begins = [issued_at] if "nbf" not in claims else [issued_at, _time(claims, "nbf")]
    if max(begins) > at + CLOCK_SKEW:
        raise TokenRefused("the token is from the future", reason="token.time")
    return claims, issued_at, expires_at


def _verified_claims(token: str, keys: Jwk, algorithms: Sequence[str]) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise TokenRefused("not a token of reasonable size", reason="token.parse")

    def find_key(signature: Any) -> RSAKey | ECKey:
        return _find_key(signature.headers(), keys)

    try:
        found = jws.deserialize_compact(token, find_key, list(algorithms))
        claims = json.loads(found.payload or b"")
    except BadSignatureError:
        raise TokenRefused("the signature does not verify", reason="token.signature") from None
    except UnsupportedAlgorithmError:
        raise TokenRefused("the algorithm is not allowed", reason="token.algorithm") from None
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise TokenRefused("not a signed token", reason="token.parse") from None
    if not isinstance(claims, dict):
        raise TokenRefused("the token holds no claims", reason="token.parse")
    return claims


def _find_key(header: Mapping[str, Any], keys: Jwk) -> RSAKey | ECKey:
    """Choose the one key the header names by `kid`, or the only one for its algorithm."""
    if not set(header) <= _HEADER_FIELDS:
        raise TokenRefused("the token's header has fields we do not process", reason="token.parse")
    kind = header.get("typ")
    if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
        raise TokenRefused("the token is of another type", reason="token.parse")
    algorithm, kid = header.get("alg"), header.get("kid")
    fitting = [
        key
        for key in _key_list(keys)
        if key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and key.get("kty") == ("EC" if algorithm == "ES256" else "RSA")
        and (kid is None or key.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise TokenRefused("the key set has no one key for the token", reason="token.key")
    try:
        material: dict[str, str | list[str]] = {
            name: value for name, value in fitting[0].items() if isinstance(value, str)
        }
        key: RSAKey | ECKey
        key = ECKey.import_key(material) if algorithm == "ES256" else RSAKey.import_key(material)
        _algorithm(key.public_key)
    except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise TokenRefused("the key set's key cannot be used", reason="token.key") from None
    return key


def _key_list(keys: Jwk) -> Sequence[Jwk]:
    listed = keys.get("keys")
    if not isinstance(listed, list):
        raise TokenRefused("the key set has no keys", reason="token.key")
    return [key for key in listed if isinstance(key, Mapping)]


def _import(public_key: PublicKey) -> RSAKey | ECKey:
    _algorithm(public_key)
    if isinstance(public_key, rsa.RSAPublicKey):
        return RSAKey.import_key(public_key)
    return ECKey.import_key(public_key)


def _algorithm(public_key: object) -> str:
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size >= MIN_RSA_BITS:
        return "PS256"
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name == "secp256r1":
        return "ES256"
    raise UnsupportedAlgorithm(
        "access tokens are signed with RSA of 2048 bits or more, or with P-256"
    )


def bound_thumbprint(claims: Mapping[str, Any]) -> bytes:
    """Read `cnf`; the profile's own example uses `+` of ordinary base64, so both alphabets are read."""
    confirmation = claims.get("cnf")
    written = confirmation.get("x5t#S256") if isinstance(confirmation, Mapping) else None
    if not isinstance(written, str):
        raise TokenRefused("the token is not bound to a certificate", reason="token.binding")
    plain = written.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        octets = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if len(octets) != hashes.SHA256.digest_size:
        raise TokenRefused(
            "the token's certificate thumbprint is malformed", reason="token.binding"
        )
    return octets


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRefused(f"the token has no usable {name}", reason="token.claims")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise TokenRefused(f"the token has no usable {name}", reason="token.claims") from None


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise TokenRefused(f"the token's {name} is not text", reason="token.claims")
    return value


def _organisation(claims: Mapping[str, Any]) -> OrganisationContext | None:
    value = claims.get("ehmi:org_context")
    if value is None:
        return None
    fields = value if isinstance(value, Mapping) else {}
    name, sor, gln = fields.get("name"), fields.get("sor"), fields.get("gln")
    if not (isinstance(name, str) and isinstance(sor, str) and isinstance(gln, str)):
        raise TokenRefused("the token's ehmi:org_context is malformed", reason="token.claims")
    return OrganisationContext(name, sor, gln)


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
