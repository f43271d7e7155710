# Every recipe is a plain command: copy the line if `just` is not at hand.

# list the recipes
default:
    @just --list

# write the code in its one form
fmt:
    ruff check --fix .
    ruff format .

# look for defects and broken rules of form
lint:
    ruff check .
    ruff format --check .
    lint-imports

# check the types
types:
    mypy

# the suite of the README
test *arguments:
    python -m pytest -m "not interop and not slow" {{ arguments }}

# against phase4 on a Java virtual machine (needs a JDK 17 and Maven)
interop *arguments:
    python -m pytest -m interop tests/interop {{ arguments }}

# two organisations, the network in miniature and one message there and back
demo *arguments:
    accesspoint demo {{ arguments }}

# messages a second, and what one costs against what it must cost at least
bench *arguments:
    accesspoint bench {{ arguments }}

# search every reader of foreign octets for what breaks it
fuzz *arguments:
    python -m tests.fuzz.run {{ arguments }}

# changes of the gates that no test notices (needs the extra `mutation`)
mutants *arguments:
    python -m tests.gates.mutants {{ arguments }}

# the bill of materials of a release, into build/
bill:
    python .ci/bill_of_materials.py

# ask the lists of known weaknesses about the lock (needs uv and the lists)
audit:
    uvx pip-audit --strict --require-hashes --disable-pip --requirement compose/requirements.lock

# write the locks anew from pyproject.toml (needs uv)
lock:
    uv pip compile pyproject.toml --extra postgres --extra s3 --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --output-file compose/requirements.lock
    uv pip compile pyproject.toml --all-extras --constraints compose/requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --output-file compose/requirements-dev.lock
    printf 'hatchling==1.33.0\neditables\n' | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --output-file compose/requirements-build.lock

# all that a change must pass
ci:
    bash .ci/run
