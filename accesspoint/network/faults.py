"""The steps of the miniature network that can be broken on purpose, one name each."""

from enum import StrEnum


class Fault(StrEnum):
    """One planted fault; the servers look at the set they share at every request."""

    LOCATOR_SILENT = "locator-silent"
    """The name server does not answer."""
    PARTICIPANT_UNREGISTERED = "participant-unregistered"
    """The name server knows no participant."""
    METADATA_UNSIGNED = "metadata-unsigned"
    """The publisher signs with the key of somebody nobody trusts."""
    DOCUMENT_MISSING = "document-missing"
    """The publisher knows the participants but none of their document types."""
    WRONG_CERTIFICATE = "wrong-certificate"
    """The publisher publishes somebody else's encryption certificate for everybody."""
    TOKEN_REFUSED = "token-refused"  # noqa: S105
    """The authorization server refuses every client."""
    STATUS_DOWN = "status-down"
    """The status component drops every connection."""
    STATUS_REFUSES = "status-refuses"
    """The status component refuses every report as invalid."""
