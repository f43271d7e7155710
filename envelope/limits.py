"""Limits on what a peer may make us read: one value object with safe defaults (decisions D1 to D5)."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one inbound message; sizes in bytes, the rest counts."""

    soap_bytes: int = 1 * MIB
    elements: int = 2_000
    depth: int = 64
    attributes: int = 32
    namespaces: int = 16
    distinct_namespaces: int = 64
    prefix_list: int = 16
    references: int = 32
    parts: int = 30
    part_header_bytes: int = 8 * KIB
    preamble_bytes: int = 1 * KIB
    boundary_bytes: int = 70
    ratio: int = 100
    ratio_grace_bytes: int = 1 * MIB
    sbd_bytes: int = 140 * MIB
    sbdh_bytes: int = 256 * KIB
    fhir_bytes: int = 100 * MIB
    xml_part_bytes: int = 1 * MIB
    response_bytes: int = 1 * MIB


DEFAULT_LIMITS = Limits()
