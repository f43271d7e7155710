"""The folder backend on a real directory: nobody sees half a message, and what it does not take it says."""

import os
from pathlib import Path

import pytest

from accesspoint.backends.base import DeliveryRefused
from accesspoint.backends.folder import CHUNK_BYTES, FolderBackend
from accesspoint.backends.sink import SinkBackend
from accesspoint.stations.document import Address, Document
from accesspoint.stations.sbd_file import stored
from accesspoint.store.payloads import PayloadMissing, PayloadStore

CONTENT = b"0123456789abcdef" * (CHUNK_BYTES // 8)
IDENTIFIER = "0f8b6f0a-5c1e-4d0e-9a51-0c6f7d1f0b11"


@pytest.fixture
def payloads(tmp_path: Path) -> PayloadStore:
    return PayloadStore(tmp_path / "payloads")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "received"


def document(
    payloads: PayloadStore,
    content: bytes = CONTENT,
    *,
    identifier: str = IDENTIFIER,
    media_type: str = "application/fhir+json",
) -> Document:
    with payloads.create() as writer:
        writer.write(content)
        reference = writer.finish()
    address = Address("5790000000012", "900000000000016")
    return Document(
        message_identifier=identifier, message_envelope_identifier="b", event_code="homecareobservation-message",
        definition_version="3.1", sender=address, receiver=address, patient_id=None, statistical_postfix=None,
        original_message_identifier=None, media_type=media_type,
        stored=stored(reference),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [("application/fhir+json", "json"), ("application/fhir+xml", "xml"), ("text/plain", "bin")],
)
async def test_a_message_becomes_one_file(
    payloads: PayloadStore, inbox: Path, media_type: str, suffix: str
) -> None:
    backend = FolderBackend(inbox)
    one = document(payloads, media_type=media_type)
    await backend.deliver("d1", one, payloads)
    [path] = inbox.iterdir()
    assert path == backend.path_of(one) == inbox / f"{IDENTIFIER}.{suffix}"
    assert path.read_bytes() == CONTENT


async def test_nobody_else_reads_it(payloads: PayloadStore, inbox: Path) -> None:
    await FolderBackend(inbox).deliver("d1", document(payloads), payloads)
    [path] = inbox.iterdir()
    assert inbox.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_repeated_delivery_is_the_same_file(payloads: PayloadStore, inbox: Path) -> None:
    backend, one = FolderBackend(inbox), document(payloads)
    for delivery in ("d1", "d1", "d2"):
        await backend.deliver(delivery, one, payloads)
    [path] = inbox.iterdir()
    assert path.read_bytes() == CONTENT


async def test_another_message_under_the_same_identifier_stands_beside_the_first(
    payloads: PayloadStore, inbox: Path
) -> None:
    """Two senders may use one identifier; neither message replaces the other, however often they come."""
    backend, one = FolderBackend(inbox), document(payloads)
    other = document(payloads, b"of another sender")
    for delivery, message in (("d1", one), ("d2", other), ("d2", other), ("d1", one)):
        await backend.deliver(delivery, message, payloads)
    assert {path.name: path.read_bytes() for path in inbox.iterdir()} == {
        f"{IDENTIFIER}.json": CONTENT,
        f"{IDENTIFIER}.d2.json": b"of another sender",
    }


async def test_the_file_is_synced_before_its_name_and_the_name_before_the_answer(
    payloads: PayloadStore, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is what a power cut relies on: content, name, directory."""
    backend, one = FolderBackend(inbox), document(payloads)
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append("sync directory" if path == inbox else f"sync {path.stat().st_size} octets")
        fsync(descriptor)

    def watched_rename(self: Path, target: Path) -> Path:
        steps.append(f"rename {self.name} while {sorted(p.name for p in inbox.iterdir())}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    await backend.deliver("d1", one, payloads)
    assert steps == [
        f"sync {len(CONTENT)} octets",
        "rename .d1.part while ['.d1.part']",
        "sync directory",
    ]


async def test_what_an_interrupted_delivery_left_is_written_over(
    payloads: PayloadStore, inbox: Path
) -> None:
    backend = FolderBackend(inbox)
    (inbox / ".d1.part").write_bytes(b"half" * 100_000)
    await backend.deliver("d1", document(payloads), payloads)
    [path] = inbox.iterdir()
    assert path.read_bytes() == CONTENT


async def test_a_link_planted_in_the_way_is_not_followed(
    payloads: PayloadStore, inbox: Path, tmp_path: Path
) -> None:
    backend = FolderBackend(inbox)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (inbox / ".d1.part").symlink_to(victim)
    with pytest.raises(DeliveryRefused):
        await backend.deliver("d1", document(payloads), payloads)
    assert victim.read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_is_not_writable(payloads: PayloadStore, inbox: Path) -> None:
    backend = FolderBackend(inbox)
    inbox.chmod(0o500)
    with pytest.raises(DeliveryRefused, match="Permission denied"):
        await backend.deliver("d1", document(payloads), payloads)


async def test_a_directory_that_is_gone(payloads: PayloadStore, inbox: Path) -> None:
    backend = FolderBackend(inbox)
    inbox.rmdir()
    with pytest.raises(DeliveryRefused, match="No such file or directory"):
        await backend.deliver("d1", document(payloads), payloads)


async def test_a_full_disk(
    payloads: PayloadStore, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/dev/full` is a disk without room: the message stays owed, and no file has its name."""
    backend, one = FolderBackend(inbox), document(payloads)
    opened = os.open

    def on_full_disk(path: Path, flags: int, mode: int = 0o777) -> int:
        full = str(path).endswith(".part")
        return opened("/dev/full", os.O_WRONLY) if full else opened(path, flags, mode)

    monkeypatch.setattr(os, "open", on_full_disk)
    with pytest.raises(DeliveryRefused, match="No space left on device"):
        await backend.deliver("d1", one, payloads)
    assert list(inbox.iterdir()) == []


async def test_a_payload_that_is_gone_is_no_delivery(payloads: PayloadStore, inbox: Path) -> None:
    backend, one = FolderBackend(inbox), document(payloads)
    payloads.delete(one.stored.payload)
    with pytest.raises(PayloadMissing):
        await backend.deliver("d1", one, payloads)
    assert IDENTIFIER not in {path.stem for path in inbox.iterdir()}


async def test_the_sink_takes_everything_and_keeps_nothing(payloads: PayloadStore) -> None:
    one = document(payloads)
    await SinkBackend().deliver("d1", one, payloads)
    with payloads.open(one.stored.payload) as reader:
        assert reader.read(len(CONTENT) + 1) == CONTENT
