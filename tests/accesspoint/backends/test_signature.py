"""The webhook's signature against the standard's own vector, and against the recipe that the manual gives to consumers."""

import base64
import functools
import hashlib
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest

from accesspoint.backends import signature
from accesspoint.backends.signature import content_digest, sign

SECRET = b"0123456789abcdef0123456789abcdef"
BODY = b'{"resourceType": "Bundle"}'
URL = "https://eoj.example/ehmi?from=ap"


@functools.cache
def recipe() -> Callable[..., bool]:
    """The recipe of the docstring, as a consumer would copy it."""
    lines = (signature.__doc__ or "").splitlines()
    indented = [line for line in lines if line.startswith("    ") or not line]
    space: dict[str, Any] = {}
    exec(textwrap.dedent("\n".join(indented)), space)
    return space["verify"]  # type: ignore[no-any-return]


@pytest.fixture
def verify() -> Callable[..., bool]:
    return recipe()


def signed(body: bytes = BODY, *, created: int | None = None) -> dict[str, str]:
    fields = {
        "content-digest": content_digest(hashlib.sha256(body).hexdigest()),
        "idempotency-key": "d-1",
        "ehmi-manifest": '{"delivery": "d-1"}',
    }
    params = f';created={created or int(time.time())};keyid="node";alg="hmac-sha256"'
    given, value = sign({"@method": "POST", "@target-uri": URL, **fields}, params, SECRET)
    return {**fields, "signature-input": given, "signature": value}


def test_the_vector_of_the_standard() -> None:
    """RFC 9421 appendix B.2.5, with its label."""
    secret = (
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    )
    given, value = sign(
        {
            "date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "@authority": "example.com",
            "content-type": "application/json",
        },
        ';created=1618884473;keyid="test-shared-secret"',
        base64.b64decode(secret),
    )
    assert given == (
        'sig1=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    )
    assert value == "sig1=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"


def test_the_recipe_accepts_what_we_sign(verify: Callable[..., bool]) -> None:
    assert verify("POST", URL, signed(), BODY, SECRET)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "method": lambda call: call.update(method="PUT"),
    "target": lambda call: call.update(url=URL + "&x"),
    "body": lambda call: call.update(body=BODY + b" "),
    "secret": lambda call: call.update(secret=SECRET[::-1]),
    "key": lambda call: call["headers"].update({"idempotency-key": "d-2"}),
    "manifest": lambda call: call["headers"].update({"ehmi-manifest": "{}"}),
    "digest": lambda call: call["headers"].update({"content-digest": content_digest("00" * 32)}),
    "signature": lambda call: call["headers"].update(signature="sig1=:AAAA:"),
    "components": lambda call: call["headers"].update(
        {"signature-input": call["headers"]["signature-input"].replace('"content-digest" ', "")}
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_recipe_refuses_anything_that_was_changed(
    verify: Callable[..., bool], what: str
) -> None:
    call = {"method": "POST", "url": URL, "headers": signed(), "body": BODY, "secret": SECRET}
    CHANGES[what](call)
    assert not verify(**call)


def test_the_recipe_refuses_what_is_old_or_covers_too_little(verify: Callable[..., bool]) -> None:
    assert not verify("POST", URL, signed(created=int(time.time()) - 301), BODY, SECRET)
    headers = signed()
    given, value = sign(
        {"@method": "POST", "@target-uri": URL}, f";created={int(time.time())}", SECRET
    )
    headers |= {"signature-input": given, "signature": value}
    assert not verify("POST", URL, headers, BODY, SECRET)
