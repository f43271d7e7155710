"""Looks for the patient of the test messages in octets."""

from typing import Final

from writings import forms_of, found_in

from envelope.fhir.synthetic import TEST_CPR

_FORMS: Final = forms_of(TEST_CPR, f"{TEST_CPR[:6]}-{TEST_CPR[6:]}", digests=True)


def patients_in(octets: bytes, *, deep: int = 2) -> set[str]:
    """How the number of the patient is written there, so many layers `deep`."""
    return {name for _, name in found_in(octets, _FORMS, deep=deep)}
