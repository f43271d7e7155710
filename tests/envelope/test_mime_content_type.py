"""Content-Type headers: read as peers write them, refused where two readers could differ."""

import pytest

from envelope.errors import TransportRefused
from envelope.mime import _parse_short_content_type, parse_content_type


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    _parse_short_content_type.cache_clear()


@pytest.mark.parametrize(
    ("value", "media_type", "parameters"),
    [
        ("application/soap+xml", "application/soap+xml", {}),
        ("Application/SOAP+XML;Charset=UTF-8;", "application/soap+xml", {"charset": "UTF-8"}),
        (
            'multipart/related;\r\n\tstart=root@x; TYPE="application/soap+xml" ; boundary=a=b',
            "multipart/related",
            {"start": "root@x", "type": "application/soap+xml", "boundary": "a=b"},
        ),
        (
            r'multipart/related; boundary="a\"b;c"; start=<r@x>; type=application/soap+xml',
            "multipart/related",
            {"boundary": 'a"b;c', "start": "<r@x>", "type": "application/soap+xml"},
        ),
        ("text/xml ; filename*=utf-8''%e6", "text/xml", {"filename*": "utf-8''%e6"}),
    ],
)
def test_content_types_as_peers_write_them(
    value: str, media_type: str, parameters: dict[str, str]
) -> None:
    content_type = parse_content_type(value)
    assert (content_type.media_type, dict(content_type.parameters)) == (media_type, parameters)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "application",
        "a/b; x",
        'a/b; x="open',
        "a/b; x=1; X=2",
        "a/b; x=1 y=2",
        "a/b\r\nX-Injected: 1",
        "a/b; x=\0",
        "a/b; x=" + "y" * 5_000,
        "a/b" + ';x="' * 1_000,
    ],
)
def test_content_types_with_two_readings_are_refused(value: str) -> None:
    with pytest.raises(TransportRefused) as caught:
        parse_content_type(value)
    assert caught.value.reason == "mime.type"
