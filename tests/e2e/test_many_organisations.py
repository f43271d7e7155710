"""One access point for three organisations: each with its address, its devices, its tokens, and one with its own key.

The municipality's node also serves a region and a school. Messages go out under the name of whoever sends them, are
taken in only for whom the node serves, and are reported with the devices and the token of the organisation that
the station acts for; they also write to each other, through their common access point.
"""

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from delivery_rows import device_of
from two_organisations import TwoOrganisations, describe, until

from accesspoint.demo.scenery import BACKDATED, CLINIC, MUNICIPALITY, device_ids
from accesspoint.toml import write_toml
from envelope import fhir
from envelope.ehmi import DOCUMENTS, SBDH_ACKNOWLEDGEMENT
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation
from keys.devca import new_rsa_keys
from keys.jwk import OrganisationContext
from keys.store import load_certificate_files, write_pair

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

REGION = fhir.Organization(gln="5790000000036", sor="900000000000032", name="Region Eksempel")
TOWN, GP = (
    fhir.Organization(gln=one.address.gln, sor=one.address.sor, name=one.address.name)
    for one in (MUNICIPALITY, CLINIC)
)
SCHOOL = fhir.Organization(gln="5790000000050", sor="900000000000057", name="Skole Eksempel")


def _devices(key: str) -> dict[str, str]:
    return {
        station: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}:{station}"))
        for station in ("EUA", "MSH", "AP")
    }


REGION_DEVICES, SCHOOL_DEVICES = _devices("region"), _devices("school")
DEVICES = {
    TOWN.gln: set(device_ids(MUNICIPALITY).values()),
    GP.gln: set(device_ids(CLINIC).values()),
    REGION.gln: set(REGION_DEVICES.values()),
    SCHOOL.gln: set(SCHOOL_DEVICES.values()),
}
NAME = "region-ap-test"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoOrganisations]:
    async with TwoOrganisations.open(tmp_path_factory.mktemp("many")) as network:
        plan, around = network.plans["municipality"], network.around
        keys = plan.directory / "region-keys"
        keys.mkdir(mode=0o700)
        issued = around.scenery.authority.issue_system_certificate(
            NAME, REGION.name or "", "10000033", uuid=str(uuid.uuid4()),
            not_before=datetime.now(UTC) - BACKDATED, private_key=new_rsa_keys(1)[0],
        )  # fmt: skip
        write_pair(keys, "message", issued)
        region = {
            "name": REGION.name, "gln": REGION.gln, "sor": REGION.sor, "keys": "region-keys",
            "device_ids": REGION_DEVICES, "client_ids": REGION_DEVICES,
        }  # fmt: skip
        school = {
            "name": SCHOOL.name, "gln": SCHOOL.gln, "sor": SCHOOL.sor,
            "device_ids": SCHOOL_DEVICES, "client_ids": SCHOOL_DEVICES,
        }  # fmt: skip
        text = plan.config.read_text(encoding="utf-8")
        more = write_toml({"organisations": [region, school]})
        plan.config.write_text(text + "\n" + more, encoding="utf-8")
        tls = load_certificate_files([plan.tls_certificate])[0]
        common = load_certificate_files([plan.published_certificate])[0]
        for one, devices, certificate in (
            (REGION, REGION_DEVICES, issued.certificate),
            (SCHOOL, SCHOOL_DEVICES, common),
        ):
            around.network.register(
                f"0088:{one.gln}",
                [kind.document_id for kind in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT)],
                f"https://{network.doors['municipality'].address}/as4",
                certificate,
            )
            context = OrganisationContext(name=one.name or "", sor=one.sor, gln=one.gln)
            for device in devices.values():
                around.network.register_station(
                    tls, client_id=device, device_id=device, organisations=[context]
                )
        await network.start("municipality", "clinic")
        yield network


def message(sender: fhir.Organization, receiver: fhir.Organization) -> tuple[bytes, str]:
    facts = SampleFacts(
        bundle_id=str(uuid.uuid4()), message_id=str(uuid.uuid4()), sender=sender, receiver=receiver,
        at=datetime.now(UTC), ydernummer="099999",
    )  # fmt: skip
    return fhir.serialize(build_home_care_observation(facts), "json"), facts.message_id


@pytest.mark.parametrize(
    ("node", "sender", "receiver"),
    [
        ("municipality", REGION, GP),
        ("municipality", TOWN, GP),
        ("clinic", GP, REGION),
        ("municipality", TOWN, REGION),
        ("municipality", REGION, TOWN),
        ("municipality", TOWN, SCHOOL),
    ],
)
async def test_each_writes_under_its_own_name_and_reports_as_itself(
    network: TwoOrganisations, node: str, sender: fhir.Organization, receiver: fhir.Organization
) -> None:
    data, identifier = message(sender, receiver)
    async with network.client(node) as client:
        await client.submit(data, to=None)
    reports = await network.status.wait_for([identifier], 16, seconds=60)
    assert len(reports) == 16

    async def answered() -> dict[str, Any] | None:
        async with network.client(node) as client:
            told = await describe(client, identifier)
        out = [one for one in (told or {})["documents"] if one["direction"] == "out"]
        return told if [one["acknowledgement"] for one in out] == ["ok"] else None

    told = await until(answered, "the acknowledgement of the receiver")
    town = MUNICIPALITY.access_point
    other = {GP.gln: CLINIC.access_point, TOWN.gln: town, REGION.gln: NAME, SCHOOL.gln: town}
    sent = [one for one in told["exchanges"] if one["direction"] == "out"]
    assert [one["party"] for one in sent] == [other[receiver.gln]]
    devices = Counter(
        gln
        for report in reports
        for gln, ids in DEVICES.items()
        if device_of(report.resource) in ids
    )
    assert devices == {sender.gln: 8, receiver.gln: 8}


async def test_who_signed_is_who_sent(network: TwoOrganisations) -> None:
    data, identifier = message(REGION, GP)
    async with network.client("municipality") as client:
        await client.submit(data, to=None)
    await network.status.wait_for([identifier], 16, seconds=60)
    async with network.client("clinic") as client:
        told = await describe(client, identifier)
    assert told is not None
    assert [one["party"] for one in told["exchanges"]] == [NAME]
