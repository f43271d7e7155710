import datetime as dt

import pytest

from keys.expiry import Life, remaining

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "life", "sentence"),
    [
        (-1, Life.NOT_YET_VALID, "ehmi-ap-test is not valid before 2026-11-21"),
        (
            0,
            Life.VALID,
            "ehmi-ap-test is valid until 2029-11-20, 1095 days from now; renewal is due from 2029-08-03",
        ),
        (
            1000,
            Life.RENEW,
            "ehmi-ap-test is valid until 2029-11-20, 95 days from now; renewal is due since 2029-08-03",
        ),
        (
            1088,
            Life.URGENT,
            "ehmi-ap-test is valid until 2029-11-20, 7 days from now; renew it today",
        ),
        (1096, Life.EXPIRED, "ehmi-ap-test expired on 2029-11-20, 1 day ago"),
    ],
)
def test_life_of_three_years(pki, day, life, sentence):
    certificate = pki.leaf(begins=0, ends=1095).certificate
    left = remaining(certificate, pki.at + day * DAY)
    assert left.life is life
    assert left.sentence == sentence
    assert left.seconds == (1095 - day) * 86400


def test_hours_count_on_the_last_day(pki):
    certificate = pki.leaf(begins=0, ends=1).certificate
    assert "1 hour from now" in remaining(certificate, pki.at + dt.timedelta(hours=23)).sentence
    assert "5 hours from now" in remaining(certificate, pki.at + dt.timedelta(hours=19)).sentence


def test_short_life_is_due_at_once(pki):
    certificate = pki.leaf(begins=0, ends=20).certificate
    left = remaining(certificate, pki.at)
    assert left.renew_from == pki.at
    assert left.life is Life.RENEW
