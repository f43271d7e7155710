"""One row of a test's parameters that plays cases of the catalogue of attacks."""

from typing import Any

import pytest


def row(cases: str, *values: Any, id: str | None = None) -> Any:  # noqa: A002 (as pytest.param calls it)
    """Parameters that play `cases`, ids with spaces between; as `pytest.param` otherwise."""
    return pytest.param(*values, marks=pytest.mark.attack(*cases.split()), id=id)
