"""What a node speaks to partners with, for commands: its keys, its trust and its clock, without its store.

Such a command asks and looks, and stores nothing: it runs beside the node, or where none runs.
"""

from accesspoint.app import AccessPoint
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.ids import SystemIds
from accesspoint.trust import MessageTrust
from keys.trust import Purpose


def build_speaker(configuration: Configuration) -> tuple[AccessPoint, MessageTrust]:
    """A node with its keys, and what partners' certificates are held to; revocation lists are fetched by who needs them.

    Raises what loading the keys raises.
    """
    clock = SystemClock()
    node = AccessPoint(configuration, clock=clock, ids=SystemIds(clock), keeps=False)
    node.load_keys()
    trust = MessageTrust(
        node.build_validator(Purpose.MESSAGE, configuration.trust.message),
        clock=clock,
        partners=node.partner_certificates,
    )
    return node, trust
