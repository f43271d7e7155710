"""The document register on the demo's stage: its own access point, in this process, and the page that shows what it got.

The access point is the same program as the others, from a configuration file like theirs. It is one of the
network's servers, so it lives and ends with the network and not as a child process.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from accesspoint.app import start
from accesspoint.clock import Clock
from accesspoint.config import load
from accesspoint.demo.scenery import NodePlan
from accesspoint.demo.surroundings import Surroundings
from accesspoint.ids import Ids
from accesspoint.network.document_sharing import DocumentSharing
from accesspoint.network.listening import LOOPBACK, Listeners


@dataclass(frozen=True, slots=True)
class DocumentRegister:
    """The running register: where it shows what it got, and the same to ask."""

    plan: NodePlan
    as4: str
    page: str
    documents: DocumentSharing

    @classmethod
    async def start(
        cls, around: Surroundings, plan: NodePlan, stack: AsyncExitStack, *, clock: Clock, ids: Ids
    ) -> "DocumentRegister":
        """Run the register until `stack` ends, and register it in the network; its keys are there already."""
        around.scenery.write_config(
            plan,
            network=around.addresses(),
            listen={"as4": f"{LOOPBACK}:0", "api": f"{LOOPBACK}:0"},
            links={},
            give_up_after="24 h",
        )
        node = await stack.enter_async_context(start(load(plan.config, {}), clock=clock, ids=ids))
        listeners = Listeners()
        stack.push_async_callback(listeners.stop)
        documents = DocumentSharing(node.database, node.payloads)
        page = await listeners.start(documents.application())
        around.publish(plan, node.addresses["as4"])
        return cls(plan, node.addresses["as4"], page + "/", documents)
