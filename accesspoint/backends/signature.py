"""HTTP Message Signatures (RFC 9421) with a shared secret, as far as a webhook needs them: one signature, HMAC-SHA256.

The signature covers the method, the whole target and named header fields, among them `Content-Digest`
(RFC 9530), and so the body. Whoever has the secret verifies it with any implementation of the two standards,
or with these lines of Python:

    import base64, hashlib, hmac, re, time
    def verify(method, url, headers, body, secret):  # headers: names in lower case; secret: bytes
        params = headers["signature-input"].removeprefix("sig1=")
        names = re.findall(r'"([^"]+)"', params.partition(")")[0])
        derived = {"@method": method, "@target-uri": url}
        lines = [f'"{name}": {derived.get(name) or headers[name]}' for name in names]
        base = "\\n".join([*lines, f'"@signature-params": {params}'])
        signed = base64.b64encode(hmac.digest(secret, base.encode(), "sha256")).decode()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        fresh = abs(time.time() - int(re.search(r";created=(\\d+)", params)[1])) < 300
        needed = {"@method", "@target-uri", "content-digest", "idempotency-key"} <= set(names)
        right = hmac.compare_digest(headers["signature"], f"sig1=:{signed}:")
        return right and fresh and needed and headers["content-digest"] == f"sha-256=:{digest}:"

The id in `Idempotency-Key` makes a repetition harmless, also one by somebody who recorded the request.

Spec: RFC 9421 sections 2.5, 3.1 and 3.3.3.
"""

import base64
import hmac
from collections.abc import Mapping
from typing import Final

LABEL: Final = "sig1"
ALGORITHM: Final = "hmac-sha256"


def sign(components: Mapping[str, str], params: str, secret: bytes) -> tuple[str, str]:
    """Return the values of `Signature-Input` and `Signature` for covered components, in their order.

    `components` maps the name of each component, such as `@method` or `content-digest`, to its value;
    `params` are the parameters after the list, such as `;created=1618884473;keyid="node"`.
    """
    names = " ".join(f'"{name}"' for name in components)
    input_ = f"({names}){params}"
    lines = [f'"{name}": {value}' for name, value in components.items()]
    base = "\n".join([*lines, f'"@signature-params": {input_}'])
    signature = base64.b64encode(hmac.digest(secret, base.encode(), "sha256")).decode()
    return f"{LABEL}={input_}", f"{LABEL}=:{signature}:"


def content_digest(sha256: str) -> str:
    """Return the `Content-Digest` field (RFC 9530) for a SHA-256 in hex."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
