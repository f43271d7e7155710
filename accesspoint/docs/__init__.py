"""The manual: Markdown pages that come with the program, printed by `accesspoint docs TOPIC`.

A page is written by hand, but for the parts between `<!-- generated: NAME -->` and `<!-- end -->`: those come
from the program's own tables (`accesspoint.docs.generated`), and a test holds the page against them.
"""

from importlib.resources import files


def topics() -> list[str]:
    """Return the names of all pages, in order."""
    names = (page.name for page in files(__name__).iterdir())
    return sorted(name.removesuffix(".md") for name in names if name.endswith(".md"))


def read_page(topic: str) -> str:
    """Return one page as Markdown.

    Raises: KeyError for a topic that no page is about.
    """
    if topic not in topics():
        raise KeyError(topic)
    return (files(__name__) / f"{topic}.md").read_text(encoding="utf-8")
