# ruff: noqa: INP001
"""Write the software bill of materials of a release: `python .ci/bill_of_materials.py [--output FOLDER]`.

CycloneDX 1.6, as JSON and as XML, made from the lock that an installation is made from, with its hashes; both are
validated against the schema before they are written. The same lock gives the same octets.
"""

import argparse
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator
from locked import locked
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "compose" / "requirements.lock"


def _component(name: str, version: str, **more: Any) -> Component:
    purl = PackageURL("pypi", None, name, version)
    return Component(name=name, version=version, purl=purl, bom_ref=str(purl), **more)


def bill_of_materials(project: dict[str, Any], lock: str) -> Bom:
    """The bill: the project, and each package of the lock, those that it asks for itself as its dependencies."""
    product = _component(
        project["name"],
        project["version"],
        type=ComponentType.APPLICATION,
        description=project["description"],
        licenses=[LicenseExpression(project["license"])],
    )
    bill = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, f"{product.purl} {lock}"))
    bill.metadata.timestamp = None  # the same lock gives the same octets
    bill.metadata.component = product
    asked = {re.split(r"[\[<>=!~; ]", each)[0].lower() for each in project["dependencies"]}
    direct = []
    for name, version, digests in locked(lock):
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests]
        component = _component(name, version, type=ComponentType.LIBRARY, hashes=hashes)
        bill.components.add(component)
        bill.register_dependency(component)
        if name in asked:
            direct.append(component)
    bill.register_dependency(product, direct)
    return bill


def write(bill: Bom, form: OutputFormat) -> str:
    """The bill in one form, valid; raises `SystemExit` with what the schema says otherwise."""
    text = make_outputter(bill, form, SchemaVersion.V1_6).output_as_string(indent=2)
    fault = make_schemabased_validator(form, SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise SystemExit(f"not valid as {form}: {fault}")
    return text


def main() -> None:
    """Write both forms into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    folder: Path = parser.parse_args().output
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bill = bill_of_materials(project, LOCK.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    for form, suffix in ((OutputFormat.JSON, "json"), (OutputFormat.XML, "xml")):
        path = folder / f"{project['name']}-{project['version']}.cdx.{suffix}"
        path.write_text(write(bill, form), encoding="utf-8")
        sys.stdout.write(f"{path}: {len(bill.components)} packages\n")


if __name__ == "__main__":
    main()
