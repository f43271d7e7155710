"""The one file of organisations: what it says, and everything that is wrong in one told at once."""

from pathlib import Path

import pytest

from accesspoint.cli.network import access_points_of
from accesspoint.config import ConfigurationProblem
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, device_ids
from accesspoint.network.organisations import EVERYTHING, read_organisations
from envelope.ehmi import HOME_CARE_OBSERVATION_1_1, SBDH_ACKNOWLEDGEMENT, check_gln

ONE = """
[[organisation]]
key = "north"
name = "Nord Kommune"
gln = "5790000000050"
sor = "900000000000065"
cvr = "10000041"
access_point = "nord-ap-test"
messages = ["homecareobservation-message 1.1"]
devices = { AP = "nord-ap" }
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "organisations.toml"


def test_the_demo_is_filled_from_the_file_that_comes_with_the_program() -> None:
    shipped = read_organisations()

    assert access_points_of(shipped) == (MUNICIPALITY, CLINIC)
    assert shipped.of_key("clinic").documents == EVERYTHING
    assert shipped.of_key("new-clinic").documents == ()
    for one in shipped.organisation:
        if one.gln is not None:
            check_gln(one.gln)
    practices = {one.ydernummer for one in shipped.organisation}
    assert {one.ydernummer for one in shipped.patient} <= practices
    assert device_ids(CLINIC) == shipped.of_key("clinic").device_ids()
    with pytest.raises(KeyError):
        shipped.of_key("nobody")


def test_another_file_says_what_is_received_and_who_the_devices_are(write: Path) -> None:
    write.write_text(ONE)
    read = read_organisations(write)

    (node,) = access_points_of(read)
    assert node.documents == (HOME_CARE_OBSERVATION_1_1.document_id, SBDH_ACKNOWLEDGEMENT.document_id)  # fmt: skip
    assert device_ids(node)["AP"] == "nord-ap"
    assert len(set(device_ids(node).values())) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("5790000000050", "5790000000051"), "gln"),
        (('gln = "5790000000050"\n', ""), "an organisation with an access point needs a gln"),
        (("homecareobservation-message 1.1", "telepathy 1.0"), "messages has telepathy 1.0"),
        (("AP = ", "XYZ = "), "devices has XYZ"),
        (("cvr", "colour"), "colour"),
        (("[[organisation]]", "[[organisation"), ""),
        (("nord-ap-test\"", "nord-ap-test\"\nurl = \"https://127.0.0.1/as4\""), "belong together"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told(write: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in ONE
    write.write_text(ONE.replace(*change))

    with pytest.raises(ConfigurationProblem) as wrong:
        read_organisations(write)

    assert str(write) in wrong.value.render()
    assert said in wrong.value.render()


def test_nobody_is_there_twice_and_a_file_has_to_exist(write: Path) -> None:
    with pytest.raises(ConfigurationProblem, match="1 problems"):
        read_organisations(write)
    write.write_text(ONE + ONE.replace("north", "south"))
    with pytest.raises(ConfigurationProblem) as wrong:
        read_organisations(write)
    assert "two organisations have the gln 5790000000050" in wrong.value.render()
