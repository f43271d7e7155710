"""`python -m accesspoint` and the console script: hand over to the command line."""

import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    from accesspoint.cli.main import run_tree

    sys.exit(run_tree())


if __name__ == "__main__":
    main()
