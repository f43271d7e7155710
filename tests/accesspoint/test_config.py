import ipaddress
import ssl
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from configuration_parts import document, problems, write
from pydantic import ValidationError

from accesspoint.admission import EdgeLimits
from accesspoint.config import (
    BackendKind,
    Configuration,
    ConfigurationProblem,
    Profile,
    Station,
    load,
    model_at,
)
from accesspoint.config_values import Address
from accesspoint.toml import write_toml
from envelope.pmode import Quirk
from keys.revocation import RevocationMode
from keys.tls import TlsSettings


def test_every_table_becomes_its_model(tmp_path: Path) -> None:
    configuration = load(write(tmp_path), {})
    assert configuration.profile is Profile.DEV
    assert configuration.stations.runs == (Station.EUA, Station.MSH, Station.AP)
    assert configuration.stations.device_ids[Station.AP] == "ap-1"
    assert configuration.listen.as4 == Address("127.0.0.1", 0)
    assert configuration.listen.api == Address("::1", 8401)
    assert str(configuration.listen.api) == "[::1]:8401"
    assert configuration.keys.directory == tmp_path / "keys"
    assert configuration.store.directory == Path("/var/lib/accesspoint")
    assert configuration.trust.message is not None
    assert configuration.trust.message.anchors == (tmp_path / "ca.pem",)
    assert configuration.trust.message.revocation is RevocationMode.PREFER
    assert configuration.trust.smp is None
    assert configuration.directory is not None
    assert configuration.directory.networks == (ipaddress.ip_network("127.0.0.0/8"),)
    assert configuration.partners["clinic"].quirks == (Quirk.BARE_LINE_FEEDS,)
    assert configuration.sending.retry.schedule().give_up_after == timedelta(minutes=5)
    assert configuration.sending.per_partner == 4
    assert configuration.backend is not None
    assert configuration.backend.kind is BackendKind.FOLDER
    assert [organisation.gln for organisation in configuration.served] == [
        "5790000000012",
        "5790000000029",
    ]
    assert configuration.acknowledging.fhir == "automatic"


def test_a_configuration_does_not_change(tmp_path: Path) -> None:
    configuration = load(write(tmp_path), {})
    with pytest.raises(ValidationError):
        configuration.label = "other"  # type: ignore[misc]


def test_all_problems_are_told_at_once_at_their_places(tmp_path: Path) -> None:
    text = write_toml(document())
    text = text.replace('api = "[::1]:8401"', 'prot = "8443"').replace('"prefer"', '"perhaps"')
    text = text.replace('name = "TEST Kommune"\n', "")
    line = next(number for number, line in enumerate(text.splitlines(), start=1) if "prot" in line)
    rendered = problems(write(tmp_path, text=text)).splitlines()
    assert rendered[0] == "accesspoint.toml:4  [organisation]"
    assert rendered[1].endswith('^^^^^^^^^^^^  needs the key "name"')
    assert rendered[2] == f'accesspoint.toml:{line}  [listen] prot = "8443"'
    assert rendered[3].startswith(
        " " * rendered[2].index("prot") + "^^^^  unknown key. Known here: as4"
    )
    assert rendered[4].endswith('[trust.message] revocation = "perhaps"')
    assert rendered[5] == " " * rendered[4].index('"perhaps"') + (
        "^^^^^^^^^  must be 'require', 'prefer' or 'off'"
    )
    assert rendered[6] == (
        "3 problems. Nothing was started.   check again: accesspoint config check"
    )


@pytest.mark.parametrize(
    ("table", "wrong", "meant"),
    [
        (None, "lable", "label"),
        ("organisation", "glm", "gln"),
        ("sending", "worker", "workers"),
        ("store", "databse", "database"),
        ("acknowledging", "fihr", "fhir"),
    ],
)
def test_a_misspelt_key_is_answered_with_what_was_meant(
    tmp_path: Path, table: str | None, wrong: str, meant: str
) -> None:
    changed = document()
    target = changed if table is None else changed.setdefault(table, {})
    target[wrong] = "x"
    path = write(tmp_path, text=write_toml(changed))
    assert f'unknown key. Did you mean "{meant}"?' in problems(path)


def test_keys_inside_partners_organisations_and_inline_tables_are_known(tmp_path: Path) -> None:
    text = write_toml(document())
    text += '\n[partners.other]\nulr = "https://x"\n\n[[organisations]]\nsro = "1"\n'
    text = text.replace("[sending.retry]\n", '[sending.retry]\nfrist = "1 s"\n')
    rendered = problems(write(tmp_path, text=text))
    assert 'Did you mean "url"?' in rendered
    assert 'Did you mean "sor"?' in rendered
    assert 'Did you mean "first"?' in rendered


@pytest.mark.parametrize(
    ("table", "key", "value", "told"),
    [
        ("organisation", "gln", "5790000000013", "check digit"),
        ("organisation", "gln", "123", "thirteen digits"),
        ("listen", "as4", "8443", "host:port"),
        ("listen", "as4", "localhost:99999", "host:port"),
        ("listen", "limits", {"header": "0 s"}, "longer than nothing"),
        ("listen", "limits", {"body_rate": "0 KiB"}, "greater than or equal to 1"),
        ("listen", "limits", {"connections": 0}, "greater than or equal to 1"),
        ("sending", "workers", 0, "greater than or equal to 1"),
        ("sending", "timeout", "soon", "write a duration"),
        ("stations", "runs", ["EUA", "AP"], "neighbours"),
        ("stations", "runs", [], "neighbours"),
        ("stations", "device_ids", {"MSH": "m"}, "lacks EUA, AP"),
        ("directory", "smp", "https://smp.test", "either sml or smp"),
        ("directory", "networks", ["127.0.0.1/8"], "host bits"),
        ("backend", "kind", "sink", "directory belongs to"),
        ("delivery_status", "endpoint", "ftp://eds.test", "https://host/path"),
        ("delivery_status", "endpoint", "https://user:pass@eds.test", "without user"),
        ("store", "database", "mysql://x", "another form"),
    ],
)
def test_values_that_cannot_work_are_told_with_their_key(
    tmp_path: Path, table: str, key: str, value: Any, told: str
) -> None:
    changed = document()
    changed[table][key] = value
    rendered = problems(write(tmp_path, text=write_toml(changed)))
    assert told in rendered
    assert rendered.startswith("accesspoint.toml:")


def test_the_limits_of_doors_are_those_of_a_door_unless_told(tmp_path: Path) -> None:
    assert load(write(tmp_path), {}).listen.limits.edge() == EdgeLimits()
    told = {
        "ACCESSPOINT__LISTEN__LIMITS__HEADER": "3 s",
        "ACCESSPOINT__LISTEN__LIMITS__BODY_RATE": "1 KiB",
        "ACCESSPOINT__LISTEN__LIMITS__SPOOL": "1 MiB",
    }
    limits = load(write(tmp_path), told).listen.limits
    assert limits.edge() == EdgeLimits(header_seconds=3.0, body_rate=1024)
    assert limits.spool == 1024**2


def test_revocation_is_switched_off_only_with_a_reason(tmp_path: Path) -> None:
    changed = document()
    changed["trust"]["message"]["revocation"] = "off"
    assert "needs a revocation_reason" in problems(write(tmp_path, text=write_toml(changed)))
    changed["trust"]["message"]["revocation_reason"] = "loopback"
    load(write(tmp_path, text=write_toml(changed)), {})


def test_unknown_senders_are_let_in_only_by_word_and_with_a_policy(tmp_path: Path) -> None:
    message = load(write(tmp_path), {}).trust.message
    assert message is not None
    assert (message.unknown_senders, message.policies) == ("refuse", ())
    changed = document()
    changed["trust"]["message"]["unknown_senders"] = "accept"
    assert "needs policies" in problems(write(tmp_path, text=write_toml(changed)))
    changed["trust"]["message"]["policies"] = ["OCES"]
    assert "another form" in problems(write(tmp_path, text=write_toml(changed)))
    changed["trust"]["message"]["policies"] = ["1.2.208.169.1"]
    load(write(tmp_path, text=write_toml(changed)), {})


def test_tls_is_narrowed_and_never_widened(tmp_path: Path) -> None:
    assert load(write(tmp_path), {}).tls.settings() == TlsSettings()
    narrow = {"minimum": "1.3", "ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384"]}
    settings = load(write(tmp_path, {"tls": narrow}), {}).tls.settings()
    assert settings.minimum is ssl.TLSVersion.TLSv1_3
    assert settings.ciphers == ("ECDHE-ECDSA-AES256-GCM-SHA384",)
    assert "1.2" in problems(write(tmp_path, {"tls": {"minimum": "1.1"}}))
    weak = {"ciphers": ["AES128-SHA"]}
    assert "names AES128-SHA; allowed are ECDHE" in problems(write(tmp_path, {"tls": weak}))


@pytest.mark.parametrize("revocation", [{"revocation": "require"}, {}])
def test_required_revocation_without_a_list_would_refuse_everybody(
    tmp_path: Path, revocation: dict[str, str]
) -> None:
    changed = document()
    changed["trust"]["message"] = {"anchors": ["ca.pem"], **revocation}
    lines = problems(write(tmp_path, text=write_toml(changed))).splitlines()
    assert lines[0].endswith("[trust.message]")
    assert 'revocation "require" needs crl_urls' in lines[1]
    changed["trust"]["message"]["crl_urls"] = ["http://ca.test/list.crl"]
    load(write(tmp_path, text=write_toml(changed)), {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("revocation", "require"),
        ("revocation", "off"),
        ("revocation_reason", "loopback"),
        ("crl_urls", ["http://ca.test/list.crl"]),
        ("ocsp_urls", ["http://ca.test/ocsp"]),
        ("revocation_grace", "1 h"),
    ],
)
def test_revocation_of_tls_certificates_is_not_promised(
    tmp_path: Path, key: str, value: Any
) -> None:
    changed = document()
    changed["trust"]["tls"][key] = value
    lines = problems(write(tmp_path, text=write_toml(changed))).splitlines()
    assert f"[trust.tls] {key} = " in lines[0]
    assert lines[1].endswith(
        f"{'^' * len(key)}  revocation is not checked for TLS certificates yet, so nothing may be said about it here;"
        " remove the key"
    )


@pytest.mark.parametrize("purpose", ["message", "tls"])
def test_an_access_point_that_would_believe_nobody_does_not_start(
    tmp_path: Path, purpose: str
) -> None:
    changed = document()
    del changed["trust"][purpose]
    assert f"needs [trust.{purpose}]: " in problems(write(tmp_path, text=write_toml(changed)))


def test_a_node_without_an_access_point_needs_no_trust_in_messages(tmp_path: Path) -> None:
    changed = document()
    del changed["trust"]["message"], changed["delivery_status"]
    changed["stations"] = {"runs": ["EUA"], "device_ids": {"EUA": "e"}}
    changed["links"] = {"down": {"url": "https://msh.test", "certificate": "msh.pem"}}
    changed["listen"]["stations"] = "127.0.0.1:0"
    assert load(write(tmp_path, text=write_toml(changed)), {}).trust.message is None


@pytest.mark.parametrize("networks", [[], None])
def test_a_directory_without_networks_could_lead_nowhere(
    tmp_path: Path, networks: list[str] | None
) -> None:
    changed = document()
    changed["directory"]["networks"] = networks
    lines = problems(write(tmp_path, text=write_toml(changed))).splitlines()
    assert lines[0].endswith("[directory]")
    assert "needs networks: those that publishers and access points may be in" in lines[1]


@pytest.mark.parametrize("profile", ["dev", "test", "production"])
@pytest.mark.parametrize(
    "address", ["0.0.0.0:8401", "[::]:8401", "10.20.0.1:8401", "localhost.example:8401"]
)
def test_the_plain_interface_listens_on_this_machine_only(
    tmp_path: Path, profile: str, address: str
) -> None:
    changed = document()
    changed["profile"] = profile
    changed["listen"]["api"] = address
    lines = problems(write(tmp_path, text=write_toml(changed))).splitlines()
    assert lines[0].endswith(f'[listen] api = "{address}"')
    assert "the interface speaks plain HTTP, so it listens on this machine only" in lines[1]


@pytest.mark.parametrize(
    ("text", "octets"), [("256 MiB", 268_435_456), ("1KiB", 1024), ("2 GiB", 2 << 30), ("0 KiB", 0)]
)
def test_a_size_is_a_number_and_a_unit(tmp_path: Path, text: str, octets: int) -> None:
    changed = document()
    changed["store"]["reserve"] = text
    assert load(write(tmp_path, text=write_toml(changed)), {}).store.reserve == octets


@pytest.mark.parametrize("text", ["256", "256 MB", "-1 MiB", "1.5 GiB", "MiB", ""])
def test_any_other_size_is_refused(tmp_path: Path, text: str) -> None:
    changed = document()
    changed["store"]["reserve"] = text
    assert "write a size as a number and a unit" in problems(
        write(tmp_path, text=write_toml(changed))
    )


@pytest.mark.parametrize(
    ("periods", "text"),
    [
        ({"orphans": "59 min"}, "orphans must be at least 1 h"),
        ({"metadata": "10 days"}, "metadata must be kept at least as long as payloads"),
        ({"payloads": "1 day"}, "unknown key"),
    ],
)
def test_periods_that_would_lose_something_are_refused(
    tmp_path: Path, periods: dict[str, str], text: str
) -> None:
    assert text in problems(write(tmp_path, {"retention": periods}))


@pytest.mark.attack("RPL-12")
@pytest.mark.parametrize(
    ("kept", "tried"), [("60 days", "31 days"), ("3 days", "1 h")], ids=["our retries", "theirs"]
)
def test_ids_are_remembered_for_longer_than_a_message_may_come_again(
    tmp_path: Path, kept: str, tried: str
) -> None:
    changed = document()
    periods = {"delivered": "1 h", "undelivered": "1 d", "metadata": kept}
    changed |= {"retention": periods, "sending": {"retry": {"give_up_after": tried}}}
    assert "its MessageId is remembered" in problems(write(tmp_path, text=write_toml(changed)))
    changed["sending"]["retry"]["give_up_after"] = "1 d"
    changed["retention"]["metadata"] = "4 d"
    load(write(tmp_path, text=write_toml(changed)), {})


def test_production_says_how_payloads_are_encrypted_or_that_they_are_not(tmp_path: Path) -> None:
    changed = {**document(), "profile": "production"}
    text = problems(write(tmp_path, text=write_toml(changed)))
    assert "production needs [store] encryption_key" in text
    changed["store"]["encryption"] = "off"
    assert load(write(tmp_path, text=write_toml(changed)), {}).store.encryption == "off"
    changed["store"] = {"directory": "store", "encryption_key": "payload.key"}
    loaded = load(write(tmp_path, text=write_toml(changed)), {}).store
    assert (loaded.encryption, loaded.encryption_key) == ("on", tmp_path / "payload.key")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:0", "localhost:8401"])
def test_every_address_of_this_machine_alone_will_do(tmp_path: Path, address: str) -> None:
    changed = document()
    changed["listen"]["api"] = address
    load(write(tmp_path, text=write_toml(changed)), {})


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (("partners", "clinic"), "url"),
        (("links", "down"), "url"),
        (("delivery_status",), "endpoint"),
        (("delivery_status",), "token_endpoint"),
    ],
)
def test_what_carries_messages_events_and_tokens_is_https(
    tmp_path: Path, table: tuple[str, ...], key: str
) -> None:
    changed = document()
    changed["links"] = {"down": {"url": "https://msh.test", "certificate": "msh.pem"}}
    load(write(tmp_path, text=write_toml(changed)), {})
    target = changed
    for name in table:
        target = target[name]
    target[key] = "http://127.0.0.1/plain"
    lines = problems(write(tmp_path, text=write_toml(changed))).splitlines()
    assert lines[0].endswith(f'{key} = "http://127.0.0.1/plain"')
    assert "must begin with https://; nothing is sent there in plain text" in lines[1]


@pytest.mark.parametrize(
    ("table", "key"), [(("partners", "clinic"), "mtls"), (("trust",), "oauth")]
)
def test_a_key_without_effect_is_no_key(tmp_path: Path, table: tuple[str, ...], key: str) -> None:
    """What the file says and the node does not do would be believed."""
    changed = document()
    target = changed
    for name in table:
        target = target[name]
    target[key] = False
    assert "unknown key" in problems(write(tmp_path, text=write_toml(changed)))


def test_stations_that_run_apart_need_their_neighbours(tmp_path: Path) -> None:
    changed = document()
    changed["stations"] = {"runs": ["MSH"], "device_ids": {"MSH": "m"}}
    rendered = problems(write(tmp_path, text=write_toml(changed)))
    for part in ("[links] down", "[links] up", "[listen] stations"):
        assert part in rendered


def test_a_syntax_error_is_told_at_its_place(tmp_path: Path) -> None:
    rendered = problems(write(tmp_path, text='profile = "dev"\nlabel = = 2\n'))
    assert rendered.splitlines()[:2] == [
        "accesspoint.toml:2  label = = 2",
        "                            ^  Invalid value",
    ]


def test_a_missing_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in problems(tmp_path / "nothing.toml")


def test_a_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "accesspoint.toml").write_bytes(b'label = "\xe6"')
    assert "is not UTF-8" in problems(tmp_path / "accesspoint.toml")


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    configuration = load(
        write(tmp_path),
        {
            "ACCESSPOINT__LISTEN__AS4": "0.0.0.0:9443",
            "ACCESSPOINT__STATIONS__DEVICE_IDS__EUA": "eua-2",
            "ACCESSPOINT__SENDING__WORKERS": "7",
            "ACCESSPOINT__PARTNERS__CLINIC__PRESET": "peppol-like",
            "ACCESSPOINT__STATIONS__RUNS": '["EUA", "MSH", "AP"]',
            "ACCESSPOINT__STORE__DATABASE": "postgresql://ap:hunter2@db/ap",
            "ACCESSPOINT_OTHER": "x",
            "PATH": "/bin",
        },
    )
    assert configuration.listen.as4 == Address("0.0.0.0", 9443)
    assert configuration.stations.device_ids[Station.EUA] == "eua-2"
    assert configuration.sending.workers == 7
    assert configuration.partners["clinic"].preset == "peppol-like"
    assert configuration.store.database == "postgresql://ap:hunter2@db/ap"


def test_a_problem_from_the_environment_names_the_variable_and_not_its_value(
    tmp_path: Path,
) -> None:
    rendered = problems(
        write(tmp_path),
        {"ACCESSPOINT__LISTEN__AS5": "hunter2", "ACCESSPOINT__SENDING__WORKERS": "hunter2"},
    )
    assert 'environment ACCESSPOINT__LISTEN__AS5  unknown key. Did you mean "as4"?' in rendered
    assert "environment ACCESSPOINT__SENDING__WORKERS  input should be a valid integer" in rendered
    assert "hunter2" not in rendered


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("store", "database", "postgresql://ap:hunter2@db/ap"),
        ("store", "database", "postgresql://ap:hunter2/x@db/ap"),
        ("store", "database", "postgresql://ap:x#hunter2@x@db/ap"),
        ("store", "database", "postgresql://ap:hunter2[x@db/ap"),
        ("store", "database", "postgresql:///ap?sslpassword=hunter2"),
        ("delivery_status", "client_secret", "hunter2"),
        ("keys", "password", "hunter2"),
    ],
)
def test_inline_secrets_are_refused_and_not_repeated(
    tmp_path: Path, table: str, key: str, value: str
) -> None:
    changed = document()
    changed[table][key] = value
    rendered = problems(write(tmp_path, text=write_toml(changed)))
    assert "hunter2" not in rendered
    assert f"{key} = …" in rendered


def test_an_empty_password_is_none(tmp_path: Path) -> None:
    changed = document()
    changed["store"]["database"] = "postgresql://ap:@/ap?host=/run/postgresql&sslpassword="
    path = write(tmp_path, text=write_toml(changed))
    assert load(path, {}).store.database == changed["store"]["database"]


@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_a_password_is_not_repeated_where_the_address_is_wrong(tmp_path: Path, scheme: str) -> None:
    changed = document()
    changed["store"]["database"] = f"{scheme}://ap:hunter2@db/ap"
    rendered = problems(write(tmp_path, text=write_toml(changed)))
    assert "hunter2" not in rendered
    broken = write_toml(changed).replace("@db/ap", "@db/ap\\z")
    rendered = problems(write(tmp_path, text=broken))
    assert "hunter2" not in rendered


def test_the_models_behind_paths_are_found() -> None:
    assert model_at(()) is Configuration
    assert model_at(("partners", "sending")) is model_at(("partners", "clinic"))
    assert model_at(("organisation", "gln")) is None
    assert model_at(("nothing", "here")) is None


def test_what_the_writer_writes_the_loader_reads(tmp_path: Path) -> None:
    assert tomllib.loads(write(tmp_path).read_text()) == document()


def test_sending_again_does_not_come_before_the_alert(tmp_path: Path) -> None:
    waiting = load(write(tmp_path, {"acknowledging": {"resend": "30 min"}}), {}).acknowledging
    assert (waiting.alert, waiting.resend, waiting.resends) == (
        timedelta(minutes=10),
        timedelta(minutes=30),
        2,
    )
    for wrong in ({"resend": "9 min"}, {"resend": "30 min", "resends": 3}, {"fhir": "perhaps"}):
        with pytest.raises(ConfigurationProblem):
            load(write(tmp_path, {"acknowledging": wrong}), {})
