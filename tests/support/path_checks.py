"""Validate a path as the tests of `keys.path` do: without revocation unless asked, at the time of the test PKI."""

import datetime as dt

import pytest

from keys.path import Usage, validate
from keys.revocation import RevocationMode, RevocationPolicy

OFF = RevocationPolicy(RevocationMode.OFF, "path tests")
DAY = dt.timedelta(days=1)


def check(pki, issued, *, usage=Usage.SIGNING, trust=None, at=None, **more):
    more.setdefault("revocation", OFF)
    return validate(
        issued.certificate,
        issued.chain,
        trust=trust or pki.trust,
        at=at or pki.at,
        usage=usage,
        **more,
    )


def refused(expected, reason, pki, issued, **more):
    with pytest.raises(expected) as caught:
        check(pki, issued, **more)
    assert caught.value.reason == reason
    assert type(caught.value) is expected
    return caught.value
