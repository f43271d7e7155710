"""Reads a publisher's answer: verified, of a form that was expected, and about the question that was asked.

An answer is read only from what was signed. Trust in the signer is a callback.

Spec: OASIS SMP 1.0 section 3; OASIS SMP 2.0 section 4; Busdox service metadata publishing 1.0.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.errors import InvalidHeader, SmpRefused, TransportRefused
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.seal import CertificateCheck, verify_service_metadata
from envelope.smp.model import (
    MetadataContent,
    Redirect,
    ServiceGroup,
    ServiceMetadata,
    SignedServiceMetadata,
    SmpForm,
    SmpIdentifier,
    fold,
)
from envelope.smp.version_1 import one_named, read_group_1, read_service_metadata
from envelope.smp.version_2 import read_group_2, read_metadata_2

VERSION_1: Final = frozenset({SmpForm.OASIS_1, SmpForm.BUSDOX})
ALL_FORMS: Final = frozenset(SmpForm)
_FORMS: Final[Mapping[str | None, SmpForm]] = MappingProxyType(
    {
        names.SMP1: SmpForm.OASIS_1,
        names.BUSDOX: SmpForm.BUSDOX,
        names.SMP2 + "ServiceMetadata": SmpForm.OASIS_2,
        names.SMP2 + "ServiceGroup": SmpForm.OASIS_2,
    }
)
CANONICALIZATIONS: Final[Mapping[SmpForm, frozenset[str]]] = MappingProxyType(
    {
        SmpForm.OASIS_1: frozenset({names.C14N_10}),
        SmpForm.BUSDOX: frozenset({names.C14N_10, names.EXC_C14N}),
        SmpForm.OASIS_2: frozenset({names.C14N_10, names.C14N_11}),
    }
)
"""What a signature of each form may be made over; that of Busdox with SHA-1 is refused like any other SHA-1."""


def read_signed_service_metadata(
    data: bytes,
    *,
    participant: SmpIdentifier,
    document_id: SmpIdentifier,
    check: CertificateCheck,
    redirected_by: Redirect | None = None,
    forms: Collection[SmpForm] = VERSION_1,
    limits: Limits = DEFAULT_LIMITS,
) -> SignedServiceMetadata:
    """Verify a publisher's answer in one of `forms` and read it, if it is about this participant and kind of document.

    `check` decides about the signer's certificate and may raise what it likes. With `redirected_by` the answer must
    not redirect again, and must be signed by the certificate that the redirect names.

    Raises SmpRefused: those of `seal.verify_service_metadata`, `smp.namespace` (a form that is not among `forms`),
    `smp.form`, `smp.participant` and `smp.document` (about something else), `smp.redirect`.

    Spec: OASIS SMP 1.0 sections 2 and 3, SMP 2.0 sections 3 and 4; Busdox service metadata publishing 1.0.
    """
    form = find_form(_scan(data, limits), forms)
    sealed = verify_service_metadata(
        data, check=check, canonicalizations=CANONICALIZATIONS[form], limits=limits
    )
    if form is not SmpForm.OASIS_2 and not _is(sealed.root, "SignedServiceMetadata"):
        raise SmpRefused("root is not SignedServiceMetadata", reason="smp.form")
    content = read_content(sealed.root, form)
    if redirected_by is not None:
        _check_redirected(redirected_by, content, sealed.certificate)
    if isinstance(content, ServiceMetadata):
        if _folded(content.participant) != _folded(participant):
            raise SmpRefused("the answer is about another participant", reason="smp.participant")
        if content.document_id != document_id:
            raise SmpRefused("the answer is about another document", reason="smp.document")
    return SignedServiceMetadata(content, sealed.certificate, sealed.evidence)


def find_form(root: _Element, forms: Collection[SmpForm] = ALL_FORMS) -> SmpForm:
    """Say in which of `forms` an answer is; raises SmpRefused (`smp.namespace`)."""
    form = _FORMS.get(etree.QName(root).namespace)
    if form is None or form not in forms:
        raise SmpRefused("not a document of the agreed form of SMP", reason="smp.namespace")
    return form


def read_content(root: _Element, form: SmpForm) -> MetadataContent:
    """Read what an answer says; this proves nothing, only a verified signature does.

    Raises SmpRefused (`smp.form`, `smp.url`).

    Spec: OASIS SMP 1.0 section 2.3, SMP 2.0 section 3.3.
    """
    try:
        if form is SmpForm.OASIS_2:
            return read_metadata_2(root)
        signed = _is(root, "SignedServiceMetadata")
        return read_service_metadata(one_named(root, "ServiceMetadata") if signed else root)
    except InvalidHeader as error:
        raise SmpRefused(error.detail, reason="smp.form") from None


def read_service_group(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ServiceGroup:
    """Read a ServiceGroup of any form; raises SmpRefused (`smp.xml`, `smp.namespace`, `smp.form`).

    Spec: OASIS SMP 1.0 section 2.2, SMP 2.0 section 3.2.
    """
    root = _scan(data, limits)
    form = find_form(root)
    try:
        if not _is(root, "ServiceGroup"):
            raise SmpRefused("root is not ServiceGroup", reason="smp.form")
        return read_group_2(root) if form is SmpForm.OASIS_2 else read_group_1(root)
    except InvalidHeader as error:
        raise SmpRefused(error.detail, reason="smp.form") from None


def _scan(data: bytes, limits: Limits) -> _Element:
    try:
        return xml.scan(data, limits).root
    except TransportRefused as refused:
        raise SmpRefused(refused.reason, reason="smp.xml") from None


def _is(root: _Element, local: str) -> bool:
    return bool(etree.QName(root).localname == local)


def _check_redirected(
    redirect: Redirect, content: MetadataContent, certificate: x509.Certificate
) -> None:
    if isinstance(content, Redirect):
        raise SmpRefused("a redirect leads to a redirect", reason="smp.redirect")
    if redirect.certificates:
        if certificate.public_bytes(Encoding.DER) not in redirect.certificates:
            raise SmpRefused(
                "not signed by the publisher the redirect names", reason="smp.redirect"
            )
        return
    if not redirect.certificate_uid:
        return
    subject = certificate.subject
    identifiers = {subject.rfc4514_string()} | {
        str(attribute.value)
        for oid in (NameOID.X500_UNIQUE_IDENTIFIER, NameOID.SERIAL_NUMBER)
        for attribute in subject.get_attributes_for_oid(oid)
    }
    if redirect.certificate_uid not in identifiers:
        raise SmpRefused("not signed by the publisher the redirect names", reason="smp.redirect")


def _folded(identifier: SmpIdentifier) -> SmpIdentifier:
    return fold(identifier) if identifier.scheme == names.ISO6523_ACTORID else identifier
