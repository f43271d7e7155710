"""A report as one HTML page that needs nothing else: it can be mailed to the other side and opened there.

Spec: experience section 5.3.
"""

import html
from collections.abc import Iterator

from accesspoint.explain.report import Branch, Broken, Report
from accesspoint.shown import shown
from envelope.explain import Mark

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1d2433;background:#fff}
h1{font-size:1.3rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:#5b6475}dd{margin:0}
ul{list-style:none;margin:0;padding-left:1.3rem;border-left:1px solid #d5dae3}li{margin:.15rem 0;overflow-wrap:anywhere}
summary{cursor:pointer}.label{font-weight:600}.holds>.said,.holds>details>summary{color:#12703a}
.broken>.said,.broken>details>summary{color:#b3261e}.noted>.said,.noted>details>summary{color:#8a5a00}
.unseen>.said,.unseen>details>summary{color:#6b7280;font-style:italic}pre{background:#f4f6f9;padding:.6rem;white-space:pre-wrap}
@media(prefers-color-scheme:dark){body{background:#12161f;color:#dde3ee}dt{color:#98a2b3}pre{background:#1d2433}ul{border-color:#333c4d}
.holds>.said,.holds>details>summary{color:#5fd38d}.broken>.said,.broken>details>summary{color:#ff8a80}
.noted>.said,.noted>details>summary{color:#f0b95c}}
""".strip()
_SIGNS = {Mark.PLAIN: "", Mark.HOLDS: "✓ ", Mark.NOTED: "! ", Mark.BROKEN: "✗ ", Mark.UNSEEN: "– "}


def escape(text: str) -> str:
    """A text of others as text: neither markup nor anything that turns a line around."""
    return html.escape(str(shown(text)))


def render_html(report: Report) -> str:
    """The whole page; nothing of the capture is markup in it."""
    title = escape(f"{report.name}: {report.headline}")
    verdict = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in report.lines
    )
    others = "".join(_row(each) for each in report.others)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_SIGNS[report.mark]}{title}</h1><dl>{verdict}</dl>"
        + (f"<h2>Broken too</h2><ul>{others}</ul>" if others else "")
        + f"<h2>What is in it</h2><ul>{''.join(_item(report.tree))}</ul></body></html>\n"
    )


def _row(each: Broken) -> str:
    said = f"{each.gate} {each.reason}: {each.detail} (at {each.where}). {each.whose}; {each.rule.section}; {each.answer}."
    return f'<li class="broken"><span class="said">{escape(said)}</span><br>{escape(each.ask)}</li>'


def _item(branch: Branch) -> Iterator[str]:
    said = f'<span class="label">{_SIGNS[branch.mark]}{escape(branch.label)}</span> {escape(branch.value)}'
    content = "" if branch.content is None else f"<pre>{escape(branch.content)}</pre>"
    yield f'<li class="{branch.mark}">'
    if branch.children:
        yield f"<details open><summary>{said}</summary>{content}<ul>"
        for child in branch.children:
            yield from _item(child)
        yield "</ul></details>"
    else:
        yield f'<span class="said">{said}</span>{content}'
    yield "</li>"
