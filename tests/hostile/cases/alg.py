"""Algorithms outside the agreement: refused by name, before any key is touched."""

from typing import Final

from tests.hostile.cases import Case

SIGNATURE: Final = ("G5", "alg.signature", "EBMS:0103")
DIGEST: Final = ("G5", "alg.digest", "EBMS:0103")
TRANSFORM: Final = ("G5", "alg.transform", "EBMS:0103")
C14N: Final = ("G5", "alg.c14n", "EBMS:0103")
KEY: Final = ("G5", "alg.key", "EBMS:0103")

CASES: Final = (
    Case("ALG-01", "RSA with SHA-1", *SIGNATURE),
    Case("ALG-02", "A SHA-1 digest", *DIGEST),
    Case("ALG-03", "MD5, in a digest or in a signature", *DIGEST, expected="in a signature: alg.signature"),
    Case("ALG-04", "DSA", *SIGNATURE),
    Case("ALG-05", "HMAC, also keyed with the sender's own certificate or public key", *SIGNATURE),
    Case("ALG-06", "HMACOutputLength", *SIGNATURE),
    Case("ALG-07", "An algorithm that is unknown, empty, or called none", *SIGNATURE, expected="for a digest: alg.digest"),
    Case(
        "ALG-08",
        "ECDSA on a small or binary curve; an algorithm declared for another type of key, each pair",
        *KEY,
    ),
    Case("ALG-09", "An RSA key that is too small or too large, with an exponent of 1 or an even one", *KEY),
    Case("ALG-10", "Key transport by RSA 1.5", "G5", "alg.transport", "EBMS:0103"),
    Case("ALG-11", "Content encrypted by AES-CBC or 3DES", "G5", "alg.encryption", "EBMS:0103"),
    Case("ALG-12", "OAEP with another digest or mask", "G5", "alg.oaep", "EBMS:0103"),
    Case("ALG-13", "Inclusive canonicalisation, or canonicalisation with comments", *C14N),
    Case("ALG-14", "XPath, XSLT, base64, STR or unknown transforms; none at all", *TRANSFORM),
    Case("ALG-15", "More transforms than the one that is agreed", *TRANSFORM),
    Case("ALG-16", "A PrefixList of more than 16 names", *C14N),
    Case("ALG-17", "RSA-PSS, whatever its parameters", *SIGNATURE),
    Case(
        "ALG-18",
        "eDelivery AS4 2.0: a point of low order, parameters of the derivation, a signature in a second form",
        *("G7", "enc.failed", "EBMS:0102"),
        expected="parameters not agreed: G5 alg.derivation; an Ed25519 value with another S: G6 sig.value",
    ),
)  # fmt: skip
