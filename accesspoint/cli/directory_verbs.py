"""The verbs of the command tree that look somebody up, with their options."""

from typing import Annotated

import typer

from accesspoint.cli.message_verbs import ConfigOption
from accesspoint.cli.partner import Format, FormatOption


def lookup(
    gln: Annotated[str, typer.Argument(metavar="GLN", help="The receiver.")],
    config: ConfigOption = None,
    document: Annotated[
        str,
        typer.Option(
            "--document",
            help="What is to be sent: a name, with version or without, or a DOCUMENTID.",
        ),
    ] = "homecareobservation-message 1.1",
    process: Annotated[
        str | None, typer.Option("--process", help="PROCESSID; default: that of EHMI.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask the network, whatever the node remembers.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Show where messages to a receiver would be sent.

    Every step with its time: name server, publisher, signature, or the memory of the node and how old it is; then
    the address and the certificate. Nothing is sent to the receiver; `accesspoint partner probe` goes on from here.

    \b
    Examples:
      accesspoint lookup 5790000000029                        as the node that runs now would
      accesspoint lookup 5790000000029 --fresh                past its memory
      accesspoint lookup 5790000000029 --document carecommunication-message
      accesspoint lookup 5790000000029 --format json --config accesspoint.toml

    \b
    Exit codes: 0 found, 1 not found or refused, 2 usage, 3 configuration, 5 the directory does not
      answer or no network runs, 7 not signed by whom we trust.
    """
    from accesspoint.cli import lookup as verb

    raise typer.Exit(
        verb.run(
            gln,
            config,
            document=document,
            process=process,
            fresh=fresh,
            as_json=form is Format.JSON,
        )
    )


address = typer.Typer(
    help="Who the right receiver is, by the addressing service.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@address.command("find")
def address_find(
    sor: Annotated[
        list[str] | None, typer.Option("--sor", help="A SOR id; may be given several times.")
    ] = None,
    gp: Annotated[str | None, typer.Option("--gp", help="The ydernummer of a practice.")] = None,
    postal_code: Annotated[
        list[str] | None,
        typer.Option("--postal-code", help="List practices; may be given several times."),
    ] = None,
    patient: Annotated[
        bool,
        typer.Option("--patient", help="The own practice of a patient, read from standard input."),
    ] = False,
    document: Annotated[
        str | None, typer.Option("--document", help="Only who takes this DOCUMENTID.")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Ask the addressing service who the right receiver is.

    A patient number is read from standard input, so that it stands in no history and in no list of processes.
    `accesspoint send FILE --to SOR` asks by itself.

    \b
    Examples:
      accesspoint address find --sor 900000000000024
      accesspoint address find --gp 099999 --format json
      accesspoint address find --postal-code 9990 --postal-code 9991
      accesspoint address find --patient --config accesspoint.toml < number.txt

    \b
    Exit codes: 0 found, 1 nobody is registered, 2 usage, 3 configuration, 4 refused, 5 the service
      does not answer or no network runs, 7 no token was given.
    """
    from accesspoint.cli import address as verb

    raise typer.Exit(
        verb.run(
            config,
            sor=sor or (),
            ydernummer=gp,
            postal_codes=postal_code or (),
            patient=patient,
            document=document,
            as_json=form is Format.JSON,
        )
    )
