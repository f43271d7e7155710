"""Several nodes of one organisation over one PostgreSQL: `python -m tests.nodes.run` kills and pauses them under load."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
