"""A tolerant view of a bundle: navigation that never fails, and references resolved to entries.

Rules run on whatever a peer sent, so a step into a value of the wrong shape simply leads nowhere; that
the shape is wrong is reported by `rules_structure`. Paths are FHIRPath and made of element names of the
table and indexes only.

Spec: medcom-fhir.md 2 (reference resolution).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from envelope.fhir import canonicals
from envelope.fhir.elements import RESOURCES
from envelope.fhir.reading import FhirMessage

_REFERENCE_TAIL: Final = re.compile(
    r"([A-Za-z]{1,64})/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]*)?\Z"
)


@dataclass(frozen=True, slots=True)
class Node:
    """A value inside the bundle and where it stands."""

    value: Any = field(repr=False)
    path: str

    def each(self, *steps: str) -> Iterator["Node"]:
        """Follow the element names, flattening lists; nothing comes out where a step leads nowhere."""
        if not isinstance(self.value, dict):
            return
        step, *rest = steps
        value = self.value.get(step)
        found: Iterator[Node]
        if isinstance(value, list):
            found = (
                Node(item, f"{self.path}.{step}[{index}]")
                for index, item in enumerate(value)
                if item is not None
            )
        elif value is None:
            return
        else:
            found = iter((Node(value, f"{self.path}.{step}"),))
        for node in found:
            if rest:
                yield from node.each(*rest)
            else:
                yield node

    def first(self, *steps: str) -> "Node | None":
        """Take the first of `each`."""
        return next(self.each(*steps), None)

    def string(self, *steps: str) -> str | None:
        """Take the first of `each` where it is a string."""
        node = self.first(*steps)
        return node.value if node is not None and isinstance(node.value, str) else None

    def has(self, name: str) -> bool:
        """Say whether the element is present, with a value or with an extension in its place."""
        return isinstance(self.value, dict) and (name in self.value or f"_{name}" in self.value)

    def count(self, name: str) -> int:
        """Count the occurrences of an element."""
        return sum(1 for _ in self.each(name))

    def codings(self, *steps: str) -> Iterator[tuple[str | None, str | None]]:
        """Walk the (system, code) pairs of the codings at the steps."""
        for coding in self.each(*steps):
            yield coding.string("system"), coding.string("code")

    def extensions(self, url: str) -> Iterator["Node"]:
        """Walk the extensions with this address."""
        return (item for item in self.each("extension") if item.string("url") == url)

    def identifiers(self, *systems: str) -> Iterator["Node"]:
        """Walk the identifiers of any of these systems."""
        return (item for item in self.each("identifier") if item.string("system") in systems)

    def profiles(self) -> frozenset[str]:
        """Collect the profiles the resource claims, without versions."""
        return frozenset(
            canonicals.without_version(item.value)
            for item in self.each("meta", "profile")
            if isinstance(item.value, str)
        )

    @property
    def type(self) -> str | None:
        """The resource type, where the node is a resource of a type the table knows."""
        name = self.string("resourceType")
        return name if name in RESOURCES else None


class MessageView:
    """One message with its entries indexed; everything is computed once and on demand.

    `notes` is where a rule module keeps what several of its rules need, under its own name.
    """

    def __init__(self, message: FhirMessage) -> None:
        self.message = message
        self.bundle = Node(message.bundle, "Bundle")
        self.notes: dict[str, Any] = {}

    @cached_property
    def entries(self) -> tuple[Node, ...]:
        """The entries as they stand."""
        return tuple(self.bundle.each("entry"))

    @cached_property
    def resources(self) -> tuple[Node, ...]:
        """The resources of the entries, in order."""
        return tuple(
            resource
            for entry in self.entries
            for resource in (entry.first("resource"),)
            if resource
        )

    @cached_property
    def _by_type(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for resource in self.resources:
            if resource.type is not None:
                found.setdefault(resource.type, []).append(resource)
        return found

    def of_type(self, name: str) -> list[Node]:
        """List the resources of one type."""
        return self._by_type.get(name, [])

    @cached_property
    def header(self) -> Node | None:
        """The MessageHeader: the first entry, or failing that the first anywhere in the bundle."""
        return next(iter(self.of_type("MessageHeader")), None)

    @cached_property
    def event(self) -> str | None:
        """The event code, where it is one of MedCom's."""
        if self.header is None:
            return None
        code = self.header.string("eventCoding", "code")
        system = self.header.string("eventCoding", "system")
        if system == canonicals.EVENT_SYSTEM and code in canonicals.EVENT_CODES:
            return code
        return None

    @cached_property
    def _index(self) -> dict[str, Node]:
        index: dict[str, Node] = {}
        for entry in self.entries:
            resource = entry.first("resource")
            if resource is None:
                continue
            kind, identifier = resource.string("resourceType"), resource.string("id")
            if kind is not None and identifier is not None:
                index.setdefault(f"{kind}/{identifier}", resource)
            full_url = entry.string("fullUrl")
            if full_url is not None:
                index.setdefault(full_url, resource)
        return index

    def resolve(self, reference: Node | None) -> Node | None:
        """Find the entry a Reference names: by full address, else by its `Type/id` tail."""
        target = reference.string("reference") if reference is not None else None
        if target is None:
            return None
        found = self._index.get(target)
        if found is None:
            tail = _REFERENCE_TAIL.search(target)
            found = self._index.get(f"{tail[1]}/{tail[2]}") if tail is not None else None
        return found

    def destinations(self, use: str) -> list[Node]:
        """List the destinations whose use extension says `primary` or `cc`."""
        if self.header is None:
            return []
        return [item for item in self.header.each("destination") if destination_use(item) == use]

    def resolved_paths(self, references: Iterable[Node]) -> set[str]:
        """Collect where these References lead, as far as they lead into the bundle."""
        found = (self.resolve(item) for item in references)
        return {node.path for node in found if node is not None}

    @cached_property
    def sender(self) -> Node | None:
        """The organization the header names as sender, where it resolves to one."""
        return self._organization(self.header.first("sender") if self.header is not None else None)

    @cached_property
    def receiver(self) -> Node | None:
        """The primary receiver organization, where it resolves to one."""
        primary = next(iter(self.destinations("primary")), None)
        return self._organization(primary.first("receiver") if primary is not None else None)

    def _organization(self, reference: Node | None) -> Node | None:
        found = self.resolve(reference)
        return found if found is not None and found.type == "Organization" else None

    @cached_property
    def focus(self) -> Node | None:
        """The resource the message is about."""
        return self.resolve(self.header.first("focus")) if self.header is not None else None

    @cached_property
    def current_provenances(self) -> list[Node]:
        """The Provenances whose target is the header of this bundle; exactly one in a valid message."""
        header = self.header
        if header is None:
            return []
        return [
            provenance
            for provenance in self.of_type("Provenance")
            if header.path in self.resolved_paths(provenance.each("target"))
        ]

    def activity(self, provenance: Node) -> str | None:
        """Read the activity code of a Provenance, in MedCom's system."""
        for system, code in provenance.codings("activity", "coding"):
            if system == canonicals.ACTIVITY_SYSTEM:
                return code
        return None


def destination_use(destination: Node) -> str | None:
    """Read the use of a destination (`primary` or `cc`) from its extension."""
    for extension in destination.extensions(canonicals.DESTINATION_USE_EXTENSION):
        if extension.string("valueCoding", "system") == canonicals.DESTINATION_USE_SYSTEM:
            return extension.string("valueCoding", "code")
    return None
