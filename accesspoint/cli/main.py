"""The command tree. Nothing heavy is imported before a verb runs, so that help and mistyped commands answer at once."""

import codecs
import io
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from accesspoint import __version__
from accesspoint.cli.audit_verbs import audit
from accesspoint.cli.cert import cert
from accesspoint.cli.config_verbs import settings
from accesspoint.cli.conformance_verbs import conformance
from accesspoint.cli.directory_verbs import address, lookup
from accesspoint.cli.explain_verb import explain
from accesspoint.cli.message_verbs import ConfigOption, acknowledge, messages
from accesspoint.cli.partner import partner
from accesspoint.cli.sample_verb import sample
from accesspoint.cli.validate_verb import validate
from accesspoint.process import refuse_keys_among
from envelope.pmode import Generation

app = typer.Typer(
    name="accesspoint",
    help="EHMI eDelivery access point: AS4, ehmiSBDH and delivery status for MedCom FHIR messages.",
    no_args_is_help=True,
    add_completion=True,
    # Plain help keeps the lines of the examples whole, and loads in half the time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
network = typer.Typer(
    help="The EHMI network in miniature.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(address, name="address")
app.add_typer(audit, name="audit")
app.add_typer(cert, name="cert")
app.add_typer(messages, name="messages")
app.command()(acknowledge)
app.add_typer(network, name="network")
app.add_typer(partner, name="partner")
app.add_typer(settings, name="config")
app.add_typer(conformance, name="conformance")
stores = typer.Typer(help="The store of a node.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(stores, name="db")

StationsOption = Annotated[
    str,
    typer.Option(
        "--stations", help="`together` (one process per organisation) or `apart` (three)."
    ),
]


def _more_than_zero(seconds: float) -> float:
    """Take a length of time; `BadParameter` for none."""
    if not 0 < seconds < float("inf"):
        raise typer.BadParameter("it must be more than 0 seconds.")
    return seconds


def _seconds(text: str) -> Any:
    """The option --timeout."""
    return typer.Option("--timeout", help=text, callback=_more_than_zero)


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the network running after the exchange.")
    ] = False,
    stations: StationsOption = "together",
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Send this MedCom FHIR file instead of a synthetic one."),
    ] = None,
    break_step: Annotated[
        str | None,
        typer.Option(
            "--break", help="Break one step on purpose: see `accesspoint demo --list-breaks`."
        ),
    ] = None,
    list_breaks: Annotated[
        bool, typer.Option("--list-breaks", help="Say which steps can be broken, and end.")
    ] = False,
    seconds: Annotated[float, _seconds("Give up after this many seconds.")] = 30.0,
    generation: Annotated[
        Generation, typer.Option(help="The generation of eDelivery AS4 that is spoken.")
    ] = Generation.V1_15,
    share: Annotated[
        bool, typer.Option("--share", help="Send a copy to the document register, too.")
    ] = False,
) -> None:
    """Send one test result to a GP, verified step by step.

    \b
    Examples:
      accesspoint demo                         the main job; exit 0 only when every step held
      accesspoint demo --stations apart        EUA, MSH and AP in processes of their own
      accesspoint demo --break smp-signature   see what a failure looks like, and who is named
      accesspoint demo --keep                  and leave the network running
      accesspoint demo --generation 2.0        with Ed25519 and X25519 instead of RSA
      accesspoint demo --share                 and a copy to the document register

    \b
    Exit codes: 0 every step held, 1 failed, 2 usage, 4 refused by peer, 5 not reachable,
      6 timed out, 7 trust, 8 not ready, 130 interrupted.
    """
    from accesspoint.cli import demo as verb

    raise typer.Exit(
        verb.run(
            keep=keep,
            stations=stations,
            file=file,
            broken=break_step,
            list_breaks=list_breaks,
            seconds=seconds,
            generation=generation,
            share=share,
        )
    )


@app.command()
def drill(
    every: Annotated[
        float, typer.Option("--every", help="Virtual minutes between two messages.", min=1.0)
    ] = 60.0,
    picture: Annotated[
        Path, typer.Option("--picture", help="Where to write the picture, an SVG.")
    ] = Path("drill.svg"),
) -> None:
    """Rehearse days of outages in a minute.

    Peer, SMP, EDS, database and backend are away in turn. Two whole access points live through it in
    virtual time, in a directory of their own; nothing that runs on this machine is touched.

    \b
    Examples:
      accesspoint drill                           exit 0 only when nothing was lost or doubled
      accesspoint drill --every 10                six times the messages
      accesspoint drill --picture outages.svg     with the picture in this file

    \b
    Exit codes: 0 nothing lost and nothing twice, 1 something was, 2 usage, 130 interrupted.
    """
    from accesspoint.cli import drill as verb

    raise typer.Exit(verb.run(every=every, picture=picture))


@app.command()
def dev(
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Where the network keeps its data.")
    ] = None,
    stations: StationsOption = "together",
    acknowledge: Annotated[
        str,
        typer.Option(
            "--acknowledge",
            help="`automatic`, or `on-demand`: a received message is answered by `accesspoint acknowledge`.",
        ),
    ] = "automatic",
) -> None:
    """Run the whole network on loopback and keep its data.

    The configuration files in it are written anew at each start, whatever was changed in them.

    \b
    Examples:
      accesspoint dev                                   until Ctrl-C
      accesspoint send result.json --to 5790000000029   in another terminal
      accesspoint dev --directory ./network             with its data in this directory
      accesspoint dev --acknowledge on-demand           and answer its messages yourself

    \b
    Exit codes: 0 stopped, 1 a node ended by itself, 2 usage, 8 not ready.
    """
    from accesspoint.cli import dev as verb

    raise typer.Exit(verb.run(directory=directory, stations=stations, acknowledge=acknowledge))


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="accesspoint.toml of this node.")],
) -> None:
    """Run one access point until it is stopped.

    It says on standard output, in one line of JSON, where it listens; its log goes to standard error.

    \b
    Examples:
      accesspoint run --config /etc/accesspoint/accesspoint.toml
      ACCESSPOINT__LISTEN__AS4=0.0.0.0:8443 accesspoint run -c accesspoint.toml

    \b
    Exit codes: 0 stopped, 1 failed, 3 configuration, taken port or unusable store,
      7 keys or certificates, 70 the store no longer keeps what is written.
    """
    from accesspoint.cli import run as verb

    raise typer.Exit(verb.run(config))


@app.command()
def send(
    file: Annotated[
        Path, typer.Argument(help="A MedCom FHIR message, JSON or XML; `-` reads standard input.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="GLN, SOR id or name of the receiver; default: the one the message names."
        ),
    ] = None,
    config: ConfigOption = None,
    watch_it: Annotated[
        bool,
        typer.Option("--watch/--no-watch", help="Follow the message until it is acknowledged."),
    ] = True,
    seconds: Annotated[float, _seconds("Stop following after this many seconds.")] = 60.0,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A name for this request: with the same one it is sent once only."),
    ] = None,
) -> None:
    """Send a MedCom FHIR message and follow it.

    \b
    Examples:
      accesspoint send result.json
      accesspoint send result.json --to 5790000000029 --no-watch
      accesspoint send result.json --to 900000000000024
      accesspoint send - --config accesspoint.toml < result.xml

    \b
    Exit codes: 0 acknowledged (with --no-watch: accepted), 1 failed or refused by a rule, 2 usage,
      3 configuration, 4 refused by peer, 5 not reachable, 6 timed out, 7 trust, 130 interrupted.
    """
    from accesspoint.cli import send as verb

    raise typer.Exit(
        verb.run(
            file,
            to=to,
            config=config,
            watch=watch_it,
            seconds=seconds,
            idempotency_key=idempotency_key,
        )
    )


@app.command()
def watch(
    message: Annotated[
        str | None,
        typer.Argument(help="A message identifier, or the beginning of one; default: all."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Follow one message, or everything, live.

    \b
    Examples:
      accesspoint watch                                everything from now on, until Ctrl-C
      accesspoint watch 0f8b6f0a                       one message from its beginning
      accesspoint watch --config accesspoint.toml      one node

    \b
    Exit codes: 3 configuration, 5 no node answers any more, 130 interrupted.
    """
    from accesspoint.cli import watch as verb

    raise typer.Exit(verb.run(message, config=config))


@app.command()
def ping(
    partner: Annotated[str, typer.Argument(help="The name of a partner in [partners].")],
    config: ConfigOption = None,
    seconds: Annotated[float, _seconds("Wait this long for the receipt.")] = 20.0,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Ask a partner for a receipt, delivering nothing.

    Sends one signed message of the ebMS test service: the partner checks and receipts it, and its users see
    nothing. The node need not run; nothing is stored. Receivers of the directory, such as those of the demo
    network, are asked with `accesspoint partner probe GLN`.

    \b
    Examples:
      accesspoint ping clinic --config accesspoint.toml
      accesspoint ping clinic --timeout 5 --json

    \b
    Exit codes: 0 answered, 2 no such partner, 3 configuration, 4 refused by peer, 5 not reachable,
      6 timed out, 7 trust.
    """
    from accesspoint.cli import ping as verb

    raise typer.Exit(verb.run(partner, config=config, seconds=seconds, as_json=json))


@app.command()
def nodes(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="accesspoint.toml of one of the nodes.")
    ],
) -> None:
    """List the nodes that share a database.

    A node that stops in order leaves the list; one that died stays, silent, until it is started again.

    \b
    Examples:
      accesspoint nodes --config accesspoint.toml
      accesspoint nodes --config /etc/accesspoint/accesspoint.toml

    \b
    Exit codes: 0 listed, 3 configuration or unusable store, 70 the database cannot be read.
    """
    from accesspoint.cli import nodes as verb

    raise typer.Exit(verb.run(config))


@app.command()
def ready(
    config: Annotated[Path, typer.Option("--config", "-c", help="accesspoint.toml of the node.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is ready.")] = False,
    seconds: Annotated[float, _seconds("How long to wait.")] = 30.0,
) -> None:
    """Say whether a node is ready, for scripts and health checks.

    \b
    Examples:
      accesspoint ready --config accesspoint.toml
      accesspoint ready --config accesspoint.toml --wait --timeout 60

    \b
    Exit codes: 0 ready, 3 configuration, 8 not ready, 130 interrupted.
    """
    from accesspoint.cli import ready as verb

    raise typer.Exit(verb.run(config, wait=wait, seconds=seconds))


@app.command()
def retention(
    config: Annotated[Path, typer.Option("--config", "-c", help="accesspoint.toml of the node.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show it; the node may be running.")
    ] = False,
) -> None:
    """Show or let go of what is kept longer than it has to be.

    A running node lets go by itself, once an hour; the periods stand in [retention].

    \b
    Examples:
      accesspoint retention --config accesspoint.toml --dry-run
      accesspoint retention --config accesspoint.toml

    \b
    Exit codes: 0 shown or let go, 1 failed, 3 configuration or unusable store,
      70 the store no longer keeps what is written.
    """
    from accesspoint.cli import retention as verb

    raise typer.Exit(verb.run(config, dry_run=dry_run))


@app.command()
def verify(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="A node's directory with its accesspoint.toml, or a store without one.",
        ),
    ] = None,
    config: ConfigOption = None,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            "--log",
            help="A log file to search for patient numbers; may be repeated.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON for each store.")] = False,
) -> None:
    """Hold a node's store to what the access point promises.

    Reads everything that is kept and changes nothing, while the node runs or when it is stopped: receipts and
    signatures are verified again, payloads are digested, histories are replayed, files and rows are compared.

    \b
    Examples:
      accesspoint verify --config accesspoint.toml          one node
      accesspoint verify                                    the network that runs now
      accesspoint verify ./backup/store                     a store without its configuration
      accesspoint verify -c accesspoint.toml --log node.log --json

    \b
    Exit codes: 0 every invariant holds, 1 one is broken, or not all of it could be read without
      a key, 2 usage, 3 configuration or a store of another schema, 5 no network runs,
      7 certificates, 70 the store cannot be read.
    """
    from accesspoint.cli import verify as verb

    if directory is not None and config is not None:
        raise typer.BadParameter("give a directory or --config, not both.")
    for path in log or ():
        if not path.is_file():
            raise typer.BadParameter(f"there is no file {path}.")
    raise typer.Exit(verb.run(directory, config=config, logs=log or [], json=json))


@network.command("serve")
def network_serve(
    directory: Annotated[
        Path,
        typer.Option("--directory", help="Where certificates, configurations and data are made."),
    ],
    topology: Annotated[
        Path | None,
        typer.Option("--topology", help="Which port everything has; default: free ones."),
    ] = None,
    organisations: Annotated[
        Path | None,
        typer.Option("--organisations", help="Who is there; default: those of the demo."),
    ] = None,
    pages: Annotated[
        Path | None,
        typer.Option("--pages", help="Publish track and trace, with sign-in by an issuer."),
    ] = None,
) -> None:
    """Serve SML, SMP, EAS, EER, status component, tokens and CRLs.

    Makes throw-away keys and an accesspoint.toml for each organisation that has an access point, and registers
    where they will be; the access points are started from these files. `accesspoint docs addressing` says what stands
    in a file of organisations, `accesspoint docs access` what stands in a file of pages.

    \b
    Examples:
      accesspoint network serve --directory ./network
      accesspoint network serve --directory ./network --topology compose/network.toml
      accesspoint network serve --directory ./network --organisations region.toml
      accesspoint run --config ./network/clinic/accesspoint.toml      in another terminal

    \b
    Exit codes: 0 stopped, 1 failed, 3 topology, organisations, or a port is taken,
      7 keys or certificates.
    """
    from accesspoint.cli import network as verb

    raise typer.Exit(verb.run(directory, topology, organisations, pages))


@network.command("certify")
def network_certify(
    request: Annotated[Path, typer.Argument(help="What `accesspoint cert request` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the certificate goes.")],
    directory: Annotated[
        Path | None, typer.Option("--directory", help="The network; default: that which runs now.")
    ] = None,
) -> None:
    """Answer a request for a certificate.

    The authority of the network does, which looks at no papers: its certificates count in there only.

    \b
    Examples:
      accesspoint network certify ap.csr --out answer.pem
      accesspoint network certify ap.csr --out answer.pem --directory ./network

    \b
    Exit codes: 0 written, 2 the request cannot be read, 5 no network runs, 7 there is no authority.
    """
    from accesspoint.cli import network_certify as verb

    raise typer.Exit(verb.run(request, out=out, directory=directory))


@app.command()
def docs(topic: Annotated[str | None, typer.Argument(help="Which page.")] = None) -> None:
    """Print a page of the manual.

    \b
    Examples:
      accesspoint docs                which pages there are
      accesspoint docs reliability

    \b
    Exit codes: 0 printed, 2 no such page.
    """
    from accesspoint.cli import docs as verb

    raise typer.Exit(verb.run(topic))


app.command()(explain)
app.command()(sample)
app.command()(validate)
app.command()(lookup)


@stores.command("backup")
def db_backup(
    directory: Annotated[Path, typer.Argument(help="Where it goes: an empty or new directory.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="accesspoint.toml of the node.")],
) -> None:
    """Copy database and payloads of a node, which may run.

    Payloads are copied as they stand, encrypted where they are; keys are not in the backup.

    \b
    Examples:
      accesspoint db backup ./backup-1 --config accesspoint.toml
      accesspoint db backup /mnt/backup/2026-11-21 --config /etc/accesspoint/accesspoint.toml

    \b
    Exit codes: 0 made, 1 payloads were missing, 3 configuration or unusable store,
      70 it could not be written.
    """
    from accesspoint.cli import backup as verb

    raise typer.Exit(verb.run(config, directory))


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"accesspoint {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """EHMI eDelivery access point."""


_PLAIN: Final = {
    "✓": "+", "✗": "x", "–": "-", "…": "...", "→": "->", "·": "|", "æ": "ae", "ø": "oe", "å": "aa",
    "Æ": "Ae", "Ø": "Oe", "Å": "Aa",
}  # fmt: skip
"""What stands for the marks and letters that an encoding other than UTF-8 may lack."""


def _write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what the output cannot show: never a reason to fail."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in missing), error.end


def run_tree() -> int:
    """Run the command tree with the arguments of the process; the exit status."""
    codecs.register_error("accesspoint-plain", _write_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="accesspoint-plain")
    try:
        refuse_keys_among(sys.argv)
        app(prog_name="accesspoint")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:  # noqa: BLE001 - the seam of the command line: nobody is shown a stack trace
        from accesspoint.cli.failure import explain

        text, status = explain(error)
        sys.stderr.write(text)
        return status
    return 0
