"""Security tokens: how a signature or an encrypted key names its X.509 certificate, read and written.

Four forms and no other: a binary security token holding one certificate or a PKI path, a subject key identifier,
an issuer name with serial number. A token says which certificate is meant, never that it is trusted.

Spec: WSS X.509 Certificate Token Profile 1.1.1 section 3; eDelivery AS4 1.15 section 4.2.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from envelope import names
from envelope.canonical import attribute
from envelope.errors import (
    CertificateRefused,
    FailedAuthentication,
    Gate,
    LocalProtocolError,
    PolicyNoncompliance,
)
from envelope.names import q
from envelope.pmode import TokenForm
from envelope.signed_info import decode_base64, leaf_text

if TYPE_CHECKING:
    from lxml.etree import _Element

BINARY_SECURITY_TOKEN: Final = q(names.WSSE, "BinarySecurityToken")
SECURITY_TOKEN_REFERENCE: Final = q(names.WSSE, "SecurityTokenReference")
TOKEN_REFERENCE: Final = q(names.WSSE, "Reference")
_KEY_IDENTIFIER: Final = q(names.WSSE, "KeyIdentifier")
_X509_DATA: Final = q(names.DS, "X509Data")
_X509_CERTIFICATE: Final = q(names.DS, "X509Certificate")
_X509_ISSUER_SERIAL: Final = q(names.DS, "X509IssuerSerial")
_X509_ISSUER_NAME: Final = q(names.DS, "X509IssuerName")
_X509_SERIAL_NUMBER: Final = q(names.DS, "X509SerialNumber")
_KEY_VALUE: Final = q(names.DS, "KeyValue")
_INDIRECTIONS: Final = frozenset(
    {
        q(names.DS, "RetrievalMethod"),
        q(names.DSIG11, "KeyInfoReference"),
        q(names.DSIG11, "DEREncodedKeyValue"),
        q(names.DS, "KeyName"),
        q(names.DS, "PGPData"),
        q(names.DS, "SPKIData"),
        q(names.DS, "MgmtData"),
        _KEY_VALUE,
        _X509_DATA,
    }
)

_MAXIMUM_TOKEN_CHARACTERS: Final = 64 * 1024
_MAXIMUM_PATH: Final = 8
_SEQUENCE: Final = 0x30
_DECIMAL: Final = re.compile(r"[0-9]{1,60}")

# Short names seen in the field, by attribute type. RFC 4514 knows only some; the rest are Java's and .NET's.
_ATTRIBUTE_TYPES: Final = {
    "CN": "2.5.4.3",
    "SN": "2.5.4.4",
    "SURNAME": "2.5.4.4",
    "SERIALNUMBER": "2.5.4.5",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "ST": "2.5.4.8",
    "S": "2.5.4.8",
    "STREET": "2.5.4.9",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "T": "2.5.4.12",
    "TITLE": "2.5.4.12",
    "G": "2.5.4.42",
    "GN": "2.5.4.42",
    "GIVENNAME": "2.5.4.42",
    "DNQ": "2.5.4.46",
    "DNQUALIFIER": "2.5.4.46",
    "ORGANIZATIONIDENTIFIER": "2.5.4.97",
    "E": "1.2.840.113549.1.9.1",
    "EMAILADDRESS": "1.2.840.113549.1.9.1",
    "UID": "0.9.2342.19200300.100.1.1",
    "DC": "0.9.2342.19200300.100.1.25",
}

_RelativeName = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TokenReference:
    """Which certificate is meant: the certificate itself, or what to look it up by.

    `chain` holds the other certificates of a PKI path, without the certificate itself, issuing one first.
    """

    kind: TokenForm
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()
    key_identifier: bytes | None = None
    issuer: str | None = None
    serial: int | None = None

    def matches(self, certificate: x509.Certificate) -> bool:
        """Say whether this reference names `certificate`; issuer names compare by parsed parts, in either order."""
        if self.certificate is not None:
            return self.certificate == certificate
        if self.key_identifier is not None:
            return self.key_identifier == subject_key_identifier(certificate)
        if self.issuer is None or self.serial != certificate.serial_number:
            return False
        named = _parse_name(self.issuer)
        issuer = _name_of(certificate.issuer)
        return named in (issuer, issuer[::-1])


@lru_cache(maxsize=128)
def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """The SKI extension's octets, or SHA-1 of the public key bits for a certificate without one."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return extension.value.digest


def _fold(value: str) -> str:
    return " ".join(value.split()).casefold()


def _name_of(name: x509.Name) -> list[_RelativeName]:
    return [
        frozenset((item.oid.dotted_string, _fold(str(item.value))) for item in relative)
        for relative in name.rdns
    ]


def _split(text: str, separators: str) -> Iterator[str]:
    """Cut at separators that are neither escaped nor quoted; the pieces keep their escapes."""
    start = position = 0
    quoted = False
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character in separators and not quoted:
            yield text[start:position]
            start = position + 1
        position += 1
    yield text[start:]


def _unescape(value: str) -> str:
    """Undo RFC 2253 quoting: `\\,` and the like, `\\C3\\A6` octets, surrounding quotes."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    octets = re.sub(
        r"(?:\\[0-9A-Fa-f]{2})+",
        lambda found: bytes.fromhex(found[0].replace("\\", "")).decode("utf-8", "replace"),
        value,
    )
    return re.sub(r"\\(.)", r"\1", octets)


def _parse_name(text: str) -> list[_RelativeName]:
    """Read a distinguished name string; a part that cannot be understood matches no certificate."""
    parsed: list[_RelativeName] = []
    for relative in _split(text, ",;"):
        pairs = []
        for piece in _split(relative, "+"):
            name, _, value = piece.partition("=")
            name = name.strip().upper().removeprefix("OID.")
            pairs.append((_ATTRIBUTE_TYPES.get(name, name), _fold(_unescape(value))))
        parsed.append(frozenset(pairs))
    return parsed


def _unparsable(detail: str) -> CertificateRefused:
    return CertificateRefused(detail, reason="cert.parse", gate=Gate.G5)


@lru_cache(maxsize=128)
def _load_certificate(der: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(der)
    # Read only when they are asked for, they would fail where nobody expects it: a stranger chose them.
    _ = certificate.subject, certificate.issuer, certificate.extensions
    return certificate


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one DER certificate; the last ones are remembered, since partners send the same again and again.

    Raises `CertificateRefused` (`cert.parse`), for trailing octets too.
    """
    try:
        return _load_certificate(der)
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
    ):
        # TypeError: a bit string where a name has text.
        raise _unparsable("the certificate cannot be parsed") from None


def _element_end(der: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the content of the DER SEQUENCE at `start` begins and ends."""
    if end - start < 2 or der[start] != _SEQUENCE:
        raise _unparsable("the PKI path is not a sequence of certificates")
    length, content = der[start + 1], start + 2
    if length & 0x80:
        octets = length & 0x7F
        content += octets
        if not 1 <= octets <= 4 or content > end:
            raise _unparsable("the PKI path has a length that cannot be read")
        length = int.from_bytes(der[start + 2 : content], "big")
    if content + length > end:
        raise _unparsable("the PKI path is cut short")
    return content, content + length


def load_path(der: bytes) -> tuple[x509.Certificate, ...]:
    """Parse a PKIPath: the certificate that is meant stands last and is returned first, then its issuers.

    The order is the standard's and decides which certificate is meant; nothing is tried out.
    Raises `CertificateRefused` (`cert.parse`).

    Spec: WSS X.509 Certificate Token Profile section 3.1.3; ITU-T X.509 PkiPath.
    """
    position, end = _element_end(der, 0, len(der))
    if end != len(der):
        raise _unparsable("octets after the PKI path")
    found: list[x509.Certificate] = []
    while position < end:
        if len(found) == _MAXIMUM_PATH:
            raise _unparsable("the PKI path is too long")
        _, after = _element_end(der, position, end)
        found.append(load_certificate(der[position:after]))
        position = after
    if not found:
        raise _unparsable("the PKI path is empty")
    return tuple(reversed(found))


def read_binary_security_token(
    element: "_Element",
) -> tuple[TokenForm, tuple[x509.Certificate, ...]]:
    """The form of a `wsse:BinarySecurityToken` and its certificates, the one meant first.

    Raises `CertificateRefused` (`cert.parse`) for another ValueType or EncodingType, a token that is too long,
    junk in the base64 and octets after the certificate.
    """
    form = {
        names.X509_V3: TokenForm.BINARY_SECURITY_TOKEN,
        names.X509_PKI_PATH_V1: TokenForm.PKI_PATH,
    }.get(element.get("ValueType", ""))
    if form is None:
        raise _unparsable("BinarySecurityToken of another ValueType")
    if element.get("EncodingType", names.BASE64_BINARY) != names.BASE64_BINARY:
        raise _unparsable("BinarySecurityToken of another EncodingType")
    return form, _read_token(form, leaf_text(element, reason="cert.parse") or "")


@lru_cache(maxsize=128)
def _read_token(form: TokenForm, text: str) -> tuple[x509.Certificate, ...]:
    der = _octets(text, what="wsse:BinarySecurityToken")
    return load_path(der) if form is TokenForm.PKI_PATH else (load_certificate(der),)


def _octets(text: str, *, what: str) -> bytes:
    if len(text) > _MAXIMUM_TOKEN_CHARACTERS:
        raise _unparsable(f"{what} too long")
    return decode_base64(text, what=what, reason="cert.parse")


def _refused(detail: str) -> PolicyNoncompliance:
    return PolicyNoncompliance(detail, reason="key.reference")


def _ambiguous(detail: str) -> FailedAuthentication:
    return FailedAuthentication(detail, reason="key.ambiguous", gate=Gate.G5)


def check_key_info(element: "_Element") -> "_Element":
    """The one reference inside the one SecurityTokenReference of a `ds:KeyInfo`; no certificate is parsed yet.

    Raises `FailedAuthentication` (`key.ambiguous`, `sec.schema`), `PolicyNoncompliance` (`key.reference`).
    """
    tags = [child.tag for child in element]
    if any(tag != SECURITY_TOKEN_REFERENCE and tag not in _INDIRECTIONS for tag in tags):
        raise FailedAuthentication(
            "ds:KeyInfo holds an unexpected element", reason="sec.schema", gate=Gate.G5
        )
    if len(tags) > 1:
        raise _ambiguous("ds:KeyInfo names more than one key")
    if tags != [SECURITY_TOKEN_REFERENCE]:
        raise _refused("ds:KeyInfo holds no SecurityTokenReference")
    reference = element[0]
    if len(reference) > 1:
        raise _ambiguous("SecurityTokenReference holds more than one reference")
    if not len(reference):
        raise _refused("SecurityTokenReference is empty")
    return reference[0]


def read_key_info(element: "_Element", tokens: Mapping[str, "_Element"]) -> TokenReference:
    """Read a `ds:KeyInfo` that holds exactly one SecurityTokenReference of exactly one form.

    `tokens` are the BinarySecurityToken children of the same Security header by id.
    Raises what `check_key_info` raises, and `CertificateRefused` (`cert.parse`).

    Spec: WSS SOAP Message Security 1.1.1 section 7; eDelivery AS4 1.15 section 4.2.
    """
    target = check_key_info(element)
    if target.tag == TOKEN_REFERENCE:
        uri = target.get("URI", "")
        token = tokens.get(uri[1:]) if uri.startswith("#") else None
        if token is None:
            raise _refused("SecurityTokenReference points at no token of this header")
        form, certificates = read_binary_security_token(token)
        return TokenReference(form, certificates[0], certificates[1:])
    if target.tag == _KEY_IDENTIFIER:
        if target.get("ValueType") != names.X509_SKI:
            raise _refused("KeyIdentifier of another ValueType")
        if target.get("EncodingType", names.BASE64_BINARY) != names.BASE64_BINARY:
            raise _refused("KeyIdentifier of another EncodingType")
        text = leaf_text(target, reason="key.reference")
        return TokenReference(
            TokenForm.KEY_IDENTIFIER,
            key_identifier=decode_base64(text, what="wsse:KeyIdentifier", reason="key.reference"),
        )
    if target.tag == _X509_DATA:
        return _read_x509_data(target)
    raise _refused("SecurityTokenReference of another form")


def _read_x509_data(data: "_Element") -> TokenReference:
    """Issuer and serial number, or the certificate itself, which then is as good as a token of the header."""
    if len(data) > 1:
        raise _ambiguous("ds:X509Data names the certificate more than once")
    if [child.tag for child in data] == [_X509_CERTIFICATE]:
        certificate = load_certificate(
            _octets(leaf_text(data[0], reason="cert.parse") or "", what="ds:X509Certificate")
        )
        return TokenReference(TokenForm.BINARY_SECURITY_TOKEN, certificate)
    if [child.tag for child in data] != [_X509_ISSUER_SERIAL]:
        raise _refused("ds:X509Data holds neither X509IssuerSerial nor X509Certificate")
    pair = data[0]
    if [child.tag for child in pair] != [_X509_ISSUER_NAME, _X509_SERIAL_NUMBER]:
        raise _refused("ds:X509IssuerSerial is incomplete")
    issuer, serial = (leaf_text(child, reason="key.reference") or "" for child in pair)
    if not _DECIMAL.fullmatch(serial.strip()):
        raise _refused("ds:X509SerialNumber is not a decimal number")
    return TokenReference(TokenForm.ISSUER_SERIAL, issuer=issuer.strip(), serial=int(serial))


def _der_sequence(content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((_SEQUENCE, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((_SEQUENCE, 0x80 | len(length))) + length + content


def write_binary_security_token(
    form: TokenForm,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    *,
    token_id: str,
) -> str:
    """The `wsse:BinarySecurityToken` that `form` needs, or nothing for the forms that carry no certificate.

    `chain` holds the issuers of `certificate`, issuing one first. The prefixes wsse and wsu are the header's.
    """
    if form is TokenForm.BINARY_SECURITY_TOKEN:
        value_type, written = names.X509_V3, _write_octets(certificate, None)
    elif form is TokenForm.PKI_PATH:
        value_type, written = names.X509_PKI_PATH_V1, _write_octets(certificate, tuple(chain))
    else:
        return ""
    return (
        f'<wsse:BinarySecurityToken EncodingType="{names.BASE64_BINARY}" ValueType="{value_type}"'
        f" wsu:Id={attribute(token_id)}>{written}</wsse:BinarySecurityToken>"
    )


@lru_cache(maxsize=128)
def _write_octets(certificate: x509.Certificate, chain: tuple[x509.Certificate, ...] | None) -> str:
    """A certificate in base64, as a path with its issuers unless `chain` is None."""
    if chain is None:
        der = certificate.public_bytes(Encoding.DER)
    else:
        path = [certificate, *(issuer for issuer in chain if issuer != certificate)]
        der = _der_sequence(b"".join(each.public_bytes(Encoding.DER) for each in reversed(path)))
    return base64.b64encode(der).decode("ascii")


def write_token_reference(form: TokenForm, certificate: x509.Certificate, *, token_id: str) -> str:
    """The `wsse:SecurityTokenReference` that names `certificate` in this form.

    A reference to a PKI path says so in wsse11:TokenType, without which WSS4J refuses it.

    Spec: WSS X.509 Certificate Token Profile 1.1.1 section 3; Basic Security Profile 1.1 R5215.
    """
    token_type = ""
    if form is TokenForm.PKI_PATH:
        token_type = f' xmlns:wsse11="{names.WSSE11}" wsse11:TokenType="{names.X509_PKI_PATH_V1}"'
    if form in (TokenForm.BINARY_SECURITY_TOKEN, TokenForm.PKI_PATH):
        value_type = (
            names.X509_V3 if form is TokenForm.BINARY_SECURITY_TOKEN else names.X509_PKI_PATH_V1
        )
        inner = (
            f"<wsse:Reference URI={attribute('#' + token_id)}"
            f' ValueType="{value_type}"></wsse:Reference>'
        )
    elif form is TokenForm.KEY_IDENTIFIER:
        octets = base64.b64encode(subject_key_identifier(certificate)).decode("ascii")
        inner = (
            f'<wsse:KeyIdentifier EncodingType="{names.BASE64_BINARY}" ValueType="{names.X509_SKI}">'
            f"{octets}</wsse:KeyIdentifier>"
        )
    else:
        issuer = certificate.issuer.rfc4514_string()
        if not issuer.isprintable():
            raise LocalProtocolError("the issuer name cannot be written as text")
        issuer = issuer.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        inner = (
            "<ds:X509Data><ds:X509IssuerSerial>"
            f"<ds:X509IssuerName>{issuer}</ds:X509IssuerName>"
            f"<ds:X509SerialNumber>{certificate.serial_number}</ds:X509SerialNumber>"
            "</ds:X509IssuerSerial></ds:X509Data>"
        )
    return f"<wsse:SecurityTokenReference{token_type}>{inner}</wsse:SecurityTokenReference>"
