"""Documents that parse in milliseconds and canonicalise in minutes: refused before a tree or a digest is made."""

from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from attack_rows import row

from envelope import names

VERDICT = Verdict("G3", "xml.limits", status=400)


def attributes(count: int, *, prefix: str = "") -> str:
    return " ".join(f'{prefix}a{number}=""' for number in range(count))


def in_header(element: str) -> Callable[[str], str]:
    return lambda soap: soap.replace("<S12:Header>", f"<S12:Header>{element}", 1)


def in_transform(content: str) -> Callable[[str], str]:
    def place(soap: str) -> str:
        closed = "</ds:Transform></ds:Transforms><ds:DigestMethod"
        assert closed in soap
        return soap.replace(closed, content + closed, 1)

    return place


def namespaces(count: int) -> str:
    return " ".join(f'xmlns:n{number}="urn:n:{number}"' for number in range(count))


BOMBS = {
    "60,000 attributes": ("C14-01", in_header(f"<x {attributes(60_000)}/>")),
    "33 attributes": ("C14-01", in_header(f"<x {attributes(33)}/>")),
    "20,000 qualified attributes": (
        "C14-02",
        in_header(f'<x xmlns:p="urn:p" {attributes(20_000, prefix="p:")}/>'),
    ),
    "3,000 namespaces of the root, 3,000 children": (
        "C14-03",
        lambda soap: in_header("<y/>" * 1_500)(
            soap.replace("<S12:Envelope ", f"<S12:Envelope {namespaces(3_000)} ", 1)
        ),
    ),
    "3,000 namespaces, 3,000 children": (
        "C14-03 C14-06",
        in_header(f"<x {namespaces(3_000)}>{'<y/>' * 3_000}</x>"),
    ),
    "17 namespaces": ("C14-03", in_header(f"<x {namespaces(17)}/>")),
    "70 namespaces in all": (
        "C14-03",
        in_header("".join(f'<x xmlns="urn:q:{n}"/>' for n in range(70))),
    ),
    "20,000 elements": ("C14-06 XML-17", in_header("<y/>" * 20_000)),
    "60,000 open tags": ("XML-15", in_header("<y>" * 60_000 + "</y>" * 60_000)),
    "70 deep": ("XML-15", in_header("<y>" * 70 + "</y>" * 70)),
    "300 deep": ("XML-15", in_header("<y>" * 300 + "</y>" * 300)),
    "attributes in a Transform": ("C14-05", in_transform(f"<x {attributes(50_000)}/>")),
    "children in a Transform": ("C14-05", in_transform("<x/>" * 50_000)),
    "names in a PrefixList": (
        "C14-04 C14-05",
        in_transform(
            f'<ec:InclusiveNamespaces xmlns:ec="{names.EC}" PrefixList="'
            + " ".join(f"p{n}" for n in range(2_000))
            + '"/>'
            + "<x/>" * 20_000
        ),
    ),
}


@pytest.mark.parametrize("bomb", [row(cases, name) for name, (cases, _) in BOMBS.items()])
async def test_bomb(arena: Arena, bomb: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_soap(lambda soap: BOMBS[bomb][1](soap.decode()).encode())
    await arena.refuses(attack, VERDICT, twin=wire)


async def test_largest_structure_within_the_limits(arena: Arena) -> None:
    """What is allowed is cheap, too: the judge's bound on processor time holds for the most there may be."""
    wire = arena.author.compose()
    allowed = in_header(f"<x {namespaces(16)} {attributes(32)}>{'<y/>' * 1_800}</x>")
    attack = wire.with_soap(lambda soap: allowed(soap.decode()).encode()).with_part(
        0, lambda octets: octets[:-1]
    )
    await arena.refuses(attack, Verdict("G7", "enc.failed", "EBMS:0102"), twin=wire)
