"""Track and trace for people: where a message is, read off what the stations reported.

`report` reads one AuditEvent, `journey` joins the reports of an exchange to legs and stations, `culprit` says in
one case whose turn it is, `picture` and `charts` draw, `pages` serves. All but the last are pure.

Spec: EHMI delivery status 1.0.2, user stories.
"""
