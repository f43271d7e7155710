"""A disk is lost and the node is started from a backup: what came after the backup is replayed, and nothing is lost.

Theory. A backup is older than the loss, and between the two lies a tail. Of that a restored sender knows a part as
still unsent, and the rest not at all. It sends the first again under the MessageId of the backup, and the receiver
answers with the receipt that it stored; the second is submitted again by whoever wrote it, and the receiver knows
the message by its identifier. A restored receiver lacks what it had receipted; its sender has that, and an operator
has it sent anew. Each side so holds what the other one lost.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import SOURCE
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations, describe, until

from envelope import fhir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def message() -> tuple[str, bytes]:
    data = fhir.serialize(home_care_observation(), "json")
    return fhir.recognise(fhir.read_message(data)).message_id, data


async def submit(network: TwoOrganisations, sender: str, data: bytes) -> None:
    async with network.client(sender) as client:
        await client.submit(data, to=None)


async def is_answered(network: TwoOrganisations, sender: str, identifier: str) -> bool:
    async with network.client(sender) as client:
        told = await describe(client, identifier)
    return (
        told is not None
        and bool(told["documents"])
        and told["documents"][0]["acknowledgement"] == "ok"
    )


async def receipted(network: TwoOrganisations, sender: str, identifier: str) -> None:
    async def look() -> bool:
        async with network.client(sender) as client:
            told = await describe(client, identifier)
        return (
            bool(told and told["exchanges"]) and told["exchanges"][0]["outcome"] == "ACKNOWLEDGED"
        )

    await until(look, f"the receipt of {identifier}")


async def answered(network: TwoOrganisations, sender: str, identifier: str) -> None:
    await until(lambda: is_answered(network, sender, identifier), f"the answer to {identifier}")


async def command(network: TwoOrganisations, name: str, *arguments: str | Path) -> str:
    """Run a command beside a node, as its operator does."""
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "accesspoint", *map(str, arguments), "--config", str(network.plans[name].config),
        env={"PYTHONPATH": str(SOURCE), "PATH": ""}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await done.communicate()
    assert done.returncode == 0, (out + err).decode()
    return out.decode()


async def lose_and_restore(network: TwoOrganisations, name: str, backup: Path) -> None:
    """The machine dies and its disk with it; a new one is started from the backup, with the same keys."""
    assert await network.kill(name) == -9
    store = network.plans[name].store
    shutil.rmtree(store)
    assert json.loads((backup / "backup.json").read_text())["missing"] == 0
    shutil.copytree(backup, store)
    await network.start(name)


async def test_the_tail_after_a_backup_is_replayed_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    (waiting, waiting_data), (later, later_data) = message(), message()
    async with TwoOrganisations.open(tmp_path / "network") as network:
        await network.start("municipality", "clinic")
        network.doors["clinic"].shut()
        await submit(network, "municipality", waiting_data)

        async def tried() -> bool:
            async with network.client("municipality") as client:
                told = await describe(client, waiting)
            return bool(told and told["exchanges"] and told["exchanges"][0]["attempt"] >= 1)

        await until(tried, "the first attempt")
        for name in ("municipality", "clinic"):
            await command(network, name, "db", "backup", tmp_path / name)
        # The tail: one message is received and answered, another one comes and is answered, too.
        await network.doors["clinic"].open()
        await submit(network, "municipality", later_data)
        for identifier in (waiting, later):
            await answered(network, "municipality", identifier)

        # An answer is told of once it is stored, and is written into the backend's folder after that.
        await network.until_delivered("municipality", 2)
        answers = [name.removesuffix(".json") for name in network.delivered("municipality")]
        assert len(answers) == 2
        await lose_and_restore(network, "municipality", tmp_path / "municipality")
        async with network.client("municipality") as client:
            assert await describe(client, later) is None
        await submit(network, "municipality", later_data)
        for identifier in (waiting, later):
            await receipted(network, "municipality", identifier)
        for answer in answers:
            async with network.client("clinic") as client:
                await client.resend(answer, reason="the receiver lost its disk", anyway=True)
        for identifier in (waiting, later):
            await answered(network, "municipality", identifier)
        expected = {f"{waiting}.json": waiting_data, f"{later}.json": later_data}
        assert network.delivered("clinic") == expected
        assert '"event":"as4.in.duplicate"' in network.log("clinic")
        async with network.client("clinic") as client:
            for identifier in (waiting, later):
                told = await describe(client, identifier)
                assert told is not None
                assert len(told["documents"]) == 1, "the message was taken twice"

        await lose_and_restore(network, "clinic", tmp_path / "clinic")
        for identifier in (waiting, later):
            async with network.client("clinic") as client:
                assert await describe(client, identifier) is None
            async with network.client("municipality") as client:
                await client.resend(identifier, reason="the receiver lost its disk", anyway=True)

        for identifier in (waiting, later):

            async def delivered(identifier: str = identifier) -> bool:
                async with network.client("clinic") as client:
                    told = await describe(client, identifier)
                return (
                    bool(told and told["exchanges"])
                    and told["exchanges"][0]["state"] == "DELIVERED"
                )

            await until(delivered, "what the receiver had lost")
        # A backend that outlived the loss is handed the tail once more, under the same message identifiers.
        handed = network.delivered("clinic")
        assert handed.items() >= expected.items()
        assert {name.partition(".")[0]: data for name, data in handed.items()} == {
            waiting: waiting_data, later: later_data,
        }  # fmt: skip
        for name in ("municipality", "clinic"):
            assert "whole: " in await command(network, name, "audit", "verify")
            await command(network, name, "verify")
