"""The branch `cert` of the command tree: what a certificate is, whether it is trusted, and how ours are renewed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from accesspoint.cli.message_verbs import ConfigOption
from accesspoint.cli.partner import Format, FormatOption
from keys.roles import Role

cert = typer.Typer(
    help="Our certificates, and those of others.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class For(StrEnum):
    """What a certificate is to be trusted for."""

    MESSAGE = "message"
    SIGN = "sign"
    DECRYPT = "decrypt"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"
    SMP = "smp"


PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="A file with the passphrase; asked for at a terminal without it."
    ),
]
RoleArgument = Annotated[
    Role,
    typer.Argument(
        metavar="ROLE",
        show_choices=False,
        help="message, tls, tls-client, decryption, or one of AS4 2.0: `accesspoint docs certificates`.",
    ),
]
WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="WHAT", help="A file, - for standard input, a partner, or a role of ours."
    ),
]


@cert.command("inspect")
def cert_inspect(
    what: WhatArgument,
    config: ConfigOption = None,
    passphrase_file: PassphraseOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Say whose a certificate is, and what for.

    Also from whom, and how long. The file may be PEM, DER, PKCS #7 or PKCS #12. Does not check whether it is trusted: `cert verify` does. A
    private key in the file is not looked at, and never shown.

    \b
    Examples:
      accesspoint cert inspect their-ap.pem
      accesspoint cert inspect answer.p12 --passphrase-file pass.txt
      accesspoint cert inspect message --config accesspoint.toml     our own
      accesspoint cert inspect their-ap --format json                a partner of the configuration

    \b
    Exit codes: 0 shown, 2 no certificate can be read, 3 configuration, 7 keys.
    """
    from accesspoint.cli import cert_show as verb

    raise typer.Exit(
        verb.inspect(what, config, passphrase_file=passphrase_file, as_json=form is Format.JSON)
    )


@cert.command("verify")
def cert_verify(
    what: WhatArgument,
    config: ConfigOption = None,
    use: Annotated[
        For | None,
        typer.Option("--for", help="For which use; default: those of the role, else `message`."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch no revocation list; use what is at hand.")
    ] = False,
    passphrase_file: PassphraseOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Say whether a certificate is trusted.

    And why, or why not. The rules are the node's own: anchors, policies and revocation of [trust.*]. What is refused is told with whose
    it is and what to do. For a partner the name it must carry is checked, too.

    \b
    Examples:
      accesspoint cert verify their-ap.pem --config accesspoint.toml
      accesspoint cert verify message.next            the pair we are about to rotate to
      accesspoint cert verify server.pem --for tls-server --offline

    \b
    Exit codes: 0 trusted for all that was asked, 2 no certificate can be read, 3 configuration,
      7 not trusted.
    """
    from accesspoint.cli import cert_show as verb

    raise typer.Exit(
        verb.verify(
            what,
            config,
            use=None if use is None else str(use),
            offline=offline,
            passphrase_file=passphrase_file,
            as_json=form is Format.JSON,
        )
    )


@cert.command("list")
def cert_list(
    config: ConfigOption = None,
    anchors: Annotated[
        bool, typer.Option("--anchors", help="Show the authorities that are trusted, too.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """List certificates, and what is due.

    Ours by role and age (active, next, previous, requested), with the moment a rotation is set for; then partners,
    and how old the revocation data is that the node has.

    \b
    Examples:
      accesspoint cert list
      accesspoint cert list --anchors --config accesspoint.toml
      accesspoint cert list --format json

    \b
    Exit codes: 0 nothing is due, 1 something expired or ends within 7 days, 3 configuration, 7 keys.
    """
    from accesspoint.cli import cert_list as verb

    raise typer.Exit(verb.run(config, anchors=anchors, as_json=form is Format.JSON))


@cert.command("request")
def cert_request(
    role: RoleArgument,
    config: ConfigOption = None,
    common_name: Annotated[
        str | None, typer.Option(help="Its common name; for messages that is our party id.")
    ] = None,
    organisation: Annotated[str | None, typer.Option(help="The organisation's name.")] = None,
    cvr: Annotated[str | None, typer.Option(help="Its eight digits in the register.")] = None,
    uuid: Annotated[
        str | None, typer.Option(help="The UUID of an OCES subject, where one is known.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A DNS name or IP address, for TLS.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Copy the request here, too.")] = None,
) -> None:
    """Make a key, and ask for its certificate.

    The request is a file to send to a certificate authority. The key (RSA-3072; for the roles of AS4 2.0 what their name says) stays in our key directory and is never shown.
    The request has the subject of the active certificate unless --common-name, --organisation and --cvr, given together, say another one.

    \b
    Examples:
      accesspoint cert request message                 a renewal: same subject, new key
      accesspoint cert request tls --name ap.example.dk
      accesspoint cert request message --common-name ap --organisation Kommune --cvr 12345678

    \b
    Exit codes: 0 made, 2 usage, 3 configuration, 7 keys.
    """
    from accesspoint.cli import cert_change as verb

    given = (common_name, organisation, cvr, uuid)
    subject = None if given == (None,) * len(given) else given
    raise typer.Exit(verb.request(role, config, subject=subject, names=name, out=out))


@cert.command("import")
def cert_import(
    role: RoleArgument,
    file: Annotated[Path, typer.Argument(help="What the authority sent back; - for stdin.")],
    config: ConfigOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take what an authority sent back.

    It must belong to the key that waits, or bring its key (PKCS #12, PEM), be trusted by our own rules, as
    `cert verify` tells them, and keep our name and organisation; else nothing is changed. It becomes the next pair, which a running node decrypts with within seconds;
    `cert rotate` makes it the active one. The chain is put in order.

    \b
    Examples:
      accesspoint cert import message answer.pem
      accesspoint cert import message oces3.p12 --passphrase-file pass.txt

    \b
    Exit codes: 0 imported, 2 no certificate can be read, 3 configuration, 7 it does not fit.
    """
    from accesspoint.cli import cert_change as verb

    raise typer.Exit(verb.import_(role, file, config, passphrase_file=passphrase_file))


@cert.command("rotate")
def cert_rotate(
    role: RoleArgument,
    config: ConfigOption = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="From when on, such as 2026-12-01T06:00+01:00; without +01:00 it is the time of this machine. Default: now.",
        ),
    ] = None,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Remove the previous pair, when nobody uses it any more."),
    ] = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="With --finish: even less than two days after the switch."),
    ] = False,
) -> None:
    """Make the next pair the active one.

    Now or at a time, without a restart and without a lost message. A running node notices by itself. What partners encrypt for the previous certificate is opened until --finish, which
    waits for two days after the switch: so long a partner may remember the old certificate, and repeat what it encrypted for it. Tell
    partners and directory of the next certificate before: it is not published from here.

    \b
    Examples:
      accesspoint cert rotate message
      accesspoint cert rotate message --at 2026-12-01T06:00+01:00
      accesspoint cert rotate message --finish

    \b
    Exit codes: 0 done, 2 usage, 3 configuration, 7 nothing to rotate to, not trusted, or not yet.
    """
    from accesspoint.cli import cert_change as verb

    raise typer.Exit(verb.rotate(role, config, at=at, finish=finish, anyway=anyway))
