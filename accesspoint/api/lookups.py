"""The route by which a person sees a look-up of a running node: with the node's memory, or past it.

`GET /api/v1/lookup?participant=GLN&document=…&process=…&fresh=1`. A look-up that finds nothing was carried out all the
same: the answer is 200 and says so, with every step.
"""

from typing import Final

from aiohttp import web

from accesspoint.api.answers import problem
from accesspoint.clock import Clock
from accesspoint.discovery.account import look_up
from accesspoint.discovery.directory import Directory
from envelope import names
from envelope.ehmi import SBDH_ACKNOWLEDGEMENT
from envelope.fhir.formats import is_gln
from envelope.sbdh_values import PARTICIPANT_PREFIX

LONGEST: Final = 1_024


class Lookups:
    """Look-ups in one directory; None where no access point runs on this node."""

    def __init__(self, directory: Directory | None, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def look_up(self, request: web.Request) -> web.Response:
        """Look up a GLN, by default for acknowledgements: who takes anything takes those."""
        if self._directory is None:
            return problem(404, "no-access-point", "No access point runs on this node.")
        query = request.query
        gln = query.get("participant", "").removeprefix(PARTICIPANT_PREFIX)
        document = query.get("document") or SBDH_ACKNOWLEDGEMENT.document_id
        process = query.get("process") or names.EHMI_PROCESS
        if not is_gln(gln):
            return problem(400, "bad-parameter", "`participant` is a GLN.")
        if max(len(document), len(process)) > LONGEST:
            return problem(400, "bad-parameter", "`document` or `process` is too long.")
        told = await look_up(
            self._directory, PARTICIPANT_PREFIX + gln, document, process,
            clock=self._clock, fresh=query.get("fresh") == "1",
        )  # fmt: skip
        return web.json_response(told)
