"""What the parts of one message may grow to together, whether anybody wants them or not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from as4_wire import gzip

from accesspoint.inbound.inflating import inflate_all
from accesspoint.store.payloads import PayloadStore, TemporaryPayload
from envelope.errors import DecompressionFailure
from envelope.limits import DEFAULT_LIMITS
from envelope.verified import VerifiedPart

LIMITS = replace(DEFAULT_LIMITS, sbd_bytes=100_000)


def parts(
    store: PayloadStore, *contents: bytes, compressed: bool
) -> tuple[Any, dict[str, TemporaryPayload]]:
    files, listed = {}, []
    for number, content in enumerate(contents):
        file = store.temporary()
        file.write(gzip(content) if compressed else content)
        files[str(number)] = file
        listed.append(VerifiedPart(str(number), "text/plain", compressed, file.size, b""))
    return SimpleNamespace(parts=tuple(listed)), files


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_parts_that_fit_alone_and_not_together(
    tmp_path: Path, keep: bool, compressed: bool
) -> None:
    store = PayloadStore(tmp_path / "payloads")
    contents = [bytes(range(256)) * 300, b"b" * 23_200]
    message, files = parts(store, *contents, compressed=compressed)
    kept = inflate_all(message, files, LIMITS, keep=keep)
    assert kept == (contents if keep else [b"", b""])
    message, files = parts(store, b"a" * 60_000, b"b" * 60_000, compressed=compressed)
    with pytest.raises(DecompressionFailure) as refused:
        inflate_all(message, files, LIMITS, keep=keep)
    assert refused.value.reason == "gzip.limit"
    store.close()
