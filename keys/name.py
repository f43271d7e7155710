"""Distinguished names as text, compared by their parsed parts and never as strings.

WS-Security peers write an issuer's name as text in `X509IssuerName`. The dialects differ: attribute
keywords against dotted numbers (`E=`, `emailAddress=`, `1.2.840.113549.1.9.1=`), values as text or as
`#` and hexadecimal DER, blanks after commas, escapes against quotes. Two names are the same when the
relative names agree one by one, each a set of (attribute type, value) with case and runs of blanks
ignored (RFC 5280 7.1). The name only finds a certificate among those already known; it proves nothing.

Spec: RFC 4514, RFC 2253; as4.md 0.3 (IssuerSerial).
"""

from typing import Final

from cryptography import x509

_ATTRIBUTE_TYPES: Final = {
    "c": "2.5.4.6", "cn": "2.5.4.3", "dc": "0.9.2342.19200300.100.1.25", "dnq": "2.5.4.46",
    "dnqualifier": "2.5.4.46", "e": "1.2.840.113549.1.9.1", "email": "1.2.840.113549.1.9.1",
    "emailaddress": "1.2.840.113549.1.9.1", "g": "2.5.4.42", "givenname": "2.5.4.42", "gn": "2.5.4.42",
    "l": "2.5.4.7", "o": "2.5.4.10", "organizationidentifier": "2.5.4.97", "ou": "2.5.4.11",
    "s": "2.5.4.8", "serialnumber": "2.5.4.5", "sn": "2.5.4.4", "st": "2.5.4.8", "street": "2.5.4.9",
    "surname": "2.5.4.4", "t": "2.5.4.12", "title": "2.5.4.12", "uid": "0.9.2342.19200300.100.1.1",
}  # fmt: skip
"""Keyword in lower case to attribute type, for the keywords Java, .NET and OpenSSL write."""

_STRING_TYPES: Final = {
    0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii",
    0x1C: "utf-32-be", 0x1E: "utf-16-be",
}  # fmt: skip

RelativeName = frozenset[tuple[str, str]]
NameKey = tuple[RelativeName, ...]


def name_key(name: x509.Name) -> NameKey:
    """Return the comparable form of a certificate's name, in the order of the certificate."""
    return tuple(
        frozenset((attribute.oid.dotted_string, _normal(attribute.value)) for attribute in rdn)
        for rdn in name.rdns
    )


def parse_name(text: str) -> NameKey:
    """Parse an RFC 4514 (or RFC 2253) name into its comparable form; most specific part stands first.

    Raises:
        ValueError: the text is not a distinguished name, or uses a keyword nobody registered.
    """
    if len(text) > 4096:
        raise ValueError("a distinguished name of more than 4096 characters")
    relative: list[RelativeName] = []
    for rdn in _split(text, ",;"):
        parts = frozenset(_attribute(part) for part in _split(rdn, "+"))
        relative.append(parts)
    return tuple(reversed(relative))


def same_name(text: str, name: x509.Name) -> bool:
    """Tell whether `text` names `name`; text that does not parse names nothing.

    Some products write the parts in the order of the certificate instead of RFC 4514's reverse; both fit.
    """
    try:
        parsed = parse_name(text)
    except ValueError:
        return False
    return name_key(name) in (parsed, parsed[::-1])


def _split(text: str, separators: str) -> list[str]:
    """Cut at separators that are neither escaped nor inside quotes."""
    parts, start, quoted, position = [], 0, False, 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character in separators and not quoted:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    if quoted:
        raise ValueError("a quote is not closed in a distinguished name")
    parts.append(text[start:])
    return parts


def _attribute(part: str) -> tuple[str, str]:
    keyword, equals, value = part.partition("=")
    keyword = keyword.strip().lower().removeprefix("oid.")
    if not equals or not keyword:
        raise ValueError("an attribute without type in a distinguished name")
    if keyword[0].isdigit():
        oid = x509.ObjectIdentifier(keyword).dotted_string
    elif keyword in _ATTRIBUTE_TYPES:
        oid = _ATTRIBUTE_TYPES[keyword]
    else:
        raise ValueError("an unknown attribute type in a distinguished name")
    value = value.strip(" ") if not value.rstrip(" ").endswith("\\") else value.lstrip(" ")
    if value.startswith("#"):
        return oid, _normal(_from_der(bytes.fromhex(value[1:])))
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return oid, _normal(_unescape(value))


def _unescape(value: str) -> str:
    octets, position = bytearray(), 0
    while position < len(value):
        character = value[position]
        if character == "\\":
            pair = value[position + 1 : position + 3]
            if len(pair) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in pair):
                octets.append(int(pair, 16))
                position += 3
                continue
            position += 1
            if position == len(value):
                raise ValueError("an escape without character in a distinguished name")
            character = value[position]
        octets += character.encode()
        position += 1
    return octets.decode()


def _from_der(octets: bytes) -> str:
    """Read the one string value behind `#`; only single-octet lengths occur in names this short."""
    if len(octets) < 2 or octets[1] > 0x7F or octets[1] != len(octets) - 2:
        raise ValueError("a malformed hexadecimal value in a distinguished name")
    if octets[0] not in _STRING_TYPES:
        raise ValueError("an unknown string type in a distinguished name")
    return octets[2:].decode(_STRING_TYPES[octets[0]])


def _normal(value: str | bytes) -> str:
    text = value.hex() if isinstance(value, bytes) else value
    return " ".join(part for part in text.split(" ") if part).casefold()
