"""XML that is written in canonical form: the octets signed are the octets sent.

What we build has few shapes, so each is a template that is canonical by construction: every element declares
the prefixes it uses itself, where no element around it that is written in the same template does; attributes
stand in canonical order; values pass through the two functions here. A template spares building a tree,
canonicalising it and serialising it. The tests hold every template against libxml2's exclusive canonical form.

Spec: Canonical XML 1.1 section 1.1; Exclusive XML Canonicalization 1.0.
"""


def content(value: str) -> str:
    """`value` as the text of an element."""
    return (
        value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
    )


def attribute(value: str) -> str:
    """`value` as an attribute: quoted with `\"`, and only what must be escaped is."""
    escaped = (
        value.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace('"', "&quot;")
        .replace("\t", "&#x9;")
        .replace("\n", "&#xA;")
        .replace("\r", "&#xD;")
    )
    return f'"{escaped}"'
