"""`accesspoint cert`: a certificate told in words, trusted or not and why, and the walk of a key from request to gone."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from as4_stage import Partner, Pki, Stage
from bundle_parts import PHRASE, as_pkcs12, bundle_of
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from accesspoint.certificates import Shown, due
from accesspoint.cli.cert_show import judge_all
from accesspoint.cli.speaker import build_speaker
from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.store.filesystem import make_directory
from accesspoint.trust import REVOCATION, open_validator
from keys import rotation
from keys.certificate import der, fingerprint, pem
from keys.path import Usage
from keys.request import build_request
from keys.roles import Role
from keys.store import write_pair
from keys.trust import Purpose

from .conftest import Ended

Invoke = Callable[..., Ended]
SUBJECT = ("--common-name", "ap", "--organisation", "Eksempel", "--cvr", "10000009")


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    partner = Partner(CLINIC, pki.clinic, "https://127.0.0.1:8443/as4", {})
    return Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )


@pytest.fixture
def keys(config: Path) -> Path:
    return load(config).keys.directory


def a_day_to_come(pki: Pki) -> datetime:
    """A whole hour in Danish winter time, at which the certificates are still valid."""
    day = pki.now.astimezone(timezone(timedelta(hours=1))) + timedelta(days=70)
    return day.replace(minute=0, second=0, microsecond=0)


def answer_to(pki: Pki, request: x509.CertificateSigningRequest, *, policies: bool = True):
    """What an authority makes of a request; without the policies it is of no use in this network."""
    extensions = pki.authority.system_extensions(pki.municipality.private_key)
    return pki.authority.issue(
        request.subject,
        _Public(request.public_key()),
        not_before=pki.now,
        not_after=pki.municipality.certificate.not_valid_after_utc,
        extensions=[
            one
            for one in extensions
            if policies or not isinstance(one[0], x509.CertificatePolicies)
        ],
    )


def test_inspect_tells_whose_it_is_and_what_it_may_do(
    invoke: Invoke, config: Path, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "some.der"
    file.write_bytes(der(pki.clinic.certificate))
    ended = invoke("cert", "inspect", file)
    assert (ended.status, ended.err) == (0, "")
    for said in (
        "CVR 10000009",
        f"serial     {pki.clinic.certificate.serial_number:x}",
        "may        sign messages and receipts",
        "may        have messages encrypted for it",
        "RSA 2048",
        "OCES3 system certificate",
        f"sha256     {fingerprint(pki.clinic.certificate)}",
        "(not in the file)",
    ):
        assert said in ended.out
    whole = invoke("cert", "inspect", "message", "--config", config, "--format", "json")
    told = json.loads(whole.out)
    assert told["sha256"] == fingerprint(pki.municipality.certificate)
    assert told["life"] == "valid"
    assert len(told["chain"]) == 1


def test_inspect_reads_pkcs12_with_a_passphrase_from_a_file_and_standard_input(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    file, phrase = tmp_path / "some.p12", tmp_path / "phrase"
    file.write_bytes(as_pkcs12(pki.clinic))
    phrase.write_bytes(PHRASE + b"\n")
    ended = invoke("cert", "inspect", file, "--passphrase-file", phrase)
    assert ended.status == 0
    assert fingerprint(pki.clinic.certificate) in ended.out
    assert "PRIVATE" not in ended.text
    ended = invoke("cert", "inspect", "-", stdin=pki.clinic.certificate_pem)
    assert ended.status == 0
    assert "chain" in ended.out


def test_a_file_without_certificate_or_passphrase_is_told_in_words(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "some"
    for data, why in (
        (b"no certificate", "not a readable DER certificate"),
        (pki.clinic.key_pem, "it holds a private key; the certificate stands beside it"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nMA==",
            "it is a request; what is wanted is the answer",
        ),
        (as_pkcs12(pki.clinic), "none was given"),
    ):
        file.write_bytes(data)
        ended = invoke("cert", "inspect", file)
        assert ended.status == 2
        assert "certificate-unreadable" in ended.err
        assert why in ended.err
    absent = invoke("cert", "inspect", tmp_path / "absent")
    assert absent.status == 2
    assert "cannot be read: No such file or directory" in " ".join(absent.err.split())
    assert "PEM" not in absent.err
    assert f"do: ls -l {tmp_path / 'absent'}\n" in absent.err
    named = invoke("cert", "inspect", "message.next")
    assert "neither a partner nor a pair in our key directory is called so" in named.err


def test_what_a_file_is_instead_of_a_certificate_has_its_own_why_and_what_to_do(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    file, phrase = tmp_path / "some", tmp_path / "phrase"
    phrase.write_text("another one")
    asked = build_request(pki.spare_key, (Usage.SIGNING,), x509.Name([]), None, None)
    for data, verb, slug, step in (
        (b"no certificate", "inspect", "unreadable", f"openssl x509 -in {file} -noout"),
        (pki.clinic.key_pem, "inspect", "unreadable-key", "give the certificate"),
        (
            asked.public_bytes(Encoding.PEM),
            "verify",
            "unreadable-request",
            f"openssl req -in {file} -n",
        ),
        (
            as_pkcs12(pki.clinic),
            "inspect",
            "unreadable-passphrase",
            "give it in a file: --passphrase-file",
        ),
    ):
        file.write_bytes(data)
        config = (
            "--config",
            Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={}),
        )
        ended = invoke("cert", verb, file, "--passphrase-file", phrase, *config)
        assert ended.status == 2
        assert ended.err.startswith(f"certificate-{slug} ")
        assert f"  do: {step}" in ended.err


def test_inspect_shows_a_request_for_what_it_is(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ny\x1b[2Jap")])
    asked = build_request(pki.spare_key, (Usage.TLS_SERVER,), name, ["ap.example.dk"], None)
    file = tmp_path / "ap.csr"
    file.write_bytes(asked.public_bytes(Encoding.PEM))
    ended = invoke("cert", "inspect", file)
    assert (ended.status, ended.err) == (0, "")
    first, subject, *_, names, signed = ended.out.splitlines()
    assert first == "a request for a certificate (PKCS #10), and no certificate"
    assert subject == "subject    CN=ny�[2Jap"
    assert names == "names      ap.example.dk"
    assert signed.endswith("that proves who has the key, and nothing of who it is")
    told = json.loads(invoke("cert", "inspect", file, "--format", "json").out)
    assert (told["kind"], told["key"]) == ("request", f"RSA {pki.spare_key.key_size}")
    octets = bytearray(asked.public_bytes(Encoding.DER))
    octets[-1] ^= 1
    file.write_bytes(x509.load_der_x509_csr(bytes(octets)).public_bytes(Encoding.PEM))
    ended = invoke("cert", "inspect", file)
    assert (ended.status, ended.out) == (2, "")
    assert "request-unreadable" in ended.err


@pytest.mark.parametrize("verb", [("list",), ("inspect", "message"), ("verify", "message")])
def test_a_key_that_is_open_to_others_is_told_as_ours_with_what_to_do(
    invoke: Invoke, config: Path, keys: Path, verb: tuple[str, ...]
) -> None:
    (keys / "message.cert.pem").chmod(0o644)
    ended = invoke("cert", *verb, "--config", config)
    assert (ended.status, ended.out) == (7, "")
    assert ended.err.splitlines()[0].split() == ["keys-unusable", "ours"]
    assert f"chmod 600 {keys / 'message.cert.pem'}" in ended.err
    assert "  do: ls -la" in ended.err
    assert "Nothing was started" not in ended.err


def test_verify_says_why_a_partner_and_why_we_are_trusted(
    invoke: Invoke, config: Path, pki: Pki
) -> None:
    ended = invoke("cert", "verify", "clinic", "--config", config)
    assert ended.status == 0, ended.text
    assert "sign messages and receipts: trusted" in ended.out
    assert "revocation not-checked: no lists on this stage" in ended.out
    ended = invoke("cert", "verify", "tls", "--config", config)
    assert ended.status == 0, ended.text
    assert "be a TLS server: trusted" in ended.out
    assert "path of 3 to the tls anchor" in ended.out


@pytest.mark.parametrize(
    ("name", "problem", "whose", "said"),
    [
        ("stranger", "certificate-untrusted", "ours", "trusted for message: Stage Rod-CA"),
        ("expired", "certificate-expired", "theirs", "the partner has not renewed it"),
    ],
)
def test_verify_says_why_not_whose_it_is_and_what_to_do(
    invoke: Invoke,
    config: Path,
    pki: Pki,
    tmp_path: Path,
    name: str,
    problem: str,
    whose: str,
    said: str,
) -> None:
    issued = {
        "stranger": lambda: pki.certify("somebody", authority=pki.untrusted_authority),
        "expired": lambda: pki.certify(
            "old", not_before=pki.now - timedelta(days=9), not_after=pki.now - timedelta(days=2)
        ),
    }[name]()
    file = tmp_path / "other.pem"
    file.write_bytes(issued.certificate_pem)
    ended = invoke("cert", "verify", file, "--config", config, "--offline", "--for", "sign")
    assert ended.status == 7
    assert f"EBMS:0101 · {problem} {whose} " in " ".join(ended.out.split())
    assert said in ended.out
    assert "  do: " in ended.out
    as_json = invoke(
        "cert", "verify", file, "--config", config, "--offline", "--for", "sign", "--format", "json"
    )
    (verdict,) = json.loads(as_json.out)["verdicts"]
    assert (verdict["trusted"], verdict["problem"]) == (False, problem)


@pytest.mark.parametrize("ours", [False, True], ids=["stranger", "of our authority"])
def test_what_is_unsuitable_and_of_nobody_is_told_as_both(
    invoke: Invoke, config: Path, pki: Pki, tmp_path: Path, ours: bool
) -> None:
    authority = pki.authority if ours else pki.untrusted_authority
    issued = authority.issue(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]),
        pki.spare_key,
        not_before=pki.now,
        not_after=pki.now + timedelta(days=30),
        extensions=[],
    )
    file = tmp_path / "other.pem"
    file.write_bytes(pem(issued.certificate, *issued.chain))
    ended = invoke("cert", "verify", file, "--config", config, "--offline", "--for", "sign")
    assert ended.status == 7
    said = " ".join(ended.out.split())
    assert "certificate-unsuitable" in said
    assert "no keyUsage" in said
    assert (
        "nor did anybody whom we trust for message issue it; trusted for message: " in said
    ) is not ours


def test_a_name_with_control_characters_cannot_draw_on_the_terminal(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "evil.pem"
    file.write_bytes(pem(pki.certify("evil\x1b[2J\u202egnirts").certificate))
    ended = invoke("cert", "inspect", file)
    assert ended.status == 0
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


def test_a_key_walks_from_request_to_gone(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    said = invoke("cert", "request", "message", "--config", config, "--out", tmp_path / "ap.csr")
    assert said.status == 0, said.text
    request = x509.load_pem_x509_csr((tmp_path / "ap.csr").read_bytes())
    assert request.subject == pki.municipality.certificate.subject
    listed = invoke("cert", "list", "--config", config)
    assert "waits for its certificate" in listed.out
    assert "revocation   checking is off" in listed.out

    answer = answer_to(pki, request)
    file = tmp_path / "answer.pem"
    file.write_bytes(pem(pki.authority.root, *answer.chain, answer.certificate))
    said = invoke("cert", "import", "message", file, "--config", config)
    assert said.status == 0, said.text
    assert "it is the next message certificate" in said.out
    rows = json.loads(invoke("cert", "list", "--config", config, "--format", "json").out)
    ages = [(row["name"], row["age"]) for row in rows["certificates"]]
    assert ages == [
        ("message", "active"), ("message", "next"), ("tls", "active"), ("clinic", "partner"),
    ]  # fmt: skip

    at = a_day_to_come(pki)
    later = invoke("cert", "rotate", "message", "--at", at.isoformat(), "--config", config)
    at = at.astimezone(UTC)
    assert f"from {at:%Y-%m-%d %H:%M} UTC on" in later.out
    listed = invoke("cert", "list", "--config", config).out
    assert f"takes over {at:%Y-%m-%dT%H:%M} UTC" in listed
    now = invoke("cert", "rotate", "message", "--config", config)
    assert now.status == 0, now.text
    assert f"active: {MUNICIPALITY.access_point}" in now.out
    shown = json.loads(
        invoke("cert", "inspect", "message", "--config", config, "--format", "json").out
    )
    assert shown["sha256"] == fingerprint(answer.certificate)
    soon = invoke("cert", "rotate", "message", "--finish", "--config", config)
    assert soon.status == 7
    assert "kept for two days" in soon.err
    assert len(list(keys.glob("message.previous.*"))) == 3
    done = invoke("cert", "rotate", "message", "--finish", "--anyway", "--config", config)
    assert f"removed: {MUNICIPALITY.access_point}" in done.out
    assert not list(keys.glob("message.previous.*"))
    nothing = invoke("cert", "rotate", "message", "--config", config)
    assert nothing.status == 7
    assert "there is no next message pair to rotate to" in " ".join(nothing.err.split())


def test_import_refuses_what_leads_to_no_anchor(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    issued = pki.certify(MUNICIPALITY.access_point, authority=pki.untrusted_authority)
    file, phrase = tmp_path / "foreign.p12", tmp_path / "phrase"
    file.write_bytes(as_pkcs12(issued))
    phrase.write_bytes(PHRASE)
    ended = invoke(
        "cert", "import", "message", file, "--config", config, "--passphrase-file", phrase
    )
    assert ended.status == 7
    assert "no trusted issuer for message" in " ".join(ended.err.split())
    assert not list(keys.glob("message.next.*"))


def test_import_refuses_what_our_own_rules_refuse_and_leaves_the_request_for_a_better_answer(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    copy = tmp_path / "ap.csr"
    invoke("cert", "request", "message", "--config", config, "--out", copy)
    before = {file.name: file.read_bytes() for file in keys.iterdir()}
    request = x509.load_pem_x509_csr(copy.read_bytes())
    file = tmp_path / "answer.pem"
    file.write_bytes(answer_to(pki, request, policies=False).certificate_pem)
    refused = invoke("cert", "import", "message", file, "--config", config)
    assert refused.status == 7
    said = " ".join(refused.err.split())
    assert "is not trusted to sign messages and receipts" in said
    assert "no certificate policy" in said
    assert {file.name: file.read_bytes() for file in keys.iterdir()} == before
    file.write_bytes(answer_to(pki, request).certificate_pem)
    assert invoke("cert", "import", "message", file, "--config", config).status == 0
    assert invoke("cert", "verify", "message.next", "--config", config).status == 0


def test_rotate_refuses_a_next_pair_that_our_own_rules_refuse(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    invoke("cert", "request", "message", "--config", config)
    request = x509.load_pem_x509_csr((keys / "message.request.csr.pem").read_bytes())
    answer = answer_to(pki, request, policies=False)
    rotation.import_answer(keys, Role.MESSAGE, bundle_of(answer, key=False))
    before = {file.name: file.read_bytes() for file in keys.iterdir()}
    for more in ((), ("--at", a_day_to_come(pki).isoformat())):
        refused = invoke("cert", "rotate", "message", *more, "--config", config)
        assert refused.status == 7
        assert "no certificate policy" in " ".join(refused.err.split())
    assert {file.name: file.read_bytes() for file in keys.iterdir()} == before


@pytest.mark.parametrize(
    ("mode", "revoked", "imported", "rotated"),
    [("require", None, 0, 7), ("prefer", None, 0, 0), ("require", False, 0, 0), ("prefer", True, 7, 7)],
)  # fmt: skip
def test_a_revoked_pair_is_refused_and_an_unknown_one_where_an_answer_is_required(
    invoke: Invoke,
    pki: Pki,
    tmp_path: Path,
    mode: str,
    revoked: bool | None,
    imported: int,
    rotated: int,
) -> None:
    lists = tmp_path / "issuing.crl", tmp_path / "root.crl"
    rules = {**pki.trust, "revocation": mode, "revocation_files": [str(one) for one in lists]}
    config = Stage(pki, tmp_path).write_node(
        MUNICIPALITY, pki.municipality, partners={}, trust={"message": rules, "tls": pki.trust}
    )
    # The authority serves other tests as well: what is revoked here is a certificate that they never make again.
    answer = pki.certify(MUNICIPALITY.access_point, serial=4713 if revoked else None)
    file = tmp_path / "answer.pem"
    file.write_bytes(answer.key_pem + answer.certificate_pem)
    if revoked is not None:
        if revoked:
            pki.authority.revoke(answer.certificate, at=pki.now)
        lists[0].write_bytes(pki.authority.crl(pki.now))
        lists[1].write_bytes(pki.authority.root_crl(pki.now))
    said = invoke("cert", "import", "message", file, "--config", config)
    assert said.status == imported, said.text
    said = invoke("cert", "rotate", "message", "--config", config)
    assert said.status == rotated, said.text


@pytest.mark.parametrize(("since", "status"), [(47, 7), (49, 0), (None, 7)])
def test_the_previous_pair_goes_two_days_after_the_switch(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, since: int | None, status: int
) -> None:
    answer = pki.certify(MUNICIPALITY.access_point)
    rotation.import_answer(keys, Role.MESSAGE, bundle_of(answer))
    at = datetime.now(UTC) - timedelta(hours=since or 0)
    assert invoke("cert", "rotate", "message", "--config", config).status == 0
    marker = keys / "message.previous.since"
    if since is None:
        marker.unlink()
    else:
        marker.write_text(at.isoformat())
    ended = invoke("cert", "rotate", "message", "--finish", "--config", config)
    assert ended.status == status, ended.text
    assert bool(list(keys.glob("message.previous.*"))) == (status != 0)


def test_a_pair_for_tls_is_told_and_judged_as_one(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    for file in (keys / "tls.cert.pem", "tls"):
        ended = invoke("cert", "verify", file, "--config", config)
        assert ended.status == 0, ended.text
        assert "be a TLS server: trusted" in ended.out
        assert "messages" not in ended.out
    answer = pki.authority.issue_tls_certificate("ap", san=["127.0.0.1"], not_before=pki.now)
    file = tmp_path / "tls.pem"
    file.write_bytes(answer.key_pem + answer.certificate_pem)
    said = invoke("cert", "import", "tls", file, "--config", config)
    said = said.out + invoke("cert", "rotate", "tls", "--config", config).out
    assert "it is used from the switch on" in said
    assert not {"encrypt", "decrypt", "directory"} & set(said.replace("s ", " ").split())
    assert invoke("cert", "rotate", "tls", "--finish", "--config", config).status == 0


def test_what_ends_soon_is_forecast_without_opening_a_key(
    config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    configuration = load(config)
    now = pki.now
    assert due(configuration, now) == []
    (keys / "message.key.pem").unlink()
    later = pki.municipality.certificate.not_valid_after_utc
    soon = due(configuration, later - timedelta(days=20))
    assert [one.partition(":")[0] for one in soon] == ["message", "tls", "partner clinic"]
    assert all("renewal is due since" in one for one in soon)
    assert "expired" in due(configuration, later + timedelta(days=2))[0]


def test_keys_of_an_organisation_are_told_with_its_name_and_changed_in_their_directory(
    invoke: Invoke,
    config: Path,
    keys: Path,
    pki: Pki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tmp_path / "region-keys"
    own.mkdir(mode=0o700)
    write_pair(own, "message", pki.clinic)
    with config.open("a") as file:
        file.write(
            '\n[[organisations]]\nname = "Region"\ngln = "5790000000036"\nsor = "900000000000032"\n'
            f'keys = "{own}"\n'
        )
    later = pki.clinic.certificate.not_valid_after_utc - timedelta(days=20)
    soon = [one.partition(":")[0] for one in due(load(config), later)]
    assert soon == ["message", "tls", "message of Region", "partner clinic"]
    variable = "ACCESSPOINT__KEYS__DIRECTORY"
    with monkeypatch.context() as patch:
        patch.setenv(variable, str(own))
        said = invoke("cert", "request", "message", "--config", config)
        assert f"  {variable}={own} accesspoint cert import" in said.out
    assert not list(keys.glob("*.request.*"))
    listed = invoke("cert", "list", "--config", config).out
    command = f"{variable}={own} accesspoint cert import message FILE --config {config}"
    assert f"message of Region  request      waits for its certificate: {command}\n" in listed


def test_answers_of_responders_are_listed_and_count_where_nothing_is_fetched(
    invoke: Invoke, config: Path, pki: Pki, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    brought = {
        "clinic.ocsp": pki.authority.ocsp_answer(pki.clinic.certificate, now),
        "root.crl": pki.authority.root_crl(now),
    }
    for name, data in brought.items():
        (tmp_path / name).write_bytes(data)
    files = ", ".join(f'"{tmp_path / name}"' for name in brought)
    text = config.read_text().replace(
        'revocation = "off"', f'revocation = "prefer"\nrevocation_files = [{files}]'
    )
    config.write_text("\n".join(x for x in text.splitlines() if "revocation_reason" not in x))
    listed = invoke("cert", "list", "--config", config).out
    assert "OCSP answer of " in listed
    assert "list of 0 entries of " in listed
    verified = invoke("cert", "verify", "clinic", "--offline", "--config", config)
    assert "the responder said good" in verified.out


async def test_a_command_recalls_what_the_node_kept_and_keeps_nothing_beside_it(
    pki: Pki, tmp_path: Path
) -> None:
    async with pki.revocation_point() as urls:
        written = Stage(pki, tmp_path).write_node(
            MUNICIPALITY, pki.municipality, partners={}, crl_urls=urls
        )
        configuration = load(written)
        make_directory(configuration.store.directory)
        kept = configuration.store.directory / REVOCATION
        shown = Shown("clinic", (pki.clinic.certificate,))
        (verdict,) = await judge_all(configuration, shown, (Usage.SIGNING,))
        assert verdict.trusted, verdict.why
        speaker, trust = build_speaker(configuration)
        await speaker.refresh_revocation()
        assert trust.revocation_lists(pki.authority.issuing)
        assert not kept.exists()
        _, of_node = open_validator(
            Purpose.MESSAGE, configuration.trust.message, clock=SystemClock(), cache=kept
        )
        assert of_node is not None
        assert await of_node.refresh()
    # The issuer is away by now.
    (verdict,) = await judge_all(configuration, shown, (Usage.SIGNING,))
    assert verdict.trusted, verdict.why
    _, trust = build_speaker(configuration)
    assert trust.revocation_lists(pki.authority.issuing)


def test_no_option_takes_a_passphrase_and_usage_is_told(invoke: Invoke, config: Path) -> None:
    text = invoke("cert", "import", "--help").out
    assert "--passphrase-file" in text
    assert "--passphrase " not in text
    for arguments in (
        ("rotate", "message", "--at", "soon"),
        ("rotate", "message", "--at", "2027-01-01T00:00", "--finish"),
        ("rotate", "message", "--at", "0001-01-01T00:00+02:00"),
        ("request", "message", "--common-name", "ap", "--organisation", "E", "--cvr", "12"),
    ):
        assert invoke("cert", *arguments, "--config", config).status == 2


class _Public:
    """Stands where a private key is expected of which only the public half is asked."""

    def __init__(self, key) -> None:
        self._key = key

    def public_key(self):
        return self._key
