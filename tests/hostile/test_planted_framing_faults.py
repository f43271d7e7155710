"""The suite can go red below the envelope, too: without a check of HTTP, of MIME or of gzip a case no longer passes."""

from collections.abc import Callable
from typing import Any

import pytest
from as4_arena import Arena
from as4_wire import gzip

from accesspoint.as4.server import As4Server
from envelope.compression import Decompressor
from envelope.mime import MultipartParser, parse_content_type
from tests.hostile.test_planted_faults import case, nothing

Patch = pytest.MonkeyPatch


def no_http_check(patch: Patch) -> None:
    patch.setattr(
        As4Server,
        "_check_http",
        lambda _server, request: parse_content_type(request.headers["Content-Type"]),
    )


def no_end_of_parts(patch: Patch) -> None:
    patch.setattr(MultipartParser, "close", lambda _parser: [])


def no_epilogue_check(patch: Patch) -> None:
    patch.setattr(MultipartParser, "_check_epilogue", nothing)


def no_growth_limit(patch: Patch) -> None:
    def count(decompressor: Decompressor, size: int) -> None:
        decompressor._given += size

    patch.setattr(Decompressor, "_count", count)


def no_end_of_stream(patch: Patch) -> None:
    patch.setattr(Decompressor, "finish", nothing)


@pytest.mark.parametrize(
    ("fault", "file", "name", "arguments"),
    [
        (no_http_check, "wrong_framing", "test_compressed_request", ()),
        (no_end_of_parts, "wrong_framing", "test_missing_end_boundary", ()),
        (no_epilogue_check, "wrong_framing", "test_text_after_the_end", ("text",)),
        (no_growth_limit, "damaged_gzip", "test_gzip_bomb", ()),
        (
            no_end_of_stream,
            "damaged_gzip",
            "test_not_one_gzip_member",
            (lambda data: gzip(data)[:-1], "truncated"),
        ),
    ],
)
async def test_case_goes_red(
    arena: Arena,
    monkeypatch: Patch,
    fault: Callable[[Patch], None],
    file: str,
    name: str,
    arguments: tuple[Any, ...],
) -> None:
    function = case(file, name, *arguments)
    await arena.node.idle()
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            await function(arena)
        await arena.node.idle()
