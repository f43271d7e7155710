"""Fuzzing: whatever octets arrive, a reader gives a value or refuses them as the peer's fault, within its limits.

`targets` says what is fed and which refusals are right, `seeds` builds genuine documents with the project's own
builders, `mutation` changes them where it hurts, `run` lets atheris search for minutes or days:

    python -m tests.fuzz.run [TARGET ...] --seconds 60

What breaks a target is kept below `crashes/TARGET` and replayed for ever as an ordinary test.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

CRASHES = Path(__file__).parent / "crashes"
WHERE_ATHERIS_IS = "it has wheels for Linux on x86-64, Python 3.11 to 3.13"
