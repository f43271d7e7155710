"""The branch `partner` of the command tree: what is agreed with each other access point, and whether it works."""

from enum import StrEnum
from typing import Annotated

import typer

from accesspoint.cli.message_verbs import ConfigOption
from envelope.pmode import Generation

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

    Each value says where it comes from, each quirk what it permits, each certificate when it ends. A receiver that
    only the directory knows, such as those of the demo network, is no partner: `accesspoint partner probe GLN`.

    \b
    Examples:
      accesspoint partner show their-ap --config accesspoint.toml
      accesspoint partner show their-ap --format json

    \b
    Exit codes: 0 shown, 1 no such partner, 3 configuration, 5 no network runs, 7 certificates.
    """
    from accesspoint.cli import partner_show as verb

    raise typer.Exit(verb.show(name, config, as_json=form is Format.JSON))


@partner.command("migrate")
def partner_migrate(
    name: Annotated[
        str, typer.Argument(help="The name in the configuration, a GLN or a party id.")
    ],
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build, sign, encrypt and read back; send nothing.")
    ] = False,
    to: Annotated[
        Generation | None, typer.Option(help="The generation; from the partner's key unless given.")
    ] = None,
    document: Annotated[
        str | None, typer.Option(help="The DOCUMENTID whose endpoint is looked up.")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Rehearse a partner's move to eDelivery AS4 2.0.

    Messages are made under both generations with the real certificates and read back. What is missing is told,
    and whose it is: our keys, the partner's certificates, its endpoint in the directory. Nothing is sent. The
    demo network configures no partners, so there is nobody to rehearse with on it.

    \b
    Examples:
      accesspoint partner migrate their-ap --dry-run --config accesspoint.toml
      accesspoint partner migrate their-ap --dry-run --to 2.0-p256 --format json

    \b
    Exit codes: 0 ready, 1 something is missing, 2 usage, 3 configuration, 7 certificates.
    """
    from accesspoint.cli import partner_migrate as verb

    raise typer.Exit(
        verb.migrate(
            name, config, dry_run=dry_run, to=to, document=document, as_json=form is Format.JSON
        )
    )


@partner.command("probe")
def partner_probe(
    name: Annotated[
        str, typer.Argument(help="The name in the configuration, a party id, or any GLN.")
    ],
    config: ConfigOption = None,
    document: Annotated[
        str | None,
        typer.Option("--document", help="DOCUMENTID to look up; default: acknowledgements."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, max=600, help="How long each hop may take.")
    ] = 10.0,
    form: FormatOption = Format.TEXT,
) -> None:
    """Walk the way to a partner hop by hop.

    Look-up, name, TCP, TLS, certificate, agreement, ping: it stops at the hop that does not hold, and says
    whose that is and what to write. The ping goes to the test service, which delivers nothing.

    \b
    Examples:
      accesspoint partner probe 5790000000029                         the clinic of the demo network
      accesspoint partner probe their-ap --config accesspoint.toml
      accesspoint partner probe 5790000000029 --format json

    \b
    Exit codes: 0 every hop holds, 1 look-up failed, 2 usage, 3 configuration, 4 refused by peer,
      5 not reachable or no network runs, 6 timed out, 7 trust.
    """
    from accesspoint.cli import partner_probe as verb

    raise typer.Exit(
        verb.run(name, config, document=document, seconds=seconds, as_json=form is Format.JSON)
    )
