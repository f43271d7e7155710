"""The stores as the configuration describes them: where rows and payloads stand, and the keys that payloads are encrypted under."""

from typing import Final

from accesspoint.config import Configuration
from accesspoint.store.database import sqlite_url
from accesspoint.store.encryption import PayloadKeys, create_payload_key, load_payload_keys
from accesspoint.store.payloads import PayloadStore

KEY_FILE: Final = "payload.key"
"""What a node of a test network calls the key that it makes for itself, in its directory of keys."""


def database_url(configuration: Configuration) -> str:
    """Return where the database of a node is."""
    store = configuration.store
    return store.database or sqlite_url(store.directory / "accesspoint.db")


def build_payload_store(configuration: Configuration) -> PayloadStore:
    """Open the payload store of a node.

    Raises: StorageRefused when the place or a key cannot be used as it is.
    """
    return PayloadStore(
        configuration.store.payloads or configuration.store.directory / "payloads",
        keys=_load_keys(configuration),
        encrypt=configuration.store.encryption == "on",
    )


def _load_keys(configuration: Configuration) -> PayloadKeys | None:
    """The keys; where encryption was turned off they still open what was encrypted before."""
    store = configuration.store
    files = [*([store.encryption_key] if store.encryption_key else []), *store.previous_keys]
    if store.encryption == "on" and store.encryption_key is None:
        # Only outside production: there the configuration is refused without a key.
        made = configuration.keys.directory / KEY_FILE
        create_payload_key(made)
        files.insert(0, made)
    return load_payload_keys(files[0], files[1:]) if files else None
