"""The verb `validate` of the command tree, with its options."""

from typing import Annotated

import typer


def validate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A message; `-` reads standard input.")
    ],
    received: Annotated[
        bool,
        typer.Option(
            "--received", help="Judge as who received it: some rules bind the sender alone."
        ),
    ] = False,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Hold a MedCom FHIR message against the named rules.

    Takes JSON or XML, or a StandardBusinessDocument around one. Says what the message is, from whom to whom, and of
    each broken rule the layer, the place, MedCom's own id of it and what to do. The patient's number is not shown.
    Sends nothing and asks nobody; `accesspoint docs messages` lists the rules.

    \b
    Examples:
      accesspoint validate message.json
      accesspoint validate envelope.xml --received --format json

    \b
    Exit codes: 0 no rule is broken, or only such as warn; 1 the file cannot be read, 2 usage,
      4 a rule is broken.
    Does not check: that a code list of elsewhere has the code, and what a certified validator
    checks beside.
    """
    from accesspoint.cli import validate as verb

    raise typer.Exit(verb.run(file, received=received, format_=format_))
