"""The evidence bundle: everything that proves one message, in one file that outlives this software.

`bundle` packs named octets into an archive whose bytes depend on nothing else; `gather` collects them from the store
of a node; `verify` is the program that travels in the bundle and needs none of the others.

Spec: experience section 4 (evidence) and section 7.
"""
