"""The suite can go red: with one gate taken away, at least one named case no longer passes.

Each fault replaces one check by something that lets everything through, as a careless change would. The
case then has to raise AssertionError: it saw the message that came through, or the trace it left.
"""

import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from as4_arena import Arena
from as4_liar import Liar

import accesspoint.inbound.reading
import accesspoint.inbound.receiver
import accesspoint.inbound.refusal
import accesspoint.outbound.answers
import envelope.parts
import envelope.security_header
import envelope.wsse
import envelope.xml
from accesspoint.trust import MessageTrust, PinnedTrust
from envelope import names
from envelope.coverage import Coverage, content_id_of
from envelope.parts import PartOpener
from envelope.verified import _PROOF, PartEvidence, VerifiedPart

Patch = pytest.MonkeyPatch
HERE = Path(__file__).parent


def case(file: str, name: str, *arguments: Any) -> Callable[[Any], Awaitable[None]]:
    """A case of another file of this directory, to run it under a fault; a name among the arguments is that file's."""
    spec = importlib.util.spec_from_file_location(f"case_{file}", HERE / f"test_{file}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = [
        getattr(module, value) if isinstance(value, str) and hasattr(module, value) else value
        for value in arguments
    ]
    return lambda stage: getattr(module, name)(stage, *values)


def nothing(*_arguments: Any, **_named: Any) -> None:
    """A check that was taken away."""


async def no_row(*_arguments: Any, **_named: Any) -> None:
    """A look-up that finds nothing, or a record that is not made."""


def coverage_by_name(references: Any, *, ids: Any, **_named: Any) -> Coverage:
    """Resolve each reference by its id and ask no more, as a plain XML signature library does."""
    elements = tuple(
        (one, ids[one.uri[1:]])
        for one in references
        if one.uri.startswith("#") and one.uri[1:] in ids
    )
    parts = {content_id_of(one.uri): one for one in references if one.uri.startswith("cid:")}
    return Coverage(elements, parts)


def unverified(opener: PartOpener) -> PartEvidence:
    """Finish a part without comparing its digest."""
    if opener._cipher is not None:
        opener._cipher.finish()
    part = VerifiedPart(
        content_id=opener._info.content_id,
        mime_type=opener._info.mime_type,
        compressed=opener._info.compression_type is not None,
        signed_octets=opener._signed_octets,
        digest=opener._content.digest(),
    )
    return PartEvidence(part=part, message=opener._decrypted, proof=_PROOF)


def no_coverage(patch: Patch) -> None:
    patch.setattr(envelope.security_header, "check_coverage", coverage_by_name)
    patch.setattr(envelope.security_header, "check_empty_body", nothing)


def no_signature_value(patch: Patch) -> None:
    patch.setattr(envelope.wsse, "verify_signature", nothing)


def no_header_digest(patch: Patch) -> None:
    patch.setattr(envelope.wsse, "verify_reference", nothing)


def no_part_digest(patch: Patch) -> None:
    patch.setattr(PartOpener, "finish", unverified)


def no_tag(patch: Patch) -> None:
    patch.setattr(envelope.parts.GcmDecryption, "finish", nothing)
    patch.setattr(PartOpener, "finish", unverified)


def no_certificate_check(patch: Patch) -> None:
    patch.setattr(MessageTrust, "check_at", lambda *_arguments, **_named: "trusted")


def no_lifetime_check(patch: Patch) -> None:
    patch.setattr(accesspoint.inbound.receiver, "check_lifetime", nothing)


def no_party_check(patch: Patch) -> None:
    patch.setattr("accesspoint.trust.check_party", nothing)


def no_algorithm_list(patch: Patch) -> None:
    patch.setattr(envelope.security_header, "check_algorithms", nothing)


def no_id_index(patch: Patch) -> None:
    """The last id wins, as in a DOM."""

    def index(root: Any) -> dict[str, Any]:
        return {
            value: element
            for element in root.iter()
            for name, value in element.attrib.items()
            if name.rpartition("}")[2].lower() in ("id", "assertionid")
        }

    patch.setattr(envelope.security_header, "index_ids", index)


def no_encryption_rule(patch: Patch) -> None:
    patch.setattr(envelope.security_header, "_check_encrypted", nothing)


def no_pre_scan(patch: Patch) -> None:
    patch.setattr(envelope.xml, "_check_markup", nothing)
    patch.setattr(envelope.xml._Bounds, "doctype", nothing)


def no_structure_limits(patch: Patch) -> None:
    patch.setattr(envelope.xml, "_within_bounds_by_count", lambda *_arguments: True)


def no_duplicate_table(patch: Patch) -> None:
    patch.setattr(accesspoint.inbound.receiver, "find_duplicate", no_row)
    patch.setattr(accesspoint.inbound.receiver, "record_duplicate_key", no_row)


def no_address_check(patch: Patch) -> None:
    patch.setattr(accesspoint.inbound.receiver.Receiver, "_check_agreement", nothing)


def no_routing_check(patch: Patch) -> None:
    patch.setattr(accesspoint.inbound.receiver.Receiver, "_check_routing", nothing)


def no_unlisted_check(patch: Patch) -> None:
    """Parts that no PartInfo names are skipped instead of refused."""
    original = accesspoint.inbound.reading.Reading._start_part

    def start(reading: Any, event: Any) -> None:
        reading._current = None
        if event.content_id in reading._decrypted.authenticated.part_digests:
            original(reading, event)

    patch.setattr(accesspoint.inbound.reading.Reading, "_start_part", start)


def no_record(patch: Patch) -> None:
    patch.setattr(accesspoint.inbound.refusal, "record_refusal", no_row)


def told_twice(patch: Patch) -> None:
    log = accesspoint.inbound.refusal._log

    class Twice:
        def warning(self, *arguments: Any, **named: Any) -> None:
            log.warning(*arguments, **named)
            log.warning(*arguments, **named)

    patch.setattr(accesspoint.inbound.refusal, "_log", Twice())


def message_in_the_log(patch: Patch) -> None:
    """A detail that quotes the message; the redaction of the log does not know this text."""
    log = accesspoint.inbound.refusal._log

    class Talkative:
        def warning(self, *arguments: Any, **named: Any) -> None:
            log.warning(*arguments, **{**named, "detail": "KANARIE-FRA-BREVET"})

    patch.setattr(accesspoint.inbound.refusal, "_log", Talkative())


def signatures_for_strangers(patch: Patch) -> None:
    patch.setattr(accesspoint.inbound.refusal.Intake, "authenticated", True)


def files_left_behind(patch: Patch) -> None:
    """Octets of a refused message stay in the directory of payloads."""
    original = accesspoint.inbound.reading.Reading.close

    def close(reading: Any) -> None:
        for _ in reading._files:
            with reading._receiver._payloads.create() as writer:
                writer.write(b"left behind")
                writer.finish()
        original(reading)

    patch.setattr(accesspoint.inbound.reading.Reading, "close", close)


@pytest.mark.parametrize(
    ("fault", "file", "name", "arguments"),
    [
        (no_coverage, "moved_signed_element", "test_wrapped", ("header_in_wrapper", "COVERAGE")),
        (no_coverage, "moved_signed_element", "test_wrapped", ("body_in_header", "COVERAGE")),
        (no_coverage, "unsigned_part", "test_payload_in_body", ()),
        (no_signature_value, "tampered_header", "test_signature_value_changed", (0,)),
        (no_header_digest, "tampered_header", "test_property_added", ()),
        (no_part_digest, "tampered_part", "test_part_replaced_under_the_same_content_key", ()),
        (no_part_digest, "tampered_part", "test_parts_swapped", ()),
        (no_tag, "tampered_part", "test_one_octet_changed", (-1,)),
        (no_certificate_check, "untrusted_certificate", "test_self_signed", ()),
        (no_certificate_check, "untrusted_certificate", "test_revoked", ()),
        (no_party_check, "untrusted_certificate", "test_certificate_of_another_party", ()),
        (no_lifetime_check, "wrong_times", "test_lifetime_that_does_not_fit", ("AHEAD", "LATER", "ts.future")),
        (no_lifetime_check, "wrong_times", "test_header_beyond_what_is_remembered", ("LONG_AGO", "ts.expired")),
        (no_algorithm_list, "downgraded_algorithm", "test_signature_method", (names.RSA_SHA384,)),
        (no_id_index, "duplicate_ids", "test_twin_of_a_signed_id", ("Messaging", "ID", True)),
        (no_encryption_rule, "unencrypted_message", "test_nothing_encrypted", ()),
        (no_pre_scan, "document_type", "test_markup", ("COMMENT", "xml.comment")),
        (no_structure_limits, "structure_bomb", "test_bomb", ("33 attributes",)),
        (no_duplicate_table, "replayed_message", "test_identical_octets_again", ()),
        (no_duplicate_table, "replayed_message", "test_copies_in_parallel", ("business",)),
        (no_address_check, "wrong_address", "test_foreign_to_party", ("somebody-else",)),
        (no_routing_check, "wrong_address", "test_unknown_recipient", ("5790000000036",)),
        (no_unlisted_check, "unmatched_parts", "test_extra_part", ("after",)),
        (no_record, "tampered_part", "test_octets_appended", ()),
        (told_twice, "tampered_part", "test_octets_appended", ()),
        (message_in_the_log, "tampered_part", "test_octets_appended", ()),
        (signatures_for_strangers, "tampered_header", "test_body_changed", ()),
        (files_left_behind, "tampered_part", "test_octets_appended", ()),
    ],
)  # fmt: skip
async def test_case_goes_red(
    arena: Arena,
    monkeypatch: Patch,
    fault: Callable[[Patch], None],
    file: str,
    name: str,
    arguments: tuple[Any, ...],
) -> None:
    function = case(file, name, *arguments)
    await arena.node.idle()
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            await function(arena)
        await arena.node.idle()


def no_receipt_comparison(patch: Patch) -> None:
    patch.setattr(accesspoint.outbound.answers, "match_receipt", nothing)


def no_receipt_signer(patch: Patch) -> None:
    patch.setattr(PinnedTrust, "check", lambda *_arguments, **_named: "trusted")


def no_receipt_signature(patch: Patch) -> None:
    patch.setattr(envelope.wsse, "verify_signature", nothing)
    patch.setattr(envelope.wsse, "verify_reference", nothing)


def every_error_is_final(patch: Patch) -> None:
    patch.setattr(accesspoint.outbound.answers, "_is_retryable", lambda _entry: False)


@pytest.mark.parametrize(
    ("fault", "name", "arguments"),
    [
        (no_receipt_comparison, "test_false_receipt", ("OTHER_MESSAGE", "receipt-invalid")),
        (no_receipt_comparison, "test_false_receipt", ("OTHER_DIGEST", "receipt-digest")),
        (no_receipt_comparison, "test_receipt_of_an_earlier_message", ()),
        (no_receipt_signer, "test_false_receipt", ("OTHER_SIGNER", "receipt-signer")),
        (no_receipt_signature, "test_tampered_receipt", ("later_timestamp", "receipt-signer")),
        (every_error_is_final, "test_error_that_ends_nothing", ("CONNECTION_FAILURE",)),
    ],
)
async def test_sender_goes_red(
    liar: Liar,
    monkeypatch: Patch,
    fault: Callable[[Patch], None],
    name: str,
    arguments: tuple[Any, ...],
) -> None:
    function = case("lying_receiver", name, *arguments)
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            await function(liar)
        await liar.node.idle()


async def test_the_same_cases_are_green_without_a_fault(arena: Arena) -> None:
    """What went red above was the fault's doing."""
    await case("tampered_part", "test_octets_appended")(arena)
    await case("tampered_part", "test_parts_swapped")(arena)
    await case("replayed_message", "test_identical_octets_again")(arena)
    await case("tampered_header", "test_body_changed")(arena)
