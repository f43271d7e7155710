"""A whole exchange between access points that look each other up differently: by alias in SMP 2.0, by alias in Busdox.

Spec: eDelivery AS4 1.15, dynamic sender in four corners (AS4_DS_TA01).
"""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope import fhir
from envelope.ehmi import HOME_CARE_OBSERVATION_1_1
from envelope.names import EHMI_PROCESS

VERSIONS = {"municipality": "2.0", "clinic": "1.0"}
PARTNERS = {"municipality": CLINIC, "clinic": MUNICIPALITY}


@pytest.mark.slow
async def test_an_exchange_is_whole_whichever_way_each_side_looks_up(tmp_path: Path) -> None:
    data = fhir.serialize(home_care_observation(), "json")
    identifier = fhir.recognise(fhir.read_message(data)).message_id
    async with TwoOrganisations.open(tmp_path) as here:
        port = urlsplit(here.around.network.smp_url).port
        for name, version in VERSIONS.items():
            settings = {"LOCATOR": "busdox", "SMP_VERSION": version, "BUSDOX_PORT": str(port)}
            environment = {f"ACCESSPOINT__DIRECTORY__{key}": text for key, text in settings.items()}
            await here._start(name, environment, door=True)
        async with here.client("municipality") as node:
            await node.submit(data, to=None)
        reports = await here.status.wait_for([identifier], 16, seconds=60)

        assert len(reports) == 16
        for name, version in VERSIONS.items():
            async with here.client(name) as node:
                told = await node.look_up(
                    participant=PARTNERS[name].address.gln,
                    document=HOME_CARE_OBSERVATION_1_1.document_id,
                    process=EHMI_PROCESS,
                    fresh=True,
                )
            located, fetched, _ = told["steps"]
            assert "is an alias of smp." in located["detail"]
            assert ("/bdxr-smp-2/" in fetched["detail"]) == (version == "2.0")
