"""Long runs of two access points under kills and network faults: `python -m tests.soak.kills`, `.run`, `.restart`.

Each program stands alone (a clone and the test dependencies are enough), shows where it is, prints a table,
and ends with 1 when anything was lost, doubled, not reported, or does not verify.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
