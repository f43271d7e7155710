"""Only the gates can make evidence: no other module names their proof objects or calls their constructors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("accesspoint", "envelope", "keys")

# Which evidence a module may make, and with which private proof. Each line is a gate; a new one needs a reason.
GATES = {
    "envelope/verified.py": {
        "ParsedUserMessage",
        "AuthenticatedUserMessage",
        "DecryptedUserMessage",
        "PartEvidence",
        "VerifiedUserMessage",
        "ParsedSignal",
        "AuthenticatedSignal",
        "ReceiptEvidence",
    },
    "envelope/wsse.py": {"AuthenticatedUserMessage", "DecryptedUserMessage", "AuthenticatedSignal"},
    "envelope/parts.py": {"PartEvidence", "VerifiedUserMessage"},
    "envelope/receipts.py": {"ReceiptEvidence"},
    "keys/path.py": {"ValidatedCertificate"},
}
EVIDENCE = frozenset(name for names in GATES.values() for name in names)
PROOFS = {"_PROOF", "_Proof"}


def offences(module: str, text: str) -> Iterator[str]:
    """Yield what a module does that only a gate may do."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            named = {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            named = {node.attr}
        elif isinstance(node, ast.Name):
            named = {node.id}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = {node.value}
        else:
            named = set()
        if named & PROOFS and module not in GATES:
            yield f"{module}:{node.lineno} names a proof"
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in EVIDENCE and called not in GATES.get(module, set()):
                yield f"{module}:{node.lineno} makes {called}"


def test_only_gates_make_evidence() -> None:
    found = [
        offence
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for offence in offences(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "fault",
    [
        "from envelope.verified import _PROOF",
        "import envelope.verified as v\nproof = v._PROOF",
        "import envelope.verified as v\nproof = getattr(v, '_PROOF')",
        "from envelope.verified import VerifiedUserMessage\nVerifiedUserMessage(parts=())",
        "import envelope.verified as v\nv.VerifiedUserMessage(parts=())",
        "import keys.path as p\np.ValidatedCertificate()",
    ],
)
def test_a_forger_is_found(fault: str) -> None:
    assert list(offences("accesspoint/inbound/receiver.py", fault))


def test_evidence_cannot_be_made_by_hand() -> None:
    from envelope.errors import LocalProtocolError
    from envelope.verified import ParsedUserMessage

    with pytest.raises(LocalProtocolError):
        ParsedUserMessage(user_message=None, document=None, proof=object())  # type: ignore[arg-type]
