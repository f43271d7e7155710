"""`accesspoint config check`: every problem of a configuration file, with its line, and nothing started."""

import sys
from pathlib import Path

from accesspoint.cli.current import load_given
from accesspoint.problems import ExitStatus


def run(path: Path) -> int:
    """Check the file; the exit status. Raises `ConfigurationProblem` with all its problems."""
    configuration = load_given(path, certificates=True, keys=True)
    runs = "+".join(configuration.stations.runs)
    sys.stdout.write(
        f"{path}: no problems. {configuration.label} runs {runs} for GLN {configuration.served[0].gln}"
        f" in profile {configuration.profile}.\n"
    )
    return ExitStatus.OK
