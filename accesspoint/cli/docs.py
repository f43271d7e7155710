"""`accesspoint docs`: a page of the manual that came with this program."""

import sys

from accesspoint.docs import read_page, topics
from accesspoint.problems import ExitStatus


def run(topic: str | None) -> int:
    """Print one page, or which pages there are; the exit status."""
    if topic is None:
        sys.stdout.write("".join(f"{name}\n" for name in topics()))
        return ExitStatus.OK
    try:
        sys.stdout.write(read_page(topic))
    except KeyError:
        sys.stderr.write(f"no page is called {topic}; there are: {', '.join(topics())}\n")
        return ExitStatus.USAGE
    return ExitStatus.OK
