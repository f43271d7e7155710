"""Numbered SQL files that bring the tables to the schema of this program, each in one transaction.

A file is called `NNNN_name.sql`; numbers start at 1 without gaps. One text serves both dialects through
the tokens `{serial}` and `{blob}`; a line `-- only: sqlite` or `-- only: postgresql` before a statement
leaves it to that dialect, for triggers, which the two write differently. A statement ends with `;` at the
end of a line, or, once it has a line `BEGIN`, with a line `END;` (`END $$;`). A first line `-- compatible: N` says that
programs which know only the schema N can still work with this one; without it older programs are refused.

`schema_version` holds one row for each applied file with the SHA-256 of its text, so that a file that
was edited after it was applied is found out. What the old and the new program both see is either the
old or the new schema, never something between.

Spec: reliability section 2.4 point M1.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from types import MappingProxyType

from accesspoint.store.database import Dialect, Row, SchemaRefused

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_TOKEN = re.compile(r"\{([a-z_]+)\}")
_COMPATIBLE = re.compile(r"-- compatible: (\d+)")
_ONLY = re.compile(r"-- only: ([a-z]+)")
_BLOCK_ENDS = ("END;", "END $$;")

TOKENS: Mapping[Dialect, Mapping[str, str]] = MappingProxyType(
    {
        Dialect.SQLITE: {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "blob": "BLOB"},
        Dialect.POSTGRESQL: {
            "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "blob": "BYTEA",
        },
    }
)

CREATE_SCHEMA_VERSION = """
CREATE TABLE IF NOT EXISTS schema_version (
  version    INTEGER PRIMARY KEY CHECK (version > 0),
  compatible INTEGER NOT NULL CHECK (compatible BETWEEN 1 AND version),
  name       TEXT NOT NULL,
  sha256     TEXT NOT NULL
)
"""
SELECT_SCHEMA_VERSION = (
    "SELECT version, compatible, name, sha256 FROM schema_version ORDER BY version"
)
INSERT_SCHEMA_VERSION = (
    "INSERT INTO schema_version (version, compatible, name, sha256) VALUES ($1, $2, $3, $4)"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema; `compatible` is the oldest schema whose programs still work with it."""

    version: int
    name: str
    compatible: int
    text: str

    @property
    def sha256(self) -> str:
        """The digest of the file's text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, dialect: Dialect) -> tuple[str, ...]:
        """Return the statements of this step in one dialect.

        Raises: SchemaRefused for an unknown token or dialect, an unfinished statement, or a deferred constraint.
        """
        tokens = TOKENS[dialect]

        def replaced(match: re.Match[str]) -> str:
            if match[1] not in tokens:
                raise SchemaRefused(
                    f"migration {self.version:04} uses the unknown token {match[0]}"
                )
            return tokens[match[1]]

        statements: list[str] = []
        pending: list[str] = []
        only: Dialect | None = None
        for line in self.text.splitlines():
            marked = _ONLY.fullmatch(line)
            if marked is not None:
                only = _dialect(self.version, marked[1])
            bare = _without_comment(line).rstrip()
            if not bare:
                continue
            pending.append(bare)
            if bare in _BLOCK_ENDS if "BEGIN" in pending else bare.endswith(";"):
                if only in (None, dialect):
                    statements.append(_TOKEN.sub(replaced, "\n".join(pending)).removesuffix(";"))
                pending.clear()
                only = None
        if pending:
            raise SchemaRefused(f"migration {self.version:04} ends inside a statement")
        if any("DEFERR" in statement.upper() for statement in statements):
            # A deferred rule breaks at COMMIT, where one commit may carry the works of many callers.
            raise SchemaRefused(f"migration {self.version:04} has a deferred constraint")
        return tuple(statements)


def load_migrations(directory: Traversable) -> tuple[Migration, ...]:
    """Read the numbered SQL files of a directory in their order.

    Raises: SchemaRefused when a number is missing or taken twice, or a name has another shape.
    """
    found: list[Migration] = []
    names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
    for file_name in names:
        if not file_name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(file_name)
        if match is None:
            raise SchemaRefused(f"{file_name} is not named NNNN_name.sql")
        text = (directory / file_name).read_text(encoding="utf-8")
        version = int(match[1])
        if version != len(found) + 1:
            raise SchemaRefused(f"{file_name} should have the number {len(found) + 1:04}")
        declared = _COMPATIBLE.match(text)
        compatible = int(declared[1]) if declared else version
        if not 1 <= compatible <= version:
            raise SchemaRefused(
                f"{file_name} is compatible with {compatible}, which is not 1 to {version}"
            )
        found.append(Migration(version, match[2], compatible, text))
    return tuple(found)


def pending_migrations(known: Sequence[Migration], applied: Sequence[Row]) -> tuple[Migration, ...]:
    """Return what is still to be applied, given the rows of `schema_version`.

    An applied step that this program does not know is accepted when every such step says that it is
    compatible with the newest schema this program knows.

    Raises: SchemaRefused when the tables are newer than that, have a gap, or a known step was edited.
    """
    newest = len(known)
    for position, row in enumerate(applied, start=1):
        if row["version"] != position:
            raise SchemaRefused(f"schema_version lacks step {position}")
        if position <= newest:
            if row["sha256"] != known[position - 1].sha256:
                raise SchemaRefused(
                    f"migration {position:04} was changed after it was applied here"
                )
        elif row["compatible"] > newest:
            raise SchemaRefused(
                f"the tables have schema {applied[-1]['version']}; this program knows {newest}; use the newer program"
            )
    return tuple(known[len(applied) :])


def require_current(known: Sequence[Migration], applied: Sequence[Row]) -> int:
    """Return the version of tables that are only to be read, which this program knows.

    Raises: SchemaRefused when they are older than that, or as `pending_migrations`.
    """
    if pending_migrations(known, applied):
        raise SchemaRefused(
            f"the tables have schema {len(applied)}, this program {len(known)}; start the node once"
        )
    return max(len(known), len(applied))


def _dialect(version: int, name: str) -> Dialect:
    if name not in set(Dialect):
        raise SchemaRefused(
            f"migration {version:04} has a statement for the unknown dialect {name}"
        )
    return Dialect(name)


def _without_comment(line: str) -> str:
    """Cut a `--` comment off a line; one inside a text literal stays."""
    start = line.find("--")
    while start >= 0:
        if line.count("'", 0, start) % 2 == 0:
            return line[:start]
        start = line.find("--", start + 2)
    return line
