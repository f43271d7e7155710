"""The branch `conformance` of the command tree: the published assertions, run against any access point."""

from pathlib import Path
from typing import Annotated

import typer

conformance = typer.Typer(
    help="Run the published conformance assertions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@conformance.command("run")
def conformance_run(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="`self` (a throw-away node), a TOML file that describes a partner, or a recorded message.",
        ),
    ] = "self",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="An assertion, such as TA12 or AS4_4CT_TA01; may be repeated."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            help="Who signed the recorded message, where it does not say so itself.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Write report.html, .json, .xml (JUnit) and .md into this directory."
        ),
    ] = None,
) -> None:
    """Run the assertions and say how each ended.

    A partner's file names, beside it, its url, its certificate, our keys and its tls_anchors; what
    else was agreed has defaults (see accesspoint docs conformance). This is a self-test with
    synthetic messages, and not an accreditation.

    \b
    Examples:
      accesspoint conformance run                             against a node made for the run
      accesspoint conformance run --report ./conformance      and write the reports
      accesspoint conformance run --target partner.toml       against a partner's access point
      accesspoint conformance run --target message.mime --only TA12   what a recorded message shows

    \b
    Exit codes: 0 no mandatory or preferred assertion failed, 2 usage, 3 configuration,
      7 keys or certificates, 9 at least one failed or nothing could be judged, 130 interrupted.
    """
    from accesspoint.cli import conformance as verb

    raise typer.Exit(verb.run(target, only or [], report, certificate))


@conformance.command("serve")
def conformance_serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="accesspoint.toml of this node.")],
    test_service: Annotated[
        str, typer.Option("--test-service", help="The URL that Deliver and Notify are pushed to.")
    ],
    listen: Annotated[
        str, typer.Option("--listen", help="Where Submit comes to, as /conformance.")
    ] = "127.0.0.1:8403",
) -> None:
    """Run a node behind the official test service.

    The test service plays the applications: what it submits is sent, what comes of its service is
    delivered to it, and it is notified of receipts and errors. Its messages are kept in memory, and
    pushes to and from it have no security: for tests only, and refused in the profile production.

    \b
    Examples:
      accesspoint conformance serve -c test.toml --test-service https://test.example/as4
      accesspoint conformance serve -c test.toml --test-service http://[::1]:9000/ --listen [::]:8403

    \b
    Exit codes: 0 stopped, 2 usage, 3 configuration, taken port or unusable store,
      7 keys or certificates.
    """
    from accesspoint.cli import conformance as verb

    raise typer.Exit(verb.serve_behind_test_service(config, test_service, listen))


@conformance.command("list")
def conformance_list(
    without_case: Annotated[
        bool, typer.Option("--without-case", help="Those that the kit has no case for.")
    ] = False,
) -> None:
    """List every assertion with its level.

    \b
    Examples:
      accesspoint conformance list
      accesspoint conformance list --without-case     what the kit cannot show

    \b
    Exit codes: 0 listed.
    """
    from accesspoint.cli import conformance as verb

    raise typer.Exit(verb.list_assertions(without_case=without_case))


@conformance.command("compare")
def conformance_compare(
    before: Annotated[Path, typer.Argument(help="report.json of the earlier run.")],
    after: Annotated[Path, typer.Argument(help="report.json of the later run.")],
) -> None:
    """Say which results differ between two runs.

    \b
    Examples:
      accesspoint conformance compare before.json after.json
      accesspoint conformance compare ours/report.json partner/report.json

    \b
    Exit codes: 0 nothing got worse, 2 usage, 9 something that held does not hold any more.
    """
    from accesspoint.cli import conformance as verb

    raise typer.Exit(verb.compare_runs(before, after))
