"""Verify an evidence bundle of one message, years later and offline, without the software that made it.

`python verify.py [--anchor PEM] [BUNDLE.zip]` (Python 3.11, `cryptography`, `lxml`); without a name, where it is unpacked.
Exit status 0: all held; 1: a line says what did not. Whether the roots shown deserve trust is the reader's to say, or ANCHOR's.
"""

import argparse
import base64
import json
import sys
import zipfile
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

DS = "{http://www.w3.org/2000/09/xmldsig#}"
EB = "{http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/}"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
DIGESTS = {"http://www.w3.org/2001/04/xmlenc#sha256": sha256}
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
ALGORITHMS: dict[str, tuple[Any, ...]] = {
    f"{MORE}rsa-sha256": (rsa.RSAPublicKey, padding.PKCS1v15(), hashes.SHA256()),
    f"{MORE}rsa-sha384": (rsa.RSAPublicKey, padding.PKCS1v15(), hashes.SHA384()),
    f"{MORE}ecdsa-sha256": (ec.EllipticCurvePublicKey, ec.ECDSA(hashes.SHA256())),
    "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519": (ed25519.Ed25519PublicKey,),
}
CN = x509.NameOID.COMMON_NAME
load = x509.load_pem_x509_certificates


class Broken(Exception):
    """Something does not hold; the text names the file."""


def need(held: object, text: str) -> None:
    """Raise `Broken` where something does not hold."""
    if not held:
        raise Broken(text)


def read_bundle(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Every file by name and the manifest, from the archive or where it was unpacked; none missing, changed or added."""
    if path.is_dir():
        found = [each for each in path.rglob("*") if each.is_file()]
        files = {each.relative_to(path).as_posix(): each.read_bytes() for each in found}
    else:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                out = name.startswith("/") or "\\" in name or ".." in name.split("/")
                need(not out, f"{name}: a name that leads out of the bundle")
            files = {name: archive.read(name) for name in archive.namelist()}
            need(len(files) == len(archive.namelist()), "a name is there twice")
    need("manifest.json" in files, "manifest.json is missing")
    manifest: dict[str, Any] = json.loads(files["manifest.json"])
    listed = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    for name, digest in listed.items():
        need(name in files, f"{name} is missing")
        need(sha256(files[name]).hexdigest() == digest, f"{name} is not as the manifest has it")
    for name in files.keys() - listed.keys() - {"manifest.json", "manifest.signature.json"}:
        raise Broken(f"{name} is in the bundle and not in the manifest")
    return files, manifest


def verify_octets(name: str, signer: Any, algorithm: str, text: str, octets: bytes) -> None:
    """Verify one signature value, given in base64."""
    kind, *parameters = ALGORITHMS.get(algorithm, (type(None),))
    key, value = signer.public_key(), base64.b64decode(text)
    need(isinstance(key, kind), f"{name}: algorithm {algorithm} does not fit the signer's key")
    if kind is ec.EllipticCurvePublicKey:
        value = encode_dss_signature(*divmod(int.from_bytes(value, "big"), 1 << 4 * len(value)))
    try:
        key.verify(value, octets, *parameters)
    except InvalidSignature:
        raise Broken(f"{name}: the signature does not verify") from None


def parse(name: str, octets: bytes) -> Any:
    """Parse XML without entities, external or not."""
    root = etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True))
    need(not root.getroottree().docinfo.doctype, f"{name}: has a document type")
    return root


def canonical(element: Any, parameters: Any) -> bytes:
    """Exclusive canonical form, with the prefixes that the transform names."""
    listed = None if parameters is None else parameters.find(f"{{{EXC_C14N}}}InclusiveNamespaces")
    prefixes = [] if listed is None else listed.get("PrefixList", "").split()
    form = etree.tostring(element, method="c14n", exclusive=True, inclusive_ns_prefixes=prefixes)
    return bytes(form)


def only(name: str, element: Any, *tags: str) -> Any:
    """The one child that each tag names, step by step: beside a second, another may be read than was signed."""
    for tag in tags:
        found = element.findall(tag)
        need(len(found) == 1, f"{name}: {len(found)} elements {tag} where one belongs")
        element = found[0]
    return element


def references_of(name: str, references: list[Any]) -> dict[str, Any]:
    """URI to digest algorithm and digest, of `ds:Reference` elements."""
    found = {}
    for each in references:
        digest = base64.b64decode(only(name, each, f"{DS}DigestValue").text)
        algorithm = only(name, each, f"{DS}DigestMethod").get("Algorithm")
        found[each.get("URI", "")] = algorithm, digest
    need(0 < len(found) == len(references), f"{name}: has no reference, or one twice")
    return found


def verify_envelope(
    name: str, octets: bytes, signer: x509.Certificate
) -> tuple[Any, dict[str, Any]]:
    """Verify the only signature of a SOAP envelope; the Messaging it is over, and its references, digests of parts unseen."""
    root = parse(name, octets)
    info = only(name, root, f".//{DS}Signature", f"{DS}SignedInfo")
    method = only(name, info, f"{DS}CanonicalizationMethod")
    value = only(name, root, f".//{DS}Signature", f"{DS}SignatureValue").text
    algorithm = only(name, info, f"{DS}SignatureMethod").get("Algorithm")
    verify_octets(name, signer, algorithm, value, canonical(info, method))
    references, signed = references_of(name, info.findall(f"{DS}Reference")), []
    for reference in info.findall(f"{DS}Reference"):
        if not (uri := reference.get("URI", "")).startswith("cid:"):
            found = root.xpath("//*[@*[translate(local-name(),'ID','id')='id']=$i]", i=uri[1:])
            need(uri[:1] == "#" and len(found) == 1, f"{name}: {uri} names {len(found)} elements")
            form = canonical(found[0], reference.find(f"{DS}Transforms/{DS}Transform"))
            digest, expected = references[uri]
            need(DIGESTS[digest](form).digest() == expected, f"{name}: the digest of {uri} differs")
            signed += found
    messaging = only(name, root, f".//{EB}Messaging")
    need(messaging in signed, f"{name}: the Messaging header is not signed")
    return messaging, references


def verify_message(files: dict[str, bytes], roles: dict[str, str], id_: str) -> dict[str, Any]:
    """Verify the message's signature; what it is over."""
    need("message" in roles, f"nothing here proves {id_}: the message's own signature is missing")
    name, signer = roles["message"], load(files[roles["message_signer"]])[0]
    if "message_signature" not in roles:
        messaging, signed = verify_envelope(name, files[name], signer)
        told = only(name, messaging, f"{EB}UserMessage", f"{EB}MessageInfo", f"{EB}MessageId").text
        need(told == id_, f"{name}: has another MessageId")
        return signed
    signature = json.loads(files[roles["message_signature"]])
    verify_octets(name, signer, signature["algorithm"], signature["value"], files[name])
    info = parse(name, files[name])
    need(info.tag == f"{DS}SignedInfo", f"{name}: is no SignedInfo")
    return references_of(name, info.findall(f"{DS}Reference"))


def is_renewal(path: list[x509.Certificate], other: x509.Certificate) -> bool:
    """Whether a path begins with another certificate of the same whole subject; its issuer's name and key signed both."""
    try:
        for each in (path[0], other):
            each.verify_directly_issued_by(path[1])  # compares the names of the issuer, too
    except (IndexError, InvalidSignature, ValueError, TypeError):
        return False
    return path[0].subject.public_bytes() == other.subject.public_bytes()


def verify_receipt(files: dict[str, bytes], manifest: dict[str, Any], signed: Any) -> str:
    """Verify the receipt, its references, and its signer: the receiver, by name where that one only agrees on keys or exports.

    Returns words for the reader where its certificate is a renewed one, else nothing.
    """
    roles, message = manifest["roles"], manifest["message"]
    name, own = roles["receipt"], "message_signature" in roles
    path, how = load(files[roles["receipt_signer"]]), ""
    signer = path[0]
    receiver = load(files[roles["exporter" if own else "recipient"]])[0]
    if signer != receiver:
        usage = receiver.extensions.get_extension_for_class(x509.KeyUsage).value
        by_name = own or (usage.key_agreement and not usage.digital_signature)
        one, other = (each.subject.get_attributes_for_oid(CN) for each in (signer, receiver))
        if not by_name and is_renewal(path, receiver):
            how = ", signed with a renewed certificate of the same holder"
        held = how or (by_name and one == other != [])
        need(held, f"{name}: another signed it, {shown(signer)}")
    signal = only(name, verify_envelope(name, files[name], signer)[0], f"{EB}SignalMessage")
    answered = only(name, signal, f"{EB}MessageInfo", f"{EB}RefToMessageId").text
    need(answered == message["message_id"], f"{name}: is the receipt of another message")
    repeated = references_of(name, [*only(name, signal, f"{EB}Receipt").iter(f"{DS}Reference")])
    need(repeated == signed, f"{name}: does not repeat the references of the message")
    return how


def shown(certificate: x509.Certificate) -> str:
    """Subject and fingerprint."""
    return f"{certificate.subject.rfc4514_string()} (SHA-256 {certificate.fingerprint(hashes.SHA256()).hex()})"


def check_path(files: dict[str, bytes], name: str, at: datetime, anchors: Any = ()) -> str:
    """Check that each certificate was valid, issued by the next, an authority, and on no revocation list of the bundle."""
    path = load(files[name])
    lists = [x509.load_der_x509_crl(o) for n, o in files.items() if n.startswith("revocation/")]
    asked = 0
    for certificate, issuer in zip(path, [*path[1:], path[-1]], strict=True):
        who = certificate.subject.rfc4514_string()
        valid = certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc
        need(valid, f"{name}: {who} was not valid at {at}")
        if certificate is issuer:
            break
        try:
            certificate.verify_directly_issued_by(issuer)
            usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
            basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
            need(basic.ca and usage.key_cert_sign, f"{name}: {shown(issuer)} is no authority")
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            raise Broken(f"{name}: {who} was not issued by the next certificate") from None
        for crl in lists:
            if crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
                asked += 1
                one = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
                need(not one or one.revocation_date_utc > at, f"{name}: {who} was revoked at {at}")
    need(not anchors or path[-1] in anchors, f"{name}: {shown(path[-1])} is not an anchor given")
    kind = "anchor" if path[-1].issuer == path[-1].subject else "incomplete path, it ends at"
    return f"{name}: {shown(path[0])}, {len(path)} certificates, {asked} revocation lists, {kind} {shown(path[-1])}"


def main(path: Path, anchors: Any = ()) -> int:
    """Verify one bundle and say line by line what held; the exit status. Who exports may have a newer certificate."""
    try:
        files, manifest = read_bundle(path)
        print(f"✓ {len(files)} files are those of the manifest")
        roles, message = manifest["roles"], manifest["message"]
        proof, id_ = json.loads(files["manifest.signature.json"]), message["message_id"]
        exporter, name = load(files[roles["exporter"]])[0], "manifest.json"
        verify_octets(name, exporter, proof["algorithm"], proof["value"], files[name])
        print(f"✓ manifest.json was signed by {shown(exporter)}")
        signed = verify_message(files, roles, id_)
        print("✓ the message's signature verifies")
        if "receipt" in roles:
            how = verify_receipt(files, manifest, signed)
            print(
                f"✓ the receipt's signature verifies, and it repeats the message's references{how}"
            )
        else:
            print("– there is no receipt: nothing proves that the message arrived")
        at = datetime.fromisoformat(manifest["at"])
        for role in ("exporter", *sorted(role for role in roles if role.endswith("_signer"))):
            then = max(at, exporter.not_valid_before_utc) if role == "exporter" else at
            print(f"✓ {check_path(files, roles[role], then, anchors)}")
        payload = files.get(roles.get("payload", ""))
        same = payload is None or sha256(payload).hexdigest() == message["payload_sha256"]
        need(same, f"{roles.get('payload')}: is not the payload of the message")
    except Exception as error:  # noqa: BLE001 - whatever cannot be read does not hold
        print(f"✗ {error if isinstance(error, Broken) else f'it cannot be read: {error!r}'}")
        return 1
    if "message_signature" in roles:
        print(f"– its sender signed digests: that they are of {id_} is its exporter's word")
    print(f"everything held for {id_} at {at}")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    options = argparse.ArgumentParser(description="Verify an evidence bundle.")
    options.add_argument("bundle", type=Path, nargs="?", default=Path(__file__).parent)
    options.add_argument("--anchor", type=lambda file: load(Path(file).read_bytes()), default=())
    sys.exit(main(options.parse_args().bundle, options.parse_args().anchor))
