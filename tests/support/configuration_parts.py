"""A configuration file that holds every table, and what is wrong with one that was changed."""

from pathlib import Path
from typing import Any

import pytest

from accesspoint.config import ConfigurationProblem, load
from accesspoint.toml import write_toml


def document() -> dict[str, Any]:
    return {
        "profile": "dev",
        "label": "municipality-ap",
        "organisation": {"name": "TEST Kommune", "gln": "5790000000012", "sor": "1216891000016007"},
        "organisations": [
            {"name": "TEST Klinik", "gln": "5790000000029", "sor": "306861000016006"}
        ],
        "stations": {"device_ids": {"EUA": "eua-1", "AP": "ap-1"}},
        "listen": {"as4": "127.0.0.1:0", "api": "[::1]:8401"},
        "keys": {"directory": "keys"},
        "store": {"directory": "/var/lib/accesspoint"},
        "trust": {
            "message": {"anchors": ["ca.pem"], "revocation": "prefer"},
            "tls": {"anchors": ["ca.pem"]},
        },
        "directory": {
            "sml": "sml.test",
            "nameserver": "127.0.0.1:5353",
            "networks": ["127.0.0.0/8"],
        },
        "partners": {
            "clinic": {
                "gln": "5790000000029",
                "url": "https://ap.clinic.example/as4",
                "certificate": "clinic.pem",
                "quirks": ["bare-line-feeds"],
            }
        },
        "delivery_status": {
            "endpoint": "https://eds.test/fhir",
            "token_endpoint": "https://auth.test/token",
            "client_ids": {"EUA": "0ba284d1", "AP": "0ba284d2"},
        },
        "sending": {"workers": 2, "retry": {"first": "1 s", "give_up_after": "5 min"}},
        "backend": {"kind": "folder", "directory": "inbox"},
    }


def write(
    tmp_path: Path, changes: dict[str, Any] | None = None, *, text: str | None = None
) -> Path:
    path = tmp_path / "accesspoint.toml"
    path.write_text(text if text is not None else write_toml({**document(), **(changes or {})}))
    return path


def problems(path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationProblem) as caught:
        load(path, environment or {})
    return caught.value.render()
