"""Lets the tests of this folder import the programs of `.ci`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / ".ci"))
