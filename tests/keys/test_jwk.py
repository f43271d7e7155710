import base64
import datetime as dt
import hmac
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from keys.errors import TokenRefused, UnsupportedAlgorithm
from keys.jwk import (
    MAX_TOKEN_BYTES,
    OrganisationContext,
    access_token_claims,
    jwk_from_public_key,
    jwks,
    sign_access_token,
    verify_access_token,
    x5t_s256,
)

ISSUER, AUDIENCE = "https://authorization.example", "https://eds.ehmi.example"
UUID = "a262681f-2e94-45c5-aaea-aad4e9bc5768"
ORGANISATION = OrganisationContext("Testklinikken", "1216891000016007", "5790000135912")


@pytest.fixture(scope="module")
def client(pki):
    return pki.leaf().certificate


@pytest.fixture(scope="module")
def claims(pki, client):
    return access_token_claims(
        issuer=ISSUER,
        audience=AUDIENCE,
        subject_uuid=UUID,
        scope="EDS system/AuditEvent.crs SOR:1216891000016007 GLN:5790000135912",
        certificate=client,
        token_id="t-1",
        at=pki.at,
        cvr="95474483",
        organisation_name="Testorganisation",
        device_id="c4b8d3ea-b187-426b-be77-bffd9f593d84",
        organisation=ORGANISATION,
    )


@pytest.fixture(scope="module")
def keys(pki):
    return jwks(
        jwk_from_public_key(pki.other_key.public_key()),
        jwk_from_public_key(pki.curve_key.public_key(), kid="curve"),
    )


@pytest.fixture
def verify(pki, client, keys):
    def call(token, **changes):
        arguments = {
            "keys": keys,
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "certificate": client,
            "at": pki.at,
            **changes,
        }
        return verify_access_token(token, **arguments)

    return call


@pytest.fixture
def refused(verify, pki):
    def call(reason, token, **changes):
        text = token if isinstance(token, str) else sign_access_token(token, pki.other_key)
        with pytest.raises(TokenRefused) as caught:
            verify(text, **changes)
        assert caught.value.reason == reason
        assert text not in str(caught.value) or not text

    return call


def test_token_of_both_algorithms_comes_back_as_claims(verify, pki, claims, client):
    for key, kid, algorithm in ((pki.other_key, None, "PS256"), (pki.curve_key, "curve", "ES256")):
        token = sign_access_token(claims, key, kid=kid)
        header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
        assert header["alg"] == algorithm
        found = verify(token)
        assert found.token_id == "t-1"
        assert found.subject == f"urn:dk:healthcare:eid:uuid:persistent:system:{UUID}"
        assert found.scope[0] == "EDS"
        assert found.scope[-1] == "GLN:5790000135912"
        assert found.issued_at == pki.at
        assert found.expires_at == pki.at + dt.timedelta(seconds=300)
        assert found.thumbprint == client.fingerprint(hashes.SHA256())
        assert found.cvr == "95474483"
        assert found.device_id == "c4b8d3ea-b187-426b-be77-bffd9f593d84"
        assert found.organisation == ORGANISATION
        assert found.claims["acr"] == "urn:dk:healthcare:loa:3"


def test_optional_claims_may_be_absent(verify, pki, client):
    bare = access_token_claims(
        issuer=ISSUER,
        audience=AUDIENCE,
        subject_uuid=UUID,
        scope="EDS system/AuditEvent.crs",
        certificate=client,
        token_id="t-2",
        at=pki.at,
    )
    found = verify(sign_access_token(bare, pki.other_key))
    assert found.organisation is found.device_id is found.cvr is None


def test_binding_is_compared_as_octets_in_either_alphabet(verify, pki, claims):
    for _ in range(200):
        certificate = pki.leaf(name="many", ends=1).certificate
        octets = certificate.fingerprint(hashes.SHA256())
        plain = base64.b64encode(octets).decode()
        if "+" in plain and "/" in plain:
            break
    assert "+" in plain
    for written in (plain, plain.rstrip("="), x5t_s256(certificate), x5t_s256(certificate) + "="):
        token = sign_access_token({**claims, "cnf": {"x5t#S256": written}}, pki.other_key)
        assert verify(token, certificate=certificate).thumbprint == octets


def test_token_stolen_by_the_holder_of_another_certificate(refused, pki, claims):
    refused("token.binding", claims, certificate=pki.leaf(name="thief").certificate)


@pytest.mark.parametrize(
    "confirmation",
    [
        None,
        {},
        {"x5t#S256": 1},
        {"x5t#S256": ""},
        {"x5t#S256": "AAAA"},
        {"x5t#S256": "!" * 43},
        "x",
        {"jkt": "x"},
    ],
)
def test_token_that_is_not_bound(refused, claims, confirmation):
    refused("token.binding", {**claims, "cnf": confirmation})


def test_expiry_has_no_grace_and_the_future_ten_seconds(verify, refused, pki, claims):
    token = sign_access_token(claims, pki.other_key)
    second = dt.timedelta(seconds=1)
    assert verify(token, at=pki.at + 299 * second)
    refused("token.time", token, at=pki.at + 300 * second)
    assert verify(token, at=pki.at - 10 * second)
    refused("token.time", token, at=pki.at - 11 * second)
    later = int(pki.at.timestamp()) + 60
    refused("token.time", {**claims, "nbf": later})


@pytest.mark.parametrize("value", [None, "1795000000", True, float("inf"), 1e30, [1]])
@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_malformed_time(refused, claims, name, value):
    refused("token.claims", {**claims, name: value})


def test_time_may_have_a_fraction(verify, pki, claims):
    assert verify(sign_access_token({**claims, "exp": claims["exp"] + 0.5}, pki.other_key))


def test_another_issuer_or_audience(refused, verify, pki, claims):
    refused("token.issuer", {**claims, "iss": "https://evil.example"})
    refused("token.issuer", {name: value for name, value in claims.items() if name != "iss"})
    refused("token.audience", {**claims, "aud": "https://eer.ehmi.example"})
    refused("token.audience", {**claims, "aud": AUDIENCE + "/"})
    refused("token.audience", {**claims, "aud": []})
    several = {**claims, "aud": ["https://eer.ehmi.example", AUDIENCE]}
    assert verify(sign_access_token(several, pki.other_key))


@pytest.mark.parametrize(
    "change",
    [
        {"sub": 1},
        {"scope": ["EDS"]},
        {"ehmi:org_context": "x"},
        {"ehmi:org_context": {"name": "x"}},
    ],
)
def test_malformed_claims(refused, claims, change):
    refused("token.claims", {**claims, **change})


def _encode(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def hand_made(header, payload, key, algorithm):
    return jws.serialize_compact(header, json.dumps(payload), key, [algorithm])


def test_alg_05_hmac_keyed_with_the_public_key(refused, pki, claims, keys):
    public = pki.other_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    kid = keys["keys"][0]["kid"]
    # Signed by hand: joserfc itself refuses to take a public key for a secret.
    text = _encode({"alg": "HS256", "kid": kid}) + "." + _encode(claims)
    code = hmac.digest(public, text.encode(), "sha256")
    refused("token.algorithm", f"{text}.{base64.urlsafe_b64encode(code).rstrip(b'=').decode()}")


def test_alg_07_none(refused, claims):
    refused("token.algorithm", f"{_encode({'alg': 'none'})}.{_encode(claims)}.")


def test_algorithm_off_the_list(refused, pki, claims):
    token = hand_made({"alg": "RS256"}, claims, RSAKey.import_key(pki.other_key), "RS256")
    refused("token.algorithm", token)


def test_signature_of_another_key_under_a_known_name(refused, pki, claims, keys):
    kid = keys["keys"][0]["kid"]
    refused("token.signature", sign_access_token(claims, pki.leaf_key, kid=kid))


def test_unknown_or_missing_key(refused, verify, pki, claims, keys):
    refused("token.key", sign_access_token(claims, pki.leaf_key))
    token = sign_access_token(claims, pki.other_key)
    for unusable in ({}, {"keys": []}, {"keys": "x"}, {"keys": [1]}):
        refused("token.key", token, keys=unusable)
    nameless = hand_made({"alg": "PS256"}, claims, RSAKey.import_key(pki.other_key), "PS256")
    assert verify(nameless)
    refused(
        "token.key",
        nameless,
        keys=jwks(*keys["keys"], jwk_from_public_key(pki.leaf_key.public_key())),
    )


def test_key_brought_along_in_the_header_is_not_used(refused, pki, claims):
    own = RSAKey.import_key(pki.leaf_key)
    header = {"alg": "PS256", "jwk": own.as_dict(private=False)}
    refused("token.parse", hand_made(header, claims, own, "PS256"))
    header = {"alg": "PS256", "jku": "https://evil.example/keys"}
    refused("token.parse", hand_made(header, claims, own, "PS256"))


def test_token_of_another_type(refused, pki, claims):
    key = RSAKey.import_key(pki.other_key)
    refused("token.parse", hand_made({"alg": "PS256", "typ": "dpop+jwt"}, claims, key, "PS256"))
    refused("token.parse", hand_made({"alg": "PS256"}, ["no", "claims"], key, "PS256"))


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_weak_key_in_the_set_is_not_used(refused, pki, claims):
    weak = rsa.generate_private_key(65537, 1024)
    weak_jwk = {**RSAKey.import_key(weak).as_dict(private=False), "kid": "weak"}
    token = sign_access_token(claims, pki.other_key, kid="weak")
    refused("token.key", token, keys=jwks(weak_jwk))
    refused("token.key", token, keys=jwks({"kty": "RSA", "kid": "weak", "n": "!", "e": "AQAB"}))
    wide = ECKey.import_key(ec.generate_private_key(ec.SECP384R1())).as_dict(private=False)
    curve = sign_access_token(claims, pki.curve_key, kid="wide")
    refused("token.key", curve, keys=jwks({**wide, "kid": "wide"}))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "\u00e6.\u00f8.\u00e5",
        "e30.e30.e30",
        "x" * (MAX_TOKEN_BYTES + 1),
        "e30.e30.e30.e30",
    ],
)
def test_not_a_token(verify, token):
    with pytest.raises(TokenRefused) as caught:
        verify(token)
    assert caught.value.reason in ("token.parse", "token.algorithm")


def test_altered_payload(refused, pki, claims):
    header, _, signature = sign_access_token(claims, pki.other_key).split(".")
    other = base64.urlsafe_b64encode(json.dumps({**claims, "cvr": "1"}).encode()).rstrip(b"=")
    refused("token.signature", f"{header}.{other.decode()}.{signature}")


def test_keys_of_other_kinds_do_not_sign_tokens(claims):
    for key in (
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        with pytest.raises(UnsupportedAlgorithm):
            sign_access_token(claims, key)
        with pytest.raises(UnsupportedAlgorithm):
            jwk_from_public_key(key.public_key())


def test_published_key_holds_nothing_private(pki):
    jwk = jwk_from_public_key(pki.other_key.public_key())
    assert set(jwk) == {"kty", "n", "e", "kid", "use", "alg"}
    assert jwk["alg"] == "PS256"
