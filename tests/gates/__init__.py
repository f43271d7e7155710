"""How well the gates are tested: which modules they are, and which tests have to know every branch of them.

    python -m tests.gates.branches               branches that no test takes
    python -m tests.gates.mutants --sample 40    changes of the code that no test notices

Both ask the tests that mirror the modules, not the played attacks: those would find most of it, too, but slowly.
"""

from collections.abc import Mapping, Sequence
from typing import Final

_ENVELOPE: Final[Mapping[str, Sequence[str]]] = {
    "mime": ("mime", "mime_content_type", "mime_writer"),
    "transfer_encoding": ("mime",),
    "xml": ("xml",),
    "soap": ("soap",),
    "messaging": ("messaging",),
    "signals": ("signals", "receipts"),
    "security_header": ("security_header", "wsse"),
    "lifetime": ("lifetime",),
    "coverage": ("coverage", "security_header"),
    "signed_info": ("signed_info", "xmldsig"),
    "security_token": ("security_token", "wsse"),
    "xmldsig": ("xmldsig", "signed_info", "wsse"),
    "wsse": ("wsse", "receipts"),
    "verified": ("verified", "receipts", "wsse"),
    "selection": ("selection",),
    "xmlenc": ("xmlenc", "wsse"),
    "key_agreement": ("key_agreement",),
    "parts": ("parts",),
    "compression": ("compression",),
    "sbdh": ("sbdh", "sbdh_schema"),
    "sbd_splitter": ("sbdh", "sbdh_hostile"),
    "receipts": ("receipts",),
}
_INBOUND: Final[Mapping[str, Sequence[str]]] = {
    "reading": ("reading", "receiver", "early_quirks"),
    "receiver": (
        "clock", "dispatch", "early_quirks", "pmodes", "reading", "receiver", "refusal", "several_nodes",
    ),
    "repetition": ("repetition",),
    "inflating": ("inflating",),
    "refusal": ("refusal",),
    "refusal_allowance": ("refusal",),
}  # fmt: skip
GATES: Final[Mapping[str, Sequence[str]]] = {
    f"envelope/{module}.py": tuple(
        f"tests/envelope/test_{name}.py" for name in (*names, "rare_branches")
    )
    for module, names in _ENVELOPE.items()
} | {
    f"accesspoint/inbound/{module}.py": tuple(
        f"tests/accesspoint/inbound/test_{name}.py" for name in names
    )
    for module, names in _INBOUND.items()
}
"""The modules of the gates, in their order, and the tests that mirror each."""
