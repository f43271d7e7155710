"""The verb `explain` of the command tree, with its options."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer


def explain(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Captured bytes; `-` reads standard input.")
    ],
    key: Annotated[
        Path | None,
        typer.Option("--key", help="To decrypt: a key directory, or X.key.pem beside X.cert.pem."),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", help="Certificates to trust; may be given several times."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="The message, as it was sent, that a receipt should answer."
        ),
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option("--content-type", help="Of the body, where the capture has no head."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", help="Judge certificates at this time, UTC, where nothing says one."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="text, json or html.")] = "text",
    show_payload: Annotated[
        bool,
        typer.Option("--show-payload", help="Print payloads too, which may be about a patient."),
    ] = False,
) -> None:
    """Say what captured bytes are, and what is broken.

    Takes an HTTP request or answer, a multipart, a SOAP envelope, a StandardBusinessDocument, a FHIR
    message, an answer of an SMP, a delivery event. Of anything else it says what it is and judges nothing. Sends
    nothing and asks nobody.

    \b
    Examples:
      accesspoint explain request.bin --key ./keys --trust partner-ca.pem
      accesspoint explain receipt.xml --against message.bin --format html

    \b
    Exit codes: 0 nothing broken was found, 1 the file cannot be read, 2 usage, or it is no message,
      4 a rule is broken, 7 keys or certificates cannot be read.
    Does not check: revocation, and agreements with partners.
    """
    from accesspoint.cli import explain as verb

    raise typer.Exit(
        verb.run(
            file,
            key=key,
            trust=trust or [],
            against=against,
            content_type=content_type,
            at=at,
            format_=format_,
            show_payload=show_payload,
        )
    )
