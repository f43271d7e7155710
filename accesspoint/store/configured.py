"""The stores as the configuration describes them: where rows and payloads stand, and the keys that both are encrypted under."""

from pathlib import Path
from typing import Final

from accesspoint.config import Configuration
from accesspoint.store.columns import Columns
from accesspoint.store.database import StorageRefused, sqlite_url
from accesspoint.store.encryption import PayloadKeys, create_payload_key, load_payload_keys
from accesspoint.store.payload_directory import DirectoryPlace
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.places import Place
from accesspoint.store.reading import PlaceToRead
from accesspoint.store.spool import Spool, SpoolOfOthers

KEY_FILE: Final = "payload.key"
"""What a node of a test network calls the key that it makes for itself, in its directory of keys."""


def database_url(configuration: Configuration) -> str:
    """Return where the database of a node is."""
    store = configuration.store
    return store.database or sqlite_url(store.directory / "accesspoint.db")


def build_columns(configuration: Configuration, *, to_read: bool = False) -> Columns:
    """What seals the columns of a node's database that may name a patient, under the keys of its payloads.

    Raises: StorageRefused when a key cannot be used as it is.
    """
    keys = _load_keys(configuration, make=not to_read)
    return Columns(keys, seal=configuration.store.encryption == "on")


def build_payload_store(
    configuration: Configuration, *, to_read: bool = False, make_key: bool = True
) -> PayloadStore:
    """Open the payload store of a node; `to_read`, beside it and changing nothing. A key is made for none but a node.

    Raises: StorageRefused when the place or a key cannot be used as it is.
    """
    place = build_payload_place(configuration, to_read=to_read)
    return PayloadStore(
        PlaceToRead(place) if to_read else place,
        keys=_load_keys(configuration, make=make_key and not to_read),
        encrypt=configuration.store.encryption == "on",
    )


def build_payload_place(configuration: Configuration, *, to_read: bool = False) -> Place:
    """Open where the payloads of a node stand; `to_read`, changing nothing there.

    Raises: StorageRefused when it cannot be used as it is.
    """
    store = configuration.store
    local = store.directory / "payloads"
    if not isinstance(store.payloads, str):
        directory = store.payloads or local
        return DirectoryPlace(directory, spool=_spool_of_others(directory, to_read=to_read))
    try:
        from accesspoint.store.payload_bucket import BucketPlace  # obstore is an extra
    except ImportError as error:
        raise StorageRefused("payloads in a bucket need the extra s3 of this package") from error
    return BucketPlace(
        store.payloads, local, endpoint=store.s3_endpoint, region=store.s3_region,
        spool=_spool_of_others(local, to_read=to_read),
    )  # fmt: skip


def _spool_of_others(local: Path, *, to_read: bool) -> Spool | None:
    return SpoolOfOthers(local / "tmp") if to_read else None


def _load_keys(configuration: Configuration, *, make: bool) -> PayloadKeys | None:
    """The keys; where encryption was turned off they still open what was encrypted before."""
    store = configuration.store
    files = [*([store.encryption_key] if store.encryption_key else []), *store.previous_keys]
    if store.encryption == "on" and store.encryption_key is None:
        # Only outside production: there the configuration is refused without a key.
        made = configuration.keys.directory / KEY_FILE
        if make:
            create_payload_key(made)
        if make or made.exists():
            files.insert(0, made)
    return load_payload_keys(files[0], files[1:]) if files else None
