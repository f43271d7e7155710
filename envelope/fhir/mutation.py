"""What a mutation is: one defect, made in a synthetic message, and the rule that is there to catch it.

A mutation changes the bundle, or the bytes where the defect is one of the wire form. The smaller ones are put together
from `put`, `drop` and their like, by resource type and a dotted path; digits in a path are list indexes.

Spec: medcom-fhir.md 20.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from envelope.fhir.reading import Format, Resource
from envelope.fhir.synthetic_parts import resources_of
from envelope.fhir.writing import serialize

Change = Callable[[Resource], None]

NARRATIVE: Final = {
    "status": "generated",
    "div": '<div xmlns="http://www.w3.org/1999/xhtml">TEST</div>',
}
"""What a resource that a mutation adds says of itself."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One defect: `name` says it in words, `rule` is who tells of it, `sample` what it is made in.

    `number` is the entry of the specification's table of negative tests that it belongs to. `raw` changes the bytes
    in the format `wire`, after `change`.
    """

    name: str
    rule: str
    sample: str
    change: Change | None = None
    number: str = ""
    raw: Callable[[bytes], bytes] | None = None
    wire: Format = "json"

    def apply(self, sample: Resource, wire: Format | None = None) -> bytes:
        """Write the sample with the defect; the sample stays as it is."""
        bundle = deepcopy(sample)
        if self.change is not None:
            self.change(bundle)
        data = serialize(bundle, wire or self.wire)
        return data if self.raw is None else self.raw(data)


def find(bundle: Resource, kind: str, number: int = 0) -> Resource:
    """Take the nth resource of a type."""
    return resources_of(bundle, kind)[number]


def set_at(node: Any, path: str, value: Any) -> None:
    """Set the element at a path."""
    holder, last = _holder(node, path)
    holder[last] = value


def remove_at(node: Any, path: str) -> None:
    """Remove the element at a path."""
    holder, last = _holder(node, path)
    del holder[last]


def append_at(node: Any, path: str, value: Any) -> None:
    """Append to the list at a path, which is made where it is missing."""
    holder, last = _holder(node, path)
    if isinstance(holder, dict):
        holder.setdefault(last, [])
    holder[last].append(value)


def _holder(node: Any, path: str) -> tuple[Any, Any]:
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        node = node[step]
    return node, last


def put(kind: str, path: str, value: Any, number: int = 0) -> Change:
    """Set an element of the nth resource of a type; `Bundle` is the bundle."""
    return lambda bundle: set_at(_of(bundle, kind, number), path, deepcopy(value))


def drop(kind: str, path: str, number: int = 0) -> Change:
    """Remove an element of the nth resource of a type."""
    return lambda bundle: remove_at(_of(bundle, kind, number), path)


def add(kind: str, path: str, value: Any, number: int = 0) -> Change:
    """Append to a list in the nth resource of a type."""
    return lambda bundle: append_at(_of(bundle, kind, number), path, deepcopy(value))


def _of(bundle: Resource, kind: str, number: int) -> Resource:
    return bundle if kind == "Bundle" else find(bundle, kind, number)


def both(*changes: Change) -> Change:
    """Make several changes, in order."""

    def change(bundle: Resource) -> None:
        for each in changes:
            each(bundle)

    return change


def without(kind: str) -> Change:
    """Remove all resources of a type."""

    def change(bundle: Resource) -> None:
        bundle["entry"] = [
            entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != kind
        ]

    return change


def more(resource: Resource) -> Change:
    """Add a resource."""

    def change(bundle: Resource) -> None:
        bundle["entry"].append({"resource": deepcopy(resource)})

    return change


def twice(kind: str, number: int = 0, *, same_id: bool = False) -> Change:
    """Add a copy of the nth resource of a type, with an id of its own unless `same_id`."""

    def change(bundle: Resource) -> None:
        copied = deepcopy(find(bundle, kind, number))
        if not same_id:
            copied["id"] = "-".join(part[::-1] for part in copied["id"].split("-"))
        bundle["entry"].append({"resource": copied})

    return change
