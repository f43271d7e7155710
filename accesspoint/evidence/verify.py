"""Verify an evidence bundle of one message, years later, without the software that made it.

`python verify.py BUNDLE.zip` (Python 3.11, `cryptography`, `lxml`), or no argument inside the unpacked bundle. Offline:
files against the manifest, that against its exporter's signature; signatures of message and receipt, the receipt's
references against the message's; certificates at its time. Exit status 0: all held; 1: a line names the file that did not.
"""

import base64
import hashlib
import json
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

DS = "{http://www.w3.org/2000/09/xmldsig#}"
EB = "{http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/}"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
PREFIXES = f"{{{EXC_C14N}}}InclusiveNamespaces"
WSU = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}"
IDS = (f"{WSU}Id", "{http://www.w3.org/XML/1998/namespace}id", "Id", "ID", "id")
DIGESTS = {"http://www.w3.org/2001/04/xmlenc#sha256": hashlib.sha256}
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
RSA = {f"{MORE}rsa-sha256": hashes.SHA256(), f"{MORE}rsa-sha384": hashes.SHA384()}
ECDSA = f"{MORE}ecdsa-sha256"
ED25519 = "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"
Files = dict[str, bytes]
Signed = dict[str, tuple[str, bytes]]
UNREADABLE = (LookupError, TypeError, AttributeError, ValueError, OSError, UnsupportedAlgorithm,
              zipfile.BadZipFile, etree.LxmlError)  # fmt: skip


class Broken(Exception):
    """Something does not hold; the text names the file."""


def read_bundle(path: Path) -> dict[str, bytes]:
    """Every file of a bundle by name, from the archive or the directory it was unpacked to; nothing is written."""
    if path.is_dir():
        found = [each for each in path.rglob("*") if each.is_file()]
        return {each.relative_to(path).as_posix(): each.read_bytes() for each in found}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            if names.count(name) > 1:
                raise Broken(f"{name} is there twice")
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise Broken(f"{name}: a name that leads out of the bundle")
        return {name: archive.read(name) for name in names}


def check_files(files: Files) -> dict[str, Any]:
    """Hold every file against the manifest; nothing may be missing, changed or added."""
    if "manifest.json" not in files:
        raise Broken("manifest.json is missing")
    manifest: dict[str, Any] = json.loads(files["manifest.json"])
    listed = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    for name, digest in listed.items():
        if name not in files:
            raise Broken(f"{name} is missing")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise Broken(f"{name} is not the file that the manifest describes")
    for name in files.keys() - listed.keys() - {"manifest.json", "manifest.signature.json"}:
        raise Broken(f"{name} is in the bundle and not in the manifest")
    return manifest


def verify_octets(name: str, key: object, algorithm: str, value: bytes, octets: bytes) -> None:
    """Verify one signature value."""
    try:
        if algorithm in RSA and isinstance(key, rsa.RSAPublicKey):
            key.verify(value, octets, padding.PKCS1v15(), RSA[algorithm])
        elif algorithm == ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            r, s = divmod(int.from_bytes(value, "big"), 1 << 4 * len(value))
            key.verify(encode_dss_signature(r, s), octets, ec.ECDSA(hashes.SHA256()))
        elif algorithm == ED25519 and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(value, octets)
        else:
            raise Broken(f"{name}: algorithm {algorithm} does not fit the signer's key")
    except InvalidSignature:
        raise Broken(f"{name}: the signature does not verify") from None


def parse(name: str, octets: bytes) -> Any:
    """Parse XML without entities, external or not."""
    root = etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True))
    if root.getroottree().docinfo.doctype:
        raise Broken(f"{name}: has a document type")
    return root


def canonical(element: Any, parameters: Any) -> bytes:
    """Exclusive canonical form, with the prefixes that the transform names."""
    listed = None if parameters is None else parameters.find(PREFIXES)
    prefixes = [] if listed is None else listed.get("PrefixList", "").split()
    return bytes(
        etree.tostring(element, method="c14n", exclusive=True, inclusive_ns_prefixes=prefixes)
    )


def references_of(parent: Any) -> Signed:
    """URI to digest algorithm and digest, of the `ds:Reference` elements below `parent`."""
    return {
        each.get("URI"): (
            each.find(f"{DS}DigestMethod").get("Algorithm"),
            base64.b64decode(each.findtext(f"{DS}DigestValue")),
        )
        for each in parent.iter(f"{DS}Reference")
    }


def verify_envelope(name: str, octets: bytes, signer: x509.Certificate) -> Any:
    """Verify the only signature of a SOAP envelope; Messaging must be under it, digests of parts are not here."""
    root = parse(name, octets)
    signatures = list(root.iter(f"{DS}Signature"))
    if len(signatures) != 1:
        raise Broken(f"{name}: {len(signatures)} signatures")
    info = signatures[0].find(f"{DS}SignedInfo")
    method = info.find(f"{DS}CanonicalizationMethod")
    if method.get("Algorithm") != EXC_C14N:
        raise Broken(f"{name}: canonicalisation is not exclusive")
    value = base64.b64decode(signatures[0].findtext(f"{DS}SignatureValue"))
    algorithm = info.find(f"{DS}SignatureMethod").get("Algorithm")
    verify_octets(name, signer.public_key(), algorithm, value, canonical(info, method))
    signed = []
    for reference in info.iter(f"{DS}Reference"):
        uri = reference.get("URI", "")
        if uri.startswith("cid:"):
            continue
        targets = [each for each in root.iter() if uri[1:] in map(each.get, IDS)]
        if not uri.startswith("#") or len(targets) != 1:
            raise Broken(f"{name}: the reference {uri} names {len(targets)} elements")
        digest, expected = references_of(info)[uri]
        form = canonical(targets[0], reference.find(f"{DS}Transforms/{DS}Transform"))
        if DIGESTS[digest](form).digest() != expected:
            raise Broken(f"{name}: the digest of {uri} differs")
        signed.append(targets[0].tag)
    if f"{EB}Messaging" not in signed or len(list(root.iter(f"{EB}Messaging"))) != 1:
        raise Broken(f"{name}: the Messaging header is not signed")
    return root


def verify_message(files: Files, manifest: dict[str, Any]) -> Signed | None:
    """Verify the message's signature; what it is over, or None where the bundle has no signature of it."""
    roles, expected = manifest["roles"], manifest["message"]["message_id"]
    if "message" not in roles:
        return None
    name = roles["message"]
    signer = x509.load_pem_x509_certificates(files[roles["message_signer"]])[0]
    if "message_signature" not in roles:
        root = verify_envelope(name, files[name], signer)
        if root.findtext(f".//{EB}UserMessage/{EB}MessageInfo/{EB}MessageId") != expected:
            raise Broken(f"{name}: has another MessageId")
        return references_of(root.find(f".//{DS}SignedInfo"))
    signature = json.loads(files[roles["message_signature"]])
    value = base64.b64decode(signature["value"])
    verify_octets(name, signer.public_key(), signature["algorithm"], value, files[name])
    return references_of(parse(name, files[name]))


def verify_receipt(files: Files, manifest: dict[str, Any], signed: Signed | None) -> None:
    """Verify the receipt, and that it repeats exactly what the message's signature is over."""
    name = manifest["roles"]["receipt"]
    signer = x509.load_pem_x509_certificates(files[manifest["roles"]["receipt_signer"]])[0]
    root = verify_envelope(name, files[name], signer)
    signal = f".//{EB}SignalMessage/{EB}"
    answered = root.findtext(f"{signal}MessageInfo/{EB}RefToMessageId")
    if answered != manifest["message"]["message_id"]:
        raise Broken(f"{name}: is the receipt of another message")
    repeated = references_of(root.find(f"{signal}Receipt"))
    if not repeated or (signed is not None and repeated != signed):
        raise Broken(f"{name}: does not repeat the references of the message")


def check_path(files: Files, name: str, at: datetime) -> str:
    """Check that each certificate was valid, issued by the next, and on no revocation list of the bundle."""
    path = x509.load_pem_x509_certificates(files[name])
    lists = [x509.load_der_x509_crl(o) for n, o in files.items() if n.startswith("revocation/")]
    asked = 0
    for certificate, issuer in zip(path, [*path[1:], path[-1]], strict=True):
        who = certificate.subject.rfc4514_string()
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise Broken(f"{name}: {who} was not valid at {at}")
        if certificate is issuer:
            break
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError):
            raise Broken(f"{name}: {who} was not issued by the next certificate") from None
        for crl in lists:
            if not crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
                continue
            asked += 1
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None and entry.revocation_date_utc <= at:
                raise Broken(f"{name}: {who} was revoked at {entry.revocation_date_utc}")
    kind = "anchor" if path[-1].issuer == path[-1].subject else "incomplete path, it ends at"
    return f"{name}: {len(path)} certificates, {asked} revocation lists, {kind} {who}"


def main(path: Path) -> int:
    """Verify one bundle and say line by line what held; the exit status."""
    try:
        files = read_bundle(path)
        manifest = check_files(files)
        print(f"✓ {len(files)} files are those of the manifest")
        roles, message = manifest["roles"], manifest["message"]
        proof = json.loads(files["manifest.signature.json"])
        exporter = x509.load_pem_x509_certificates(files[roles["exporter"]])[0]
        value = base64.b64decode(proof["value"])
        name, key = "manifest.json", exporter.public_key()
        verify_octets(name, key, proof["algorithm"], value, files[name])
        print(f"✓ manifest.json was signed by {exporter.subject.rfc4514_string()}")
        signed = verify_message(files, manifest)
        print(
            f"{'✓' if signed else '– no signature here, so not:'} the message's signature verifies"
        )
        if "receipt" in roles:
            verify_receipt(files, manifest, signed)
            print("✓ the receipt's signature verifies, and it repeats the message's references")
        else:
            print("– there is no receipt: nothing proves that the message arrived")
        at = datetime.fromisoformat(manifest["at"])
        for role in sorted(role for role in roles if role.endswith("_signer")):
            print(f"✓ {check_path(files, roles[role], at)}")
        payload = files.get(roles.get("payload", ""))
        if payload is not None and hashlib.sha256(payload).hexdigest() != message["payload_sha256"]:
            raise Broken(f"{roles['payload']}: is not the payload of the message")
    except Broken as broken:
        print(f"✗ {broken}")
        return 1
    except UNREADABLE as error:
        print(f"✗ the bundle cannot be read: {type(error).__name__} {error}")
        return 1
    print(f"everything held for {message['message_id']} at {at}")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent))
