"""The names of what a pair of keys is for and of where it stands; apart from the rest, so that a help text needs nothing else."""

from enum import StrEnum


class Role(StrEnum):
    """What a pair of a key directory is for; also the beginning of its file names."""

    MESSAGE = "message"
    DECRYPTION = "decryption"
    TLS = "tls"
    TLS_CLIENT = "tls-client"
    SIGNING_ED25519 = "signing-ed25519"
    DECRYPTION_X25519 = "decryption-x25519"
    SIGNING_P256 = "signing-p256"
    DECRYPTION_P256 = "decryption-p256"


class Age(StrEnum):
    """Where a pair stands on its way."""

    REQUESTED = "request"
    NEXT = "next"
    ACTIVE = "active"
    PREVIOUS = "previous"
