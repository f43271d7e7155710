"""`accesspoint partner list` and `show`: what is agreed with each partner, and where each value comes from.

A value is the partner's own when its table says it, the preset's when that differs from the profile, else the
profile's default. Quirks are shown with the sentence a person should have read before agreeing to them.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from accesspoint.cli.current import find_config, load_given
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.config_partner import BusinessValues, Partner
from accesspoint.identity import mode_of, modes_of, partner_certificates, party_of
from accesspoint.problems import ExitStatus
from envelope.ehmi import check_gln
from envelope.errors import SbdRefused
from envelope.pmode import DOMIBUS_LIKE, PRESETS, PMode, Quirk, SecurityPolicy
from envelope.quirks import NOTES
from envelope.xmldsig import SMALLEST_RSA_BITS
from keys.certificate import describe, fingerprint
from keys.expiry import remaining

Json = dict[str, Any]
_WITHOUT: Final = frozenset({"id", "policy.quirks"})
"""What is told elsewhere: the name of the preset, and the quirks with their sentences."""

_GLN_DIGITS: Final = 13
_EXCHANGE: Final = frozenset({"service", "service_type", "action"})


class Origin(StrEnum):
    """Where a value of an effective P-Mode comes from."""

    PARTNER = "partner"
    PRESET = "preset"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Named:
    """A partner of the configuration with what follows from its table."""

    name: str
    partner: Partner
    mode: PMode
    certificates: tuple[x509.Certificate, ...]

    @property
    def party(self) -> str:
        """The AS4 party id."""
        return party_of(self.name, self.certificates)


def list_partners(config: Path | None, *, as_json: bool) -> int:
    """List them; the exit status."""
    partners = named_partners(load_given(find_config(config)))
    if as_json:
        return _write_json([_summary(one) for one in partners])
    if not partners:
        sys.stdout.write("no partner is configured; receivers are looked up in the directory\n")
        return ExitStatus.OK
    rows = [("partner", "GLN", "party id", "preset", "quirks", "certificate")]
    for one in partners:
        quirks = ", ".join(sorted(one.mode.policy.quirks)) or "none"
        end = f"{one.certificates[0].not_valid_after_utc:%Y-%m-%d}" if one.certificates else "-"
        rows.append((one.name, one.partner.gln or "-", one.party, one.partner.preset, quirks, end))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f"{line.rstrip()}\n")
    return ExitStatus.OK


def show(name: str, config: Path | None, *, as_json: bool) -> int:
    """Show one; the exit status."""
    configuration = load_given(find_config(config))
    one = find_partner(configuration, name)
    if one is None:
        sys.stderr.write(unknown(configuration, name))
        return ExitStatus.FAILED
    if as_json:
        return _write_json(_details(one))
    sys.stdout.write(_render(one))
    return ExitStatus.OK


def named_partners(configuration: Configuration) -> list[Named]:
    """Every partner of the configuration, with its effective P-Mode and certificates; raises KeysError."""
    return [
        Named(name, partner, mode_of(partner), partner_certificates(partner))
        for name, partner in configuration.partners.items()
    ]


def find_partner(configuration: Configuration, name: str) -> Named | None:
    """The partner of that name, GLN or party id."""
    for one in named_partners(configuration):
        if name in (one.name, one.partner.gln, one.party):
            return one
    return None


def unknown(configuration: Configuration, name: str) -> str:
    """What is said of a name that no partner has; a GLN may still be known to the directory."""
    known = ", ".join(configuration.partners) or "none"
    said = f"no partner is called {name!r}; configured: {known}\n"
    if len(name) != _GLN_DIGITS or not name.isdecimal():
        return said
    try:
        check_gln(name)
    except SbdRefused as refused:
        return f"{said}{name} is no GLN either: {refused.detail}\n"
    return f"{said}ask the directory for it:  accesspoint partner probe {name}\n"


def values(mode: PMode, partner: Partner) -> Iterator[tuple[str, object, str]]:
    """Each value of an effective P-Mode with its dotted name and its origin; a quirk is the origin of what it changes."""
    preset, default = (dict(_flat(each)) for each in (PRESETS[partner.preset], DOMIBUS_LIKE))
    relaxed = dict(_relaxed(mode.policy))
    for name, value in _flat(mode):
        if name in _WITHOUT:
            continue
        if name in relaxed:
            quirk, instead = relaxed[name]
            yield name, instead, f"quirk {quirk}"
            continue
        own = name.rpartition(".")[2] in partner.model_fields_set
        if own or value != preset[name]:
            yield name, value, Origin.PARTNER
        else:
            yield name, value, Origin.DEFAULT if value == default[name] else Origin.PRESET


def _relaxed(policy: SecurityPolicy) -> Iterator[tuple[str, tuple[Quirk, object]]]:
    """The values of a policy that are not what they seem, because of a quirk."""
    for quirk, name, instead in (
        (Quirk.SMALL_RSA, "minimum_rsa_bits", SMALLEST_RSA_BITS),
        (Quirk.UNENCRYPTED, "encryption_required", False),
        (Quirk.OAEP_MGF1P, "key_transports", policy.allowed_key_transports),
        (Quirk.RSA_SHA384, "signature_algorithms", policy.allowed_signatures),
    ):
        if policy.allows(quirk) and instead != getattr(policy, name):
            yield f"policy.{name}", (quirk, _listed(instead))


def _business(mode: PMode, base: PMode) -> Json:
    """What a P-Mode is for, and its other values that are not those of the partner's table."""
    found = {name: getattr(mode, name) for name in BusinessValues.model_fields}
    return {
        name: value
        for name, value in found.items()
        if value is not None and (name in _EXCHANGE or value != getattr(base, name))
    }


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in fields(value):
        name, inner = f"{prefix}{field.name}", getattr(value, field.name)
        if is_dataclass(inner):
            yield from _flat(inner, f"{name}.")
        else:
            yield name, _listed(inner)


def _listed(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _summary(one: Named) -> Json:
    return {
        "name": one.name,
        "gln": one.partner.gln,
        "party": one.party,
        "speaks_for": list(one.partner.speaks_for),
        "url": one.partner.url,
        "preset": one.partner.preset,
        "binary_content": one.partner.binary_content,
        "quirks": sorted(one.mode.policy.quirks),
        "certificates": [
            {
                "subject": describe(certificate),
                "sha256": fingerprint(certificate),
                "not_after": certificate.not_valid_after_utc.isoformat(),
            }
            for certificate in one.certificates
        ],
    }


def _details(one: Named) -> Json:
    preset = PRESETS[one.partner.preset].policy.quirks
    quirks = [
        {
            "name": str(quirk),
            "origin": str(Origin.PRESET if quirk in preset else Origin.PARTNER),
            "permits": NOTES[quirk].permits,
            "seen": NOTES[quirk].seen,
            "bearable": NOTES[quirk].bearable,
            "section": NOTES[quirk].section,
        }
        for quirk in sorted(one.mode.policy.quirks)
    ]
    p_mode = {
        name: {"value": value, "origin": str(origin)}
        for name, value, origin in values(one.mode, one.partner)
    }
    pmodes = [
        {"id": mode.id} | _business(mode, one.mode)
        for mode in modes_of(one.name, one.partner, one.mode)
        if one.partner.pmodes
    ]
    return _summary(one) | {"p_mode": p_mode, "pmodes": pmodes, "quirks": quirks}


def _render(one: Named) -> str:
    details = _details(one)
    lines = [
        f"{one.name}   party {one.party}   GLN {one.partner.gln or 'not given'}",
        f"  url     {one.partner.url or 'from the directory'}",
        f"  preset  {one.partner.preset}",
        f"  speaks for {', '.join(one.partner.speaks_for) or 'any organisation but ours'}",
        f"  content of envelopes in the namespace of {one.partner.binary_content}",
        "",
        "  P-Mode",
    ]
    written = {
        name: (_written(entry["value"]), _origin(entry["origin"], one))
        for name, entry in details["p_mode"].items()
    }
    width = max(map(len, written))
    for name, (value, origin) in written.items():
        lines.append(f"    {name:{width}}  {value}  [{origin}]")
    lines += [
        "",
        "  P-Modes: only these" if details["pmodes"] else "  P-Modes: one for every service",
    ]
    for pmode in details["pmodes"]:
        said = ", ".join(f"{key} {value}" for key, value in pmode.items() if key != "id")
        lines.append(f"    {pmode['id']}: {said or 'every service'}")
    lines += ["", "  quirks" if details["quirks"] else "  quirks: none"]
    for quirk in details["quirks"]:
        lines += [
            f"    {quirk['name']}  [{_origin(quirk['origin'], one)}]",
            f"      permits:  {quirk['permits']}",
            f"      seen of:  {quirk['seen']}",
            f"      bearable: {quirk['bearable']}",
            f"      section:  {quirk['section']}",
        ]
    now = SystemClock().now()
    lines += ["", "  certificates" if one.certificates else "  certificates: from the directory"]
    for certificate in one.certificates:
        lines += [
            f"    {describe(certificate)}",
            f"      {remaining(certificate, now).sentence}",
            f"      sha256 {fingerprint(certificate)}",
        ]
    return "\n".join(lines) + "\n"


def _origin(origin: str, one: Named) -> str:
    names: Mapping[str, str] = {
        Origin.PRESET: f"preset {one.partner.preset}",
        Origin.PARTNER: f"partner {one.name}",
    }
    return names.get(origin, origin)


def _written(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _write_json(value: object) -> int:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    return ExitStatus.OK
