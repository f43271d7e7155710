"""What a message says of its own time, and what our clock says to that: to the second on every edge."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import FailedAuthentication, Gate, InvalidHeader
from envelope.lifetime import RETRANSMISSION, SKEW, Lifetime, check_lifetime, read_lifetime
from envelope.names import q
from envelope.verified import _PROOF

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
YEAR, SECOND = timedelta(days=365), timedelta(seconds=1)


@pytest.fixture(scope="module")
def genuine(workshop_of):
    return workshop_of.authenticate(workshop_of.send().data)


def at(moment):
    return moment.isoformat().replace("+00:00", "Z")


def dated(genuine, sent, lifetime=None):
    """The same message as if it had been sent at another time, with this Timestamp."""
    message = replace(genuine.user_message, timestamp=sent if isinstance(sent, str) else at(sent))
    return replace(genuine, user_message=message, lifetime=lifetime, proof=_PROOF)


def reason(message, *clocks):
    """Why the message is refused, or None."""
    try:
        check_lifetime(message, clocks=clocks or (NOW,), remembered=YEAR)
    except FailedAuthentication as error:
        refused = error
    else:
        return None
    assert (refused.gate, refused.ebms.code) == (Gate.G6, "EBMS:0101")
    return refused.reason


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (NOW, None),
        (NOW - YEAR / 2, None),
        (NOW - YEAR / 2 - SECOND, "ts.expired"),
        (NOW + YEAR / 2, None),
        (NOW + YEAR / 2 + SECOND, "ts.future"),
        ("0001-01-01T00:00:00+14:00", "ts.expired"),
        ("9999-12-31T23:59:59.999-14:00", "ts.future"),
        ("2026-11-22T12:00:00.123456789", None),
        ("2026-11-22T12:00:00.1", None),
    ],
)
def test_a_message_lives_within_half_of_our_memory(genuine, sent, expected):
    assert reason(dated(genuine, sent)) == expected


@pytest.mark.parametrize(
    ("created", "expires", "expected"),
    [
        (NOW, None, None),
        (None, NOW + SKEW, None),
        (None, None, None),
        (NOW + SKEW, None, None),
        (NOW + SKEW + SECOND, None, "ts.future"),
        (NOW, NOW, None),
        (NOW, NOW - SECOND, "ts.order"),
        (None, NOW - SECOND, "ts.order"),
        (NOW - RETRANSMISSION, NOW - RETRANSMISSION + SKEW, None),
        (NOW - RETRANSMISSION - SECOND, NOW - RETRANSMISSION, "ts.expired"),
        (NOW - RETRANSMISSION - SECOND, NOW - SKEW, None),
        (NOW - RETRANSMISSION - SECOND, NOW - SKEW - SECOND, "ts.expired"),
        (NOW - YEAR / 2 - SECOND, None, "ts.expired"),
        (NOW - YEAR / 2 - SECOND, NOW + YEAR, "ts.expired"),
    ],
)
def test_a_message_with_a_timestamp_keeps_its_word(genuine, created, expires, expected):
    assert reason(dated(genuine, NOW, Lifetime(created, expires))) == expected


@given(st.timedeltas(-2 * YEAR, 2 * YEAR))
def test_one_reading_of_the_clock_that_fits_is_enough(genuine, since):
    """And which of them is asked first changes nothing."""
    message = dated(genuine, NOW + since)
    other = NOW + timedelta(hours=1)
    alone = [reason(message, NOW), reason(message, other)]
    both = {reason(message, NOW, other), reason(message, other, NOW)}
    assert both == ({None} if None in alone else set(alone))


def test_a_header_that_names_no_day_is_refused(genuine):
    with pytest.raises(InvalidHeader) as refused:
        check_lifetime(dated(genuine, "2026-02-30T00:00:00Z"), clocks=(NOW,), remembered=YEAR)
    assert (refused.value.reason, refused.value.gate) == ("header.timestamp", Gate.G6)


def stamp(*children):
    element = etree.Element(q(names.WSU, "Timestamp"))
    for local, text in children:
        etree.SubElement(element, q(names.WSU, local)).text = text
    return element


TEXT = "2026-11-22T12:00:00Z"


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([], Lifetime(None, None)),
        ([("Created", TEXT)], Lifetime(NOW, None)),
        ([("Expires", f" \n{TEXT}\t")], Lifetime(None, NOW)),
        ([("Created", "2026-11-22T13:00:00+01:00"), ("Expires", TEXT)], Lifetime(NOW, NOW)),
        ([("Created", "2026-11-22T12:00:00.0000000Z")], Lifetime(NOW, None)),
    ],
)
def test_what_is_read(children, expected):
    assert read_lifetime(stamp(*children)) == expected


@pytest.mark.parametrize(
    "children",
    [
        [("Expires", TEXT), ("Created", TEXT)],
        [("Created", TEXT), ("Created", TEXT)],
        [("Created", TEXT), ("Expires", TEXT), ("Expires", TEXT)],
        [("Other", TEXT)],
        [("Created", None)],
        [("Created", TEXT[:-1])],
        [("Created", f"\xa0{TEXT}")],
        [("Created", f"{TEXT}X")],
        [("Created", "2026-11-22T24:00:00Z")],
        [("Created", "2026-02-30T12:00:00Z")],
        [("Created", "2026-11-22T12:00:00+15:00")],
        [("Created", "2026-11-22T12:00:00.12345678Z")],
    ],
)
def test_what_is_not_read(children):
    with pytest.raises(InvalidHeader) as refused:
        read_lifetime(stamp(*children))
    assert (refused.value.reason, refused.value.gate) == ("ts.form", Gate.G5)


def test_without_a_clock_nothing_is_let_in(genuine):
    with pytest.raises(ValueError, match="unpack"):
        check_lifetime(dated(genuine, NOW), clocks=(), remembered=YEAR)
