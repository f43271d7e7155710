"""The names and addresses that lead to service metadata: hashed, encoded, and plain or refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from envelope import names
from envelope.errors import SmpRefused
from envelope.smp import (
    NaptrRecord,
    SmpForm,
    SmpIdentifier,
    bdxl_label,
    bdxl_owner_name,
    busdox_owner_name,
    check_url,
    metadata_path,
    participant_path,
    read_naptr,
    read_path,
)

PARTICIPANT = SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000201389")
DOCUMENT = SmpIdentifier(
    "bdx-docid-qns",
    "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::homecareobservation-message"
    "##urn:dk:medcom:fhir:homecareobservation-message::1.1",
)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(SmpRefused) as refused:
        call()
    return refused.value.reason


@pytest.mark.attack("DSC-04", "DSC-05")
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hosts",
        "ftp://ap.example/",
        "javascript:alert(1)",
        "//ap.example/as4",
        "https://user:secret@ap.example/as4",
        "https://trusted.example@ap.example/",
        "https:///as4",
        "https://ap.example:99999/",
        "https://ap.example:0/",
        "https://ap.example/#x",
        "https://ap.example\\@other.example/",
        "https://ap.example/\r\nX: y",
        "https://ap.example/a b",
        "https://ap.exæmple/",
        "https://[::1/",
        "https://[v1.x]/",
        "https://[::1%25eth0]/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0x7f000001/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://256.0.0.1/",
        "https://ap..example/",
        "https://ap,example/",
        "https://ap%2eexample/",
        "https://" + "a" * 64 + ".example/",
        "https://ap.example/" + "x" * 2_048,
        "",
    ],
)
def test_address_that_is_not_plain_web_is_refused(url: str) -> None:
    assert refusal(lambda: check_url(url)) == "smp.url"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/as4", "https://ap.example", "https://[::1]:443/a?b=c", "https://a_p-1.xn--eksempel-0za.example./"])  # fmt: skip
def test_plain_address_passes(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("a%3A%3Ab%2Fc", (SmpIdentifier("a", "b/c"), None)),
        ("%3A%3Ab", (SmpIdentifier(None, "b"), None)),
        ("b", (SmpIdentifier(None, "b"), None)),
        (
            "a%3a%3ab/services/c%3A%3Ad%3A%3Ae",
            (SmpIdentifier("a", "b"), SmpIdentifier("c", "d::e")),
        ),
        ("a%3A%3Ab/other/c", None),
        ("a/services/b/c", None),
    ],
)
def test_paths_are_read_as_they_are_written(path: str, read: object) -> None:
    assert read_path(path) == read


def test_paths_encode_what_would_cut_them() -> None:
    assert participant_path(PARTICIPANT) == "iso6523-actorid-upis%3A%3A0088%3A5790000201389"
    assert metadata_path(PARTICIPANT, DOCUMENT) == (
        "iso6523-actorid-upis%3A%3A0088%3A5790000201389/services/bdx-docid-qns%3A%3Aurn%3Adk%3Ahealthcare"
        "%3Amedcom%3Amessaging%3Afhir%3Astructuredefinition%3A%3Ahomecareobservation-message"
        "%23%23urn%3Adk%3Amedcom%3Afhir%3Ahomecareobservation-message%3A%3A1.1"
    )
    assert participant_path(SmpIdentifier("a", "../b?c/æ %")) == "a%3A%3A..%2Fb%3Fc%2F%C3%A6%20%25"


@pytest.mark.parametrize(
    ("canonical", "label"),
    [
        (
            "urn:oasis:names:tc:ebcore:partyid-type:iso6523:0088:4035811991021",
            "I3QYB36CTAYRFGTHBYCQZDTOJFHGAZJEGLFOOE7727EGVDWRK5QQ",
        ),
        ("0088:4035811991021", "LZMEDSMZXYD37YC74TZVPYCMUANFCMN667JHGBFQDDRVMSE6NYTA"),
        ("0088:123abc", "y7dzfxaf3d4cjz4kcgrxtec6twvcga4ky7zwa5boif6mswd4tdrq"),
        ("9915:test", "eh5boavaktmbgzyh2a63dz4qov33fvp5nsdvqklucfraayoodw6a"),
    ],
)
def test_label_of_a_participant(canonical: str, label: str) -> None:
    assert bdxl_label(canonical) == label.upper()
    assert len(bdxl_label(canonical)) == 52


def test_owner_name_is_the_label_in_its_zone() -> None:
    label = bdxl_label("0088:123abc")

    assert bdxl_owner_name("0088:123ABC", "sml.example") == (
        f"{label}.iso6523-actorid-upis.sml.example"
    )
    assert bdxl_owner_name("0088:123abc", "sml.example", scheme=None) == f"{label}.sml.example"
    assert bdxl_owner_name("0088:123abc", "sml.example", environment="test") == (
        f"{label}.iso6523-actorid-upis.test.sml.example"
    )
    assert bdxl_owner_name("0088:123ABC", "sml.example", fold=False) != bdxl_owner_name(
        "0088:123ABC", "sml.example"
    )


@pytest.mark.parametrize(
    ("participant", "digest"),
    [
        # The example of the Busdox specification, and one that Peppol's tools use.
        ("0010:5798000000001", "e49b223851f6e97cbfce4f72c3402aac"),
        ("9915:test", "85008b8279e07ab0392da75fa55856a2"),
        ("9915:TEST", "85008b8279e07ab0392da75fa55856a2"),
    ],
)
def test_busdox_owner_name_hashes_the_identifier_in_lower_case(
    participant: str, digest: str
) -> None:
    name = busdox_owner_name(participant, "sml.example")

    assert name == f"B-{digest}.iso6523-actorid-upis.sml.example"


def naptr(
    regexp: str, order: int = 100, preference: int = 10, service: str = "Meta:SMP", flags: str = "U"
) -> NaptrRecord:
    return NaptrRecord(order, preference, flags, service, regexp)


@pytest.mark.parametrize(
    "regexp",
    [
        "!.*!http://smp.example/base!",
        "!^.*$!http://smp.example/base!",
        "!^.*$!http://smp.example/base!i",
        "|.*|http://smp.example/base|",
    ],
)
def test_address_of_the_publisher(regexp: str) -> None:
    assert read_naptr([naptr(regexp)]) == "http://smp.example/base"


def test_order_comes_before_preference_and_other_services_are_passed_over() -> None:
    records = [
        naptr("!.*!http://third.example!", 20, 1),
        naptr("!.*!http://second.example!", 10, 20),
        naptr("!.*!http://first.example!", 10, 10, service="meta:smp", flags="u"),
        naptr("!.*!http://sip.example!", 1, 1, service="E2U+sip"),
        naptr("!.*!http://other.example!", 1, 1, service="oasis-bdxr-smp-2#environment"),
        naptr("!.*!http://next.example!", 1, 1, flags="S"),
    ]

    assert read_naptr(records) == "http://first.example"
    assert read_naptr(records, form=SmpForm.OASIS_2) == "http://other.example"


NAPTR_ABUSE = {
    "back-reference": [naptr(r"!^(.*)$!http://evil.example/\1!")],
    "back-reference-in-the-whole-name": [naptr(r"!^.*$!http://\0.evil.example/!")],
    "catastrophic-expression": [naptr("!(a+)+$!http://evil.example/!")],
    "partial-expression": [naptr("!^abc!http://evil.example/!")],
    "other-scheme": [naptr("!.*!file:///etc/hosts!")],
    "credentials": [naptr("!.*!http://smp.example@evil.example/!")],
    "no-delimiter": [naptr("")],
    "letter-as-delimiter": [naptr("a.*ahttp://evil.example/a")],
    "backslash-as-delimiter": [naptr("\\.*\\http://evil.example/\\")],
    "escaped-delimiter": [naptr(r"!.*!http://evil.example/\!x!")],
    "unfinished": [naptr("!.*!http://evil.example/")],
    "unknown-flag": [naptr("!.*!http://evil.example/!g")],
    "empty-address": [naptr("!.*!!")],
    "replacement-beside-regexp": [replace(naptr("!.*!http://a.example!"), replacement="evil.example.")],
    "no-records": [],
    "only-other-services": [naptr("!.*!http://evil.example!", service="x")],
    "thousand-records": [naptr("!.*!http://a.example!")] * 1_000,
    "worst-first": [naptr("!.*!http://a.example!", 20), naptr("!.*!ftp://evil.example!", 10)],
}  # fmt: skip


@pytest.mark.attack("DSC-13")
@pytest.mark.parametrize("abuse", NAPTR_ABUSE)
def test_naptr_abuse_is_refused(abuse: str) -> None:
    assert refusal(lambda: read_naptr(NAPTR_ABUSE[abuse])) == "smp.naptr"
