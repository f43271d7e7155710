"""Whole nodes whose payloads stand in buckets: the same exchange, and nothing of a message on their own disks."""

from pathlib import Path
from typing import Any

import pytest
from as4_stage import Pki, Stage
from as4_wire import medcom_message
from s3_server import s3_server

LARGE = 400_000
"""Octets: more than one chunk, so that the ciphertext is an object too."""


@pytest.mark.parametrize("padding", [0, LARGE])
async def test_an_exchange_through_buckets(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TEST")
    stage = Stage(pki, tmp_path)
    with s3_server("payloads") as address:
        store: dict[str, Any] = {
            "directory": "store",
            "payloads": "s3://payloads/test",
            "s3_endpoint": address,
            "s3_region": "us-east-1",
        }
        async with stage.pair(store=store) as (municipality, clinic):
            data, _ = medcom_message("bucket-message", "bucket-bundle")
            data = data.rstrip().removesuffix(b"}") + b" " * padding + b"}"
            application = municipality.point.application
            assert application is not None
            _, commit = await application.submit(data)
            await municipality.point.bells.run(municipality.point.database, commit)

            async def delivered() -> bool:
                return bool(
                    await clinic.rows("SELECT 1 FROM documents WHERE delivered_at IS NOT NULL")
                )

            await municipality.until(delivered, "the message was not delivered", seconds=60)
            await municipality.idle()
            await clinic.idle()
            assert clinic.delivered() == {"bucket-message.json"}
            for node in (municipality, clinic):
                assert list((node.home / "store" / "payloads").iterdir()) == [
                    node.home / "store" / "payloads" / "tmp"
                ]
                assert node.point.payloads.remote
            [row] = await clinic.rows("SELECT payload FROM documents WHERE direction = 'in'")
            with clinic.point.payloads.open(row["payload"]) as reader:
                assert b"".join(iter(reader.read, b"")) == data
