"""The branch `config` of the command tree: what is wrong in a configuration file, and what it comes to."""

from pathlib import Path
from typing import Annotated

import typer

settings = typer.Typer(help="The configuration file.", no_args_is_help=True, rich_markup_mode=None)


@settings.command("check")
def config_check(
    config: Annotated[Path, typer.Option("--config", "-c", help="The file to check.")] = Path(
        "accesspoint.toml"
    ),
) -> None:
    """Check a configuration file and start nothing.

    \b
    Examples:
      accesspoint config check
      accesspoint config check --config /etc/accesspoint/accesspoint.toml

    \b
    Exit codes: 0 no problems, 3 problems, each with its line.
    Does not check: what is in our own keys and certificates (only that they are closed to
      others), anchors, and whether ports are free.
    """
    from accesspoint.cli import config as verb

    raise typer.Exit(verb.run(config))


@settings.command("show")
def config_show(
    config: Annotated[Path, typer.Option("--config", "-c", help="The file to show.")] = Path(
        "accesspoint.toml"
    ),
    given: Annotated[
        bool, typer.Option("--given", help="Only what the file or the environment says.")
    ] = False,
) -> None:
    """Show every value that is in force, and where it comes from.

    A line of the file, a variable of the environment, or `default`. Paths are whole. Nothing secret is shown: a
    password in an address is masked, and files of keys and secrets are named, never read.

    \b
    Examples:
      accesspoint config show
      accesspoint config show --given --config /etc/accesspoint/accesspoint.toml

    \b
    Exit codes: 0 shown, 3 the file has problems.
    """
    from accesspoint.cli import config_show as verb

    raise typer.Exit(verb.run(config, given=given))
