"""Where a receiver's access point is: service metadata documents (SMP) and the names that lead to them (BDXL, Busdox).

A participant's name in the locator's zone is a hash; the record there gives the publisher's address; the publisher
answers with a signed document that names, for one participant and one kind of document, processes and their endpoints.
The record is not trusted, the signature is. An answer is read only from what was signed, and only when it is about the
question that was asked.

Three standards say the same in three ways: OASIS SMP 1.0, Busdox (from which it comes, and which Peppol uses) and
OASIS SMP 2.0. All are read to one `model`; `version_1` knows the first two, `version_2` the third.

Fetching, address filters and caches are the access point's affair, and so is trust in the signer: it is a callback.

Spec: OASIS SMP 1.0 and 2.0; OASIS BDXL 1.0; Busdox 1.0; EHMI use of SMP; RFC 3403, RFC 4848.
"""

from envelope.smp.addresses import (
    SMP2_PREFIX,
    NaptrRecord,
    bdxl_label,
    bdxl_owner_name,
    busdox_owner_name,
    metadata_path,
    participant_path,
    read_naptr,
    read_path,
)
from envelope.smp.model import (
    Endpoint,
    MetadataContent,
    Process,
    Redirect,
    ServiceGroup,
    ServiceMetadata,
    SignedServiceMetadata,
    SmpForm,
    SmpIdentifier,
    check_url,
    fold,
    select_endpoint,
)
from envelope.smp.reading import (
    CANONICALIZATIONS,
    VERSION_1,
    find_form,
    read_content,
    read_service_group,
    read_signed_service_metadata,
)
from envelope.smp.version_1 import (
    build_service_group,
    build_signed_service_metadata,
    read_service_metadata,
)
from envelope.smp.version_2 import build_group_2, build_metadata_2, read_metadata_2

__all__ = [
    "CANONICALIZATIONS",
    "SMP2_PREFIX",
    "VERSION_1",
    "Endpoint",
    "MetadataContent",
    "NaptrRecord",
    "Process",
    "Redirect",
    "ServiceGroup",
    "ServiceMetadata",
    "SignedServiceMetadata",
    "SmpForm",
    "SmpIdentifier",
    "bdxl_label",
    "bdxl_owner_name",
    "build_group_2",
    "build_metadata_2",
    "build_service_group",
    "build_signed_service_metadata",
    "busdox_owner_name",
    "check_url",
    "find_form",
    "fold",
    "metadata_path",
    "participant_path",
    "read_content",
    "read_metadata_2",
    "read_naptr",
    "read_path",
    "read_service_group",
    "read_service_metadata",
    "read_signed_service_metadata",
    "select_endpoint",
]
