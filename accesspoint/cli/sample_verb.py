"""The verb `sample` of the command tree, with its options."""

from typing import Annotated

import typer


def sample(
    name: Annotated[
        str | None, typer.Argument(help="Which one: see `accesspoint sample --list`.")
    ] = None,
    list_them: Annotated[
        bool, typer.Option("--list", help="Say which samples there are, and end.")
    ] = False,
    xml: Annotated[bool, typer.Option("--xml/--json", help="The form it is written in.")] = False,
) -> None:
    """Make a MedCom FHIR message about nobody, to send.

    It is valid, has ids of its own at every call, and goes from the municipality to the clinic of the network that
    `accesspoint dev` and `accesspoint demo --keep` run. The patient is a national test person.

    \b
    Examples:
      accesspoint sample hco-new > message.json         then: accesspoint send message.json
      accesspoint sample cc-new --xml > message.xml
      accesspoint sample --list

    \b
    Exit codes: 0 written, 2 usage or no such sample.
    """
    from accesspoint.cli import sample as verb

    raise typer.Exit(verb.run(name, list_them=list_them, wire="xml" if xml else "json"))
