"""SUP: what is installed and built beside our own code."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case(
        "SUP-01",
        "A package with other octets than were locked",
        expected="pip refuses it: every lock has hashes, and image and CI install by hash only",
    ),
    Case(
        "SUP-02",
        "A version with a known weakness",
        expected="below a floor of the table, and the build ends; native libraries are in the table, too",
    ),
    Case(
        "SUP-03",
        "A check for known weaknesses that calls sound what it could not look up",
        expected="the audit is strict and over the lock; the floors hold where its lists are out of reach",
    ),
    Case(
        "SUP-04",
        "Nobody knows what is in a release",
        expected="a CycloneDX bill from the lock, valid by its schema, the same each time",
    ),
    Case(
        "SUP-05",
        "Native code from elsewhere, or two libxml2 in one process",
        expected="only packages on the list bring any; lxml and xmlsec carry one libxml2",
    ),
    Case(
        "SUP-06",
        "A package whose name is nearly the one that was meant",
        expected="a name that nobody looked at ends the build",
    ),
    Case(
        "SUP-07",
        "A build that is not of this source",
        expected="two builds in other places and at other times are equal octet by octet",
    ),
    Case(
        "SUP-08",
        "A package that calls home when it is imported or when a node starts",
        expected="no import opens a socket; a node that starts connects to nobody but this machine",
    ),
)
