"""How messages are judged besides by the named rules: how strictly what was received, and by which other validator."""

from datetime import timedelta
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from accesspoint.config_values import Duration, Network, Table, Url, is_loopback


class ExternalValidator(Table):
    """A FHIR validator that gets every message and answers with an OperationOutcome; it reads whole messages.

    `without_answer` says what becomes of a message while it does not answer: `warn` trusts the named rules alone,
    `refuse` sends nothing and answers what arrives with `transient-error`.
    """

    url: Url
    networks: tuple[Network, ...]
    timeout: Duration = timedelta(seconds=10)
    without_answer: Literal["warn", "refuse"] = "warn"

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "url must begin with https://, or name this machine by a loopback address: messages go there whole"
            )
        if self.timeout <= timedelta(0):
            raise ValueError('timeout must be longer than nothing, such as "10 s"')
        return self


class Validation(Table):
    """How strictly messages are held against the named rules, and who else judges them.

    Strictly, also those rules are errors that go beyond the published profiles and that MedCom's own examples break: a
    message that is sent is refused for them, one that was received is answered with `fatal-error`.
    """

    sent: Literal["lenient", "strict"] = "strict"
    received: Literal["lenient", "strict"] = "lenient"
    external: ExternalValidator | None = None
