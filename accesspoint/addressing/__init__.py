"""Who the right receiver is: the addressing service (EAS) asked for people, the endpoint register (EER) read for it.

A lookup in the directory (`accesspoint.discovery`) finds the access point of a GLN; addressing finds the GLN: of a
patient's own general practitioner, of a ydernummer, of a SOR id. `vocabulary` has the names of both services,
`receivers` reads their answers, `service` asks the addressing service and `register` the register.
"""
