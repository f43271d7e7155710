"""What a service metadata publisher must answer: the SMP assertions, judged on the octets of its answers.

A rule asks the publisher over plain HTTP GET, looks at status line, header and body as they came, and says
what it saw, or raises `Unmet`. It never uses what our own look-up would make of the answer, except to verify
the signature: a rule has to see what a lenient reader forgives.

What a rule may ask for has to be published: `Published` names it. What is not published there cannot be judged,
and the rule says so (`NotApplicable`).

Spec: OASIS SMP 1.0; SMP test assertions (TAD 1.07).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from cryptography import x509

from accesspoint.conformance.case import NotApplicable, Unmet, counted, expect
from envelope import names
from envelope.errors import InvalidHeader, RemoteProtocolError, SmpRefused
from envelope.names import q
from envelope.seal import verify_service_metadata
from envelope.smp import (
    Redirect,
    ServiceMetadata,
    SmpIdentifier,
    metadata_path,
    participant_path,
    read_service_group,
    read_service_metadata,
)
from envelope.xml import scan

MAXIMUM_REFERENCES: Final = 32
"""Of a ServiceGroup with more references than this, only the first ones are asked for."""
_DECLARATION: Final = re.compile(rb"""<\?xml\s+version=["']1\.[01]["'](?P<rest>[^?]*)\?>""")
_ENCODING: Final = re.compile(rb"""encoding=["']utf-8["']""", re.IGNORECASE)
_URI_REFERENCE: Final = re.compile(
    r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII
)
_ALGORITHMS: Final = {
    "CanonicalizationMethod": "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    "SignatureMethod": names.RSA_SHA256,
    "DigestMethod": names.SHA256,
    "Transform": "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
}


@dataclass(frozen=True, slots=True)
class Published:
    """What a publisher is known to publish: about `participant` the kind `document`, and more where it can be had.

    `redirected` is a document of the same participant that is answered with a Redirect, `schemeless` a participant
    whose identifier has no scheme and that takes `document`, `sensitive` a participant and a document in schemes
    that say that case counts. `hosts` are others, as host:port, that its redirects and references may lead to.
    """

    base_url: str
    participant: SmpIdentifier
    document: SmpIdentifier
    redirected: SmpIdentifier | None = None
    schemeless: SmpIdentifier | None = None
    sensitive_participant: SmpIdentifier | None = None
    sensitive_document: SmpIdentifier | None = None
    hosts: frozenset[str] = frozenset()

    def group_url(self, participant: SmpIdentifier | None = None) -> str:
        """The address of a ServiceGroup, here of the participant."""
        return f"{self.base_url.rstrip('/')}/{participant_path(participant or self.participant)}"

    def metadata_url(
        self, document: SmpIdentifier | None = None, participant: SmpIdentifier | None = None
    ) -> str:
        """The address of signed metadata, here of the document of the participant."""
        asked = (participant or self.participant, document or self.document)
        return f"{self.base_url.rstrip('/')}/{metadata_path(*asked)}"


@dataclass(frozen=True, slots=True)
class PublisherAnswer:
    """An HTTP answer as it came: `version` such as `1.1`, header fields in lower case."""

    url: str
    status: int
    version: str
    fields: Mapping[str, str]
    body: bytes

    def describe(self) -> str:
        """The answer in a few words."""
        return f"HTTP/{self.version} {self.status}, {self.fields.get('content-type', 'no media type')}, {len(self.body)} octets"


Get: TypeAlias = Callable[[str], Awaitable[PublisherAnswer]]
"""One GET of an address as it is written, without following redirects of HTTP.

Raises `Unmet` for what is no address, `NotApplicable` for a host that nobody agreed to ask.
"""
Rule: TypeAlias = Callable[[Published, Get], Awaitable[str]]

RULES: Final[dict[str, Rule]] = {}


def _rule(*ids: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ids, function))
        return function

    return register


# Reading answers


def _root(answer: PublisherAnswer, expected: str) -> Any:
    expect(answer.status == 200, expected, answer.describe())
    try:
        return scan(answer.body, allow_bom=True).root
    except RemoteProtocolError as error:
        raise Unmet(expected, f"{answer.describe()}, {error.reason}") from error


def _content(answer: PublisherAnswer) -> ServiceMetadata | Redirect:
    """What signed metadata says, whether or not the signature holds."""
    expected = "a SignedServiceMetadata document"
    root = _root(answer, expected)
    expect(root.tag == q(names.SMP1, "SignedServiceMetadata"), expected, f"{root.tag}")
    inner = root.find(q(names.SMP1, "ServiceMetadata"))
    expect(inner is not None, expected, "no ServiceMetadata in it")
    try:
        return read_service_metadata(inner)
    except (SmpRefused, InvalidHeader) as error:
        raise Unmet(expected, f"metadata that cannot be read: {error.detail}") from error


def _metadata(answer: PublisherAnswer) -> ServiceMetadata:
    content = _content(answer)
    if isinstance(content, Redirect):
        raise Unmet("service information", "a Redirect")
    return content


def _group(answer: PublisherAnswer) -> tuple[SmpIdentifier, tuple[str, ...]]:
    _root(answer, "a ServiceGroup document")
    try:
        group = read_service_group(answer.body)
    except (SmpRefused, InvalidHeader) as error:
        raise Unmet("a ServiceGroup document", error.detail) from error
    return group.participant, group.references


def _signer(answer: PublisherAnswer) -> x509.Certificate:
    """Who signed an answer; the signature must hold."""
    expected = "an enveloped signature over the whole document that verifies"
    try:
        sealed = verify_service_metadata(answer.body, check=lambda certificate, chain: None)
    except SmpRefused as error:
        raise Unmet(expected, f"{error.reason}: {error.detail}") from error
    return sealed.certificate


async def _get_redirect(published: Published, get: Get) -> tuple[PublisherAnswer, Redirect]:
    if published.redirected is None:
        raise NotApplicable("the publisher publishes no redirect that is known to the kit")
    answer = await get(published.metadata_url(published.redirected))
    content = _content(answer)
    if not isinstance(content, Redirect):
        raise Unmet("a Redirect element", "service information")
    return answer, content


def _swapped(identifier: SmpIdentifier) -> SmpIdentifier:
    return SmpIdentifier(identifier.scheme, identifier.value.swapcase())


# The rules


@_rule("SMP_TA01")
async def metadata_is_had_by_get(published: Published, get: Get) -> str:
    """GET of the metadata address gives signed metadata."""
    found = _metadata(await get(published.metadata_url())).processes
    return f"metadata with {counted(len(found), 'process', 'processes')}"


@_rule("SMP_TA02")
async def group_is_had_by_get(published: Published, get: Get) -> str:
    """GET of the participant's address gives a ServiceGroup with references."""
    _, references = _group(await get(published.group_url()))
    expect(references, "at least one reference", "a ServiceGroup without references")
    return f"a ServiceGroup with {counted(len(references), 'reference')}"


@_rule("SMP_TA16")
async def group_has_status_200(published: Published, get: Get) -> str:
    """The ServiceGroup comes with status 200 and nothing else."""
    answer = await get(published.group_url())
    expect(answer.status == 200, "status 200", answer.describe())
    return answer.describe()


@_rule("SMP_TA17")
async def metadata_has_status_200(published: Published, get: Get) -> str:
    """Signed metadata comes with status 200 and nothing else."""
    answer = await get(published.metadata_url())
    expect(answer.status == 200, "status 200", answer.describe())
    return answer.describe()


@_rule("SMP_TA03")
async def redirect_is_an_element(published: Published, get: Get) -> str:
    """A redirect is an element of signed metadata, which names the certificate to expect."""
    answer, redirect = await _get_redirect(published, get)
    expect(redirect.certificate_uid, "a CertificateUID", "an empty one")
    _signer(answer)
    return f"a signed Redirect to {redirect.href}"


@_rule("SMP_TA04")
async def redirect_has_a_full_address(published: Published, get: Get) -> str:
    """The address of a redirect is complete: it already names participant and document."""
    _, redirect = await _get_redirect(published, get)
    segments = [unquote(one) for one in urlsplit(redirect.href).path.split("/")]
    wanted = f"an address that ends in /{{participant}}/services/{{document}}, not {redirect.href}"
    document = published.redirected
    value = document.value if document is not None else ""
    holds = len(segments) >= 3 and segments[-2] == "services"
    expect(
        holds
        and segments[-3].lower().endswith(published.participant.value.lower())
        and segments[-1].lower().endswith(value.lower()),
        wanted,
        redirect.href,
    )
    return redirect.href


@_rule("SMP_TA06")
async def redirect_leads_to_metadata(published: Published, get: Get) -> str:
    """What a redirect leads to is metadata and no further redirect, signed by whom the redirect names."""
    _, redirect = await _get_redirect(published, get)
    answer = await get(redirect.href)
    if isinstance(_content(answer), Redirect):
        raise Unmet("metadata behind the first redirect", "another Redirect")
    subject = _signer(answer).subject
    known = {subject.rfc4514_string(), *(str(one.value) for one in subject)}
    expect(
        redirect.certificate_uid in known,
        f"a signature by {redirect.certificate_uid}",
        f"one by {subject.rfc4514_string()}",
    )
    return f"metadata signed by {redirect.certificate_uid}"


@_rule("SMP_TA19")
async def redirect_is_no_status(published: Published, get: Get) -> str:
    """A redirect comes with status 200, never as a redirect of HTTP."""
    if published.redirected is None:
        raise NotApplicable("the publisher publishes no redirect that is known to the kit")
    answer = await get(published.metadata_url(published.redirected))
    expect(answer.status == 200, "status 200 with a Redirect element", answer.describe())
    return answer.describe()


@_rule("SMP_TA05")
async def references_are_signed_by_the_same(published: Published, get: Get) -> str:
    """Everything that a ServiceGroup refers to is there, and signed by one and the same certificate."""
    signer = _signer(await get(published.metadata_url()))
    _, references = _group(await get(published.group_url()))
    judged = references[:MAXIMUM_REFERENCES]
    for reference in judged:
        answer = await get(reference)
        _content(answer)
        expect(
            _signer(answer) == signer,
            f"{reference} signed by {signer.subject.rfc4514_string()}",
            "a signature by another certificate",
        )
    return f"{len(judged)} of {counted(len(references), 'reference')}, signed by {signer.subject.rfc4514_string()}"


@_rule("SMP_TA07")
async def answer_is_about_whom_was_asked(published: Published, get: Get) -> str:
    """Participant and document in an answer are those that the address names."""
    metadata = _metadata(await get(published.metadata_url()))
    group, _ = _group(await get(published.group_url()))
    asked = (published.participant, published.document)
    expect((metadata.participant, metadata.document_id) == asked, f"{asked}", f"{metadata.participant}, {metadata.document_id}")  # fmt: skip
    expect(group == published.participant, f"{published.participant}", f"{group}")
    return f"{group.scheme}::{group.value} in both documents"


@_rule("SMP_TA08")
async def transport_profiles_differ(published: Published, get: Get) -> str:
    """The endpoints of one process have different transport profiles."""
    metadata = _metadata(await get(published.metadata_url()))
    for process in metadata.processes:
        profiles = [endpoint.transport_profile for endpoint in process.endpoints]
        expect(
            len(set(profiles)) == len(profiles),
            "one endpoint for each transport profile",
            f"{profiles} for process {process.process_id.value}",
        )
    return ", ".join(sorted({e.transport_profile for p in metadata.processes for e in p.endpoints}))


@_rule("SMP_TA09A")
async def scheme_is_part_of_the_name(published: Published, get: Get) -> str:
    """With a scheme the name in the address is scheme, two colons, value: the same value in another scheme is nobody."""
    expect(published.participant.scheme, "a participant with a scheme", "none")
    _group(await get(published.group_url()))
    other = SmpIdentifier("conformance-no-such-scheme", published.participant.value)
    answer = await get(published.group_url(other))
    expect(answer.status == 404, "404 for the same value in another scheme", answer.describe())
    return "200 with the scheme, 404 with another"


@_rule("SMP_TA09B")
async def name_may_lack_a_scheme(published: Published, get: Get) -> str:
    """A participant whose identifier has no scheme is found, and its identifier carries no scheme attribute."""
    if published.schemeless is None:
        raise NotApplicable(
            "the publisher knows no participant without a scheme that is known to the kit"
        )
    bare = quote(published.schemeless.value, safe="")
    answer = await get(f"{published.base_url.rstrip('/')}/{bare}")
    if answer.status == 404:
        answer = await get(published.group_url(published.schemeless))
    participant, _ = _group(answer)
    expect(participant == published.schemeless, f"{published.schemeless}", f"{participant}")
    return f"{participant.value} without scheme"


@_rule("SMP_TA10")
async def case_of_participants_is_ignored(published: Published, get: Get) -> str:
    """A participant is found whatever the case of the letters in its identifier."""
    value = published.participant.value
    scheme = (published.participant.scheme or "").swapcase() or None
    expect(value.swapcase() != value or scheme, "an identifier with letters", value)
    participant, _ = _group(await get(published.group_url(SmpIdentifier(scheme, value.swapcase()))))
    return f"{scheme}::{value.swapcase()} gives {participant.scheme}::{participant.value}"


@_rule("SMP_TA12")
async def case_of_documents_is_ignored(published: Published, get: Get) -> str:
    """A document is found whatever the case of the letters in its identifier."""
    found = _metadata(await get(published.metadata_url(_swapped(published.document))))
    return f"{_swapped(published.document).value} gives {found.document_id.value}"


@_rule("SMP_TA24")
async def case_of_participants_counts_where_the_scheme_says_so(
    published: Published, get: Get
) -> str:
    """In a scheme whose identifiers are sensitive to case, another case is another participant."""
    known = published.sensitive_participant
    if known is None:
        raise NotApplicable("the publisher knows no participant in a scheme where case counts")
    _group(await get(published.group_url(known)))
    answer = await get(published.group_url(_swapped(known)))
    expect(answer.status == 404, "404 for another case", answer.describe())
    return "200 as it is written, 404 in another case"


@_rule("SMP_TA25")
async def case_of_documents_counts_where_the_scheme_says_so(published: Published, get: Get) -> str:
    """In a scheme whose identifiers are sensitive to case, another case is another document."""
    known = published.sensitive_document
    if known is None:
        raise NotApplicable("the publisher knows no document in a scheme where case counts")
    participant = published.sensitive_participant
    _content(await get(published.metadata_url(known, participant)))
    answer = await get(published.metadata_url(_swapped(known), participant))
    expect(answer.status == 404, "404 for another case", answer.describe())
    return "200 as it is written, 404 in another case"


@_rule("SMP_TA11")
async def addresses_are_percent_encoded(published: Published, get: Get) -> str:
    """Segments are percent-encoded, in hexadecimal of either case, and so are the addresses in a ServiceGroup."""
    lower = re.sub("%[0-9A-F]{2}", lambda hit: hit[0].lower(), published.metadata_url())
    _metadata(await get(lower))
    _, references = _group(await get(published.group_url()))
    for reference in references:
        path = urlsplit(reference).path
        good = "#" not in reference and "::" not in path and "//" not in path
        expect(good, "references with percent-encoded segments", reference)
    return f"{lower}; {counted(len(references), 'reference')}, encoded"


@_rule("SMP_TA13")
async def document_scheme_is_a_uri(published: Published, get: Get) -> str:
    """The scheme of a document identifier is there, and is a URI."""
    scheme = _metadata(await get(published.metadata_url())).document_id.scheme
    expect(scheme and _URI_REFERENCE.fullmatch(scheme), "a scheme that is a URI", f"{scheme!r}")
    return f"{scheme}"


@_rule("SMP_TA15")
async def answers_are_text_xml_over_http_1_1(published: Published, get: Get) -> str:
    """Documents are text/xml, and HTTP is of version 1.1."""
    for url in (published.group_url(), published.metadata_url()):
        answer = await get(url)
        media_type = answer.fields.get("content-type", "").partition(";")[0].strip().lower()
        expect(
            answer.version == "1.1" and media_type == "text/xml",
            "HTTP/1.1 and text/xml",
            answer.describe(),
        )
    return "HTTP/1.1, text/xml for both documents"


@_rule("SMP_TA18")
async def what_is_not_there_is_404(published: Published, get: Get) -> str:
    """An unknown participant and an unknown document are answered with 404."""
    nobody = SmpIdentifier(published.participant.scheme, "0000:conformance-nobody")
    nothing = SmpIdentifier(published.document.scheme, "urn:conformance:nothing")
    for url in (
        published.group_url(nobody),
        published.metadata_url(participant=nobody),
        published.metadata_url(nothing),
    ):
        answer = await get(url)
        expect(answer.status == 404, f"404 for {url}", answer.describe())
    return "404 for an unknown participant and an unknown document"


@_rule("SMP_TA20")
async def documents_have_an_xml_declaration(published: Published, get: Get) -> str:
    """Each document begins with an XML declaration."""
    for url in (published.group_url(), published.metadata_url()):
        answer = await get(url)
        expect(_DECLARATION.match(answer.body), "an XML declaration", f"none at {url}")
    return "both documents begin with a declaration"


@_rule("SMP_TA21")
async def documents_are_utf_8(published: Published, get: Get) -> str:
    """Each document is UTF-8, and says so."""
    for url in (published.group_url(), published.metadata_url()):
        answer = await get(url)
        found = _DECLARATION.match(answer.body)
        expect(
            found and _ENCODING.search(found["rest"]),
            'encoding="UTF-8" in the declaration',
            f"another one, or no declaration, at {url}",
        )
        try:
            answer.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unmet("octets that are UTF-8", f"octet {error.start} is not") from error
    return "both documents say UTF-8 and are"


@_rule("SMP_TA22")
async def metadata_has_one_enveloped_signature(published: Published, get: Get) -> str:
    """Metadata carries a signature over the whole document as a child of its root, which verifies."""
    answer = await get(published.metadata_url())
    root = _root(answer, "signed metadata")
    signatures = [child for child in root if child.tag == q(names.DS, "Signature")]
    expect(len(signatures) == 1, "one signature as a child of the root", f"{len(signatures)}")
    return f"signed by {_signer(answer).subject.rfc4514_string()}"


@_rule("SMP_TA23")
async def signature_follows_the_rules(published: Published, get: Get) -> str:
    """The signature uses canonical XML 1.0, SHA-256 and RSA, the enveloped transform alone, and names its certificate."""
    root = _root(await get(published.metadata_url()), "signed metadata")
    signature = root.find(q(names.DS, "Signature"))
    expect(signature is not None, "a signature", "none")
    for local, wanted in _ALGORITHMS.items():
        found = [element.get("Algorithm") for element in signature.iter(q(names.DS, local))]
        expect(found == [wanted], f"{local} {wanted}, once", f"{found}")
    uris = [element.get("URI") for element in signature.iter(q(names.DS, "Reference"))]
    expect(uris == [""], "one reference, to the whole document", f"{uris}")
    certificates = list(signature.iter(q(names.DS, "X509Certificate")))
    expect(certificates, "an X509Certificate in KeyInfo", "none")
    return "canonical XML 1.0, RSA with SHA-256, enveloped, with its certificate"
