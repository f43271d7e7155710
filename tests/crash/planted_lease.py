"""A pytest plugin that plants one fault: a result is stored whoever holds the message by now, and whatever the claim."""

from typing import Any

import accesspoint.store.messages as messages

_advance = messages.advance


async def advance_unfenced(*arguments: Any, **options: Any) -> None:
    """Advance without the fence."""
    await _advance(*arguments, **{**options, "fenced": False})


messages.advance = advance_unfenced
