"""How well the gates are tested: which modules they are, and which tests have to know every branch of them.

    python -m tests.gates.branches           branches that no test takes
    python -m tests.gates.mutants --sample 40    changes of the code that no test notices

Both ask the tests that mirror the modules, not the played attacks: those would find most of it, too, but slowly.
"""

from collections.abc import Mapping, Sequence
from typing import Final

GATES: Final[Mapping[str, Sequence[str]]] = {
    "G2 MIME": ("envelope/mime.py", "envelope/transfer_encoding.py", "envelope/events.py"),
    "G3 pre-scan": ("envelope/xml.py", "envelope/limits.py"),
    "G4 header": ("envelope/soap.py", "envelope/messaging.py", "envelope/signals.py"),
    "G5 security header": (
        "envelope/security_header.py",
        "envelope/coverage.py",
        "envelope/signed_info.py",
        "envelope/security_token.py",
        "envelope/quirks.py",
    ),
    "G6 signature": (
        "envelope/xmldsig.py",
        "envelope/wsse.py",
        "envelope/verified.py",
        "envelope/selection.py",
    ),
    "G7 key": ("envelope/xmlenc.py", "envelope/key_agreement.py"),
    "G8 parts": ("envelope/parts.py",),
    "G9 decompression": ("envelope/compression.py",),
    "G10 business header": ("envelope/sbdh.py", "envelope/sbd_splitter.py"),
    "receipt check": ("envelope/receipts.py", "envelope/errors.py", "envelope/codes.py"),
    "order and answers": (
        "accesspoint/inbound/reading.py",
        "accesspoint/inbound/receiver.py",
        "accesspoint/inbound/refusal.py",
    ),
}
MODULES: Final = tuple(module for modules in GATES.values() for module in modules)
TESTS: Final[Mapping[str, Sequence[str]]] = {
    "envelope": ("tests/envelope",),
    "accesspoint": ("tests/accesspoint/inbound",),
}
"""The tests that mirror the modules of each package."""
LEFT_OUT: Final = ("tests/envelope/fhir",)
