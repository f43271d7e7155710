"""The branch `partner` of the command tree: what is agreed with each other access point, and whether it works."""

from enum import StrEnum
from typing import Annotated

import typer

from accesspoint.cli.message_verbs import ConfigOption

partner = typer.Typer(
    help="What is agreed with other access points.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="For people, or for programs.")]


@partner.command("list")
def partner_list(config: ConfigOption = None, form: FormatOption = Format.TEXT) -> None:
    """List the partners that the configuration names.

    A partner that only the directory knows gets the default agreement and is not listed.

    \b
    Examples:
      accesspoint partner list --config accesspoint.toml
      accesspoint partner list --format json

    \b
    Exit codes: 0 listed, 3 configuration, 5 no network runs, 7 certificates.
    """
    from accesspoint.cli import partner_show as verb

    raise typer.Exit(verb.list_partners(config, as_json=form is Format.JSON))


@partner.command("show")
def partner_show(
    name: Annotated[
        str, typer.Argument(help="The name in the configuration, a GLN or a party id.")
    ],
    config: ConfigOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Show the effective P-Mode of a partner.

    Each value says where it comes from, each quirk what it permits, each certificate when it ends.

    \b
    Examples:
      accesspoint partner show their-ap --config accesspoint.toml
      accesspoint partner show 5790000000029 --format json

    \b
    Exit codes: 0 shown, 1 no such partner, 3 configuration, 5 no network runs, 7 certificates.
    """
    from accesspoint.cli import partner_show as verb

    raise typer.Exit(verb.show(name, config, as_json=form is Format.JSON))
