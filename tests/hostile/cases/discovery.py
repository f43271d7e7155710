"""DSC: where what others say of addresses may lead us."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case(
        "DSC-01",
        "An endpoint or publisher at an address of this machine, of link-local or foreign networks, in any spelling",
        expected="lookup-forbidden-network or smp-refused; nobody is connected to",
    ),
    Case(
        "DSC-02",
        "A name that resolves to another address at the second look",
        expected="the address that a socket is made for is the one that is checked",
    ),
    Case("DSC-03", "An HTTP redirect", expected="an answer like any other, never followed"),
    Case("DSC-04", "file:, ftp:, gopher: as an address", expected="smp-refused; nothing is opened"),
    Case(
        "DSC-05",
        "User and password in an address",
        expected="smp-refused, and the password stands in no text",
    ),
    Case(
        "DSC-06",
        "Proxy variables in the environment",
        expected="not read by any client of ours",
    ),
    Case(
        "DSC-07",
        "Metadata that is unsigned, changed, of another signer, expired, or about somebody else",
        expected="smp-signature, smp-refused or lookup-no-endpoint; no endpoint",
    ),
    Case(
        "DSC-08",
        "Metadata without end, in drops, or as an XML bomb",
        expected="smp-refused or lookup-unreachable after 256 KiB or the time that is given",
    ),
    Case(
        "DSC-09",
        "Addresses of revocation lists and issuers inside a certificate that is not trusted",
        "G6",
        "cert.untrusted",
        "EBMS:0101",
        "nobody is asked: lists come from configured addresses, in the background",
    ),
    Case(
        "DSC-10",
        "A revocation list of 100 MB",
        expected="given up at 16 MiB; the list that was at hand stays",
    ),
    Case(
        "DSC-11",
        "A name with 1,000 addresses, aliases in a circle, a name that comes and goes",
        expected="16 addresses are tried, circles end as unreachable, names are remembered for a minute",
    ),
    Case(
        "DSC-12",
        "The certificate of the metadata is neither that of TLS nor that of the receipt",
        expected="TLS is judged by its own trust; the receipt must be by the certificate of the metadata: "
        "else receipt-signer, never acknowledged",
    ),
    Case(
        "DSC-13",
        "A NAPTR record whose regular expression is an attack",
        expected="smp-refused: it is read as data and never run",
    ),
    Case(
        "DSC-14",
        "A service that we report to or fetch tokens from says that it is elsewhere",
        expected="its addresses stand in the configuration; what answers say of addresses is not read",
    ),
)
