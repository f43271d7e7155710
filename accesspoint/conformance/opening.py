"""From the words of the command line to a target."""

from pathlib import Path

from accesspoint.conformance.capture import CaptureTarget
from accesspoint.conformance.ourselves import OurselvesTarget
from accesspoint.conformance.partner import Description, PartnerTarget
from accesspoint.conformance.target import Target


def open_target(words: str, *, certificate: Path | None = None) -> Target:
    """`self`, a TOML file that describes a partner, or a recorded message whose sender signs with `certificate`.

    Raises OSError, ConfigurationProblem, KeysError.
    """
    if words == "self":
        return OurselvesTarget()
    path = Path(words)
    if path.suffix == ".toml":
        return PartnerTarget(Description.load(path))
    return CaptureTarget(path, certificate)
