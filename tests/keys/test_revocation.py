import datetime as dt

import pytest

from keys.crl import CrlStore
from keys.errors import RevocationUnknown, Revoked
from keys.revocation import (
    PREFER,
    REQUIRE,
    RevocationMode,
    RevocationPolicy,
    RevocationStatus,
    check_revocation,
    check_revocation_of_pinned,
)

DAY = dt.timedelta(days=1)
OFF = RevocationPolicy(RevocationMode.OFF, "the issuer publishes no list")


def path_of(pki):
    return (pki.leaf().certificate, pki.authority.issuing, pki.authority.root)


def ask(pki, path, policy, crls, at=None):
    return check_revocation(path, policy=policy, crls=crls, at=at or pki.at)


def test_good_answers_say_which_list_and_until_when(pki):
    path = path_of(pki)
    leaf, issuing = ask(pki, path, REQUIRE, pki.crls())
    assert leaf.status is issuing.status is RevocationStatus.GOOD
    assert leaf.serial == path[0].serial_number
    assert leaf.this_update == pki.at - dt.timedelta(hours=1)
    assert leaf.valid_until == leaf.this_update + 7 * DAY
    assert "0 entries" in leaf.why


def test_require_needs_a_list_of_every_authority(pki):
    only_issuing = CrlStore(pki.trust.authorities)
    only_issuing.add(pki.authority.crl(pki.at), at=pki.at)
    with pytest.raises(RevocationUnknown) as caught:
        ask(pki, path_of(pki), REQUIRE, only_issuing)
    assert "udstedende-CA" in caught.value.detail
    leaf, issuing = ask(pki, path_of(pki), PREFER, only_issuing)
    assert leaf.status is RevocationStatus.GOOD
    assert issuing.status is RevocationStatus.UNKNOWN
    assert issuing.valid_until is None


@pytest.mark.parametrize("policy", [REQUIRE, PREFER])
def test_key_04_revoked_under_both_asking_policies(pki, policy):
    path = path_of(pki)
    with pytest.raises(Revoked):
        ask(pki, path, policy, pki.crls(path[0]))


def test_key_04_revoked_even_when_the_list_is_stale_or_dated_ahead(pki):
    path = path_of(pki)
    crls = pki.crls(path[0])
    for at in (pki.at + 100 * DAY, pki.at - 100 * DAY):
        with pytest.raises(Revoked):
            ask(pki, path, PREFER, crls, at)


def test_key_05_stale_list_is_bounded_by_grace(pki):
    crls = pki.crls()
    end = pki.at - dt.timedelta(hours=1) + 7 * DAY
    second = dt.timedelta(seconds=1)
    assert ask(pki, path_of(pki), REQUIRE, crls, end)
    with pytest.raises(RevocationUnknown):
        ask(pki, path_of(pki), REQUIRE, crls, end + second)
    with_grace = RevocationPolicy(grace=DAY)
    assert ask(pki, path_of(pki), with_grace, crls, end + DAY)[0].valid_until == end + DAY
    with pytest.raises(RevocationUnknown):
        ask(pki, path_of(pki), with_grace, crls, end + DAY + second)
    assert ask(pki, path_of(pki), PREFER, crls, end + second)[0].status is RevocationStatus.UNKNOWN


def test_off_asks_nothing_and_says_why(pki):
    path = path_of(pki)
    leaf, issuing = ask(pki, path, OFF, pki.crls(path[0]))
    assert leaf.status is issuing.status is RevocationStatus.NOT_CHECKED
    assert leaf.why == "the issuer publishes no list"


def test_pinned_certificate_says_how_it_is_revoked(pki):
    (entry,) = check_revocation_of_pinned(pki.leaf().certificate, policy=REQUIRE)
    assert entry.status is RevocationStatus.NOT_CHECKED
    assert "pin" in entry.why


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": RevocationMode.OFF},
        {"mode": RevocationMode.OFF, "why_off": "  "},
        {"mode": RevocationMode.REQUIRE, "why_off": "because"},
        {"grace": -DAY},
    ],
)
def test_policy_that_contradicts_itself_is_refused(fields):
    with pytest.raises(ValueError, match=r"reason|negative"):
        RevocationPolicy(**fields)
