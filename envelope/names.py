"""Namespaces, algorithm identifiers and the other URIs of the standards: the only file with literal URIs.

Grouped by the standard that owns them. Nothing here decides anything; allow-lists live in `pmode`.
"""

from typing import Final

# SOAP 1.2 and 1.1
S12: Final = "http://www.w3.org/2003/05/soap-envelope"
S11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
S12_ULTIMATE_RECEIVER: Final = S12 + "/role/ultimateReceiver"

# ebMS 3.0 and AS4
EB: Final = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
EBBP: Final = "http://docs.oasis-open.org/ebxml-bp/ebbp-signals-2.0"
EB_ONE_WAY: Final = EB + "oneWay"
EB_PUSH: Final = EB + "push"
EB_DEFAULT_MPC: Final = EB + "defaultMPC"
EB_DEFAULT_ROLE: Final = EB + "defaultRole"
EB_INITIATOR: Final = EB + "initiator"
EB_RESPONDER: Final = EB + "responder"
EB_TEST_SERVICE: Final = EB + "service"
EB_TEST_ACTION: Final = EB + "test"
PARTY_UNREGISTERED: Final = "urn:oasis:names:tc:ebcore:partyid-type:unregistered"
PARTY_PEPPOL_AP: Final = "urn:fdc:peppol.eu:2017:identifiers:ap"

# WS-Security 1.0 and 1.1
_WSS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE: Final = _WSS + "wssecurity-secext-1.0.xsd"
WSU: Final = _WSS + "wssecurity-utility-1.0.xsd"
WSSE11: Final = "http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"
BASE64_BINARY: Final = _WSS + "soap-message-security-1.0#Base64Binary"
X509_V3: Final = _WSS + "x509-token-profile-1.0#X509v3"
X509_PKI_PATH_V1: Final = _WSS + "x509-token-profile-1.0#X509PKIPathv1"
X509_SKI: Final = _WSS + "x509-token-profile-1.0#X509SubjectKeyIdentifier"
ENCRYPTED_KEY_TOKEN: Final = (
    "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#EncryptedKey"  # noqa: S105
)
_SWA: Final = "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#"
ATTACHMENT_CONTENT_SIGNATURE: Final = _SWA + "Attachment-Content-Signature-Transform"
ATTACHMENT_COMPLETE_SIGNATURE: Final = _SWA + "Attachment-Complete-Signature-Transform"
ATTACHMENT_CIPHERTEXT: Final = _SWA + "Attachment-Ciphertext-Transform"
ATTACHMENT_CONTENT_ONLY: Final = _SWA + "Attachment-Content-Only"

# XML Signature
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
DSIG11: Final = "http://www.w3.org/2009/xmldsig11#"
DSIG_MORE_2021: Final = "http://www.w3.org/2021/04/xmldsig-more#"
EC: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
EXC_C14N: Final = EC
C14N_10: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
C14N_11: Final = "http://www.w3.org/2006/12/xml-c14n11"
ENVELOPED_SIGNATURE: Final = DS + "enveloped-signature"
SHA1: Final = DS + "sha1"
SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
SHA512: Final = "http://www.w3.org/2001/04/xmlenc#sha512"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
RSA_SHA512: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
ECDSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
EDDSA_ED25519: Final = DSIG_MORE_2021 + "eddsa-ed25519"

# XML Encryption
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
XENC11: Final = "http://www.w3.org/2009/xmlenc11#"
AES128_GCM: Final = XENC11 + "aes128-gcm"
RSA_OAEP: Final = XENC11 + "rsa-oaep"
RSA_OAEP_MGF1P: Final = XENC + "rsa-oaep-mgf1p"
MGF1_SHA1: Final = XENC11 + "mgf1sha1"
MGF1_SHA256: Final = XENC11 + "mgf1sha256"
KW_AES128: Final = XENC + "kw-aes128"
ECDH_ES: Final = XENC11 + "ECDH-ES"
CONCAT_KDF: Final = XENC11 + "ConcatKDF"
X25519: Final = DSIG_MORE_2021 + "x25519"
HKDF: Final = DSIG_MORE_2021 + "hkdf"
HMAC_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"

# SBDH, EHMI
SBDH: Final = "http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader"
PEPPOL_ENVELOPE: Final = "http://peppol.eu/xsd/ticc/envelope/1.0"
ISO6523_ACTORID: Final = "iso6523-actorid-upis"
EHMI_PROCESS: Final = "urn:ehmi:sdn-emergence"
EHMI_MANIFEST: Final = "urn:ehmi-accesspoint:sealed-manifest:1"

# SMP and BDXL
SMP1: Final = "http://docs.oasis-open.org/bdxr/ns/SMP/2016/05"
SMP2: Final = "http://docs.oasis-open.org/bdxr/ns/SMP/2/"
BUSDOX: Final = "http://busdox.org/serviceMetadata/publishing/1.0/"
BUSDOX_IDENTIFIERS: Final = "http://busdox.org/transport/identifiers/1.0/"
WSA: Final = "http://www.w3.org/2005/08/addressing"
TRANSPORT_AS4_V1: Final = "bdxr-transport-ebms3-as4-v1p0"
TRANSPORT_AS4_V2: Final = "bdxr-transport-ebms3-as4-v2p0"
TRANSPORT_PEPPOL_AS4_V2: Final = "peppol-transport-as4-v2_0"

# FHIR
FHIR: Final = "http://hl7.org/fhir"
XHTML: Final = "http://www.w3.org/1999/xhtml"

# XML itself
XML: Final = "http://www.w3.org/XML/1998/namespace"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


def q(namespace: str, local: str) -> str:
    """Write a qualified name in Clark notation, `{namespace}local`."""
    return f"{{{namespace}}}{local}"
