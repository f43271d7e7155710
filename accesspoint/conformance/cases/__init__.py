"""The cases, one file per group of assertions; `load` imports them all, which registers them."""

from importlib import import_module
from pkgutil import iter_modules


def load() -> None:
    """Register every case of the kit."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
