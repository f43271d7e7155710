import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from keys.name import name_key, parse_name, same_name

OCES = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DK"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Den Danske Stat"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Test - cti"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Den Danske Stat OCES udstedende-CA 1"),
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        "CN=Den Danske Stat OCES udstedende-CA 1,OU=Test - cti,O=Den Danske Stat,C=DK",
        "CN=Den Danske Stat OCES udstedende-CA 1, OU=Test - cti, O=Den Danske Stat, C=DK",
        "cn=den danske stat  OCES udstedende-CA 1;ou=Test - cti;o=Den Danske Stat;c=dk",
        'CN="Den Danske Stat OCES udstedende-CA 1", OU="Test - cti", O=Den Danske Stat, C=DK',
        "2.5.4.3=Den Danske Stat OCES udstedende-CA 1,OID.2.5.4.11=Test - cti,O=Den Danske Stat,C=DK",
        "CN=Den Danske Stat OCES udstedende-CA 1,OU=#0c0a54657374202d20637469,O=Den Danske Stat,C=#1302444b",
        "CN=Den Danske Stat OCES udstedende\\-CA 1,OU=Test\\20- cti,O=Den Danske Stat,C=DK",
        "C=DK,O=Den Danske Stat,OU=Test - cti,CN=Den Danske Stat OCES udstedende-CA 1",
    ],
)
def test_dialects_of_the_same_name(text):
    assert same_name(text, OCES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CN=Den Danske Stat OCES udstedende-CA 2,OU=Test - cti,O=Den Danske Stat,C=DK",
        "OU=Test - cti,O=Den Danske Stat,C=DK",
        "CN=Den Danske Stat OCES udstedende-CA 1+OU=Test - cti,O=Den Danske Stat,C=DK",
        "CN=Den Danske Stat OCES udstedende-CA 1,OU=Test - cti,O=Den Danske Stat,C=DK,DC=x",
        "/C=DK/O=Den Danske Stat/OU=Test - cti/CN=Den Danske Stat OCES udstedende-CA 1",
    ],
)
def test_other_names(text):
    assert not same_name(text, OCES)


@pytest.mark.parametrize(
    "text",
    [
        "CN",
        "=x",
        "XX=y",
        'CN="open',
        "CN=x\\",
        "CN=#0c",
        "CN=#99024141",
        "CN=#zz",
        "1..2=x",
        "CN=\\ff",
        "C" * 5000,
    ],
)
def test_malformed_name_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_name(text)


def test_comma_in_a_value_is_not_a_separator():
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Region, Midt"),
            x509.NameAttribute(NameOID.COMMON_NAME, "a"),
        ]
    )
    assert same_name("CN=a,O=Region\\, Midt", name)
    assert same_name('CN=a, O="Region, Midt"', name)
    assert same_name("CN=a,O=Region\\2c Midt", name)


values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_categories=["Cc"]),
    min_size=1,
    max_size=20,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.SERIAL_NUMBER]
            ),
            values,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_the_library_writes_is_read_back(attributes):
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    assert parse_name(name.rfc4514_string()) == name_key(name)


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_value_error(text):
    try:
        parse_name(text)
    except ValueError:
        return
    assert "=" in text
