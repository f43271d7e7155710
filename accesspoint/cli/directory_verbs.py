"""The verbs of the command tree that look somebody up, with their options."""

from typing import Annotated

import typer

from accesspoint.cli.message_verbs import ConfigOption
from accesspoint.cli.partner import Format, FormatOption


def lookup(
    gln: Annotated[str, typer.Argument(metavar="GLN", help="The receiver.")],
    config: ConfigOption = None,
    document: Annotated[
        str | None,
        typer.Option("--document", help="DOCUMENTID to look up; default: acknowledgements."),
    ] = None,
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
