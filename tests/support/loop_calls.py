"""What the thread of the event loop does itself, as the interpreter tells it."""

import sys
from collections.abc import Coroutine
from types import FrameType
from typing import Any


async def called_on_the_loop(errand: Coroutine[Any, Any, Any]) -> set[str]:
    """The names of all functions that the thread of the event loop ran itself."""
    called: set[str] = set()

    def look(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.add(frame.f_code.co_name)

    sys.setprofile(look)
    try:
        await errand
    finally:
        sys.setprofile(None)
    return called
