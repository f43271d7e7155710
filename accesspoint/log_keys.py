"""The keys that a line of the log may have: what an event may tell is a list, not whatever somebody thought of.

A value under any other key is written as `[removed]`, inside a value too: who adds an event adds its keys here,
where a reviewer sees them, and a test holds this table against every event in the program. A key is here when its
value is ours (a number, a slug, an id that we made) or a short text that names a party or a machine. No key is for
people, payloads or what anybody wrote; the scrubber stands behind the list for what slips into the texts.
"""

from typing import Final

FRAME: Final = frozenset(
    ("event", "level", "at", "logger", "text", "error", "reason", "frames", "node")
)
"""What the log itself writes on a line; `text` is the words of another library."""

EVENTS: Final = frozenset(
    (
        # What it is about, by an id of ours or of the protocol
        "client_id", "envelope", "event_id", "handover", "message", "message_id", "position", "rule",
        # Who is meant
        "certificate", "named", "partner", "party", "peer", "scope", "target", "url",
        # What happened
        "action", "code", "detail", "new", "path", "problem", "refused", "stage", "state", "status",
        # How much
        "attempts", "bytes", "count", "free_bytes", "input_bytes", "messages", "payloads", "reserve_bytes", "rows",
        "seconds", "violations",
        # What was refused, told from everything else and saying nothing of it
        "input_sha256",
        # The event that a line about a storm counts
        "of",
    )
)  # fmt: skip
"""What events of ours may tell."""

KEYS: Final = FRAME | EVENTS
