"""MedCom FHIR messages: read, recognise, check, answer, write.

The package reads JSON and XML to one shape, so one validator serves both. It looks into a payload only
at the edges of the network (message service handler and end user application); an access point between
two of them treats the same bytes as opaque.

Spec: medcom-fhir.md.
"""

from envelope.fhir.acknowledgement import build_acknowledgement
from envelope.fhir.finding import Finding, Kind, MessageRefused, Severity, errors_of
from envelope.fhir.reading import MIME_TYPES, FhirMessage, Format, read_message
from envelope.fhir.recognition import MessageFacts, Organization, Response, recognise
from envelope.fhir.rules import RULES, STRICTER, validate
from envelope.fhir.writing import serialize

__all__ = [
    "MIME_TYPES",
    "RULES",
    "STRICTER",
    "FhirMessage",
    "Finding",
    "Format",
    "Kind",
    "MessageFacts",
    "MessageRefused",
    "Organization",
    "Response",
    "Severity",
    "build_acknowledgement",
    "errors_of",
    "read_message",
    "recognise",
    "serialize",
    "validate",
]
