"""Who is known by a certificate: one certificate is one caller."""

from pathlib import Path

import pytest
from as4_stage import Pki

from accesspoint.access.identification import Identification
from accesspoint.config_access import Access, ClientCertificate, Scope
from keys.errors import KeyStoreError


def test_a_certificate_that_two_have_is_nobodys(pki: Pki, tmp_path: Path) -> None:
    file, both = tmp_path / "one.pem", tmp_path / "both.pem"
    old, new = pki.changing
    file.write_bytes(old.certificate_pem)
    both.write_bytes(new.certificate_pem + old.certificate_pem)
    one = ClientCertificate(name="one", certificate=file, scopes=(Scope.READ,))
    two = ClientCertificate(name="two", certificate=both, scopes=tuple(Scope))
    Identification("token", Access(certificates=(one,)), None)
    Identification("token", Access(certificates=(two,)), None)
    with pytest.raises(KeyStoreError, match="certificate:one has this certificate too"):
        Identification("token", Access(certificates=(one, two)), None)
