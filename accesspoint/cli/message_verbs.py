"""The branch `messages` of the command tree: what stands still at a node, and what a person does about it."""

from pathlib import Path
from typing import Annotated

import typer

messages = typer.Typer(
    help="What stands still at a node, and what a person does about it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="accesspoint.toml of the node; default: the network that runs now."
    ),
]
AnyIdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="As `messages list` shows it, an ebMS MessageId, or a MessageHeader id."
    ),
]

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]


@messages.command("list")
def messages_list(
    state: Annotated[
        str | None, typer.Option("--state", help="Everything in this state, such as RETRY_WAIT.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="In any state: the 500 that moved last.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """List the messages that wait for a person.

    These are UNCERTAIN, HELD and QUARANTINED ones, those in ACCEPTED or RETRY_WAIT for a problem, and envelopes whose
    acknowledgement is OVERDUE. With --all each line ends with the problem, or with what the receiver answered.

    \b
    Examples:
      accesspoint messages list
      accesspoint messages list --all
      accesspoint messages list --state RETRY_WAIT --config accesspoint.toml

    \b
    Exit codes: 0 listed, 1 no such state, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.list_standing(state, everything=everything, config=config))


@messages.command("show")
def messages_show(id_: AnyIdArgument, config: ConfigOption = None) -> None:
    """Show every step of a message, and whose turn it is.

    Of one that is tried again: what it waits for, till when, and which command ends the waiting.
    NOTIFIED says that the submitting system was told how the exchange ended, and is named with that end.

    \b
    Examples:
      accesspoint messages show 01K...
      accesspoint messages show 01K... --config accesspoint.toml

    \b
    Exit codes: 0 shown, 1 no such message, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.show(id_, config=config))


@messages.command("retry")
def messages_retry(id_: AnyIdArgument, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Try a message again now, as the very same message.

    One that waits is tried at once; one that is UNCERTAIN goes out once more. One that has ended is sent again
    in another envelope: `accesspoint messages resend`.

    \b
    Examples:
      accesspoint messages retry 01K... --reason "their side works again"
      accesspoint messages retry 01K... --reason "their side works again" --config accesspoint.toml

    \b
    Exit codes: 0 asked for, 1 not possible, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.act(id_, "retry", reason=reason, config=config))


@messages.command("resend")
def messages_resend(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="A MessageHeader id, or the id of an envelope.")
    ],
    reason: ReasonOption,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also a message that its receiver has acknowledged.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Send a message again in another envelope.

    That is for lack of an acknowledgement. The envelope gets a new identifier and new times; the message stays as it is, so its receiver shows it
    once. What the receiver refused is not sent again: correct it and send a new message.

    \b
    Examples:
      accesspoint messages resend 0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d001 --reason "no acknowledgement"
      accesspoint messages resend 0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d001 --reason "asked to" --anyway

    \b
    Exit codes: 0 sent again, 1 not possible, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.resend(id_, reason=reason, anyway=anyway, config=config))


def acknowledge(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="The MessageHeader id of a received message.")
    ],
    code: Annotated[str, typer.Option("--code", help="`ok`, `fatal-error` or `transient-error`.")],
    reason: Annotated[
        str | None, typer.Option("--reason", help="In words, for the sender; no patient in it.")
    ] = None,
    details: Annotated[
        str | None, typer.Option("--details", help="A MedCom code, such as MSG_NO_MATCH.")
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--sender", help="GLN it came from, where several used the id.")
    ] = None,
    receiver: Annotated[
        str | None, typer.Option("--receiver", help="GLN it was for, where several of ours got it.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Answer a received message with a MedCom Acknowledgement.

    `ok` and `fatal-error` stand; after `transient-error` either may follow. A fatal error without a
    reason names the rules that the message breaks. Without --config the node of the running network
    that received the message answers.

    \b
    Examples:
      accesspoint acknowledge 01K... --code ok
      accesspoint acknowledge 01K... --code fatal-error --reason "wrong department"
      accesspoint acknowledge 01K... --code transient-error --config accesspoint.toml

    \b
    Exit codes: 0 answered, 1 not possible, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    given = {
        "code": code,
        "reason": reason,
        "details": details,
        "sender": sender,
        "receiver": receiver,
    }
    verdict = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(verb.acknowledge(id_, verdict, config=config))


@messages.command("release")
def messages_release(id_: AnyIdArgument, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Let a HELD or QUARANTINED message be handed on again.

    \b
    Examples:
      accesspoint messages release 01K... --reason "it is taken now"
      accesspoint messages release 01K... --reason "it is taken now" --config accesspoint.toml

    \b
    Exit codes: 0 released, 1 not possible, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.act(id_, "release", reason=reason, config=config))


@messages.command("cancel")
def messages_cancel(id_: AnyIdArgument, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Withdraw a message that was never sent.

    One that was tried may have been seen, and ends by itself: `accesspoint messages show` says when.

    \b
    Examples:
      accesspoint messages cancel 01K... --reason "sent by mistake"
      accesspoint messages cancel 01K... --reason "sent by mistake" --config accesspoint.toml

    \b
    Exit codes: 0 withdrawn, 1 not possible, 3 configuration, 5 no node answers.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.act(id_, "cancel", reason=reason, config=config))


@messages.command("evidence")
def messages_evidence(
    id_: AnyIdArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; default: evidence-ID.zip.")
    ] = None,
    payload_for: Annotated[
        str | None,
        typer.Option(
            "--with-payload",
            metavar="REASON",
            help="With the payload, which is about a patient: say why.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write what proves one message into a file to keep or to mail.

    Signed headers, receipt, certificates, revocation lists, history, and a script that verifies all of
    it years later without this program.

    \b
    Examples:
      accesspoint messages evidence 01K...
      accesspoint messages evidence 01K... -o proof.zip --config accesspoint.toml

    \b
    Exit codes: 0 written, 1 no such message, 2 usage, or the file exists or cannot be made,
      3 configuration, 5 no node answers, 70 the disk is full.
    """
    from accesspoint.cli import messages as verb

    raise typer.Exit(verb.evidence(id_, output=output, payload_for=payload_for, config=config))
