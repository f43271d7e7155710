import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from keys.certificate import fingerprint
from keys.devca import key_usage
from keys.errors import BadPath, UnknownIssuer, WeakKey
from keys.trust import Purpose, TrustStore, TrustStores


def test_key_02_trust_for_tls_is_no_trust_for_messages(pki):
    stores = TrustStores({Purpose.TLS: TrustStore(Purpose.TLS, pki.authority.anchors)})
    assert stores.of(Purpose.TLS).anchors == (pki.authority.root,)
    with pytest.raises(UnknownIssuer) as caught:
        stores.of(Purpose.MESSAGE)
    assert caught.value.reason == "cert.untrusted"


def test_leaf_does_not_become_an_anchor(pki):
    leaf = pki.leaf().certificate
    for arguments in ({"anchors": (leaf,)}, {"intermediates": (leaf,)}):
        with pytest.raises(BadPath, match="pin it"):
            TrustStore(Purpose.MESSAGE, **arguments)


def test_authority_without_cert_sign_or_key_usage_does_not_become_an_anchor(pki):
    without_bit = pki.intermediate(bend=lambda e: [e[0], (key_usage(crl_sign=True), True)])
    without_usage = pki.intermediate(bend=lambda e: e[:1])
    for issued in (without_bit, without_usage):
        with pytest.raises(BadPath):
            TrustStore(Purpose.MESSAGE, (issued.certificate,))


def test_weak_anchor_is_refused(pki):
    weak = pki.intermediate(key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(WeakKey):
        TrustStore(Purpose.MESSAGE, (weak.certificate,))


def test_store_knows_its_anchors_and_pins(pki):
    leaf = pki.leaf().certificate
    pins = frozenset({fingerprint(leaf).upper()})
    store = TrustStore(Purpose.SMP, pki.authority.anchors, pki.authority.intermediates, pins)
    assert store.is_anchor(pki.authority.root)
    assert not store.is_anchor(pki.authority.issuing)
    assert store.is_pinned(leaf)
    assert not store.is_pinned(pki.authority.root)
    assert store.authorities == (pki.authority.root, pki.authority.issuing)


def test_pinned_store_has_no_anchors(pki):
    leaf = pki.leaf().certificate
    store = TrustStore.pinned(Purpose.MESSAGE, [leaf])
    assert store.anchors == ()
    assert store.pins == {fingerprint(leaf)}


def test_malformed_pin_is_refused():
    with pytest.raises(ValueError, match="SHA-256"):
        TrustStore(Purpose.MESSAGE, pins=frozenset({"12"}))
