"""`accesspoint audit`: what is written out is whole, is found by the person, and shows a line that was taken out."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from as4_stage import Pki, Stage

from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC
from accesspoint.store.audit import person_digest, record_audit
from accesspoint.store.configured import build_payload_store
from accesspoint.store.database import Database, Transaction, sqlite_url

from .conftest import Ended

Invoke = Callable[..., Ended]
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
NUMBER = "2512489996"


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return Stage(pki, tmp_path).write_node(CLINIC, pki.clinic, partners={})


@pytest.fixture
def written(config: Path) -> Path:
    """Three lines a day apart; the second is about a person."""
    payloads = build_payload_store(load(config, {}))
    person = person_digest(payloads.person_keys[0], NUMBER)
    payloads.close()

    async def work(tx: Transaction) -> None:
        for day in range(3):
            await record_audit(
                tx, actor="anna@login.example", action="payload.viewed", object=f"M{day}",
                person=person if day == 1 else None, reason="æbler", at=AT + timedelta(days=day),
            )  # fmt: skip

    run(config, work)
    return config


def run(config: Path, work: Callable[[Transaction], object]) -> None:
    async def there() -> None:
        database = await Database.open(sqlite_url(config.parent / "store" / "accesspoint.db"))
        await database.run(work)  # type: ignore[arg-type]
        await database.close()

    asyncio.run(there())


def exported(ended: Ended) -> list[str]:
    assert ended.status == 0
    return [json.loads(line)["object"] for line in ended.out.splitlines()]


@pytest.mark.attack("LOG-08")
def test_lines_are_exported_by_time_and_by_person(invoke: Invoke, written: Path) -> None:
    export = ("audit", "export", "--config", written)
    assert exported(invoke(*export)) == ["M0", "M1", "M2"]
    assert exported(invoke(*export, "--since", "2026-11-22", "--until", "2026-11-23")) == ["M1"]
    assert exported(invoke(*export, "--person", stdin=b"251248-9996\n")) == ["M1"]
    assert exported(invoke(*export, "--person", stdin=b"0101010101\n")) == []
    assert invoke(*export, "--person", stdin=b"\n").status == 2


@pytest.mark.attack("LOG-07")
def test_a_line_that_was_taken_out_is_named(invoke: Invoke, written: Path, tmp_path: Path) -> None:
    verify = ("audit", "verify", "--config", written)
    ended = invoke(*verify)
    assert (ended.status, ended.out.split(",")[0]) == (0, "whole: lines 1 to 3")

    async def take_out(tx: Transaction) -> None:
        await tx.execute("DROP TRIGGER audit_kept")
        await tx.execute("DELETE FROM audit WHERE seq = 2")

    run(written, take_out)
    ended = invoke(*verify)
    assert (ended.status, ended.err) == (1, "the audit log is broken: line 2 is missing\n")


@pytest.mark.attack("LOG-07")
def test_an_export_is_verified_alone_and_against_the_log(
    invoke: Invoke, written: Path, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text(invoke("audit", "export", "--config", written).out)
    for given in (["--export", file], ["--export", file, "--config", written]):
        assert invoke("audit", "verify", *given).status == 0
    file.write_text(file.read_text().replace("M1", "M7"))
    assert "line 2 was changed" in invoke("audit", "verify", "--export", file).err
    file.write_text("")
    for given in (["--export", file], ["--export", file, "--config", written]):
        ended = invoke("audit", "verify", *given)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith("0 lines of the export were compared")
    file.write_text("{}")
    assert "line 1 of audit.jsonl is none" in invoke("audit", "verify", "--export", file).err
    assert invoke("audit", "verify").status == 2
