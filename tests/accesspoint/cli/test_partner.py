"""`accesspoint partner list` and `show`: the effective P-Mode, the origin of each value, and quirks in words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Partner, Pki, Stage

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope.pmode import Quirk
from envelope.quirks import NOTES

from .conftest import Ended

Invoke = Callable[..., Ended]
URL = "https://127.0.0.1:8443/as4"


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    """A node with one partner: phase4 with a quirk of its own."""
    settings = {"preset": "phase4-like", "quirks": ["base64-parts"]}
    partner = Partner(CLINIC, pki.clinic, URL, settings)
    return Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )


def test_every_quirk_has_its_sentence() -> None:
    assert set(NOTES) == set(Quirk)
    assert all(
        note.permits and note.seen and note.bearable and note.section for note in NOTES.values()
    )


def test_the_list_names_partner_party_preset_and_quirks(invoke: Invoke, config: Path) -> None:
    ended = invoke("partner", "list", "--config", config)
    assert (ended.status, ended.err) == (0, "")
    head, row = ended.out.splitlines()
    assert head.split()[0] == "partner"
    assert row.split()[:4] == ["clinic", CLINIC.address.gln, CLINIC.access_point, "phase4-like"]
    assert "base64-parts, unsigned-errors" in row


@pytest.mark.parametrize("name", ["clinic", CLINIC.address.gln, CLINIC.access_point])
def test_each_value_of_the_p_mode_says_where_it_comes_from(
    invoke: Invoke, config: Path, name: str
) -> None:
    ended = invoke("partner", "show", name, "--config", config, "--format", "json")
    assert ended.status == 0
    shown = json.loads(ended.out)
    assert shown["url"] == URL
    assert shown["p_mode"]["encrypt"] == {"value": True, "origin": "default"}
    origins = {quirk["name"]: quirk["origin"] for quirk in shown["quirks"]}
    assert origins == {"unsigned-errors": "preset", "base64-parts": "partner"}
    (certificate,) = shown["certificates"]
    assert certificate["not_after"] > "2026"


def test_a_value_of_the_preset_is_told_as_its(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    partner = Partner(CLINIC, pki.clinic, URL, {"preset": "peppol-like"})
    path = Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )
    shown = json.loads(invoke("partner", "show", "clinic", "-c", path, "--format", "json").out)
    assert shown["p_mode"]["agreement"]["origin"] == "preset"
    assert shown["p_mode"]["encrypt"]["origin"] == "default"


def test_a_person_reads_the_sentence_of_each_quirk_and_the_end_of_the_certificate(
    invoke: Invoke, config: Path
) -> None:
    ended = invoke("partner", "show", "clinic", "--config", config)
    assert ended.status == 0
    for quirk in (Quirk.BASE64_PARTS, Quirk.UNSIGNED_ERRORS):
        assert NOTES[quirk].permits in ended.out
        assert NOTES[quirk].bearable in ended.out
    assert "base64-parts  [partner clinic]" in ended.out
    assert "  1.15  [default]" in ended.out
    assert "unsigned-errors  [preset phase4-like]" in ended.out
    assert f"{CLINIC.access_point} is valid until" in ended.out


def test_an_unknown_partner_is_answered_with_those_that_are_known(
    invoke: Invoke, config: Path
) -> None:
    ended = invoke("partner", "show", "klinik", "--config", config)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "no partner is called 'klinik'; configured: clinic\n"


def test_a_node_without_partners_says_so(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    path = Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})
    assert invoke("partner", "list", "-c", path).out.startswith("no partner is configured")


def test_the_p_modes_of_a_partner_are_listed(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    pmodes = {"results": {"service": "urn:s", "action": "urn:a"}}
    partner = Partner(CLINIC, pki.clinic, URL, {"agreement": "urn:agreed", "pmodes": pmodes})
    path = Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )
    ended = invoke("partner", "show", "clinic", "-c", path)
    assert "clinic.results: service urn:s, action urn:a" in ended.out
    assert "urn:agreed  [partner clinic]" in ended.out
    shown = json.loads(invoke("partner", "show", "clinic", "-c", path, "--format", "json").out)
    assert shown["pmodes"] == [{"id": "clinic.results", **pmodes["results"]}]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file or directory"), (b"not a certificate", "")],
)
@pytest.mark.parametrize("verb", [("config", "check"), ("run",)])
def test_a_certificate_file_that_cannot_be_used_is_told_at_its_line(
    invoke: Invoke, config: Path, verb: tuple[str, ...], content: bytes | None, said: str
) -> None:
    lines = config.read_text().splitlines()
    start = lines.index("[partners.clinic]")
    at = next(n for n, line in enumerate(lines) if n > start and line.startswith("certificate"))
    lines[at] = 'certificate = "their.pem"'
    config.write_text("\n".join(lines))
    if content is not None:
        (config.parent / "their.pem").write_bytes(content)
    ended = invoke(*verb, "--config", config)
    assert (ended.status, ended.out) == (3, "")
    assert f"{config}:{at + 1}" in ended.err
    assert f"{config.parent / 'their.pem'}{' ' if said else ': '}{said}" in ended.err


def test_a_value_that_a_quirk_changes_is_shown_as_it_is_in_force(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    quirks = ["small-rsa", "unencrypted", "oaep-mgf1p", "rsa-sha384"]
    partner = Partner(CLINIC, pki.clinic, URL, {"quirks": quirks})
    path = Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )
    text = invoke("partner", "show", "clinic", "-c", path).out
    shown = {line.split()[0]: line for line in text.splitlines() if line.startswith("    policy.")}
    assert "1024  [quirk small-rsa]" in shown["policy.minimum_rsa_bits"]
    assert "no  [quirk unencrypted]" in shown["policy.encryption_required"]
    assert "rsa-oaep-mgf1p" in shown["policy.key_transports"]
    assert "rsa-sha384" in shown["policy.signature_algorithms"]
    assert "[default]" in shown["policy.digest_algorithms"]
    told = json.loads(invoke("partner", "show", "clinic", "-c", path, "--format", "json").out)
    assert told["p_mode"]["policy.minimum_rsa_bits"] == {
        "value": 1024,
        "origin": "quirk small-rsa",
    }


def test_a_p_mode_shows_what_it_takes_over_and_what_is_its_own(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    settings = {
        "service": "urn:s",
        "action": "urn:a",
        "agreement": "urn:agreed",
        "pmodes": {"usual": {}, "special": {"initiator_role": "urn:special"}},
    }
    partner = Partner(CLINIC, pki.clinic, URL, settings)
    path = Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )
    text = invoke("partner", "show", "clinic", "-c", path).out
    assert "clinic.usual: service urn:s, action urn:a\n" in text
    assert "clinic.special: service urn:s, action urn:a, initiator_role urn:special\n" in text


@pytest.mark.parametrize("verb", [("show",), ("migrate", "--dry-run")])
def test_a_gln_that_is_no_partner_is_sent_to_the_directory(
    invoke: Invoke, config: Path, verb: tuple[str, ...]
) -> None:
    gln = MUNICIPALITY.address.gln
    ended = invoke("partner", *verb, gln, "--config", config)
    assert ended.status == 1
    assert ended.err.endswith(f"accesspoint partner probe {gln}\n")


def test_a_gln_with_a_wrong_check_digit_is_told_as_such(invoke: Invoke, config: Path) -> None:
    for verb in ("show", "probe"):
        ended = invoke("partner", verb, "5790000000013", "--config", config)
        assert ended.status != 0
        assert "the GLN's check digit is wrong" in ended.err
