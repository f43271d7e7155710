"""The EHMI delivery status component: takes the reports of all stations, keeps them, and answers where a message is.

`resource` reads an AuditEvent, `store` keeps each report once, `search` parses the search parameters and
`finding` runs them over indexes, `access` says who may see what, `service` is the FHIR interface, and
`queries` is what pages for people are made from.

Spec: EHMI delivery status 1.0.2; EHMI security architecture 0.98 section on resource servers.
"""
