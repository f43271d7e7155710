"""Both sides change all their keys at different times, under load, between two real processes: no message is lost.

Messages go both ways all the time (each is acknowledged by a message of the other side). Nothing is restarted, no
connection is cut by us, and what is found at the end is counted and printed.
"""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from bundle_parts import bundle_of
from cryptography.hazmat.primitives.asymmetric import rsa
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations, describe, troubles, until

from accesspoint.clock import SystemClock
from accesspoint.demo.scenery import LOOPBACK_NAMES
from envelope import fhir
from keys import rotation
from keys.certificate import fingerprint
from keys.roles import Role
from keys.store import load_certificate_files

PAUSE_SECONDS = 0.08
AFTER = 8
"""Messages that are sent after everything has changed."""


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


class Side:
    """One organisation that gets new keys."""

    def __init__(self, network: TwoOrganisations, name: str) -> None:
        self.network, self.plan = network, network.plans[name]
        self.name, self.keys = name, self.plan.directory / "keys"
        scenery = network.around.scenery
        organisation = self.plan.organisation
        self.next = {
            Role.MESSAGE: scenery._certify(self.plan, _key()),
            Role.TLS: scenery.authority.issue_tls_certificate(
                f"{name}-tls-test",
                san=LOOPBACK_NAMES,
                not_before=scenery._at,
                organization=organisation.address.name or "",
                cvr=organisation.cvr,
                private_key=_key(),
            ),
        }

    async def bring(self) -> None:
        """Import the next keys; the node decrypts with both before anybody is told of the new one."""
        for role, issued in self.next.items():
            rotation.import_answer(self.keys, role, bundle_of(issued))
        await self.logged(fingerprint(self.next[Role.MESSAGE].certificate)[:16])

    async def switch(self) -> None:
        """Sign and shake hands with the new keys from now on."""
        for role in self.next:
            rotation.schedule(self.keys, role, SystemClock().now())
        await self.logged("sign: ")
        await self.logged("tls server: ")

    async def logged(self, text: str) -> None:
        async def said() -> bool:
            return any(
                "keys_changed" in line and text in line
                for line in self.network.log(self.name).splitlines()
            )

        await until(said, f"{self.name} takes up {text}", seconds=10)


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_both_sides_rotate_under_load_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with TwoOrganisations.open(tmp_path) as network:
        sides = [Side(network, name) for name in ("clinic", "municipality")]
        await network.start("municipality", "clinic")
        sent: dict[str, bytes] = {}
        stop = asyncio.Event()

        async def load() -> None:
            async with network.client("municipality") as client:
                while not stop.is_set():
                    data = fhir.serialize(home_care_observation(), "json")
                    identifier = fhir.recognise(fhir.read_message(data)).message_id
                    await client.submit(data, to=None)
                    sent[identifier] = data
                    await asyncio.sleep(PAUSE_SECONDS)

        begin = time.monotonic()
        loading = asyncio.create_task(load())
        for side in sides:
            await side.bring()
            await side.switch()
            # Only now the directory knows; what is encrypted for the old key meanwhile is opened with it.
            network.around.register({name: door.address for name, door in network.doors.items()})
        during = len(sent)

        async def enough() -> bool:
            return len(sent) >= during + AFTER

        await until(enough, "messages after the rotations")
        stop.set()
        await loading
        async with network.client("municipality") as client:

            async def acknowledged() -> bool:
                told = [await describe(client, identifier) for identifier in sent]
                return all(
                    one is not None and one["documents"][0]["acknowledgement"] == "ok"
                    for one in told
                )

            await until(acknowledged, "every message is acknowledged", seconds=30)
            last = await describe(client, identifier := list(sent)[-1])
        seconds = time.monotonic() - begin
        assert last is not None
        (out,) = last["exchanges"]
        assert out["state"] in {"ACKNOWLEDGED", "NOTIFIED"}, (identifier, out)
        # What is acknowledged is stored on both sides; their backends' folders are written after that.
        for side in sides:
            await network.until_delivered(side.name, len(sent))
        delivered = network.delivered("clinic")
        assert delivered == {f"{identifier}.json": data for identifier, data in sent.items()}
        assert len(network.delivered("municipality")) == len(sent)
        stores = [side.plan.store for side in sides]
        found = await troubles(stores)
        for side in sides:
            for role, issued in side.next.items():
                (active, *_) = load_certificate_files([side.keys / f"{role}.cert.pem"])
                assert active == issued.certificate
            rotation.finish(side.keys, Role.MESSAGE)
            rotation.finish(side.keys, Role.TLS)
        with capsys.disabled():
            sys.stdout.write(
                f"\nrotation under load: {len(sent)} messages and as many acknowledgements in {seconds:.1f} s,"
                f" 4 key pairs of 2 nodes changed, {during} sent before the last change;"
                f" lost 0, doubled 0, problems on the way {len(found)}\n"
            )
        assert found == []
