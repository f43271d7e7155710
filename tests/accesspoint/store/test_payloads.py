import hashlib
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accesspoint.store.database import StorageFailure, StorageFull, StorageRefused
from accesspoint.store.payloads import MEMORY_BYTES, PayloadMissing, PayloadStore, SpoolQuota


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def store(directory: Path) -> Iterator[PayloadStore]:
    store = PayloadStore(directory)
    yield store
    store.close()


@contextmanager
def small_disk() -> Iterator[None]:
    """Let the kernel refuse files over 100 000 bytes, as a full disk would in the middle of a write.

    Only around the writes themselves: the limit also binds the test runner, whose own output may be a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def unpublished(directory: Path) -> list[Path]:
    return [path for path in (directory / "tmp").rglob("*") if path.is_file()]


def publish(store: PayloadStore, data: bytes) -> str:
    with store.create() as writer:
        writer.write(data)
        return writer.finish().id


def test_what_is_written_is_read(store: PayloadStore) -> None:
    data = os.urandom(300_000)
    with store.create() as writer:
        for start in range(0, len(data), 70_001):
            writer.write(memoryview(data)[start : start + 70_001])
        ref = writer.finish()
    assert (ref.size, ref.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    with store.open(ref.id) as reader:
        assert reader.size == len(data)
        pieces = list(iter(lambda: reader.read(65_536), b""))
    assert [len(piece) for piece in pieces] == [65_536] * 4 + [300_000 - 4 * 65_536]
    assert b"".join(pieces) == data


def test_an_empty_payload_is_a_payload(store: PayloadStore) -> None:
    with store.create() as writer:
        ref = writer.finish()
    with store.open(ref.id) as reader:
        assert reader.read() == b""


def test_nothing_is_seen_before_finish_and_nothing_left_after_an_error(
    store: PayloadStore, directory: Path
) -> None:
    def fails() -> None:
        with store.create() as writer:
            writer.write(b"half")
            assert list(store.entries()) == []
            assert len(unpublished(directory)) == 1
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert list(store.entries()) == []
    assert unpublished(directory) == []


def test_publishing_is_fsync_rename_fsync_in_that_order(
    store: PayloadStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, b"first")
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append(f"fsync {kind}")
        fsync(descriptor)

    def recorded_rename(source: str, target: str) -> None:
        seen.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    publish(store, b"second")
    # A directory made for the new name is itself made durable before the rename.
    assert [step for step in seen if step != "fsync directory"] == ["fsync file", "rename"]
    assert seen[0] == "fsync file"
    assert seen[-1] == "fsync directory"


def test_an_fsync_that_fails_publishes_nothing(
    store: PayloadStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with store.create() as writer:
        writer.write(b"lost")
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(StorageFailure, match="durable: Input/output error"):
            writer.finish()
        monkeypatch.undo()
        with pytest.raises(ValueError, match="finished or was dropped"):
            writer.finish()
    assert list(store.entries()) == []
    assert unpublished(directory) == []


def test_a_full_disk_is_a_storage_failure_and_leaves_no_file(
    store: PayloadStore, directory: Path
) -> None:
    with store.create() as writer, small_disk():
        writer.write(bytes(50_000))
        with pytest.raises(StorageFailure):
            writer.write(bytes(60_000))
    assert unpublished(directory) == []
    with store.temporary() as temporary, small_disk():
        temporary.write(bytes(50_000))
        with pytest.raises(StorageFailure):
            temporary.write(bytes(60_000))
        temporary.close()


def test_a_finished_writer_takes_nothing_more(store: PayloadStore) -> None:
    writer = store.create()
    ref = writer.finish()
    with pytest.raises(ValueError, match="finished"):
        writer.write(b"late")
    writer.abort()
    assert [entry.id for entry in store.entries()] == [ref.id]


def test_files_and_directories_are_private(store: PayloadStore, directory: Path) -> None:
    publish(store, b"x")
    store.create()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_file()}
    assert modes == {0o600}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_dir()}
    assert modes == {0o700}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../" * 8 + "etc/passwd",
        "/etc/passwd",
        "tmp",
        "a" * 31,
        "A" * 32,
        "a" * 32 + "\n",
        "a" * 31 + "\0",
    ],
)
def test_path_traversal_names_are_refused(store: PayloadStore, name: str) -> None:
    with pytest.raises(PayloadMissing, match="another shape"):
        store.open(name)
    with pytest.raises(PayloadMissing, match="another shape"):
        store.delete(name)


@given(name=st.text(alphabet="./\\0af%", max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_but_a_published_one_opens_anything(store: PayloadStore, name: str) -> None:
    with pytest.raises(PayloadMissing):
        store.open(name)


def test_a_link_in_the_place_of_a_payload_is_not_followed(
    store: PayloadStore, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (directory / "aa").mkdir(mode=0o700)
    (directory / "aa" / ("a" * 32)).symlink_to(tmp_path / "secret")
    with pytest.raises(StorageFailure):
        store.open("a" * 32)


def test_deleting_twice_is_the_same_as_once(store: PayloadStore) -> None:
    name = publish(store, b"x")
    assert store.delete(name) is True
    assert store.delete(name) is False
    with pytest.raises(PayloadMissing):
        store.open(name)


def test_entries_tell_size_and_name_of_what_is_published(
    store: PayloadStore, directory: Path
) -> None:
    wanted = {publish(store, bytes(size)): size for size in (0, 1, 70_000)}
    (directory / "notes.txt").touch()
    assert {entry.id: entry.size for entry in store.entries()} == wanted


def test_a_file_that_stands_where_only_directories_do_is_swept(tmp_path: Path) -> None:
    PayloadStore(tmp_path / "payloads").close()
    (tmp_path / "payloads" / "tmp" / "0123456789abcdef").write_bytes(b"a payload after a power cut")
    store = PayloadStore(tmp_path / "payloads")

    assert store.swept == 1
    (own,) = (tmp_path / "payloads" / "tmp").iterdir()
    assert not any(own.iterdir())
    store.close()


def test_leftovers_of_a_dead_process_are_swept_and_those_of_a_living_one_kept(
    directory: Path,
) -> None:
    first = PayloadStore(directory)
    alive = first.create()
    alive.write(b"still writing")
    child = os.fork()
    if child == 0:
        try:
            dying = PayloadStore(directory)
            publish(dying, b"published before the end")
            dying.create().write(b"half")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert len(unpublished(directory)) == 2
    second = PayloadStore(directory)
    assert second.swept == 1
    assert len(unpublished(directory)) == 1
    ref = alive.finish()
    with second.open(ref.id) as reader:
        assert reader.read() == b"still writing"
    assert len(list(second.entries())) == 2
    first.close()
    second.close()
    assert list((directory / "tmp").iterdir()) == []


def test_an_open_directory_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)
    with pytest.raises(StorageRefused, match="0755"):
        PayloadStore(directory)


@pytest.mark.parametrize("size", [0, 1, MEMORY_BYTES, MEMORY_BYTES + 1, 5 * MEMORY_BYTES])
def test_a_temporary_payload_gives_back_what_it_took(store: PayloadStore, size: int) -> None:
    data = os.urandom(size)
    with store.temporary() as temporary:
        for start in range(0, size, 1000):
            temporary.write(data[start : start + 1000])
        assert temporary.size == size
        temporary.rewind()
        assert b"".join(iter(temporary.read, b"")) == data


def test_temporary_payloads_share_a_quota_until_they_are_closed(store: PayloadStore) -> None:
    quota = SpoolQuota(4 * MEMORY_BYTES)
    with store.temporary(quota) as first, store.temporary(quota) as second:
        first.write(bytes(3 * MEMORY_BYTES))
        second.write(bytes(MEMORY_BYTES))
        assert quota.used == 3 * MEMORY_BYTES  # what stays in memory is bounded already
        with pytest.raises(StorageFull):
            second.write(bytes(MEMORY_BYTES))
        first.close()
        with store.temporary(quota) as third:
            third.write(bytes(4 * MEMORY_BYTES))
            assert quota.used == 4 * MEMORY_BYTES
    assert quota.used == 0


def test_a_temporary_payload_has_no_name_to_leave_behind(
    store: PayloadStore, directory: Path
) -> None:
    with store.temporary() as temporary:
        temporary.write(bytes(10 * MEMORY_BYTES))
        assert unpublished(directory) == []
        assert list(store.entries()) == []
