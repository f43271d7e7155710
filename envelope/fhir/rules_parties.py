"""Rules on organizations, the patient and their identifiers, shared by all messages.

Spec: medcom-fhir.md 4, 5, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind
from envelope.fhir.rule import Check, Place, Rule
from envelope.fhir.view import MessageView, Node

_OFFICIAL: Final = (
    *sorted(canonicals.GLN_SYSTEMS),
    canonicals.SOR,
    canonicals.CPR,
    canonicals.PRODUCENT_ID,
)
_E_CPR: Final = (canonicals.X_ECPR, *sorted(canonicals.D_ECPR_SYSTEMS))
_PATIENT_EVENTS: Final = frozenset(
    {canonicals.HOMECAREOBSERVATION, canonicals.CARECOMMUNICATION, canonicals.HOSPITALNOTIFICATION}
)


def messaging_organizations(view: MessageView) -> list[Node]:
    """List the sender, the primary receiver and the agents of the Provenances, each once."""
    found: dict[str, Node] = {}
    candidates = [view.sender, view.receiver]
    for provenance in view.of_type("Provenance"):
        candidates += [view.resolve(who) for who in provenance.each("agent", "who")]
    for node in candidates:
        if node is not None and node.type == "Organization":
            found.setdefault(node.path, node)
    return list(found.values())


def gln_present(view: MessageView) -> Iterator[Place]:
    """A messaging organization has exactly one GLN, in either spelling of the system."""
    for node in messaging_organizations(view):
        if sum(1 for _ in node.identifiers(*canonicals.GLN_SYSTEMS)) != 1:
            yield f"{node.path}.identifier", "not exactly one GLN"


def sor_present(view: MessageView) -> Iterator[Place]:
    """A messaging organization has exactly one SOR id."""
    for node in messaging_organizations(view):
        if sum(1 for _ in node.identifiers(canonicals.SOR)) != 1:
            yield f"{node.path}.identifier", "not exactly one SOR id"


def organization_identified(view: MessageView) -> Iterator[Place]:
    """Every organization has a SOR id, a KOMBIT id or a CVR number."""
    for node in view.of_type("Organization"):
        known = (canonicals.SOR, canonicals.KOMBIT, *canonicals.CVR_SYSTEMS)
        if next(node.identifiers(*known), None) is None:
            yield f"{node.path}.identifier", "neither a SOR id nor a KOMBIT id nor a CVR number"


def organization_cvr(view: MessageView) -> Iterator[Place]:
    """A CVR number is eight digits with a right check digit."""
    for path, value in _organization_values(view, *canonicals.CVR_SYSTEMS):
        if not formats.is_cvr(value):
            yield path, "not the form of a CVR number"


def organization_kombit(view: MessageView) -> Iterator[Place]:
    """A KOMBIT id is a UUID as a URN."""
    for path, value in _organization_values(view, canonicals.KOMBIT):
        if not formats.is_uuid_urn(value.lower()):
            yield path, "not the form of a KOMBIT id"


def _organization_values(view: MessageView, *systems: str) -> Iterator[tuple[str, str]]:
    for node in view.of_type("Organization"):
        for item in node.identifiers(*systems):
            yield f"{item.path}.value", item.string("value") or ""


def gln_length(view: MessageView) -> Iterator[Place]:
    """A GLN is thirteen digits."""
    for path, value in _organization_values(view, *canonicals.GLN_SYSTEMS):
        if not formats.is_thirteen_digits(value):
            yield path, "a GLN is thirteen digits"


def gln_modulus(view: MessageView) -> Iterator[Place]:
    """The check digit of a GLN is right."""
    for path, value in _organization_values(view, *canonicals.GLN_SYSTEMS):
        if formats.is_thirteen_digits(value) and not formats.has_gs1_check_digit(value):
            yield path, "the check digit of the GLN is wrong"


def sor_digits(view: MessageView) -> Iterator[Place]:
    """A SOR id is eleven digits or more."""
    for path, value in _organization_values(view, canonicals.SOR):
        if not formats.is_sor(value):
            yield path, "a SOR id is at least eleven digits"


def _uses(view: MessageView) -> Iterator[tuple[Node, str | None]]:
    for kind in ("Organization", "Patient"):
        for node in view.of_type(kind):
            for item in node.each("identifier"):
                yield item, item.string("system")


def identifier_use(view: MessageView) -> Iterator[Place]:
    """Where an identifier states its use, it is `official`, or `temp` for an eCPR."""
    for item, system in _uses(view):
        wanted = "official" if system in _OFFICIAL else "temp" if system in _E_CPR else None
        use = item.string("use")
        if wanted is not None and use is not None and use != wanted:
            yield f"{item.path}.use", "not the use this kind of identifier has"


def patient_count(view: MessageView) -> Iterator[Place]:
    """A message about a patient has exactly one."""
    if len(view.of_type("Patient")) != 1:
        yield "Bundle.entry", "not exactly one Patient"


def patient_identifier(view: MessageView) -> Iterator[Place]:
    """The patient has a CPR number or an eCPR."""
    for patient in view.of_type("Patient"):
        if next(patient.identifiers(canonicals.CPR, *_E_CPR), None) is None:
            yield f"{patient.path}.identifier", "neither a CPR number nor an eCPR"


def _form(form: str, demand: str, *systems: str) -> Check:
    def check(view: MessageView) -> Iterator[Place]:
        for patient in view.of_type("Patient"):
            for item in patient.identifiers(*systems):
                if not formats.PATIENT_ID_FORMS[form](item.string("value") or ""):
                    yield f"{item.path}.value", "not the form this kind of patient number has"

    check.__doc__ = demand
    return check


def official_name(view: MessageView) -> Iterator[Place]:
    """Exactly one name is official, and it has a family name or says why not."""
    for patient in view.of_type("Patient"):
        official = [item for item in patient.each("name") if item.string("use") == "official"]
        if len(official) != 1 or not official[0].has("family"):
            yield f"{patient.path}.name", "not exactly one official name with a family name"


RULES: Final = (
    Rule("organization-gln", gln_present, Kind.REQUIRED),
    Rule("organization-sor", sor_present, Kind.REQUIRED),
    Rule("gln-length", gln_length, Kind.VALUE, medcom_id="gln-length"),
    Rule("gln-check-digit", gln_modulus, Kind.VALUE, medcom_id="gln-modulus-10"),
    Rule(
        "organization-identified",
        organization_identified,
        Kind.REQUIRED,
        medcom_id="dk-core-organization-mandatory-identifier",
    ),
    Rule("organization-cvr", organization_cvr, Kind.VALUE, "warning"),
    Rule("organization-kombit", organization_kombit, Kind.VALUE, "warning"),
    Rule("sor-digits", sor_digits, Kind.VALUE, medcom_id="min-digits-sor"),
    Rule("identifier-use", identifier_use, Kind.VALUE),
    Rule(
        "patient-count",
        patient_count,
        events=_PATIENT_EVENTS,
        medcom_ids={
            canonicals.CARECOMMUNICATION: "medcom-careCommunication-2",
            canonicals.HOSPITALNOTIFICATION: "medcom-hospitalNotification-2",
        },
    ),
    Rule("patient-identifier", patient_identifier, Kind.REQUIRED, events=_PATIENT_EVENTS),
    Rule(
        "patient-cpr",
        _form("cpr", "A CPR number is a day of the year and six digits.", canonicals.CPR),
        Kind.VALUE,
        medcom_id="cpr",
    ),
    Rule(
        "patient-x-ecpr",
        _form(
            "x-ecpr",
            "A national eCPR is a day and year, 1 or 7, two capitals and a digit.",
            canonicals.X_ECPR,
        ),
        Kind.VALUE,
        medcom_id="x-ecpr",
    ),
    Rule(
        "patient-d-ecpr",
        _form(
            "d-ecpr",
            "A regional eCPR is a day and year, 0, 5 or 6, two capitals and a digit.",
            *sorted(canonicals.D_ECPR_SYSTEMS),
        ),
        Kind.VALUE,
        medcom_id="d-ecpr",
    ),
    Rule("patient-official-name", official_name, Kind.REQUIRED, events=_PATIENT_EVENTS),
)
