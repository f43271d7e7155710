"""The oldest version of each package that may be installed, and why: weaknesses that newer ones have closed.

Lists of known weaknesses are asked by `pip-audit --strict` where they can be reached (`just audit`). This table holds
without them, and for native libraries that no package index knows.
"""

from collections.abc import Mapping
from typing import Final

FLOORS: Final[Mapping[str, tuple[str, str]]] = {
    "aiohttp": ("3.14.5", "GHSA-24c4-3p7v-29cm, CVE-2026-54273, -54278, -54279: request parsing"),
    "apsw": ("3.53.0.0", "bundles SQLite 3.53.0, the first of its line without the corruption when a log is reset"),
    "cryptography": ("46.0.7", "CVE-2026-26007, CVE-2026-34073, CVE-2026-39892"),
    "dnspython": ("2.6.1", "CVE-2023-29483: an answer from elsewhere ends a look-up"),
    "idna": ("3.7", "CVE-2024-3651: quadratic time on a long name"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "joserfc": ("1.4.2", "CVE-2025-65015: the token in the text of an error"),
    "lxml": ("6.1.3", "CVE-2026-41066 and external parameter entities that were open by default"),
    "markupsafe": ("2.0", "the first that jinja2 3.1 is made for"),
    "signxml": ("5.1.0", "CVE-2025-48994, CVE-2025-48995; checks the key usage and the expiry of a pinned certificate"),
    "xmlsec": ("1.3.17", "made for the libxml2 that lxml carries; two of them in one process corrupt memory"),
}  # fmt: skip
SQLITE_FLOOR: Final = (3, 53, 0)
LIBXML2_FLOOR: Final = (2, 14, 6)
LIBXSLT_FLOOR: Final = (1, 1, 43)
OPENSSL_FLOOR: Final = (3, 0, 0)
"""What speaks TLS is Python's own OpenSSL; what signs is the one inside `cryptography`."""

NATIVE: Final[Mapping[str, str]] = {
    "aiohttp": "request parsing and frames",
    "apsw": "SQLite",
    "asyncpg": "the protocol of PostgreSQL",
    "cffi": "what cryptography calls OpenSSL through",
    "cryptography": "OpenSSL and Rust",
    "frozenlist": "part of aiohttp",
    "isal": "gzip",
    "lxml": "libxml2 and libxslt",
    "markupsafe": "escaping for jinja2",
    "multidict": "headers for aiohttp",
    "obstore": "object stores, in Rust",
    "orjson": "JSON, in Rust",
    "propcache": "part of yarl",
    "pydantic-core": "validation, in Rust",
    "yarl": "addresses",
}
"""The only packages of a running node that may bring native code."""
