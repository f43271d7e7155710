from pathlib import Path
from typing import Any

import pytest

from accesspoint.config import Configuration, Keys, Profile, Store
from accesspoint.store.configured import KEY_FILE, build_payload_store
from accesspoint.store.database import StorageRefused
from accesspoint.store.encryption import PayloadKeyMissing
from accesspoint.store.payloads import PayloadStore


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir(mode=0o700)
    return tmp_path


def build(home: Path, **store: Any) -> PayloadStore:
    """The store of a node; what has nothing to do with it is not configured."""
    return build_payload_store(
        Configuration.model_construct(
            profile=Profile.DEV,
            keys=Keys(directory=home / "keys"),
            store=Store(directory=home / "store", **store),
        )
    )


def publish(store: PayloadStore, data: bytes) -> str:
    with store.create() as writer:
        writer.write(data)
        return writer.finish().id


def key(home: Path, name: str, digit: str) -> str:
    path = home / name
    path.write_text(digit * 64)
    path.chmod(0o400)
    return str(path)


def test_outside_production_a_node_makes_its_own_key_and_keeps_it(home: Path) -> None:
    store = build(home)
    payload = publish(store, b"test person")
    store.close()
    made = (home / "keys" / KEY_FILE).read_text()
    again = build(home)
    assert again.open(payload).read() == b"test person"
    again.close()
    assert (home / "keys" / KEY_FILE).read_text() == made
    stands = home / "store" / "payloads" / payload[:2] / payload
    assert b"test person" not in stands.read_bytes()


def test_a_rotated_key_stays_readable_and_one_that_was_taken_away_does_not(home: Path) -> None:
    old, new = key(home, "old", "1"), key(home, "new", "2")
    first = build(home, encryption_key=old)
    payload = publish(first, b"under the old key")
    first.close()
    rotated = build(home, encryption_key=new, previous_keys=[old])
    assert rotated.open(payload).read() == b"under the old key"
    later = publish(rotated, b"under the new key")
    rotated.close()
    without = build(home, encryption_key=new)
    assert without.open(later).read() == b"under the new key"
    with pytest.raises(PayloadKeyMissing):
        without.open(payload)
    without.close()


def test_encryption_that_was_turned_off_leaves_what_is_encrypted_readable(home: Path) -> None:
    name = key(home, "key", "3")
    on = build(home, encryption_key=name)
    sealed = publish(on, b"sealed")
    on.close()
    off = build(home, encryption="off", previous_keys=[name])
    plain = publish(off, b"plain")
    assert (off.open(sealed).read(), off.open(plain).read()) == (b"sealed", b"plain")
    off.close()
    assert not (home / "keys" / KEY_FILE).exists()
    assert (home / "store" / "payloads" / plain[:2] / plain).read_bytes() == b"plain"


def test_a_key_that_cannot_be_used_keeps_the_node_from_starting(home: Path) -> None:
    with pytest.raises(StorageRefused, match="cannot be read"):
        build(home, encryption_key=str(home / "nowhere"))
