import asyncio
import io
import json
import logging
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accesspoint.clock import ManualClock
from accesspoint.log import (
    LONGEST_TEXT,
    Format,
    catch_crashes,
    configure,
    holds_patient_number,
    logger,
    scrub,
)
from accesspoint.log_storm import MOST_LINES

CPR = "2512489996"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("debug", Format.JSON, stream=stream, clock=ManualClock(START))
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("signxml", "accesspoint"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate, library.disabled = True, False
        library.setLevel(logging.NOTSET)


@pytest.fixture
def every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second net is tried as if the first one, the list of keys, let everything through."""

    class Everything:
        def __contains__(self, key: str) -> bool:
            return not key.startswith("_")

    monkeypatch.setattr("accesspoint.log.KEYS", Everything())


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object(lines: Lines) -> None:
    logger("outbound").info("message_sent", message="01JD", attempts=3, new=False)
    assert lines() == [
        {
            "event": "message_sent",
            "message": "01JD",
            "attempts": 3,
            "new": False,
            "level": "info",
            "at": "2026-11-21T12:00:00.000Z",
        }
    ]


def test_bound_context_goes_with_every_event(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(node="r-1", detail=f"for {CPR}"):
        logger("inbound").warning("message_refused")
    assert lines()[0]["node"] == "r-1"
    assert CPR not in str(lines())


@pytest.mark.parametrize(
    "text",
    [
        "2512489996", "251248-9996", "251248 9996", "CPR:2512489996", "cpr2512489996x", "pid=251248-9996;",
        "8512489996", "urn:oid:1.2.208.176.1.2|2512489996", '"2512489996"', "/Patient?identifier=2512489996&x",
        "0101804AA1", "a251248-9996b",
    ],
)  # fmt: skip
def test_patient_numbers_are_cut_out(text: str) -> None:
    cleaned = scrub(f"about {text} here")
    assert "[removed number]" in cleaned
    assert "9996" not in cleaned
    assert "AA1" not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "5790000000012", "0088:5790000000029", "306861000016006", "1216891000016007",
        "2026-11-21T10:41:07.123456Z", "2026112110", "1764000000", "9999999999", "127.0.0.1:65535",
        "c4b8d3ea-b187-426b-be77-bffd9f593d84", "25124899-9612-4abc-8def-251248999612",
        "cb70a4dc-74e3-47a5-a9b0-c1212258602c", "82ea4b18-ff2a-2110-9218-0c1506928481",
        "01JD2512489996ABCDEFGHJKMN", "b94d2512489996308f7a5380ee9088f7ace2efcde9", "EBMS:0101", "UI:DK-O:G:a262",
    ],
)  # fmt: skip
def test_identifiers_that_are_no_patient_numbers_stay_readable(text: str) -> None:
    assert scrub(text) == text


@given(st.dates(datetime(1900, 1, 1).date(), datetime(2057, 12, 31).date()), st.integers(0, 9999))  # noqa: DTZ001
def test_no_date_of_birth_with_a_serial_number_survives(day: Any, serial: int) -> None:
    written = f"{day:%d%m%y}", f"{serial:04}"
    for text in ("".join(written), "-".join(written)):
        assert scrub(f"x {text}.") == "x [removed number]."


@given(st.uuids())
@example(uuid.UUID("25124899-9612-4abc-8def-251248999612"))
@example(uuid.UUID("0b6d8a40-6f1e-4a2c-9c55-2512489996ab"))
@example(uuid.UUID("0b6d8a40-6f1e-4a2c-9c55-ab2512489996"))
def test_uuids_stay_readable(value: uuid.UUID) -> None:
    assert scrub(str(value)) == str(value)


TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"got {TOKEN}", "c2lnbmF0dXJl"),
        (f"Authorization: Bearer {TOKEN}", "eyJ"),
        ("authorization: bearer abcdefgh.ijk", "abcdefgh"),
        ("Basic dXNlcjpwYXNz", "dXNl"),
        (f"key {PEM} end", "MIIE"),
        (PEM[:45], "MIIE"),
    ],
)
@pytest.mark.attack("LOG-05")
def test_tokens_and_keys_are_cut_out(text: str, secret: str) -> None:
    assert secret not in scrub(text)
    assert "[removed" in scrub(text)


@pytest.mark.parametrize(
    "hostile", ["a\r\nb", "\x1b[2Jgone", "a\x00b", "a\u2028b", "a\x85b", "\u202etxt.exe", "\x9b31m"]
)
@pytest.mark.attack("LOG-01")
def test_log_forging_by_control_characters_is_refused(hostile: str) -> None:
    cleaned = scrub(hostile)
    assert cleaned.isprintable()
    assert len(cleaned.splitlines()) == 1


@given(st.text(max_size=3000))
def test_a_text_is_one_printable_line_of_bounded_length(text: str) -> None:
    cleaned = scrub(text)
    assert len(cleaned.splitlines()) <= 1
    assert "\x1b" not in cleaned
    assert len(cleaned) <= 6 * LONGEST_TEXT + 1


@given(st.integers(LONGEST_TEXT - 30, LONGEST_TEXT + 5))
def test_the_cut_of_a_long_text_leaves_no_half_number(padding: int) -> None:
    cleaned = scrub("." * padding + CPR + "." * 100)
    assert "2512" not in cleaned


@pytest.mark.usefixtures("every_key")
def test_values_that_may_hold_a_message_are_never_written(lines: Lines) -> None:
    class Bundle:
        def __repr__(self) -> str:
            return f"Bundle({CPR})"

    logger("test").error(
        "x",
        raw=CPR.encode(),
        bundle=Bundle(),
        failed=ValueError(CPR),
        payload="<Patient/>",
        access_token="short",
        number=int(CPR),
        nested={"a": [f"{CPR}", {CPR: 1}], "deep": {"b": {"c": {"d": {"e": CPR}}}}},
    )
    (line,) = lines()
    assert CPR not in json.dumps(line)
    assert line["raw"] == "[10 bytes]"
    assert line["bundle"] == "Bundle"
    assert line["failed"] == "ValueError"
    assert line["payload"] == "[removed 10 characters]"
    assert line["access_token"] == "[removed 5 characters]"
    assert line["number"] == "[removed number]"


@pytest.mark.usefixtures("every_key")
def test_measures_and_times_stay_numbers(lines: Lines) -> None:
    logger("test").info(
        "x", payload_bytes=2512489996, at_time=START, waited_seconds=1.5, attempt=101234567
    )
    (line,) = lines()
    assert line["payload_bytes"] == 2512489996
    assert line["at_time"] == "2026-11-21T12:00:00+00:00"
    assert line["waited_seconds"] == 1.5
    assert line["attempt"] == 101234567


def test_an_exception_is_type_reason_and_frames_without_its_text(lines: Lines) -> None:
    class RefusedError(Exception):
        reason = "sig.value"

    def inner(patient: str) -> None:
        raise RefusedError(f"patient {patient}")

    try:
        inner(CPR)
    except RefusedError:
        logger("test").exception("message_refused")
    (line,) = lines()
    assert (line["error"], line["reason"]) == ("RefusedError", "sig.value")
    assert line["frames"][-1].endswith(" inner")
    assert CPR not in json.dumps(line)
    assert "patient" not in json.dumps(line)


def test_other_libraries_go_through_the_same_chain(lines: Lines) -> None:
    logging.getLogger("aiohttp.server").warning("bad request from %s", CPR)
    logging.getLogger("aiohttp.access").info("GET /%s", CPR)
    logging.getLogger("somebody").debug(CPR)
    try:
        raise ValueError(CPR)
    except ValueError:
        logging.getLogger("somebody.else").exception("it broke")
    first, second = lines()
    assert first["event"] == "library"
    assert first["logger"] == "aiohttp.server"
    assert first["text"] == "bad request from %s"
    assert second["error"] == "ValueError"
    assert CPR not in json.dumps([first, second])


def test_a_key_that_is_not_on_the_list_is_removed_with_what_stands_under_it(lines: Lines) -> None:
    unlisted: dict[str, Any] = {f"of {CPR}": 1, "note": "Anna Hansen", "named": {"who": "Anna"}}
    logger("test").info("x", **unlisted)
    (line,) = lines()
    assert line["note"] == line["[removed]"] == line["named"]["who"] == "[removed]"
    assert "Anna" not in json.dumps(line)
    assert CPR not in json.dumps(line)


@pytest.mark.attack("LOG-04")
@pytest.mark.parametrize(
    "name", ["aiohttp.access", "aiohttp.server", "asyncio", "asyncpg", "urllib3", "signxml", "new"]
)
def test_a_library_forced_to_debug_says_no_more(lines: Lines, name: str) -> None:
    library = logging.getLogger(name)
    before = library.level, library.propagate, library.disabled
    library.setLevel(logging.DEBUG)
    library.propagate, library.disabled = True, False
    try:
        library.debug(f"name Hansen, number {CPR}")
        library.info("patient %s", "Hansen")
        library.error("patient %s of %s", "Hansen", CPR)
        library.error("patient %s of %s", "Hansen")  # which cannot be filled in
    finally:
        library.level, library.propagate, library.disabled = before
    assert "Hansen" not in json.dumps(lines())
    assert CPR not in json.dumps(lines())
    assert len(lines()) == (0 if name == "signxml" else 2)


@pytest.mark.attack("LOG-02")
def test_a_storm_is_some_lines_and_a_count_of_the_others(stream: io.StringIO, lines: Lines) -> None:
    clock = ManualClock(START)
    configure("info", Format.JSON, stream=stream, clock=clock)
    refusals = 10_000
    for _ in range(refusals):
        logger("test").warning("as4.in.refused", reason="sig.value")
    logger("test").info("as4.in.duplicate")
    clock.advance(timedelta(seconds=1))
    logger("test").warning("as4.in.refused", reason="sig.value")
    for handler in logging.getLogger().handlers:
        handler.close()

    written = lines()
    refused = [line for line in written if line["event"] == "as4.in.refused"]
    told = [line for line in written if line["event"] == "repeated"]
    assert len(refused) == MOST_LINES + 1
    assert len(refused) + sum(line["count"] for line in told) == refusals + 1
    assert {line["of"] for line in told} == {"as4.in.refused"}
    assert sum(line["event"] == "as4.in.duplicate" for line in written) == 1


@pytest.mark.attack("LOG-02")
def test_the_rest_of_a_storm_is_told_when_nothing_else_happens(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[threading.Timer] = []
    with monkeypatch.context() as patch:
        # The second begins when the storm is over, however long that takes to write.
        patch.setattr(threading.Timer, "start", lambda timer: begun.append(timer))
        for _ in range(2 * MOST_LINES):
            logging.getLogger("aiohttp.server").error("Error handling request")
    (second,) = begun
    second.start()
    deadline = time.monotonic() + 10
    while not (told := [line for line in lines() if line["event"] == "repeated"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [line["count"] for line in told] == [MOST_LINES]
    assert told[0]["of"].startswith("aiohttp.server:")


def test_a_crash_is_logged_without_its_text(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    catch_crashes()

    def fail() -> None:
        raise ValueError(f"patient {CPR}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, None)
    first, second = lines()
    assert first["event"] == second["event"] == "crashed"
    assert first["error"] == "ValueError"
    assert second["frames"][-1].endswith(" fail")
    assert "patient" not in json.dumps([first, second])


def test_signxml_says_nothing_at_any_level(lines: Lines) -> None:
    logging.getLogger("signxml").critical("verified %s", CPR)
    logging.getLogger("signxml.verifier").critical("verified %s", CPR)
    assert lines() == []


async def test_a_lost_task_is_told_without_its_exceptions_text(lines: Lines) -> None:
    loop = asyncio.get_running_loop()
    loop.call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": ValueError(f"patient {CPR}")}
    )
    (line,) = lines()
    assert line["text"] == "Task exception was never retrieved"
    assert line["error"] == "ValueError"
    assert "patient" not in json.dumps(line)


def test_warnings_are_captured(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(f"about {CPR}", stacklevel=1)
    logging.captureWarnings(False)
    assert "[removed number]" in lines()[0]["text"]


def test_the_console_form_is_scrubbed_too(stream: io.StringIO) -> None:
    configure(
        "info", Format.CONSOLE, stream=stream, clock=ManualClock(START + timedelta(seconds=1))
    )
    logger("test").info("message_sent", detail=f"for {CPR}\x1b[2J\nforged=1")
    logger("test").debug("not_at_this_level")
    text = stream.getvalue()
    assert CPR not in text
    assert "\x1b[2J" not in text
    assert text.count("\n") == 1
    assert "message_sent" in text


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="no log level"):
        configure("loud")


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@pytest.mark.attack("LOG-01")
@pytest.mark.usefixtures("every_key")
def test_whatever_is_logged_is_one_json_line(stream: io.StringIO, value: object) -> None:
    stream.seek(0)
    stream.truncate()
    logger("test").info("x", value=value)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "x"


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("patient 251248-9996", True),
        ("2512489996", True),
        ("id 851248-9996", True),
        # There is no such day.
        ("310248-9996", False),
        ("5790009990010", False),
        ("ab251248-9996-4a2c-9c55-7f10c1a9d001", False),
        ("0b6d8a40-6f1e-4a2c-9c55-a2512489996f", False),
        ("x" * 5_000 + " 251248-9996", True),
    ],
)
def test_a_text_of_any_length_is_searched_for_patient_numbers(text: str, held: bool) -> None:
    assert holds_patient_number(text) is held
