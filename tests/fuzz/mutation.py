"""Changes that keep a document almost right: what no random octet would find behind schema and signature.

Octets are atheris' own affair; here is what it cannot know: elements are moved and doubled, members change their
type, MIME parts are swapped, lines of a configuration repeated. A document that does not parse is changed octet by
octet only.
"""

import copy
import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from lxml import etree

OCTETS: Final = 64 * 1024
_VALUES: Final = (
    "", " ", "0", "-1", "true", "a" * 300, "\u200b", "Æ", "１", "urn:x", "#", "cid:", "http://127.0.0.1/", "a@b",
    "2026-11-21T12:00:00Z", "0000-00-00", "AA==", "A", "=", "%00", "\r\n", "id-x-messaging",
)  # fmt: skip
_JSON_VALUES: Final = (
    "",
    "x",
    0,
    -1,
    1e308,
    True,
    None,
    [],
    {},
    [[]],
    [None],
    {"a": None},
    "æ" * 50,
)


def mutate(kind: str, data: bytes, seed: int) -> bytes | None:
    """The document changed in its own grammar, or None where it has none."""
    return _KINDS[kind](data, random.Random(seed)) if kind in _KINDS else None


def _xml(data: bytes, chance: random.Random) -> bytes | None:
    if data[:1] not in (b"<", b"{") or len(data) > OCTETS:
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        elements = [each for each in root.iter() if isinstance(each.tag, str)]
        with suppress(ValueError, TypeError, AssertionError):  # what lxml will not write
            chance.choice(_TREE_CHANGES)(chance.choice(elements), chance.choice(elements), chance)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=chance.random() < 0.5)


def _double(one: Any, other: Any, chance: random.Random) -> None:
    one.addnext(copy.deepcopy(one)) if one.getparent() is not None else None


def _graft(one: Any, other: Any, chance: random.Random) -> None:
    other.insert(chance.randint(0, len(other)), copy.deepcopy(one))


def _move(one: Any, other: Any, chance: random.Random) -> None:
    if one is not other and one not in list(other.iterancestors()):
        other.append(one)


def _drop(one: Any, other: Any, chance: random.Random) -> None:
    if one.getparent() is not None:
        one.getparent().remove(one)


def _replace(one: Any, other: Any, chance: random.Random) -> None:
    if one.getparent() is not None:
        one.getparent().replace(one, copy.deepcopy(other))


def _rename(one: Any, other: Any, chance: random.Random) -> None:
    one.tag = other.tag


def _text(one: Any, other: Any, chance: random.Random) -> None:
    one.text = chance.choice((*_VALUES, other.text))


def _tail(one: Any, other: Any, chance: random.Random) -> None:
    one.tail = chance.choice(_VALUES)


def _attribute(one: Any, other: Any, chance: random.Random) -> None:
    name = chance.choice([*one.attrib, *other.attrib, "Id", "URI", "Algorithm", "role"])
    value = chance.choice((*_VALUES, *other.attrib.values()))
    if chance.random() < 0.2:
        one.attrib.pop(name, None)
    else:
        one.set(name, value)


def _comment(one: Any, other: Any, chance: random.Random) -> None:
    one.insert(0, etree.Comment("x") if chance.random() < 0.7 else etree.ProcessingInstruction("x"))


_TREE_CHANGES: Final = (
    _double, _graft, _move, _drop, _replace, _rename, _text, _text, _tail, _attribute, _attribute, _comment,
)  # fmt: skip


def _json(data: bytes, chance: random.Random) -> bytes | None:
    if data[:1] != b"{" or len(data) > OCTETS:
        return _xml(data, chance)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(document))
        if not places:
            break
        holder, key = chance.choice(places)
        other, its = chance.choice(places)
        match chance.randrange(4):
            case 0:
                del holder[key]
            case 1:
                holder[key] = chance.choice(_JSON_VALUES)
            case 2:
                holder[key] = copy.deepcopy(other[its])
            case _:
                holder[key] = [holder[key], copy.deepcopy(other[its])]
    text = json.dumps(document)
    if chance.random() < 0.1:
        text = text.replace('"id"', '"id":"x","id"', 1)
    return text.encode()


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _mime(data: bytes, chance: random.Random) -> bytes | None:
    head, line, body = data.partition(b"\n")
    marker = b"--" + head.partition(b'boundary="')[2].partition(b'"')[0]
    parts = body.split(marker)
    if marker == b"--" or len(parts) < 2:
        return None
    one, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    match chance.randrange(6):
        case 0:
            parts[one], parts[other] = parts[other], parts[one]
        case 1:
            parts.insert(other, parts[one])
        case 2:
            del parts[one]
        case 3:
            block, blank, octets = parts[one].partition(b"\r\n\r\n")
            lines = block.split(b"\r\n")
            lines.insert(chance.randint(0, len(lines)), chance.choice(lines))
            parts[one] = b"\r\n".join(lines) + blank + octets
        case 4:
            parts[one] = parts[one].replace(
                b"\r\n", chance.choice((b"\n", b"\r", b"\r\n ", b"")), 1
            )
        case _:
            cut = chance.randint(0, len(parts[one]))
            parts[one] = parts[one][:cut] + marker[: chance.randint(0, len(marker))]
    return head + line + marker.join(parts)


def _toml(data: bytes, chance: random.Random) -> bytes | None:
    lines = data.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines.insert(other, lines[one])
        case 1:
            del lines[one]
        case 2:
            key = lines[one].partition(b"=")[0]
            lines[one] = key + b"=" + lines[other].partition(b"=")[2]
        case _:
            values = (*_VALUES, "1", "[]", "{}", "true", '[""]', "1e9", "2026-11-21", '"""', "nan")
            lines[one] = lines[one].partition(b"=")[0] + b"= " + chance.choice(values).encode()
    return b"\n".join(lines)


_KINDS: Final[dict[str, Callable[[bytes, random.Random], bytes | None]]] = {
    "xml": _xml,
    "json": _json,
    "mime": _mime,
    "toml": _toml,
}
