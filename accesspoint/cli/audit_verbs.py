"""The branch `audit` of the command tree: who looked at what and who did what, written out and held to its chain."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

audit = typer.Typer(
    help="Who looked at what, who did what, and what was deleted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="accesspoint.toml of the node; it may run.")
]


@audit.command("export")
def audit_export(
    config: ConfigOption,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Lines from this time on, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", help="Lines before this time, UTC.")
    ] = None,
    person: Annotated[
        bool,
        typer.Option(
            "--person",
            help="Only lines about the person whose patient number stands on standard input.",
        ),
    ] = False,
) -> None:
    """Write the audit log on standard output, one line of JSON each.

    A person stands in it by a digest under the key of payloads; the patient number is asked for on standard input,
    because others can read arguments. `digest` is the SHA-256 of the fields before it as a JSON array without spaces.

    \b
    Examples:
      accesspoint audit export --config accesspoint.toml > audit.jsonl
      accesspoint audit export --config accesspoint.toml --since 2026-11-01 --until 2026-12-01
      accesspoint audit export --config accesspoint.toml --person < number.txt

    \b
    Exit codes: 0 written, 2 no patient number, 3 configuration or unusable store,
      70 the database cannot be read.
    """
    from accesspoint.cli import audit as verb

    raise typer.Exit(verb.export(config, since=since, until=until, person=person))


@audit.command("verify")
def audit_verify(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="accesspoint.toml of the node; it may run."),
    ] = None,
    exported: Annotated[
        Path | None,
        typer.Option("--export", help="An export: alone, or to hold the node's log against."),
    ] = None,
) -> None:
    """Find a line that was taken out, changed, moved or cut off.

    Whoever can rewrite the whole database can write another chain; an export kept elsewhere shows that.

    \b
    Examples:
      accesspoint audit verify --config accesspoint.toml
      accesspoint audit verify --config accesspoint.toml --export november.jsonl
      accesspoint audit verify --export november.jsonl

    \b
    Exit codes: 0 whole, 1 a line is missing or changed, or the export holds none, 2 usage,
      3 configuration or unusable store, 70 the database cannot be read.
    """
    from accesspoint.cli import audit as verb

    if config is None and exported is None:
        raise typer.BadParameter("give --config, --export, or both.")
    raise typer.Exit(verb.verify(config, exported))
