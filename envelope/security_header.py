"""The wsse:Security header as read at gate G5: structure, allow-lists and coverage, before any key is touched.

A header that comes out of `read_security` has exactly one signature by agreed algorithms over exactly what must
be signed, names its certificate in exactly one way, and encrypts every part or none as policy says. Whether the
signature is good and whose it is, comes after (`wsse`).

Spec: decision D1 (gate G5); WSS SOAP Message Security 1.1.1; eDelivery AS4 1.15 section 4.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from envelope import names
from envelope.coverage import WSU_ID, Coverage, check_coverage, check_empty_body, index_ids
from envelope.errors import FailedAuthentication, Gate, PolicyNoncompliance
from envelope.lifetime import Lifetime, read_lifetime
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.names import q
from envelope.pmode import Quirk, SecurityPolicy
from envelope.security_token import (
    BINARY_SECURITY_TOKEN,
    TokenReference,
    check_key_info,
    read_key_info,
)
from envelope.signed_info import SIGNATURE_METHOD
from envelope.xmldsig import SIGNATURE, SIGNED_INFO, Signature, check_algorithms, read_signature
from envelope.xmlenc import ENCRYPTED_DATA, ENCRYPTED_KEY, EncryptionHeader, read_encryption

if TYPE_CHECKING:
    from lxml.etree import _Element

    from envelope.soap import SoapDocument

SECURITY: Final = q(names.WSSE, "Security")
TIMESTAMP: Final = q(names.WSU, "Timestamp")
_KNOWN: Final = frozenset(
    {BINARY_SECURITY_TOKEN, ENCRYPTED_KEY, ENCRYPTED_DATA, SIGNATURE, TIMESTAMP}
)
_OTHER_TOKENS: Final = frozenset({"UsernameToken", "Assertion", "EncryptedAssertion"})


@dataclass(frozen=True, slots=True)
class SecurityHeader:
    """One Security header that obeys policy; nothing in it is verified yet."""

    signature: Signature
    token: TokenReference
    coverage: Coverage
    encryption: EncryptionHeader | None
    lifetime: Lifetime | None


def read_security(
    document: "SoapDocument",
    *,
    content_ids: Sequence[str],
    policy: SecurityPolicy,
    limits: Limits = DEFAULT_LIMITS,
    signal: bool = False,
) -> SecurityHeader:
    """Read the Security header of a UserMessage, or of a signal, which has no parts and may hold a Fault.

    `content_ids` are those of the PartInfo elements. Raises `PolicyNoncompliance` (`sec.missing`, `sec.token`,
    `sig.missing`, `alg.*`, `key.reference`, `enc.*`), `FailedAuthentication` (`sec.schema`, `sig.*`,
    `id.duplicate`, `key.ambiguous`), `CoverageIncomplete`, `CertificateRefused` (`cert.parse`), `InvalidHeader`
    (`ts.form`).
    """
    if document.security is None:
        raise PolicyNoncompliance("no Security header", reason="sec.missing")
    blocks = _blocks(document.security)
    element = _only_signature(blocks[SIGNATURE])
    if len(blocks[TIMESTAMP]) > 1:
        raise FailedAuthentication("two Timestamps", reason="sec.schema", gate=Gate.G5)
    stamp = next(iter(blocks[TIMESTAMP]), None)
    signature = read_signature(element, limits)
    check_key_info(signature.key_info)
    ids = index_ids(document.root)
    _check_placement(document)
    check_algorithms(signature, policy)
    coverage = check_coverage(
        signature.references,
        document=document,
        ids=ids,
        content_ids=content_ids,
        timestamp=stamp,
        unsigned_body=policy.allows(Quirk.UNSIGNED_BODY),
    )
    if not signal:
        check_empty_body(document)
    tokens = index_tokens(blocks[BINARY_SECURITY_TOKEN])
    token = read_key_info(signature.key_info, tokens)
    encryption = read_encryption(
        blocks[ENCRYPTED_KEY], blocks[ENCRYPTED_DATA], ids=ids, tokens=tokens, policy=policy
    )
    _check_encrypted(encryption, content_ids, policy)
    lifetime = None if stamp is None else read_lifetime(stamp)
    return SecurityHeader(signature, token, coverage, encryption, lifetime)


def read_signer(document: "SoapDocument", limits: Limits = DEFAULT_LIMITS) -> TokenReference:
    """How the only signature of an envelope names its certificate: enough to choose whose policy judges the rest.

    Nothing is verified. Raises as `read_security` does for the structure of signature and token.
    """
    if document.security is None:
        raise PolicyNoncompliance("no Security header", reason="sec.missing")
    blocks = _blocks(document.security)
    signature = read_signature(_only_signature(blocks[SIGNATURE]), limits)
    check_key_info(signature.key_info)
    return read_key_info(signature.key_info, index_tokens(blocks[BINARY_SECURITY_TOKEN]))


def claimed_algorithm(document: "SoapDocument") -> str | None:
    """The algorithm that the first signature of the header claims, to choose the policy that it is then held to.

    Nothing is checked: whichever policy this chooses refuses everything else.
    """
    if document.security is None:
        return None
    method = document.security.find(f"{SIGNATURE}/{SIGNED_INFO}/{SIGNATURE_METHOD}")
    return None if method is None else method.get("Algorithm")


def _blocks(security: "_Element") -> Mapping[object, list["_Element"]]:
    found: dict[object, list[_Element]] = {tag: [] for tag in _KNOWN}
    for child in security:
        if child.tag in found:
            found[child.tag].append(child)
        elif str(child.tag).rpartition("}")[2] in _OTHER_TOKENS:
            raise PolicyNoncompliance("a token that is no certificate", reason="sec.token")
        else:
            raise FailedAuthentication(
                "unexpected element in the Security header", reason="sec.schema", gate=Gate.G5
            )
    return found


def _only_signature(signatures: Sequence["_Element"]) -> "_Element":
    if not signatures:
        raise PolicyNoncompliance("no signature", reason="sig.missing")
    if len(signatures) > 1:
        raise FailedAuthentication("two signatures", reason="sig.cardinality", gate=Gate.G5)
    return signatures[0]


def _check_placement(document: "SoapDocument") -> None:
    """Refuse encrypted things anywhere but directly in the Security header: plain text would become header."""
    for element in document.root.iter(ENCRYPTED_DATA, ENCRYPTED_KEY):
        if element.getparent() is not document.security:
            raise PolicyNoncompliance("encryption outside the header", reason="enc.placement")


def index_tokens(elements: Sequence["_Element"]) -> dict[str, "_Element"]:
    """The BinarySecurityToken elements of one header by every id that they have."""
    return {
        value: each for each in elements for value in (each.get(WSU_ID), each.get("Id")) if value
    }


def _check_encrypted(
    encryption: EncryptionHeader | None, content_ids: Sequence[str], policy: SecurityPolicy
) -> None:
    """Demand that every part is encrypted; where policy lets them be in clear, all of them or none."""
    if encryption is None:
        required = policy.encryption_required and not policy.allows(Quirk.UNENCRYPTED)
        if required and content_ids:
            raise PolicyNoncompliance("the parts are not encrypted", reason="enc.missing")
        return
    encrypted = encryption.parts.keys()
    if set(content_ids) - encrypted:
        raise PolicyNoncompliance("a part is not encrypted", reason="enc.missing")
    if encrypted - set(content_ids):
        raise PolicyNoncompliance("EncryptedData for no part", reason="enc.reference")
