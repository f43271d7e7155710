import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from accesspoint.store.database import StorageRefused
from accesspoint.store.encryption import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    ChunkOpener,
    ChunkSealer,
    PayloadKey,
    PayloadKeyMissing,
    PayloadKeys,
    create_payload_key,
    load_payload_keys,
)
from accesspoint.store.payloads import PayloadDamaged, PayloadStore
from accesspoint.store.places import Source

KEY = bytes(range(32))
NAME = "0" * 32 + ".sealed"
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
sizes = st.one_of(
    st.integers(0, 300),
    st.sampled_from([CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]),
    st.integers(0, 4 * CHUNK_BYTES),
)
cuts = st.lists(st.integers(1, 2 * CHUNK_BYTES), min_size=1, max_size=6)


class Octets(Source):
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, count: int) -> bytes:
        given, self._data = self._data[:count], self._data[count:]
        return given

    def close(self) -> None:
        self._data = b""


def pattern(size: int) -> bytes:
    return b"".join(b"patient %08d " % line for line in range(size // 17 + 1))[:size]


def pieces(data: bytes, steps: list[int]) -> Iterator[bytes]:
    start = turn = 0
    while start < len(data):
        yield data[start : start + steps[turn % len(steps)]]
        start += steps[turn % len(steps)]
        turn += 1


def seal(data: bytes, steps: list[int] | None = None) -> bytes:
    sealer = ChunkSealer(KEY, NAME)
    return b"".join(map(sealer.update, pieces(data, steps or [CHUNK_BYTES]))) + sealer.finish()


def open_all(sealed: bytes, steps: list[int] | None = None, *, name: str = NAME) -> bytes:
    opener = ChunkOpener(KEY, name, Octets(sealed), len(sealed))
    opened, turn = b"", 0
    steps = steps or [CHUNK_BYTES]
    while piece := opener.read(steps[turn % len(steps)]):
        opened += piece
        turn += 1
    return opened


@given(size=sizes, writes=cuts, reads=cuts)
@settings(deadline=None, max_examples=60)
def test_any_size_in_any_pieces_comes_back_in_any_pieces(
    size: int, writes: list[int], reads: list[int]
) -> None:
    data = pattern(size)
    sealed = seal(data, writes)
    assert sealed == seal(data)  # how it was written in does not show
    assert len(sealed) == size + TAG_BYTES * max(1, -(-size // CHUNK_BYTES))
    opener = ChunkOpener(KEY, NAME, Octets(sealed), len(sealed))
    assert opener.size == size
    got, turn = [], 0
    while piece := opener.read(reads[turn % len(reads)]):
        got.append(piece)
        turn += 1
    assert b"".join(got) == data
    # Only the last read may be short.
    assert all(len(piece) == reads[i % len(reads)] for i, piece in enumerate(got[:-1]))


@given(size=sizes, data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_flipped_bit_is_refused(size: int, data: st.DataObject) -> None:
    sealed = bytearray(seal(pattern(size)))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PayloadDamaged):
        open_all(bytes(sealed))


@given(size=sizes, data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_shorter_or_longer_payload_is_refused(size: int, data: st.DataObject) -> None:
    sealed = seal(pattern(size))
    ends = [0, len(sealed) - 1, *range(SEALED_CHUNK, len(sealed), SEALED_CHUNK)]
    end = data.draw(st.sampled_from(ends) | st.integers(0, len(sealed) - 1))
    with pytest.raises(PayloadDamaged):
        open_all(sealed[:end])
    more = data.draw(st.sampled_from([b"\0", bytes(TAG_BYTES), sealed[:SEALED_CHUNK]]))
    with pytest.raises(PayloadDamaged):
        open_all(sealed + more)


@given(order=st.permutations(range(4)), tail=st.integers(1, CHUNK_BYTES))
@settings(deadline=None, max_examples=30)
def test_chunks_in_another_order_are_refused(order: list[int], tail: int) -> None:
    assume(order != [0, 1, 2, 3])
    sealed = seal(pattern(3 * CHUNK_BYTES + tail))
    chunks = [sealed[n * SEALED_CHUNK : (n + 1) * SEALED_CHUNK] for n in range(4)]
    with pytest.raises(PayloadDamaged):
        open_all(b"".join(chunks[n] for n in order))


@given(dropped=st.integers(0, 3), repeated=st.integers(0, 3))
@settings(deadline=None, max_examples=16)
def test_a_chunk_left_out_or_doubled_is_refused(dropped: int, repeated: int) -> None:
    sealed = seal(pattern(4 * CHUNK_BYTES))
    chunks = [sealed[n * SEALED_CHUNK : (n + 1) * SEALED_CHUNK] for n in range(4)]
    with pytest.raises(PayloadDamaged):
        open_all(b"".join(chunks[:dropped] + chunks[dropped + 1 :]))
    with pytest.raises(PayloadDamaged):
        open_all(b"".join([*chunks[: repeated + 1], *chunks[repeated:]]))


def test_what_is_given_out_before_the_damage_is_what_was_written() -> None:
    data = pattern(3 * CHUNK_BYTES)
    sealed = bytearray(seal(data))
    sealed[2 * SEALED_CHUNK] ^= 1
    opener = ChunkOpener(KEY, NAME, Octets(bytes(sealed)), len(sealed))
    assert opener.read(2 * CHUNK_BYTES) == data[: 2 * CHUNK_BYTES]
    with pytest.raises(PayloadDamaged, match=r"chunk 3 of payload 0{32}\.sealed"):
        opener.read(1)


def test_a_payload_does_not_open_under_the_name_of_another() -> None:
    with pytest.raises(PayloadDamaged):
        open_all(seal(b"of somebody else"), name="1" * 32 + ".sealed")


# -- in the store ---------------------------------------------------------------------------


@pytest.fixture
def keys() -> PayloadKeys:
    return PayloadKeys(PayloadKey(KEY))


def publish(store: PayloadStore, data: bytes) -> str:
    with store.create() as writer:
        writer.write(data)
        return writer.finish().id


def path_of(directory: Path, payload: str) -> Path:
    return directory / payload[:2] / payload


@given(size=sizes, writes=cuts)
@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_store_gives_back_what_it_took_and_keeps_none_of_it_readable(
    tmp_path: Path, keys: PayloadKeys, size: int, writes: list[int]
) -> None:
    directory = tmp_path / "payloads"
    data = pattern(size)
    store = PayloadStore(directory, keys=keys)
    with store.create() as writer:
        for piece in pieces(data, writes):
            writer.write(piece)
        ref = writer.finish()
    assert (ref.size, ref.sha256) == (size, hashlib.sha256(data).hexdigest())
    with store.open(ref.id, sha256=ref.sha256) as reader:
        assert reader.size == size
        assert b"".join(iter(reader.read, b"")) == data
    assert b"patient" not in path_of(directory, ref.id).read_bytes()
    store.close()


def test_a_damaged_header_or_file_is_refused_with_its_name(
    tmp_path: Path, keys: PayloadKeys
) -> None:
    store = PayloadStore(tmp_path / "payloads", keys=keys)
    payload = publish(store, b"result of a test person")
    path = path_of(tmp_path / "payloads", payload)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises((PayloadDamaged, PayloadKeyMissing), match=payload[:32]):
            store.open(payload).read()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(PayloadDamaged, match=payload[:32]):
            store.open(payload).read()
    path.write_bytes(whole)
    assert store.open(payload).read() == b"result of a test person"
    store.close()


def test_files_that_changed_places_are_refused(tmp_path: Path, keys: PayloadKeys) -> None:
    store = PayloadStore(tmp_path / "payloads", keys=keys)
    one, other = publish(store, b"one"), publish(store, b"other")
    path_of(tmp_path / "payloads", one).write_bytes(
        path_of(tmp_path / "payloads", other).read_bytes()
    )
    with pytest.raises(PayloadDamaged):
        store.open(one).read()
    store.close()


def test_plain_octets_are_not_taken_for_an_encrypted_payload(
    tmp_path: Path, keys: PayloadKeys
) -> None:
    store = PayloadStore(tmp_path / "payloads", keys=keys)
    payload = publish(store, b"true")
    path_of(tmp_path / "payloads", payload).write_bytes(
        b"false, and long enough to hold a header" * 9
    )
    with pytest.raises(PayloadDamaged, match="does not begin as an encrypted one does"):
        store.open(payload)
    store.close()


def test_old_keys_and_what_was_written_without_any_stay_readable(tmp_path: Path) -> None:
    directory = tmp_path / "payloads"
    old, new = PayloadKey(KEY), PayloadKey(bytes(32))
    written: dict[str, bytes] = {}
    for keys in (None, PayloadKeys(old), PayloadKeys(new, [old])):
        store = PayloadStore(directory, keys=keys)
        data = b"under " + (keys.current_key_id.hex() if keys else "none").encode()
        written[publish(store, data)] = data
        for payload, expected in written.items():
            assert store.open(payload).read() == expected
        store.close()
    store = PayloadStore(directory, keys=PayloadKeys(new))
    lost = [payload for payload, data in written.items() if data.endswith(old.id.hex().encode())]
    with pytest.raises(PayloadKeyMissing, match=f"needs the key {old.id.hex()}"):
        store.open(lost[0])
    store.close()
    store = PayloadStore(directory)
    with pytest.raises(PayloadKeyMissing, match="no key is configured"):
        store.open(lost[0])
    store.close()


def test_the_digest_of_the_row_is_held_against_a_plain_payload(tmp_path: Path) -> None:
    store = PayloadStore(tmp_path / "payloads")
    with store.create() as writer:
        writer.write(pattern(200_000))
        ref = writer.finish()
    path = path_of(tmp_path / "payloads", ref.id)
    octets = bytearray(path.read_bytes())
    octets[100_000] ^= 1
    for changed in (bytes(octets), octets[:-1], octets[:131_072], b""):
        path.write_bytes(changed)
        with (
            store.open(ref.id, sha256=ref.sha256) as reader,
            pytest.raises(PayloadDamaged, match="digest"),
        ):
            list(iter(reader.read, b""))
    store.close()


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 500_000])
def test_what_is_put_aside_is_encrypted_too(tmp_path: Path, keys: PayloadKeys, size: int) -> None:
    store = PayloadStore(tmp_path / "payloads", keys=keys)
    data = pattern(size)
    with store.temporary() as temporary:
        for start in range(0, size, 7_000):
            temporary.write(data[start : start + 7_000])
        for _ in range(2):
            temporary.rewind()
            assert b"".join(iter(temporary.read, b"")) == data
        if temporary._file is not None:
            temporary._file.seek(0)
            assert b"patient" not in temporary._file.read()
            temporary._file.seek(70_000)
            temporary._file.write(b"other octets")
            temporary.rewind()
            with pytest.raises(PayloadDamaged):
                b"".join(iter(temporary.read, b""))
    store.close()


# -- key files ------------------------------------------------------------------------------


def test_a_key_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "payload.key"
    create_payload_key(path)
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    create_payload_key(path)
    assert path.read_text() == text
    assert load_payload_keys(path).current_key_id == PayloadKey(bytes.fromhex(text)).id


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440])
def test_a_key_that_its_owner_and_group_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "payload.key"
    path.write_text(KEY.hex())
    path.chmod(mode)
    assert load_payload_keys(path).current_key_id == PayloadKey(KEY).id


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_key_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "payload.key"
    path.write_text(KEY.hex())
    path.chmod(mode)
    with pytest.raises(StorageRefused, match=f"open to others .mode {mode:04o}"):
        load_payload_keys(path)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 16 + "é"])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "payload.key"
    path.write_text(text)
    path.chmod(0o400)
    with pytest.raises(StorageRefused, match="is no payload key") as refused:
        load_payload_keys(path)
    assert not text or text not in str(refused.value)


def test_a_key_may_stand_behind_a_link_as_orchestrators_mount_it(tmp_path: Path) -> None:
    create_payload_key(tmp_path / "made")
    (tmp_path / "payload.key").symlink_to("made")
    keys = load_payload_keys(tmp_path / "payload.key")
    assert keys.current_key_id == load_payload_keys(tmp_path / "made").current_key_id


def test_a_key_of_another_user_than_root_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "payload.key"
    create_payload_key(path)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        load_payload_keys(path)
        os.chown(path, 4712, -1)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StorageRefused, match=f"belongs to user {owner}"):
        load_payload_keys(path)


def test_a_pipe_is_no_key_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "payload.key", 0o600)
    with pytest.raises(StorageRefused, match="not a regular file"):
        load_payload_keys(tmp_path / "payload.key")


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="cannot be read: No such file"):
        load_payload_keys(tmp_path / "payload.key")


def test_the_header_names_the_key_and_nothing_of_it(tmp_path: Path, keys: PayloadKeys) -> None:
    header, _ = keys.seal(NAME)
    assert len(header) == HEADER_BYTES
    assert header[8:16] == keys.current_key_id
    assert KEY not in header
    assert keys.seal(NAME)[0] != header
    assert KEY.hex() not in repr(PayloadKey(KEY)) + repr(keys)
