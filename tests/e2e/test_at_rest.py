"""Whoever has the disk or the backup: no payload is there in the clear, and without its keys nothing opens."""

import asyncio
import base64
import binascii
import re
import shutil
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from as4_stage import Node, Pki, Stage
from exchange import exchange
from status_parts import STATUS_AWAY
from writings import forms_of, found_in

from accesspoint.cli import backup as backup_verb
from accesspoint.config import load
from accesspoint.store.configured import KEY_FILE, build_payload_store
from accesspoint.store.encryption import HEADER_BYTES, PayloadKeyMissing, create_payload_key
from accesspoint.store.payloads import PayloadDamaged

WORDS = ("Berggren", "DiagnosticReport", "Observation/")
"""What stands in a payload and in nothing that is written about it."""
FORMS = forms_of(*WORDS)


def words_in(octets: bytes) -> list[str]:
    """The words that stand there, in any writing."""
    return sorted({word for word, _ in found_in(octets, FORMS, deep=1)})


def in_the_clear(directory: Path) -> dict[str, list[str]]:
    """The files below a directory that hold words of a payload, and which."""
    found: dict[str, list[str]] = {}
    for path in sorted(directory.rglob("*")):
        # What is spooled is gone before it could be looked at, now and then.
        with suppress(FileNotFoundError):
            # The room for emergencies is nothing but zeros, and much of it.
            octets = path.read_bytes().rstrip(b"\0") if path.is_file() else b""
            if words := words_in(octets):
                found[str(path.relative_to(directory))] = words
    return found


class Spy:
    """Looks at a directory again and again, as somebody does who can read the disk while messages pass."""

    def __init__(self, *directories: Path) -> None:
        self.found: dict[str, list[str]] = {}
        self.looks = 0
        self._directories = directories
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Spy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            for directory in self._directories:
                self.found |= in_the_clear(directory)
            self.looks += 1


async def published(node: Node) -> list[str]:
    rows = await node.rows(
        "SELECT payload FROM documents WHERE payload <> '' UNION SELECT payload FROM handovers WHERE payload <> ''"
        " UNION SELECT payload FROM messages WHERE payload <> '' UNION SELECT part FROM wires WHERE part <> ''"
    )
    return [row["payload"] for row in rows]


@pytest.mark.attack("SEC-05", "SEC-06", "SEC-08")
async def test_no_payload_is_in_the_clear_on_the_disk_or_in_a_backup(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    stage = Stage(pki, tmp_path / "stage")
    stage.directory.mkdir(mode=0o700, exist_ok=True)
    async with stage.pair(
        acknowledging={"fhir": "automatic"}, delivery_status=STATUS_AWAY
    ) as nodes:
        stores = [node.home / "store" for node in nodes]
        with Spy(*stores, elsewhere) as spy:
            _, data = await exchange(*nodes)
            # On a busy machine one look may take as long as an exchange.
            while spy.looks < 4:
                await exchange(*nodes)
        assert all(word.encode() in data for word in WORDS)
        assert spy.found == {}
        assert list(elsewhere.iterdir()) == []
        for node in nodes:
            # In the tables, whatever the file of the database looks like at this moment.
            for table in await node.counts():
                for row in await node.rows(f"SELECT * FROM {table}"):
                    text = b"\0".join(
                        value if isinstance(value, bytes) else str(value).encode()
                        for value in row.values()
                    )
                    assert words_in(text) == [], table
            names = await published(node)
            assert len(names) >= 3
            home, copy = node.home, tmp_path / f"backup-{node.home.name}"
            await asyncio.to_thread(backup_verb.run, home / "accesspoint.toml", copy)
            assert in_the_clear(copy) == {}
            assert holds_keys(copy, home / "keys") == []
            shutil.copytree(copy, tmp_path / "stolen" / home.name)
        # The backend is the owner's: there the message stands as it was sent.
        assert in_the_clear(nodes[1].home / "received") != {}
        [name] = {row["payload"] for row in await nodes[1].rows("SELECT payload FROM documents WHERE direction = 'in' LIMIT 1")}  # fmt: skip
        receiver = nodes[1].home
    steal(receiver, tmp_path / "stolen" / receiver.name, name)
    shred(receiver, name, data)


def holds_keys(copy: Path, keys: Path) -> list[str]:
    """The files of a backup that hold a key of the node, in any writing of it, or are named like one."""
    secrets: list[bytes] = []
    for path in keys.iterdir():
        octets = path.read_bytes()
        if path.name == KEY_FILE:
            secrets += [octets.strip(), bytes.fromhex(octets.decode())]
        elif b"PRIVATE KEY" in octets:
            secrets += [
                line for line in octets.splitlines() if re.fullmatch(rb"[A-Za-z0-9+/=]{40,}", line)
            ]
    assert len(secrets) > 3
    return [
        str(path)
        for path in copy.rglob("*")
        if path.suffix in {".key", ".pem", ".p12"}
        or (path.is_file() and any(secret in path.read_bytes() for secret in secrets))
    ]


def steal(receiver: Path, stolen: Path, name: str) -> None:
    """Who has the backup and a key of their own reads nothing of it."""
    configuration = load(receiver / "accesspoint.toml", {})
    (stolen / "keys").mkdir(mode=0o700)
    create_payload_key(stolen / "keys" / KEY_FILE)
    theirs = configuration.model_copy(
        update={
            "store": configuration.store.model_copy(update={"directory": stolen}),
            "keys": configuration.keys.model_copy(update={"directory": stolen / "keys"}),
        }
    )
    payloads = build_payload_store(theirs)
    with pytest.raises(PayloadKeyMissing):
        payloads.open(name)
    payloads.close()


def shred(receiver: Path, name: str, data: bytes) -> None:
    """Each payload has a key of its own in its header: without these forty octets the node itself cannot read it."""
    payloads = build_payload_store(load(receiver / "accesspoint.toml", {}))
    with payloads.open(name) as reader:
        assert len(reader.read(reader.size)) > 0
    path = receiver / "store" / "payloads" / name[:2] / name
    octets = path.read_bytes()
    path.write_bytes(octets[: HEADER_BYTES - 40] + bytes(40) + octets[HEADER_BYTES:])
    with pytest.raises(PayloadDamaged, match="the data key of payload"):
        payloads.open(name)
    payloads.close()


@pytest.mark.parametrize(
    "write",
    [bytes, base64.b64encode, lambda text: text.decode().encode("utf-16-le"), binascii.hexlify, zlib.compress],
    ids=["plain", "base64", "utf-16", "hex", "deflated"],
)  # fmt: skip
def test_a_payload_in_the_clear_is_found(tmp_path: Path, write: Callable[[bytes], bytes]) -> None:
    (tmp_path / "spooled").write_bytes(b"\n" * 1000 + write(b"of Berggren and others"))
    assert in_the_clear(tmp_path) == {"spooled": ["Berggren"]}


@pytest.mark.attack("SEC-05")
async def test_a_store_without_encryption_is_found(pki: Pki, tmp_path: Path) -> None:
    """What would be found if the operator turned it off, because the whole disk is encrypted."""
    stage = Stage(pki, tmp_path)
    off = {"directory": "store", "encryption": "off"}
    async with stage.pair(acknowledging={"fhir": "automatic"}, store=off) as nodes:
        await exchange(*nodes)
        assert in_the_clear(nodes[0].home / "store") != {}
