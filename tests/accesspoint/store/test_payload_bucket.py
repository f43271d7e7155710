"""Payloads in a bucket of moto's server: a real client, real HTTP, real multipart uploads."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from s3_server import make_bucket, s3_server

import accesspoint
from accesspoint.store.database import StorageBusy, StorageRefused
from accesspoint.store.encryption import PayloadKey, PayloadKeys
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing, PayloadStore

obstore = pytest.importorskip("obstore", reason="the extra 's3' is not installed")

from obstore.store import S3Store  # noqa: E402 (where the extra is not installed the module is skipped)

from accesspoint.store.payload_bucket import PART_BYTES, BucketPlace  # noqa: E402

KEYS = PayloadKeys(PayloadKey(bytes(32)))
_BUCKETS = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server of our own."""
    with s3_server() as address:
        yield address


@dataclass
class Bucket:
    """One empty bucket, and the client that a person would look into it with."""

    server: str
    name: str
    local: Path

    def place(self, **options: Any) -> BucketPlace:
        url = f"s3://{self.name}/payloads"
        return BucketPlace(
            url, self.local, endpoint=self.server, region="us-east-1", **{"retries": 0, **options}
        )

    @property
    def raw(self) -> Any:
        """The bucket as somebody else sees it who may write there."""
        return S3Store(
            self.name,
            prefix="payloads",
            config={"endpoint": self.server, "region": "us-east-1"},
            client_options={"allow_http": True},
        )

    def get(self, payload: str) -> bytes:
        return bytes(obstore.get(self.raw, payload).bytes())

    def put(self, payload: str, data: bytes) -> None:
        obstore.put(self.raw, payload, data)


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TEST")
    bucket = Bucket(server, f"bucket-{next(_BUCKETS)}", tmp_path / "local")
    make_bucket(server, bucket.name)
    return bucket


@pytest.fixture(params=[None, KEYS], ids=["plain", "encrypted"])
def store(bucket: Bucket, request: pytest.FixtureRequest) -> Iterator[PayloadStore]:
    store = PayloadStore(bucket.place(), keys=request.param)
    yield store
    store.close()


def publish(store: PayloadStore, data: bytes) -> str:
    with store.create() as writer:
        writer.write(data)
        return writer.finish().id


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000, PART_BYTES, 2 * PART_BYTES + 12_345])
def test_what_is_written_is_read(store: PayloadStore, size: int) -> None:
    data = os.urandom(size)
    with store.create() as writer:
        for start in range(0, size, 300_001):
            writer.write(memoryview(data)[start : start + 300_001])
        ref = writer.finish()
    assert (ref.size, ref.sha256) == (size, hashlib.sha256(data).hexdigest())
    with store.open(ref.id, sha256=ref.sha256) as reader:
        assert reader.size == size
        pieces = list(iter(lambda: reader.read(48 * 1024), b""))
    assert b"".join(pieces) == data
    assert all(len(piece) == 48 * 1024 for piece in pieces[:-1])


def test_nothing_is_seen_before_it_is_whole(store: PayloadStore, bucket: Bucket) -> None:
    with store.create() as writer:
        for _ in range(3 * PART_BYTES // 65_536):
            writer.write(bytes(65_536))
        assert list(store.entries()) == []
        ref = writer.finish()
    assert [entry.id for entry in store.entries()] == [ref.id]


@pytest.mark.parametrize("size", [10, 3 * PART_BYTES])
def test_what_is_not_finished_is_never_seen(store: PayloadStore, size: int) -> None:
    def fails() -> None:
        with store.create() as writer:
            writer.write(bytes(size))
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    writer = store.create()
    writer.write(bytes(size))
    writer.abort()
    assert list(store.entries()) == []


def test_deleting_twice_is_the_same_as_once(store: PayloadStore) -> None:
    name = publish(store, b"x")
    assert store.delete(name) is True
    assert store.delete(name) is False
    with pytest.raises(PayloadMissing):
        store.open(name)
    with pytest.raises(PayloadMissing, match="another shape"):
        store.delete("../other")


def test_entries_tell_what_is_ours_and_how_old_it_is(store: PayloadStore, bucket: Bucket) -> None:
    name = publish(store, b"12345")
    bucket.put("notes.txt", b"of somebody else")
    bucket.put("elsewhere/" + "0" * 32, b"of somebody else")
    [entry] = store.entries()
    assert entry.id == name
    assert entry.modified_at.utcoffset() is not None


def test_an_object_that_was_changed_or_cut_is_refused(store: PayloadStore, bucket: Bucket) -> None:
    with store.create() as writer:
        writer.write(b"result of a test person " * 9_000)
        ref = writer.finish()
    whole = bucket.get(ref.id)
    for changed in (whole[:-1], whole[:100_000] + b"\0" + whole[100_001:], whole + b"x"):
        bucket.put(ref.id, changed)
        with (
            pytest.raises(PayloadDamaged, match=f"payload {ref.id}"),
            store.open(ref.id, sha256=ref.sha256) as reader,
        ):
            list(iter(reader.read, b""))


def test_what_is_encrypted_leaves_this_machine_only_so(bucket: Bucket) -> None:
    store = PayloadStore(bucket.place(), keys=KEYS)
    name = publish(store, b"result of a test person")
    assert b"person" not in bucket.get(name)
    store.close()


def test_a_store_that_is_away_keeps_everything_waiting(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PayloadStore(bucket.place(), keys=KEYS)
    name = publish(store, b"x")
    gone = BucketPlace.__new__(BucketPlace)
    gone._store = S3Store(
        "nowhere",
        config={"endpoint": "http://127.0.0.1:1", "region": "x"},
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    gone.spool = store._place.spool
    monkeypatch.setattr(store, "_place", gone)
    writer = store.create()
    writer.write(b"y")
    for question in (writer.finish, lambda: store.open(name), lambda: store.delete(name),
                     lambda: list(store.entries())):  # fmt: skip
        with pytest.raises(StorageBusy):
            question()
    assert store.failure is None  # nothing is broken, so the node goes on
    store.close()


def test_a_place_that_is_none_is_refused_at_the_start(bucket: Bucket) -> None:
    for url in ("s3:///prefix", "http://bucket", "s3://bucket?x=1"):
        with pytest.raises(StorageRefused, match="s3://bucket/prefix"):
            BucketPlace(url, bucket.local, endpoint=bucket.server)
    with pytest.raises(StorageBusy, match="cannot be reached") as away:
        BucketPlace("s3://b", bucket.local, endpoint="http://127.0.0.1:1", region="x", retries=0)
    assert "127.0.0.1" not in str(away.value)


def test_a_large_payload_is_never_whole_in_memory(bucket: Bucket) -> None:
    program = f"""
import os, resource, sys
from pathlib import Path
from accesspoint.store.encryption import PayloadKey, PayloadKeys
from accesspoint.store.payload_bucket import BucketPlace
from accesspoint.store.payloads import PayloadStore
place = BucketPlace({f"s3://{bucket.name}/payloads"!r}, Path({str(bucket.local)!r}), endpoint={bucket.server!r}, region="x")
store = PayloadStore(place, keys=PayloadKeys(PayloadKey(bytes(32))))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def write(mebibytes):
    with store.create() as writer:
        for _ in range(mebibytes * 16):
            writer.write(bytes(65536))
        ref = writer.finish()
    with store.open(ref.id) as reader:
        while reader.read():
            pass
write(1)
before = peak()
write(96)
print(peak() - before)
store.close()
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(accesspoint.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) < 64


async def test_a_call_that_waits_for_the_network_leaves_the_loop_alone(bucket: Bucket) -> None:
    store = PayloadStore(bucket.place())
    assert await store.aside(threading.get_ident) != threading.get_ident()
    store.close()
    here = PayloadStore(bucket.local / "directory")
    assert await here.aside(threading.get_ident) == threading.get_ident()
    here.close()
