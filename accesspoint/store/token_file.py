"""The bearer token of the interface: made once, kept in a file that is the owner's alone, and never short or empty.

Whoever has the token may send in the organisation's name. A file that a power cut left empty, that somebody
filled with a word, or that others can read must therefore keep the node from starting; it is never
repaired silently, since programs of the organisation may still hold the old token.

Spec: hostile 1.20 (SEC-01).
"""

import re
import secrets
from pathlib import Path
from typing import Final

from accesspoint.store.database import StorageRefused
from accesspoint.store.filesystem import read_private, write_once

SHORTEST: Final = 32
"""Characters; the tokens made here have 43, which is 256 bits."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_REMEDY: Final = "remove the file and start again, then a new token is made"


def load_token(path: Path) -> str:
    """Return the token in a file, which is made when it is missing.

    Raises: StorageRefused when the file is not a private one of ours, or holds no token of full length.
    """
    write_once(path, secrets.token_urlsafe(32))
    return _read(path)


def _read(path: Path) -> str:
    token = read_private(path, remedy=_REMEDY).strip().decode("latin-1")
    if len(token) < SHORTEST or not _TOKEN.fullmatch(token):
        raise StorageRefused(f"{path} holds no token of at least {SHORTEST} characters; {_REMEDY}")
    return token
