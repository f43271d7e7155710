"""Lexical forms of primitives and identifiers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.fhir import formats


@pytest.mark.parametrize(
    ("kind", "value", "valid"),
    [
        ("id", "a.b-C9", True),
        ("id", "a b", False),
        ("id", "x" * 65, False),
        ("id", "abc\n", False),
        ("instant", "2026-11-21T10:00:00Z", True),
        ("instant", "2026-11-21T10:00:00.123456789+01:00", True),
        ("instant", "2026-11-21T10:00:00", False),
        ("instant", "2026-02-30T10:00:00Z", False),
        ("instant", "2026-11-21", False),
        ("dateTime", "2026", True),
        ("dateTime", "2026-11-21", True),
        ("dateTime", "2026-11-21T10:00Z", False),
        ("date", "2026-13", False),
        ("boolean", True, True),
        ("boolean", "true", False),
        ("integer", True, False),
        ("positiveInt", 0, False),
        ("unsignedInt", 0, True),
        ("decimal", 1.5, True),
        ("decimal", "1.5", False),
        ("decimal", True, False),
        ("code", "a b", True),
        ("code", "a  b", False),
        ("uuid", "urn:uuid:5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d01", True),
        ("uuid", "urn:uuid:5B0C6F0E-6a0d-4f5e-9a53-0f5c7b0a1d01", False),
        ("base64Binary", "JVBE\n Ri0x", True),
        ("base64Binary", "JVBERi0", False),
        ("base64Binary", "JVBE!i0x", False),
        ("base64Binary", "JVBERi0x=", False),
        ("base64Binary", "JVBERg==", True),
        ("base64Binary", "JVBERg==JVBERg==", False),
        ("base64Binary", "A" * (1 << 20) + " A" * 4 + "\n" * (1 << 20), True),
        ("base64Binary", "A" * ((1 << 20) - 4) + "AA==" + "AAAA", False),
        ("base64Binary", "A" * (1 << 21) + "A", False),
        ("string", "   ", False),
        ("oid", "urn:oid:1.2.208", True),
    ],
)
def test_primitive_forms(kind, value, valid):
    assert formats.is_primitive(kind, value) is valid


@pytest.mark.parametrize(
    ("form", "value", "valid"),
    [
        ("cpr", "2512489996", True),
        ("cpr", "2902489996", True),
        ("cpr", "3102489996", False),
        ("cpr", "3104489996", False),
        ("cpr", "251248-9996", False),
        ("cpr", "2512489996\n", False),
        ("cpr", "٢٥١٢٤٨٩٩٩٦", False),
        ("x-ecpr", "0703921VJ5", True),
        ("x-ecpr", "0703921vj5", False),
        ("x-ecpr", "0703922VJ5", False),
        ("d-ecpr", "1206550VK9", True),
        ("d-ecpr", "1206551VK9", False),
    ],
)
def test_patient_numbers(form, value, valid):
    assert formats.PATIENT_ID_FORMS[form](value) is valid


@pytest.mark.parametrize("digit", range(10))
def test_only_one_check_digit_is_right(digit):
    assert formats.is_gln(f"579000012311{digit}") is (digit == 7)


def test_other_digits_than_ours_are_no_gln_and_no_sor():
    assert not formats.is_thirteen_digits("５" * 13)
    assert not formats.is_sor("١" * 11)
    assert not formats.is_sor("1" * 10)
    assert formats.is_sor("1" * 11)


def test_a_leap_second_is_the_last_second():
    assert formats.parse_instant("2016-12-31T23:59:60Z").second == 59


@pytest.mark.parametrize(
    "text", ["", "2026-11-21T10:00:00", "0000-01-01T00:00:00Z", "2026-11-21T25:00:00Z"]
)
def test_what_is_no_instant_raises_value_error(text):
    with pytest.raises(ValueError, match="not an instant"):
        formats.parse_instant(text)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(-14 * 60, 14 * 60),
)
def test_instants_survive_writing_and_reading(moment, offset):
    at = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = formats.format_instant(at)
    assert formats.is_primitive("instant", text)
    assert formats.parse_instant(text) == at


def test_a_time_without_zone_is_not_written():
    with pytest.raises(ValueError, match="zone"):
        formats.format_instant(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None))
    assert formats.format_instant(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
