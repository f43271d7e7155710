"""The folder backend on a real directory: nobody sees half a message, and what it does not take it says."""

import asyncio
import errno
import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from accesspoint.backends.base import DeliveryRefused
from accesspoint.backends.folder import (
    CHUNK_BYTES,
    LEFT_OVER_SECONDS,
    MANIFEST,
    OUTCOMES,
    FolderBackend,
)
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
        definition_version="1.1", sender=address, receiver=address, patient_id=None, statistical_postfix=None,
        original_message_identifier=None, media_type=media_type,
        stored=stored(reference),
    )  # fmt: skip


def manifests(inbox: Path) -> dict[str, dict[str, Any]]:
    """What a consumer goes by: the manifests, by the names of their files."""
    return {
        path.name.removesuffix(MANIFEST): json.loads(path.read_text())
        for path in inbox.glob(f"*{MANIFEST}")
    }


def files(inbox: Path) -> set[str]:
    return {path.name for path in inbox.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [("application/fhir+json", "json"), ("application/fhir+xml", "xml"), ("text/plain", "bin")],
)
async def test_a_message_becomes_one_file_and_its_manifest(
    payloads: PayloadStore, inbox: Path, media_type: str, suffix: str
) -> None:
    backend = FolderBackend(inbox)
    one = document(payloads, media_type=media_type)
    await backend.deliver("d1", one, payloads)
    name = f"{IDENTIFIER}.{suffix}"
    assert files(inbox) == {name, name + MANIFEST}
    assert backend.path_of(one) == inbox / name
    assert (inbox / name).read_bytes() == CONTENT
    assert manifests(inbox)[name] == {
        "delivery": "d1", "file": name, "message_identifier": IDENTIFIER, "message_envelope_identifier": "b",
        "answers": None, "type": "homecareobservation-message", "standard": "homecareobservation-message",
        "sender": "5790000000012", "receiver": "5790000000012", "media_type": media_type,
        "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }  # fmt: skip


async def test_nobody_else_reads_it(payloads: PayloadStore, inbox: Path) -> None:
    backend = FolderBackend(inbox)
    await backend.deliver("d1", document(payloads), payloads)
    await backend.tell("o1", IDENTIFIER, b"{}")
    for path in inbox.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
    assert inbox.stat().st_mode & 0o777 == 0o700


async def test_a_repeated_delivery_is_the_same_files(payloads: PayloadStore, inbox: Path) -> None:
    backend, one = FolderBackend(inbox), document(payloads)
    await backend.deliver("d1", one, payloads)
    before = {path.name: path.read_bytes() for path in inbox.iterdir() if path.is_file()}
    for again in (backend, FolderBackend(inbox)):
        await again.deliver("d1", one, payloads)
    assert {p.name: p.read_bytes() for p in inbox.iterdir() if p.is_file()} == before


async def test_another_message_under_the_same_identifier_stands_beside_the_first(
    payloads: PayloadStore, inbox: Path
) -> None:
    """Two senders may use one identifier; neither message replaces the other, however often they come."""
    backend, one = FolderBackend(inbox), document(payloads)
    other, same = document(payloads, b"of another sender"), document(payloads)
    sequence = (("d1", one), ("d2", other), ("d3", same), ("d2", other), ("d1", one), ("d3", same))
    for delivery, message in sequence:
        await backend.deliver(delivery, message, payloads)
    names = {
        "d1": f"{IDENTIFIER}.json",
        "d2": f"{IDENTIFIER}.d2.json",
        "d3": f"{IDENTIFIER}.d3.json",
    }
    assert {one["delivery"]: name for name, one in manifests(inbox).items()} == names
    assert files(inbox) == {*names.values(), *(name + MANIFEST for name in names.values())}
    contents = [(inbox / names[delivery]).read_bytes() for delivery in ("d1", "d2", "d3")]
    assert contents == [CONTENT, b"of another sender", CONTENT]


async def test_an_identifier_that_makes_a_message_look_like_a_manifest(
    payloads: PayloadStore, inbox: Path
) -> None:
    """A sender chooses the identifier; who takes the folder by its manifests must not take a message for one."""
    backend = FolderBackend(inbox)
    trap = document(payloads, b"{}", identifier=f"{IDENTIFIER}.json.manifest")
    await backend.deliver("d1", trap, payloads)
    await backend.deliver("d2", document(payloads), payloads)
    names = {"d1": f"{IDENTIFIER}.json.manifest.d1.json", "d2": f"{IDENTIFIER}.json"}
    assert {one["delivery"]: name for name, one in manifests(inbox).items()} == names
    assert files(inbox) == {*names.values(), *(name + MANIFEST for name in names.values())}


async def test_an_identifier_that_would_hide_its_message(
    payloads: PayloadStore, inbox: Path
) -> None:
    await FolderBackend(inbox).deliver("d1", document(payloads, identifier=".bashrc"), payloads)
    assert files(inbox) == {"_.bashrc.json", f"_.bashrc.json{MANIFEST}"}


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b"\xff"])
async def test_a_name_with_a_manifest_that_cannot_be_read_is_left_alone(
    payloads: PayloadStore, inbox: Path, manifest: bytes
) -> None:
    backend = FolderBackend(inbox)
    (inbox / f"{IDENTIFIER}.json").write_bytes(b"whose?")
    (inbox / f"{IDENTIFIER}.json{MANIFEST}").write_bytes(manifest)
    await backend.deliver("d1", document(payloads), payloads)
    assert (inbox / f"{IDENTIFIER}.json").read_bytes() == b"whose?"
    assert (inbox / f"{IDENTIFIER}.d1.json").read_bytes() == CONTENT


async def test_a_message_without_a_manifest_is_not_replaced_by_another(
    payloads: PayloadStore, inbox: Path
) -> None:
    """A consumer that keeps the message and takes the manifest away; or a version that wrote none."""
    backend = FolderBackend(inbox)
    (inbox / f"{IDENTIFIER}.json").write_bytes(b"of before")
    await backend.deliver("d1", document(payloads), payloads)
    assert (inbox / f"{IDENTIFIER}.json").read_bytes() == b"of before"
    assert list(manifests(inbox)) == [f"{IDENTIFIER}.d1.json"]


async def test_content_name_and_directory_are_durable_before_the_manifest_and_it_before_the_answer(
    payloads: PayloadStore, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is what a power cut relies on: content, name, directory; then the same for the manifest."""
    backend, one = FolderBackend(inbox), document(payloads)
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename
    name = f"{IDENTIFIER}.json"

    def watched_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append("sync directory" if path == inbox else f"sync {path.name}")
        fsync(descriptor)

    def watched_rename(self: Path, target: Path) -> Path:
        steps.append(f"rename {self.name} beside {sorted(files(inbox) - {self.name})}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    monkeypatch.setattr(secrets, "token_hex", lambda count: "aa")
    await backend.deliver("d1", one, payloads)
    assert steps == [
        "sync .d1.aa.part",
        "rename .d1.aa.part beside []",
        "sync directory",
        f"sync .{name}{MANIFEST}.aa.part",
        f"rename .{name}{MANIFEST}.aa.part beside ['{name}']",
        "sync directory",
    ]


async def test_an_interruption_between_message_and_manifest_is_made_good_by_the_repetition(
    payloads: PayloadStore, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No manifest, no message: a consumer takes nothing from a delivery that was cut short."""
    backend, one = FolderBackend(inbox), document(payloads)
    opened = os.open

    def cut_short(path: Path, flags: int, mode: int = 0o777) -> int:
        if MANIFEST in str(path) and str(path).endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", cut_short)
        with pytest.raises(DeliveryRefused, match="Input/output error"):
            await backend.deliver("d1", one, payloads)
    assert files(inbox) == {f"{IDENTIFIER}.json"}
    assert manifests(inbox) == {}
    await backend.deliver("d1", one, payloads)
    assert files(inbox) == {f"{IDENTIFIER}.json", f"{IDENTIFIER}.json{MANIFEST}"}


async def test_an_outcome_is_one_file_however_often_it_is_told(inbox: Path) -> None:
    backend = FolderBackend(inbox)
    for _ in range(2):
        await backend.tell("o1", IDENTIFIER, b'{"state": "UNCERTAIN"}')
    await backend.tell("o2", IDENTIFIER, b'{"state": "ACKNOWLEDGED"}')
    assert {path.name: path.read_bytes() for path in (inbox / OUTCOMES).iterdir()} == {
        f"{IDENTIFIER}.o1.json": b'{"state": "UNCERTAIN"}',
        f"{IDENTIFIER}.o2.json": b'{"state": "ACKNOWLEDGED"}',
    }


async def test_what_a_dead_node_left_is_swept_and_what_may_be_a_living_ones_is_not(
    payloads: PayloadStore, inbox: Path
) -> None:
    FolderBackend(inbox)
    for name, age in ((".d1.aa.part", 0.0), (".d2.bb.part", LEFT_OVER_SECONDS + 1)):
        (inbox / name).write_bytes(b"half" * 100_000)
        os.utime(inbox / name, (time.time() - age,) * 2)
    await FolderBackend(inbox).deliver("d1", document(payloads), payloads)
    assert (inbox / f"{IDENTIFIER}.json").read_bytes() == CONTENT
    assert files(inbox) == {f"{IDENTIFIER}.json", f"{IDENTIFIER}.json{MANIFEST}", ".d1.aa.part"}


async def test_a_node_that_wakes_in_the_middle_of_a_delivery_spoils_nothing(
    payloads: PayloadStore, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes write the same delivery: whoever is first, nobody ever sees half of it under its name."""
    sleeper, other, one = FolderBackend(inbox), FolderBackend(inbox), document(payloads)
    asleep, awake = threading.Event(), threading.Event()

    def pause(point: str) -> None:
        if point == "D2" and not asleep.is_set():
            asleep.set()
            assert awake.wait(10)

    monkeypatch.setattr("accesspoint.backends.folder.failpoint", pause)
    sleeping = asyncio.create_task(sleeper.deliver("d1", one, payloads))
    await asyncio.to_thread(asleep.wait, 10)
    await other.deliver("d1", one, payloads)
    before = (inbox / f"{IDENTIFIER}.json").stat().st_ino
    awake.set()
    await sleeping
    assert (inbox / f"{IDENTIFIER}.json").read_bytes() == CONTENT
    assert (inbox / f"{IDENTIFIER}.json").stat().st_ino != before  # its own file, not the other's
    assert files(inbox) == {f"{IDENTIFIER}.json", f"{IDENTIFIER}.json{MANIFEST}"}


@pytest.mark.attack("FIL-02")
async def test_a_link_planted_in_the_way_is_not_followed(
    payloads: PayloadStore, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, one = FolderBackend(inbox), document(payloads)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    monkeypatch.setattr(secrets, "token_hex", lambda count: "aa")
    (inbox / ".d1.aa.part").symlink_to(victim)
    with pytest.raises(DeliveryRefused):
        await backend.deliver("d1", one, payloads)
    assert victim.read_bytes() == b"mine"


@pytest.mark.attack("FIL-02")
@pytest.mark.parametrize("plant", ["symbolic", "dangling", "hard"])
async def test_a_link_planted_under_the_name_of_a_message_is_not_written_through(
    payloads: PayloadStore, inbox: Path, tmp_path: Path, plant: str
) -> None:
    backend, one = FolderBackend(inbox), document(payloads)
    victim, name = tmp_path / "victim", inbox / f"{IDENTIFIER}.json"
    if plant != "dangling":
        victim.write_bytes(b"mine")
    if plant == "hard":
        name.hardlink_to(victim)
    else:
        name.symlink_to(victim)
    await backend.deliver("d1", one, payloads)
    assert victim.read_bytes() == b"mine" if plant != "dangling" else not victim.exists()
    delivered = [path for path in inbox.iterdir() if path.is_file() and not path.is_symlink()]
    assert CONTENT in [path.read_bytes() for path in delivered]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_is_not_writable(payloads: PayloadStore, inbox: Path) -> None:
    backend = FolderBackend(inbox)
    inbox.chmod(0o500)
    with pytest.raises(DeliveryRefused, match="Permission denied"):
        await backend.deliver("d1", document(payloads), payloads)


async def test_a_directory_that_is_gone(payloads: PayloadStore, inbox: Path) -> None:
    backend = FolderBackend(inbox)
    shutil.rmtree(inbox)
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
    assert files(inbox) == set()


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


@pytest.mark.parametrize("identifier", [".", "..", "...", ".json", "..outcomes"])
async def test_an_identifier_of_dots_leads_nowhere(
    inbox: Path, payloads: PayloadStore, identifier: str
) -> None:
    """The alphabet of FHIR ids has the dot and no separator; files made of one stand where all do."""
    backend = FolderBackend(inbox)
    await backend.deliver("1", document(payloads, identifier=identifier), payloads)
    await backend.tell("2", identifier, b"{}")
    found = {path.relative_to(inbox) for path in inbox.rglob("*") if path.is_file()}
    assert {path.name.endswith(MANIFEST) for path in found if len(path.parts) == 1} == {True, False}
    assert {path.parts[0] for path in found if len(path.parts) > 1} == {OUTCOMES}
    assert len(found) == 3
    # A file that begins with a point is hidden from whoever lists the folder.
    assert not [path for path in found if path.name.startswith(".")]
    assert list(inbox.parent.glob("*.json")) == []
