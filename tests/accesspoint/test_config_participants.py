"""Who takes part, as the configuration names them: our organisations, the systems behind them, and partners."""

from pathlib import Path
from typing import Any

import pytest
from configuration_parts import document, problems, write

from accesspoint.config import Station, load
from accesspoint.identity import build_agreements
from accesspoint.toml import write_toml


def test_two_organisations_cannot_share_a_gln(tmp_path: Path) -> None:
    changed = document()
    changed["organisations"][0]["gln"] = changed["organisation"]["gln"]
    assert "same gln" in problems(write(tmp_path, text=write_toml(changed)))


OTHER = {"name": "TEST Region", "gln": "5790000000036", "sor": "306861000016007"}


def test_organisations_may_stand_alone_and_have_several_addresses(tmp_path: Path) -> None:
    changed = document()
    first = changed.pop("organisation")
    changed["organisations"] = [{**first, "glns": ["5790000000043"]}, OTHER]
    configuration = load(write(tmp_path, text=write_toml(changed)), {})
    assert [(one.gln, one.sor) for one in configuration.served] == [
        ("5790000000012", first["sor"]),
        ("5790000000043", first["sor"]),
        ("5790000000036", OTHER["sor"]),
    ]


def test_without_any_organisation_nothing_starts(tmp_path: Path) -> None:
    changed = document()
    del changed["organisation"], changed["organisations"]
    assert "[[organisations]]" in problems(write(tmp_path, text=write_toml(changed)))


def test_devices_of_an_organisation_are_clients_of_their_own(tmp_path: Path) -> None:
    other = {**OTHER, "device_ids": {"AP": "ap-2"}}
    assert "client_ids" in problems(write(tmp_path, {"organisations": [other]}))
    other["client_ids"] = {"AP": "0ba284d3"}
    configuration = load(write(tmp_path, {"organisations": [other]}), {})
    assert configuration.served[1].device_ids[Station.AP] == "ap-2"


def _system(name: str, *glns: str) -> dict[str, Any]:
    return {"name": name, "glns": list(glns), "kind": "folder", "directory": name}


def test_several_systems_may_serve_one_address(tmp_path: Path) -> None:
    mine, theirs = "5790000000012", "5790000000029"
    systems = [_system("care", mine), _system("school", mine, theirs)]
    changed = {**document(), "systems": systems}
    del changed["backend"]
    configuration = load(write(tmp_path, text=write_toml(changed)), {})
    assert configuration.systems_for(mine) == ("care", "school")
    assert configuration.systems_for(theirs) == ("school",)
    assert configuration.systems[0].directory == tmp_path / "care"


@pytest.mark.parametrize(
    ("systems", "told"),
    [
        ([_system("care", "5790000000012")], "[[systems]] for 5790000000029"),
        ([_system("care", "5790000000012"), _system("care", "5790000000029")], "the same name"),
        (
            [_system("care", "5790000000012", "5790000000029", "5790000000050")],
            "no organisation here has",
        ),
        ([_system("Care Ltd", "5790000000012")], "name"),
        ([{**_system("care"), "glns": []}], "glns"),
    ],
)
def test_systems_that_fit_nobody_are_told(
    tmp_path: Path, systems: list[dict[str, Any]], told: str
) -> None:
    changed = {**document(), "systems": systems}
    del changed["backend"]
    assert told in problems(write(tmp_path, text=write_toml(changed)))


def test_every_mistake_about_partners_is_told_in_one_go_at_its_line(tmp_path: Path) -> None:
    text = write_toml({**document(), "partners": {}}).rstrip()
    head = text.count("\n") + 1
    text += """
[partners.one]
gln = "5790000000028"
preset = "domibus-lik"
quirks = ["base64-part"]
agreement_type = "t"

[partners.two]
url = "https://two.example/as4"
agreement = "no uri"

[partners.three]
binary_content = "peppol"
signing_tokn = "ski"

[partners.three.pmodes.results]
service = "results"
acton = "send"

[partners.four.pmodes.a]
service = "urn:s"

[partners.four.pmodes.b]
service = "urn:s"
"""
    rendered = problems(write(tmp_path, text=text))
    for offset, words in (
        (2, "check digit"),
        (3, "must be 'domibus-like'"),
        (4, "must be 'byte-order-mark'"),
        (1, "agreement_type belongs to an agreement"),
        (7, "certificate: url and certificate go together"),
        (7, "pmodes: agreement is no URI, so it needs agreement_type"),
        (12, "so this needs gln"),
        (13, 'Did you mean "signing_token"?'),
        (17, 'Did you mean "action"?'),
        (19, "a and b say the same"),
    ):
        told = [each for each in rendered.split("\naccesspoint.toml:") if words in each]
        assert [each.split()[0].removeprefix("accesspoint.toml:") for each in told] == [
            str(head + offset)
        ], rendered
    assert "10 problems" in rendered, rendered


def test_receivers_that_expect_content_in_peppol_s_namespace_are_known(tmp_path: Path) -> None:
    one = {"gln": "5790000000029", "binary_content": "peppol"}
    path = write(tmp_path, {"partners": {"one": one, "two": {"gln": "5790000000012"}}})
    assert load(path, {}).peppol_receivers == {"5790000000029"}


def test_whose_messages_a_partner_brings_is_said_in_its_table(tmp_path: Path) -> None:
    glns = ["5790000000029", "5790000000036"]
    partners = {"one": {"speaks_for": glns}, "two": {"gln": glns[0]}}
    agreements, _ = build_agreements(load(write(tmp_path, {"partners": partners}), {}).partners)
    assert agreements.speaks_for == {"one": frozenset(glns)}
    assert "check digit" in problems(
        write(tmp_path, {"partners": {"one": {"speaks_for": ["5790000000028"]}}})
    )


def test_two_partners_for_one_receiver_are_refused(tmp_path: Path) -> None:
    gln = "5790000000029"
    path = write(tmp_path, {"partners": {"one": {"gln": gln}, "two": {"gln": gln}}})
    assert "one and two have the same gln" in problems(path)


def test_values_of_the_header_are_taken_as_the_standard_shapes_them(tmp_path: Path) -> None:
    pmodes = {"results": {"service": "results", "service_type": "urn:t", "action": "send it"}}
    path = write(tmp_path, {"partners": {"one": {"pmodes": pmodes}}})
    assert load(path, {}).partners["one"].pmodes["results"].said() == pmodes["results"]
    pmodes["results"]["action"] = "send\tit"
    assert "visible ASCII" in problems(write(tmp_path, {"partners": {"one": {"pmodes": pmodes}}}))
