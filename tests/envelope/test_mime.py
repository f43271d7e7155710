"""multipart/related: any chunking gives the same events, other readers agree, attacks are refused."""

import email
import email.policy
import tracemalloc
from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.errors import (
    LocalProtocolError,
    MimeInconsistency,
    RemoteProtocolError,
    TransportRefused,
)
from envelope.events import Event, MessageComplete, PartData, PartEnded, PartStarted
from envelope.limits import DEFAULT_LIMITS, KIB, Limits
from envelope.mime import MultipartParser, MultipartWriter, OutboundPart, parse_content_type
from envelope.pmode import Quirk

TYPE = 'multipart/related; boundary="b"; type="application/soap+xml"; start="<root@x>"'
ROOT = b"Content-Type: application/soap+xml; charset=UTF-8\r\nContent-ID: <root@x>\r\n\r\n<E/>"
PART = b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <p1@x>\r\n\r\n"
MESSAGE = b"--b\r\n" + ROOT + b"\r\n--b\r\n" + PART + b"payload\r\n--b--\r\n"
NONE: frozenset[Quirk] = frozenset()


def events(
    data: bytes,
    *,
    content_type: str = TYPE,
    size: int = 10**9,
    quirks: frozenset[Quirk] = NONE,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Event]:
    parser = MultipartParser(parse_content_type(content_type), limits, quirks)
    found: list[Event] = []
    for at in range(0, len(data), size):
        found += parser.feed(data[at : at + size])
    return found + parser.close()


def merged(found: list[Event]) -> list[Event]:
    """The events with the data of each part in one piece."""
    out: list[Event] = []
    for event in found:
        if isinstance(event, PartData) and out and isinstance(out[-1], PartData):
            out[-1] = PartData(out[-1].data + event.data)
        else:
            out.append(event)
    return out


def parts(found: list[Event]) -> list[tuple[str | None, bytes]]:
    out: list[tuple[str | None, bytes]] = []
    for event in found:
        if isinstance(event, PartStarted):
            out.append((event.content_id, b""))
        elif isinstance(event, PartData):
            out[-1] = (out[-1][0], out[-1][1] + event.data)
    return out


def refusal(data: bytes, **options: object) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        events(data, **options)
    return caught.value


def with_part(head: bytes, body: bytes = b"payload") -> bytes:
    return b"--b\r\n" + ROOT + b"\r\n--b\r\n" + head + b"\r\n\r\n" + body + b"\r\n--b--\r\n"


def test_a_message_becomes_events() -> None:
    found = events(MESSAGE)
    assert [type(event) for event in found] == [
        PartStarted, PartData, PartEnded, PartStarted, PartData, PartEnded, MessageComplete,
    ]  # fmt: skip
    first, second = found[0], found[3]
    assert isinstance(first, PartStarted)
    assert isinstance(second, PartStarted)
    assert (first.index, first.content_id, first.transfer_encoding) == (0, "root@x", "binary")
    assert first.content_type is not None
    assert first.content_type.parameter("charset") == "UTF-8"
    assert second.headers["content-type"] == "application/gzip"
    assert parts(found) == [("root@x", b"<E/>"), ("p1@x", b"payload")]
    assert found[-1] == MessageComplete(2)


@pytest.mark.parametrize("size", range(1, 40))
def test_chunks_of_every_size_give_the_same_events(size: int) -> None:
    assert merged(events(MESSAGE, size=size)) == events(MESSAGE)


NASTY = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"--", b"b", b"\r\n", b"\r\n-", b"\r\n--", b"\n--b\r\n", b"x", b"\0"]
    ),
    max_size=12,
).map(b"".join)
BODIES = st.one_of(NASTY, st.binary(max_size=60)).filter(
    lambda body: b"\r\n--b" not in b"\r\n" + body
)


@given(
    st.lists(BODIES, min_size=1, max_size=4), st.lists(st.integers(1, 30), min_size=1, max_size=20)
)
def test_any_chunking_of_any_parts_gives_what_was_written(
    bodies: list[bytes], sizes: list[int]
) -> None:
    writer = MultipartWriter("b", "root@x", bodies[0])
    data = writer.opening()
    outbound = []
    for number, body in enumerate(bodies[1:]):
        outbound.append(OutboundPart(f"p{number}@x", "application/octet-stream", len(body)))
        data += writer.head(outbound[-1]) + body
    data += writer.tail()
    assert len(data) == writer.total_length(outbound)
    parser = MultipartParser(parse_content_type(writer.content_type()))
    found: list[Event] = []
    at = turn = 0
    while at < len(data):
        step = sizes[turn % len(sizes)]
        found += parser.feed(data[at : at + step])
        at, turn = at + step, turn + 1
    found += parser.close()
    names = ["root@x", *(part.content_id for part in outbound)]
    assert parts(found) == list(zip(names, bodies, strict=True))
    assert found[-1] == MessageComplete(len(bodies))


LINES = st.one_of(
    st.binary(max_size=60), st.sampled_from([b"", b"-", b"--", b"x--b", b"--a", b"=3D"])
).map(lambda body: body.replace(b"\r", b"").replace(b"\n", b""))


@given(st.lists(LINES.filter(lambda body: not body.startswith(b"--b")), min_size=1, max_size=4))
def test_the_standard_library_reads_the_same_parts(bodies: list[bytes]) -> None:
    """Bodies without line ends: the library normalises those, which is where the two disagree on purpose."""
    writer = MultipartWriter("b", "root@x", bodies[0])
    data = writer.opening()
    for number, body in enumerate(bodies[1:]):
        data += writer.head(OutboundPart(f"p{number}@x", "application/gzip", len(body))) + body
    data += writer.tail()
    header = f"Content-Type: {writer.content_type()}\r\n\r\n".encode()
    message = email.message_from_bytes(header + data, policy=email.policy.HTTP)
    theirs = [
        (str(part["Content-ID"]).strip("<>"), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]
    assert theirs == parts(events(data, content_type=writer.content_type()))


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
@given(body=st.binary(max_size=200), size=st.integers(1, 50))
def test_the_standard_library_encodes_and_we_decode(encoding: str, body: bytes, size: int) -> None:
    part = email.message.EmailMessage(policy=email.policy.SMTP)
    part.set_content(body, "application", "octet-stream", cte=encoding)
    encoded = part.as_bytes().partition(b"\r\n\r\n")[2]
    head = f"Content-Type: application/xml\r\nContent-ID: <p@x>\r\nContent-Transfer-Encoding: {encoding}"
    found = events(
        with_part(head.encode(), encoded), quirks=frozenset({Quirk.BASE64_PARTS}), size=size
    )
    # quoted-printable cannot tell the line end that the encoder adds from one of the body.
    assert parts(found)[1][1].rstrip(b"\r\n") == body.rstrip(b"\r\n")
    if encoding == "base64":
        assert parts(found)[1][1] == body


@given(
    st.integers(0, len(MESSAGE)),
    st.binary(max_size=6),
    st.integers(0, 20),
    st.integers(1, 40),
    st.sets(st.sampled_from(list(Quirk))),
)
def test_any_damage_gives_events_or_a_refusal(
    at: int, junk: bytes, dropped: int, size: int, quirks: set[Quirk]
) -> None:
    data = MESSAGE[:at] + junk + MESSAGE[at + dropped :]
    options = {"size": size, "quirks": frozenset(quirks)}
    try:
        outcome: object = merged(events(data, **options))
    except RemoteProtocolError as error:
        outcome = error.reason
    try:
        whole: object = merged(events(data, quirks=frozenset(quirks)))
    except RemoteProtocolError as error:
        whole = error.reason
    assert outcome == whole or (isinstance(outcome, str) and isinstance(whole, str))


@pytest.mark.parametrize("content_type", [TYPE, TYPE.replace('"b"', '"----=_Part_0.1"')])
@given(data=st.binary(max_size=80))
def test_any_octets_give_a_refusal(content_type: str, data: bytes) -> None:
    assert refusal(data, content_type=content_type).reason.startswith("mime.")


def test_mim_16_truncated_at_every_octet() -> None:
    complete = len(MESSAGE) - len("\r\n")
    for end in range(complete):
        assert refusal(MESSAGE[:end]).reason == "mime.truncated"
    assert events(MESSAGE[:complete]) == events(MESSAGE)


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        (TYPE.replace("related", "mixed"), "mime.type"),
        (TYPE.replace("soap+xml", "xml"), "mime.type"),
        ("multipart/related; boundary=b", "mime.type"),
        (TYPE.replace('boundary="b"; ', ""), "mime.boundary"),
        (TYPE.replace('"b"', '""'), "mime.boundary"),
        (TYPE.replace('"b"', f'"{"b" * 71}"'), "mime.boundary"),
        (TYPE.replace('"b"', '"b "'), "mime.boundary"),
        (TYPE.replace('"b"', '"b*[a-z]+"'), "mime.boundary"),
        (TYPE.replace('"b"', '"bæ"'), "mime.boundary"),
    ],
)
def test_mim_06_07_the_boundary_is_checked_before_a_byte_is_read(
    content_type: str, reason: str
) -> None:
    assert refusal(MESSAGE, content_type=content_type).reason == reason


def test_the_longest_boundary_is_accepted() -> None:
    boundary = "b" * 70
    data = MESSAGE.replace(b"--b", b"--" + boundary.encode())
    assert parts(events(data, content_type=TYPE.replace('"b"', boundary))) == parts(events(MESSAGE))


@pytest.mark.parametrize("start", ["root@x", "<root@x>", " <root@x> "])
def test_start_is_compared_without_brackets(start: str) -> None:
    assert events(MESSAGE, content_type=TYPE.replace("<root@x>", start)) == events(MESSAGE)


def test_start_may_be_absent() -> None:
    assert events(MESSAGE, content_type=TYPE.partition("; start")[0]) == events(MESSAGE)


def test_att_15_start_names_another_part() -> None:
    error = refusal(MESSAGE, content_type=TYPE.replace("root@x", "p1@x"))
    assert isinstance(error, MimeInconsistency)
    assert error.reason == "mime.start"


def test_a_message_of_one_part_is_legal() -> None:
    assert events(b"--b\r\n" + ROOT + b"\r\n--b--")[-1] == MessageComplete(1)


def test_mim_01_too_many_parts() -> None:
    limit = DEFAULT_LIMITS.parts
    more = [b"\r\n--b\r\nContent-ID: <p%d@x>\r\n\r\n" % n for n in range(limit)]
    end = b"\r\n--b--"
    assert events(b"--b\r\n" + ROOT + b"".join(more[: limit - 1]) + end)[-1] == MessageComplete(
        limit
    )
    error = refusal(b"--b\r\n" + ROOT + b"".join(more) + end)
    assert isinstance(error, TransportRefused)
    assert (error.reason, error.status) == ("mime.parts", 413)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-ID: <p@x>\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(8)) + b"X: 1",
        b"Content-ID: <p@x>\r\nX: " + b"y" * 1_025,
        b"Content-ID: <p@x>\r\nX: " + b"y" * 9 * KIB,
        b"Content-ID: <p@x>\r\nno colon",
        b"Content-ID : <p@x>",
        b"Content-ID: <p@x>\r\nX\x00: 1",
        b"Content-ID: <p@x>\r\nX: a\x00b",
        b"Content-ID: <p@x>\nX: 1",
        b"Content-ID: <p@x>\rX: 1",
        b"Content-ID: <p@x>\r\ncontent-id: <q@x>",
        b"Content-ID: <p@x>\r\nContent-Type: a/b\r\nContent-Type: a/c",
        "Content-ID: <p@x>\r\næ: 1".encode(),
    ],
)
def test_mim_02_09_14_part_headers_with_two_readings_are_refused(head: bytes) -> None:
    for size in (1, 10**9):
        assert refusal(with_part(head), size=size).reason == "mime.headers"


def test_mim_02_as_many_part_headers_as_there_may_be_are_read() -> None:
    head = b"Content-ID: <p@x>\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(6)) + b"X: a:b"
    assert parts(events(with_part(head)))[1] == ("p@x", b"payload")
    assert parts(events(with_part(b"Content-ID: <p@x>\r\nX:" + b"y" * 1_022)))[1][0] == "p@x"
    assert refusal(with_part(head + b"\r\nY: 1")).reason == "mime.headers"
    assert refusal(with_part(b"Content-ID: <p@x>\r\nX:" + b"y" * 1_023)).reason == "mime.headers"


def test_a_header_block_without_end_is_not_collected() -> None:
    parser = MultipartParser(parse_content_type(TYPE))
    assert parser.feed(b"--b\r\n") == []
    block = b"X: yyyy\r\n" * 100
    for _ in range(8 * KIB // len(block)):
        assert parser.feed(block) == []
    with pytest.raises(TransportRefused) as caught:
        parser.feed(block)
    assert caught.value.reason == "mime.headers"
    with pytest.raises(LocalProtocolError):
        parser.feed(b"more")
    with pytest.raises(LocalProtocolError):
        parser.close()


def test_mim_10_13_15_folding_lengths_and_file_names_decide_nothing() -> None:
    head = (
        b"Content-ID:\r\n <p@x>\r\nContent-Length: 3\r\n"
        b"Content-Disposition: attachment; filename*=x-unknown''..%2F..%2Fetc%2Fpasswd; filename=\xe6"
    )
    assert parts(events(with_part(head)))[1] == ("p@x", b"payload")


def test_mim_04_an_endless_preamble() -> None:
    assert parts(events(b"\r\n" + MESSAGE)) == parts(events(MESSAGE))
    for size in (1, 10**9):
        longest = events(b"x" * 1_024 + b"\r\n" + MESSAGE, size=size)
        assert parts(longest) == parts(events(MESSAGE))
        assert refusal(b"x" * 1_025 + b"\r\n" + MESSAGE, size=size).reason == "mime.preamble"
    endless = MultipartParser(parse_content_type(TYPE))
    endless.feed(b"x" * 1_029)
    with pytest.raises(TransportRefused):
        endless.feed(b"x")


def test_mim_05_an_epilogue() -> None:
    assert events(MESSAGE + b"\r\n \t") == events(MESSAGE)
    assert events(MESSAGE + b"\r\n" * 511) == events(MESSAGE)
    for junk in (b"x", b"--b\r\n" + ROOT + b"\r\n--b--", b"\r\n" * 512):
        assert refusal(MESSAGE + junk).reason == "mime.epilogue"


@pytest.mark.parametrize("after", [b"x", b"-", b"-x", b" \r\n", b"\n", b"\r"])
def test_mim_08_what_looks_like_a_boundary_is_one_or_an_attack(after: bytes) -> None:
    for size in (1, 10**9):
        data = with_part(b"Content-ID: <p@x>", b"pay\r\n--b" + after + b"load")
        assert refusal(data, size=size).reason == "mime.delimiter"


@pytest.mark.parametrize(
    "body", [b"\n--b\r\n", b"\r--b--", b"--b--", b"x--b\r\n", b"\r\n--", b"\r\n--B--"]
)
def test_mim_08_what_is_no_boundary_is_content(body: bytes) -> None:
    data = with_part(b"Content-ID: <p@x>", b"pay" + body)
    for size in (1, 10**9):
        assert parts(events(data, size=size))[1] == ("p@x", b"pay" + body)


def test_mim_09_bare_line_feeds_need_the_quirk() -> None:
    data = MESSAGE.replace(b"\r\n", b"\n")
    quirks = frozenset({Quirk.BARE_LINE_FEEDS})
    assert refusal(data).reason in {"mime.preamble", "mime.delimiter"}
    for size in (1, 3, 10**9):
        assert parts(events(data, quirks=quirks, size=size)) == parts(events(MESSAGE))
        assert parts(events(MESSAGE, quirks=quirks, size=size)) == parts(events(MESSAGE))


def met_by(data: bytes, size: int) -> set[Quirk]:
    parser = MultipartParser(
        parse_content_type(TYPE), DEFAULT_LIMITS, frozenset({Quirk.BARE_LINE_FEEDS})
    )
    for at in range(0, len(data), size):
        parser.feed(data[at : at + size])
    parser.close()
    return parser.met


EMPTY_PART = MESSAGE.replace(b"payload\r\n--b--", b"--b--")


@pytest.mark.parametrize("size", [1, 2, 10**9])
@pytest.mark.parametrize(
    "data",
    [b"\n" + MESSAGE, b"preamble\n" + MESSAGE, MESSAGE.replace(b"<E/>\r\n", b"<E/>\n")],
)
def test_mim_09_a_delimiter_behind_a_bare_line_feed_is_the_quirk(data: bytes, size: int) -> None:
    """Even the one before the very first: without the quirk the body is refused, or says something else."""
    assert met_by(data, size) == {Quirk.BARE_LINE_FEEDS}


@pytest.mark.parametrize("size", [1, 2, 10**9])
@pytest.mark.parametrize("data", [MESSAGE, b"\r\n" + MESSAGE, EMPTY_PART])
def test_mim_09_what_needs_no_quirk_meets_none(data: bytes, size: int) -> None:
    assert parts(events(data))
    assert met_by(data, size) == set()


def test_mim_11_multipart_in_multipart() -> None:
    head = b"Content-ID: <p@x>\r\nContent-Type: multipart/related; boundary=c"
    assert refusal(with_part(head)).reason == "mime.nested"


@pytest.mark.parametrize("name", ["base64", "quoted-printable", "Base64", "uuencode", "x-gzip64"])
def test_att_13_transfer_encodings_need_the_quirk(name: str) -> None:
    head = f"Content-ID: <p@x>\r\nContent-Transfer-Encoding: {name}".encode()
    error = refusal(with_part(head))
    assert isinstance(error, MimeInconsistency)
    assert error.reason == "mime.cte"


@pytest.mark.parametrize("name", ["binary", "8bit", "7bit", "Binary"])
def test_octets_as_they_are_need_no_quirk(name: str) -> None:
    head = f"Content-ID: <p@x>\r\nContent-Transfer-Encoding: {name}".encode()
    assert parts(events(with_part(head, b"\0\xff=3D")))[1][1] == b"\0\xff=3D"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("base64", b"AAA"),
        ("base64", b"AA=A"),
        ("base64", b"AA==AAAA"),
        ("base64", b"AA==\r\nAAAA"),
        ("base64", b"AAA=\r\nAAAA"),
        ("base64", b"AA*A"),
        ("base64", b"===="),
        ("base64", b"AA\0A"),
        ("quoted-printable", b"=G1"),
        ("quoted-printable", b"a="),
        ("quoted-printable", b"\xe6"),
        ("quoted-printable", b"x" * 1_100),
        ("uuencode", b""),
    ],
)
def test_mim_12_what_does_not_decode_is_refused(name: str, body: bytes) -> None:
    head = f"Content-ID: <p@x>\r\nContent-Transfer-Encoding: {name}".encode()
    for size in (1, 10**9):
        error = refusal(with_part(head, body), quirks=frozenset({Quirk.BASE64_PARTS}), size=size)
        assert error.reason == "mime.cte"


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_mim_12_lines_as_long_as_they_may_be_are_decoded(size: int) -> None:
    head = b"Content-ID: <p@x>\r\nContent-Transfer-Encoding: quoted-printable"
    body = b"x" * 997 + b"=  \n" + b"y" * 1_000 + b"\nz=3D"
    data = with_part(head, body)
    read = parts(events(data, size=size, quirks=frozenset({Quirk.BASE64_PARTS})))
    assert read[1][1] == b"x" * 997 + b"y" * 1_000 + b"\nz="


def test_mim_12_a_storm_of_white_space_is_never_collected() -> None:
    head = b"Content-ID: <p@x>\r\nContent-Transfer-Encoding: base64"
    storm = b" \r\n" * 100_000
    parser = MultipartParser(parse_content_type(TYPE), quirks=frozenset({Quirk.BASE64_PARTS}))
    parser.feed(with_part(head, b"").removesuffix(b"\r\n--b--\r\n"))
    tracemalloc.start()
    for _ in range(20):
        assert parser.feed(storm) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(storm)
    encoded = b64encode(b"payload").replace(b"b", b" b\r\n")
    assert (
        parts([PartStarted(1, {}, "p", None, ""), *parser.feed(encoded + b"\r\n--b--")])[0][1]
        == b"payload"
    )


def test_a_large_part_passes_in_constant_memory() -> None:
    parser = MultipartParser(parse_content_type(TYPE))
    parser.feed(MESSAGE.partition(b"payload")[0])
    chunk = b"\r\n--" * (64 * KIB)
    tracemalloc.start()
    total = 0
    for _ in range(100):
        total += sum(len(event.data) for event in parser.feed(chunk) if isinstance(event, PartData))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 99 * len(chunk)
    assert peak < 4 * len(chunk)


def test_the_soap_part_is_bounded() -> None:
    limits = replace(DEFAULT_LIMITS, soap_bytes=4)
    assert events(MESSAGE, limits=limits) == events(MESSAGE)
    error = refusal(MESSAGE.replace(b"<E/>", b"<E />"), limits=limits)
    assert isinstance(error, TransportRefused)
    assert (error.reason, error.status) == ("mime.root", 413)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"application/soap+xml", b"text/xml", "mime.type"),
        (b"Content-Type: application/soap+xml; charset=UTF-8\r\n", b"", "mime.type"),
        (b"UTF-8", b"ISO-8859-1", "mime.charset"),
    ],
)
def test_the_first_part_is_soap_1_2_in_utf_8(old: bytes, new: bytes, reason: str) -> None:
    assert refusal(MESSAGE.replace(old, new, 1)).reason == reason


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"<>",
        b"p1@x",
        b"<p1@x",
        b"p1@x>",
        b"<p 1@x>",
        b"<<p1@x>>",
        b"<p1@x> <q@x>",
        b"<\xe6@x>",
    ],
)
def test_att_08_content_ids_have_one_form(value: bytes) -> None:
    error = refusal(with_part(b"Content-ID: " + value))
    assert isinstance(error, MimeInconsistency)
    assert error.reason == "att.cid"


def test_att_07_two_parts_with_one_content_id() -> None:
    error = refusal(with_part(b"Content-ID: <root@x>"))
    assert isinstance(error, MimeInconsistency)
    assert error.reason == "att.duplicate"


def test_a_bare_content_id_needs_the_quirk() -> None:
    quirks = frozenset({Quirk.BARE_CONTENT_ID})
    assert parts(events(with_part(b"Content-ID: p@x"), quirks=quirks))[1][0] == "p@x"
    assert refusal(with_part(b"Content-ID: root@x"), quirks=quirks).reason == "att.duplicate"


@pytest.mark.parametrize("head", [b"", b"Content-Type: application/gzip"])
def test_a_missing_content_id_needs_the_quirk(head: bytes) -> None:
    data = with_part(head) if head else with_part(b"").replace(b"--b\r\n\r\n\r\n", b"--b\r\n\r\n")
    assert refusal(data).reason == "att.cid"
    quirks = frozenset({Quirk.MISSING_CONTENT_ID})
    assert parts(events(data, quirks=quirks))[1] == (None, b"payload")


def test_the_soap_part_needs_no_content_id_where_start_asks_for_none() -> None:
    """phase4 writes its requests so; nothing refers to the root part (decision record 0005)."""
    data = MESSAGE.replace(b"Content-ID: <root@x>\r\n", b"", 1)
    assert b"root@x" not in data
    without_start = TYPE.partition("; start")[0]
    for size in (1, 10**9):
        found = parts(events(data, size=size, content_type=without_start))
        assert found == [(None, b"<E/>"), ("p1@x", b"payload")]


@pytest.mark.parametrize("start", ["root@x", "<root@x>", "p1@x", "<p1@x>", "", "<>"])
@pytest.mark.parametrize("quirks", [frozenset(), frozenset({Quirk.MISSING_CONTENT_ID})])
def test_att_15_start_names_a_soap_part_that_has_no_content_id(
    start: str, quirks: frozenset[Quirk]
) -> None:
    data = MESSAGE.replace(b"Content-ID: <root@x>\r\n", b"", 1)
    error = refusal(data, content_type=TYPE.replace("<root@x>", start), quirks=quirks)
    assert isinstance(error, MimeInconsistency)
    assert error.reason == "mime.start"


def test_att_08_a_content_id_of_the_soap_part_keeps_its_form() -> None:
    data = MESSAGE.replace(b"<root@x>", b"root@x", 1)
    assert refusal(data, content_type=TYPE.partition("; start")[0]).reason == "att.cid"


@pytest.mark.parametrize("head", [b"", b"Content-Type: application/gzip"])
def test_the_soap_part_without_content_id_excuses_no_payload(head: bytes) -> None:
    data = with_part(head) if head else with_part(b"").replace(b"--b\r\n\r\n\r\n", b"--b\r\n\r\n")
    data = data.replace(b"Content-ID: <root@x>\r\n", b"", 1)
    assert refusal(data, content_type=TYPE.partition("; start")[0]).reason == "att.cid"


def test_att_17_a_part_of_no_octets_in_both_spellings() -> None:
    data = with_part(b"Content-ID: <p@x>", b"")
    assert data.count(b"\r\n\r\n\r\n--b--") == 1
    for spelling in (data, data.replace(b"\r\n\r\n\r\n--b--", b"\r\n\r\n--b--")):
        for size in (1, 10**9):
            assert parts(events(spelling, size=size))[1] == ("p@x", b"")


def test_no_part_at_all() -> None:
    assert refusal(b"--b--\r\n").reason == "mime.delimiter"
    assert refusal(b"").reason == "mime.truncated"


def test_a_refusal_does_not_quote_the_peer() -> None:
    assert "2512489996" not in str(refusal(with_part(b"Content-ID: 2512489996")))
