import pytest

from keys.certificate import fingerprint
from keys.errors import WrongSubject
from keys.identity import PartyIdentity, check_party

PARTY = "0088:5790000123117"
UI = "UI:DK-O:G:a262681f-2e94-45c5-aaea-aad4e9bc5768"


def wrong(certificate, **fields):
    with pytest.raises(WrongSubject) as caught:
        check_party(certificate, PartyIdentity(PARTY, **fields))
    assert caught.value.reason == "cert.party"
    return caught.value


def test_every_field_that_agrees_is_in_the_evidence(pki):
    certificate = pki.leaf().certificate
    evidence = check_party(
        certificate,
        PartyIdentity(
            PARTY,
            fingerprints=frozenset({fingerprint(certificate).upper()}),
            organization_identifier="NTRDK-95474483",
            common_name="ehmi-ap-test",
            serial_number=UI,
            issuer="CN=EHMI Development udstedende-CA 1,OU=Test - development,"
            "O=EHMI access point developers,C=DK",
        ),
    )
    assert evidence.party_id == PARTY
    assert evidence.fingerprint == fingerprint(certificate)
    assert evidence.facts.cvr == "95474483"
    assert evidence.agreed == (
        "fingerprint",
        "organization_identifier",
        "common_name",
        "serial_number",
        "issuer",
    )


@pytest.mark.parametrize(
    "field",
    [
        {"organization_identifier": "NTRDK-95474483"},
        {"common_name": "ehmi-ap-test"},
        {"serial_number": UI},
    ],
)
def test_one_field_is_enough(pki, field):
    assert check_party(pki.leaf().certificate, PartyIdentity(PARTY, **field)).agreed == tuple(field)


def test_key_08_valid_certificate_of_another_party(pki):
    other = pki.leaf(name="ehmi-ap-test", cvr="33257872").certificate
    wrong(other, organization_identifier="NTRDK-95474483")
    wrong(other, organization_identifier="NTRDK-95474483", common_name="ehmi-ap-test")
    wrong(other, fingerprints=frozenset({fingerprint(pki.leaf().certificate)}))


def test_key_17_same_subject_from_another_authority(pki):
    ours = pki.leaf().certificate
    theirs = pki.leaf(authority=pki.stranger, key=pki.other_key).certificate
    assert ours.subject == theirs.subject
    issuer = ours.issuer.rfc4514_string()
    wrong(theirs, fingerprints=frozenset({fingerprint(ours)}), common_name="ehmi-ap-test")
    wrong(theirs, organization_identifier="NTRDK-95474483", issuer=issuer)
    assert check_party(
        ours, PartyIdentity(PARTY, organization_identifier="NTRDK-95474483", issuer=issuer)
    )


@pytest.mark.attack("KEY-18")
def test_key_18_old_certificate_inside_and_after_the_overlap(pki):
    old, new = pki.leaf().certificate, pki.leaf(key=pki.other_key).certificate
    overlap = PartyIdentity.of_certificates(PARTY, [old, new])
    assert check_party(old, overlap).fingerprint == fingerprint(old)
    assert check_party(new, overlap).fingerprint == fingerprint(new)
    wrong(old, fingerprints=frozenset({fingerprint(new)}))


@pytest.mark.attack("PTY-06")
@pytest.mark.parametrize(
    "name",
    [
        "ehmi-ap-tes\u0442",
        "ehmi\u2011ap-test",
        "ehmi-ap-test\u200b",
        "EHMI-AP-TEST",
        "ehmi-ap-test ",
    ],
    ids=["cyrillic", "non-breaking hyphen", "zero width", "case", "blank"],
)
def test_pty_06_confusable_common_name(pki, name):
    wrong(pki.leaf(name=name).certificate, common_name="ehmi-ap-test")


def test_pty_06_full_width_digits_in_the_organisation(pki):
    digits = "\uff19\uff15\uff14\uff17\uff14\uff14\uff18\uff13"
    assert digits.isdigit()
    wrong(pki.leaf(cvr=digits).certificate, organization_identifier="NTRDK-95474483")


def test_field_missing_from_the_certificate(pki):
    wrong(pki.authority.issuing, organization_identifier="NTRDK-95474483")
    wrong(pki.authority.issuing, serial_number=UI)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"issuer": "CN=x"},
        {"organization_identifier": "95474483"},
        {"organization_identifier": "NTRDK-\uff19"},
        {"fingerprints": frozenset({"ab"})},
        {"common_name": "x", "issuer": "no name"},
        {"common_name": ""},
    ],
)
def test_identity_that_names_nothing_or_nonsense_is_refused(fields):
    with pytest.raises(ValueError, match=r"."):
        PartyIdentity(PARTY, **fields)


@pytest.mark.parametrize("party", ["", "a b", "x\n", "0088:\uff15", "p" * 256])
def test_pty_06_party_id_is_visible_ascii(party):
    with pytest.raises(ValueError, match="visible ASCII"):
        PartyIdentity(party, common_name="x")


def test_refusal_names_the_party_and_the_field(pki):
    error = wrong(pki.leaf().certificate, common_name="other")
    assert PARTY in error.detail
    assert "common_name" in error.detail
