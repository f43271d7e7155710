"""Texts of others as people are shown them: characters that would turn a line around are shown as what they are.

A name with such a control reads as another name, on a page that escapes everything else.

Spec: Unicode Technical Report 36, bidirectional text spoofing.
"""

import re
from typing import Final

_TURNING: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown(value: object) -> object:
    """The same text with a replacement character for each bidirectional control; anything else as it is."""
    if isinstance(value, str) and _TURNING.search(value):
        return _TURNING.sub("\ufffd", value)
    return value
