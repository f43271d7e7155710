"""The English words of the problem catalogue; another language is another table with the same slugs.

Texts are in the past tense, name the values, blame nobody and never say "invalid input". Names in
braces are facts; where a fact is not known its plain words from `problem_form` stand.

Spec: experience section 7.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from accesspoint.problem_form import ProblemText

TRIED_AGAIN: Final = "nothing; it is tried again {next}"
BY_HAND: Final = "ask again when the reason is gone; nothing of yours was sent"
"""Stands in place of what is tried again where a person asked, and only a person asks again."""
_NOTHING: Final = TRIED_AGAIN
_ASK_FIRST: Final = (
    "this message is not tried again, and may have arrived: ask the partner whether it has the MessageId"
    " before sending the content as a new message"
)
_WATCH: Final = "accesspoint watch"

ENGLISH: Final[Mapping[str, ProblemText]] = MappingProxyType(
    {
        "configuration": ProblemText(
            "The configuration has problems",
            "{file} has problems; nothing was started.",
            "a key is misspelt or missing, or a value cannot work; each is listed with its line.",
            ("correct the lines listed above and start again",),
        ),
        "port-taken": ProblemText(
            "The address is in use",
            "{address} could not be opened for listening; another program has it.",
            "an earlier instance is still running, or the port belongs to something else.",
            ("ss -ltnp", 'or choose another port under [listen], for example "127.0.0.1:0"'),
        ),
        "failpoints-armed": ProblemText(
            "The node was told to fail",
            "AP_FAILPOINTS is set; failures are planted in the profile dev only.",
            "the environment of a test was taken over.",
            ("unset AP_FAILPOINTS",),
        ),
        "certificate-unreadable": ProblemText(
            "The file holds no certificate that can be read",
            "{file} cannot be read: {what}.",
            "it is of another kind than PEM, DER, PKCS #7 or PKCS #12, or damaged.",
            (
                "openssl x509 -in {file} -noout -text   (or: openssl pkcs12 -in {file} -info -nokeys)",
            ),
        ),
        "certificate-unreadable-key": ProblemText(
            "The file holds a private key, and no certificate",
            "{file} cannot be read: {what}.",
            "a key says nothing of whose it is; its certificate does, which is a file of its own.",
            ("give the certificate; the key is to be seen by nobody, and was not looked at",),
        ),
        "certificate-unreadable-request": ProblemText(
            "The file holds a request, and no certificate",
            "{file} cannot be read: {what}.",
            "a request goes to an authority, and is trusted by nobody; a certificate is what comes back.",
            ("openssl req -in {file} -noout -text", "give the file that the authority sent back"),
        ),
        "certificate-unreadable-passphrase": ProblemText(
            "The passphrase does not open the file",
            "{file} cannot be read: {what}.",
            "the passphrase is another one or was not given, or the file is damaged.",
            (
                "give it in a file: --passphrase-file, with nothing else in it",
                "openssl pkcs12 -in {file} -info -nokeys   asks for it, too",
            ),
        ),
        "request-unreadable": ProblemText(
            "The file holds no request that can be used",
            "{file} cannot be used: {what}.",
            "it is something else than a request for a certificate (PKCS #10, PEM), or was changed after it was signed.",
            ("openssl req -in {file} -noout -text -verify",),
        ),
        "keys-unusable": ProblemText(
            "A file of keys or certificates cannot be used",
            "A file of keys or certificates cannot be used: {what}.",
            "it is open to others, of another user, missing or damaged, or does not belong to the one beside it.",
            ("ls -la with the directory of [keys]; the directory has 0700, what is in it 0600",),
        ),
        "file-unreadable": ProblemText(
            "The file cannot be read",
            "{file} cannot be read: {what}.",
            "it is not there under this name, or closed to the user who runs the command.",
            ("ls -l {file}",),
        ),
        "not-ready": ProblemText(
            "The node is not ready",
            "{host} did not become ready in time.",
            "it is still starting, or its database, keys or payload directory are not usable.",
            ("accesspoint ready --help",),
        ),
        "usage": ProblemText(
            "The command was not understood",
            "The command was not understood.",
            "an option or an argument is missing or has another form.",
            ("accesspoint --help",),
        ),
        "interrupted": ProblemText(
            "Interrupted",
            "The command was interrupted.",
            "somebody pressed Ctrl-C or the system is stopping; what was committed is kept.",
            ("start it again; it continues where it was",),
        ),
        "internal": ProblemText(
            "Something unforeseen happened",
            "The program met a state that it has no name for.",
            "a fault in this program.",
            ("report it with the id and the log lines around it",),
        ),
        "message-invalid": ProblemText(
            "The message breaks MedCom rules",
            "The message was not accepted: it breaks {rules}.",
            "the sending system builds the message in another version or leaves something out.",
            ("correct the places named above in the sending system, then submit again",),
        ),
        "message-not-judged": ProblemText(
            "The external validator did not answer",
            "The message was not accepted: the external validator gave no answer, and without one nothing is.",
            "the validator of [validation.external] is down, too slow, or answers with no OperationOutcome.",
            (
                "look at the log for external_validator_unanswered, which says how it failed",
                'bring the validator back, or set without_answer = "warn" to trust the named rules alone',
            ),
        ),
        "message-not-recognised": ProblemText(
            "No MedCom message was found",
            "The content was not recognised as a MedCom FHIR message.",
            "it is not FHIR in JSON or XML, or not a Bundle of type message with a MessageHeader.",
            ("submit the whole message Bundle",),
        ),
        "message-not-in-ehmi": ProblemText(
            "EHMI does not carry this kind of message",
            "EHMI has no document type for {document}.",
            "the message is of a kind or a version that EHMI does not transport.",
            ("submit one of the messages and versions that EHMI carries",),
        ),
        "message-too-large": ProblemText(
            "The message is too large",
            "The message has {size}; the limit is {limit}.",
            "it carries attachments that are larger than is agreed.",
            ("send it in parts, or raise the limit on both sides",),
        ),
        "message-already-submitted": ProblemText(
            "This message was submitted before",
            "{message} was submitted before with other content or to another receiver; it is not sent.",
            "the sending system used the MessageHeader.id of an earlier message again.",
            (
                "accesspoint watch {identifier}   shows the earlier submission",
                "give the message a new MessageHeader.id when its content is new",
            ),
        ),
        "idempotency-key-reused": ProblemText(
            "An Idempotency-Key was used for two requests",
            "The Idempotency-Key was used before for another request; nothing was sent.",
            "the sending system repeats a key, or changed the message or its receiver between two attempts.",
            ("use a new key for a new request, and the same one only to repeat the same request",),
        ),
        "message-unknown": ProblemText(
            "No such message",
            "No message with this identifier was here.",
            "it was submitted elsewhere, or its time of retention is over.",
            (_WATCH,),
        ),
        "sender-not-served": ProblemText(
            "The sender is not one of ours",
            "The message names {participant} as its sender, which this node does not send for.",
            "the organisation is missing from the configuration.",
            ("add it under [[organisations]] in accesspoint.toml",),
        ),
        "receiver-unknown": ProblemText(
            "The receiver is not named completely",
            "{participant} is not in [[addresses]] of {file} and the message does not name it, so its SOR id is unknown.",
            "the GLN has a mistake, or the receiver is new to this node.",
            (
                "check the GLN; then add gln, sor and name of the receiver under [[addresses]] and start the node again",
                "or leave out --to, where the message names its receiver",
            ),
        ),
        "lookup-no-participant": ProblemText(
            "The receiver is not in the directory",
            "{participant} was not found in the directory.",
            "the receiver is not registered for EHMI yet, or the GLN has a mistake.",
            ("check the GLN; then ask the receiver to register",),
        ),
        "lookup-no-endpoint": ProblemText(
            "The receiver does not take this kind of message",
            "{smp} knew {participant}, but no endpoint for {document} that is valid now.",
            "the receiver has not registered the document in this version, or its registration has ended.",
            ("ask the receiver to register the document",),
        ),
        "pmode-missing": ProblemText(
            "Nothing is agreed about this kind of message",
            "No P-Mode of the receiver's access point fits the message; nothing was sent.",
            "the partner's pmodes in accesspoint.toml lack this service and action.",
            (
                "compare: accesspoint partner show NAME --config FILE",
                "add the P-Mode to [partners.NAME.pmodes], or remove pmodes to exchange every kind, and start again",
            ),
        ),
        "lookup-unreachable": ProblemText(
            "The directory did not answer",
            "The directory could not be asked about {participant}.",
            "DNS or the metadata publisher is down, or a firewall is in between.",
            (_NOTHING, "accesspoint lookup GLN --fresh   shows the step that does not answer"),
        ),
        "lookup-forbidden-network": ProblemText(
            "The directory leads to a network we do not connect to",
            "What the directory says of {participant} leads to an address outside the allowed networks; nothing was sent there.",
            "the receiver is registered with an address of another network, or networks is too narrow.",
            (
                "compare the address in the timeline with [directory] networks in accesspoint.toml",
                "ask the receiver to correct its registration when the address is not in the health network",
            ),
        ),
        "smp-signature": ProblemText(
            "The directory's answer is not signed as it must be",
            "The answer about {participant} did not carry a signature that is trusted here.",
            "the publisher's certificate changed, or an anchor is missing under [trust.smp].",
            ("compare the publisher's certificate with [trust.smp] anchors in accesspoint.toml",),
        ),
        "smp-refused": ProblemText(
            "The directory's answer cannot be used",
            "The answer about {participant} was refused; nothing was sent.",
            "the registration names an address that is not https, two endpoints, or has another form than the standard.",
            ("send the receiver the reason of the timeline; it has to correct its registration",),
        ),
        "addressing-not-found": ProblemText(
            "Nobody is registered as the receiver",
            "The addressing service knows no receiver for what was asked; nothing was sent.",
            "the organisation or the patient's practice is not registered for EHMI, or not for this message.",
            (
                "read what the service said, which names the register that knows nothing",
                "send to a GLN that you know, or ask the receiver to register",
            ),
        ),
        "addressing-refused": ProblemText(
            "The addressing service refused the question",
            "The addressing service refused what it was asked, or its answer cannot be used.",
            "our token has no scope for it, or the service expects another form of the question.",
            ("compare [addressing] in accesspoint.toml with the enrolment",),
        ),
        "addressing-unreachable": ProblemText(
            "The addressing service did not answer",
            "The addressing service could not be asked who the receiver is.",
            "it is down, or a firewall is in between.",
            ("try again later, or send to a GLN that you know",),
        ),
        "generation-not-agreed": ProblemText(
            "The partner's endpoint speaks another generation of AS4",
            "What {participant} publishes and what is agreed do not meet; nothing was sent.",
            "the partner has moved to eDelivery AS4 2.0, or back, and our agreement with it has not.",
            (
                "rehearse the change with  accesspoint partner migrate NAME --dry-run",
                "then name the generation in the partner's table, generations = [...]",
            ),
        ),
        "peer-unreachable": ProblemText(
            "The partner cannot be reached",
            "No connection to {peer} could be made. {attempt} did not reach it.",
            "the partner is down, its address changed, or a firewall is in between.",
            (_NOTHING, "curl -v with the partner's URL"),
        ),
        "peer-timeout": ProblemText(
            "The partner did not answer",
            "{peer} took the connection, but no complete answer came in time. The message may have arrived.",
            "the partner is slow or was restarted; a repetition of the message is recognised there.",
            (_NOTHING,),
            _ASK_FIRST,
        ),
        "peer-tls": ProblemText(
            "TLS could not be agreed",
            "{peer} and this node could not agree on TLS.",
            "one side does not trust the other's TLS certificate, or its name differs from the URL.",
            (
                "openssl s_client with the partner's host and port",
                "compare with [trust.tls] anchors in accesspoint.toml",
            ),
        ),
        "peer-unavailable": ProblemText(
            "The partner is busy",
            "{peer} answered that it cannot take messages now.",
            "it is being restarted or has too much to do.",
            (_NOTHING,),
        ),
        "peer-answer": ProblemText(
            "The partner's answer was not understood",
            "{peer} answered with something that is neither a receipt nor an ebMS error.",
            "another kind of server, a proxy or a login page stands at the partner's URL.",
            ("curl -v with the partner's URL", _NOTHING),
        ),
        "peer-refused": ProblemText(
            "The partner refused the message",
            "{peer} refused {message}: {code}.",
            "the partner's agreement, certificate or rules differ from what was sent.",
            ("ask the partner, naming the MessageId and the code; their log has the reason",),
        ),
        "peer-refused-decryption": ProblemText(
            "The partner cannot decrypt the message",
            "{peer} refused {message}: {code}.",
            "the certificate that the SMP publishes is not the one that the receiver decrypts with.",
            ("ask the receiver to compare the certificate in its SMP registration with its key",),
        ),
        "peer-refused-signature": ProblemText(
            "The partner does not accept our signature",
            "{peer} refused {message}: {code}.",
            "the receiver does not accept our signature or our certificate, which may be revoked or expired.",
            (
                "check our own message certificate against its issuer's CRL, and its dates",
                "then ask the receiver, naming the MessageId and the code",
            ),
        ),
        "receipt-invalid": ProblemText(
            "The receipt does not count",
            "{peer} answered with a receipt that is not a valid answer to {message}.",
            "the receipt is unsigned, answers another message, or is incomplete.",
            (_NOTHING, "ask the partner which product and version signs its receipts"),
            _ASK_FIRST,
        ),
        "receipt-signer": ProblemText(
            "The receipt is signed by somebody else",
            "The receipt for {message} was signed by {subject}, not by {expected}.",
            "the partner renewed its certificate without updating its registration.",
            (_NOTHING, "ask the partner to publish its new certificate"),
            _ASK_FIRST,
        ),
        "receipt-digest": ProblemText(
            "The receipt does not match",
            "The receipt answered {message} but repeated other digests than those that were sent.",
            "a gateway changed the message on its way, or the partner computes its receipts from something else.",
            (_NOTHING, "send the partner the signed digests of this message"),
            _ASK_FIRST,
        ),
        "receipt-missing": ProblemText(
            "No receipt came",
            "{message} was sent, but no receipt came before the retries were spent.",
            "the partner may have the message; its receipt was lost or never sent.",
            ("ask the partner whether it has the MessageId before sending the content again",),
        ),
        "certificate-untrusted": ProblemText(
            "The certificate is not trusted",
            "{certificate} leads to no anchor that is trusted for this purpose.",
            "its issuer is missing among the anchors or intermediates.",
            ("compare the issuer with [trust.message] anchors in accesspoint.toml",),
        ),
        "certificate-unsuitable": ProblemText(
            "The certificate may not be used for this",
            "{certificate} may not be used for this.",
            "it was issued for another purpose or under another policy, or its chain or key is not allowed.",
            ("ask its holder for a certificate of the right kind: accesspoint docs certificates",),
        ),
        "certificate-expired": ProblemText(
            "The certificate is not valid now",
            "{certificate} was used outside its time of validity.",
            "the partner has not renewed it, or a clock is wrong.",
            ("timedatectl status", "ask the partner for its new certificate"),
        ),
        "certificate-revoked": ProblemText(
            "The certificate is revoked",
            "{certificate} was revoked by its issuer.",
            "the partner replaced it, or its key was lost.",
            ("nothing is accepted with it; ask the partner for its new certificate",),
        ),
        "certificate-other-party": ProblemText(
            "The certificate belongs to somebody else",
            "{certificate} is valid, but belongs to {subject} and not to {expected}.",
            "the partner signs with another certificate than it registered, or somebody speaks in its name.",
            ("ask the partner, by a way other than this one, which certificate is right",),
        ),
        "revocation-unknown": ProblemText(
            "Revocation is not known",
            "No fresh revocation list told whether {certificate} is still good.",
            "the issuer's list could not be fetched, or the last one has run out.",
            (_NOTHING, "curl -v with the address of the revocation list"),
        ),
        "key-unavailable": ProblemText(
            "The key in the hardware module is not available",
            "The module that holds our key did not do what {message} needs.",
            "the module or its token was taken out or reset, is not reached, or its PIN was changed.",
            (_NOTHING, "see what the module's own tool says of it, and bring it back"),
        ),
        "decryption-failed": ProblemText(
            "The message could not be decrypted",
            "{message} could not be decrypted with our keys.",
            "the sender encrypted for an older certificate of ours, or the octets changed on the way.",
            ("see that the directory shows our present certificate; the sender will try again",),
        ),
        "payload-changed": ProblemText(
            "A part differs from what was signed",
            "A part of {message} did not match the digest that its sender signed.",
            "a gateway or the sender's MIME writer changed the part after it was signed.",
            ("send the partner the signed and the computed digest",),
        ),
        "duplicate-content": ProblemText(
            "A MessageId was used for two contents",
            "{message} was received before with other content; the second was refused.",
            "the sender used the same MessageId for a new message.",
            ("nothing here; the sender must use a new MessageId",),
        ),
        "duplicate-envelope": ProblemText(
            "An envelope identifier was used twice",
            "The envelope of {message} was received before with another message; identifiers are never used again.",
            "the sender built a new message around an old envelope identifier.",
            ("nothing here; the sender got a negative acknowledgement",),
        ),
        "storage-failed": ProblemText(
            "The disk does not keep what is written",
            "A commit could not be made durable; nothing was promised to anybody, and nothing more is accepted.",
            "the disk is full or broken, or the database server is gone.",
            ("df -h", "dmesg | tail", "then start again; the start decides what was kept"),
        ),
        "storage-full": ProblemText(
            "There is no room for another message",
            "Less space is left than is kept for what was accepted already; nothing new is taken in, the rest goes on.",
            "payloads are kept for their retention, or something else fills the disk.",
            ("df -h with the directory of [store]", "accesspoint retention --dry-run"),
        ),
        "payload-damaged": ProblemText(
            "What is stored of a message is not what was written",
            "The file or a row of {message} was changed, cut or removed; {message} was set aside with all its records.",
            "a disk error, or somebody or something that changed files or rows of the store.",
            ("restore the file or the row that the log names from the backup",),
        ),
        "storage-refused": ProblemText(
            "The store cannot be used as it is",
            "The database, the payload directory or a row was not opened.",
            "it is open to others, on a network disk, made by a newer program, or sealed under a key that is not configured.",
            ("ls -ld with the directory of [store]",),
        ),
        "backup-place-used": ProblemText(
            "The directory for the backup is not empty",
            "{file} is not empty; no backup was made.",
            "an earlier backup or something else is in it, and nothing is ever written over that.",
            ("ls -la {file}", "name a directory that is new or empty"),
        ),
        "backup-elsewhere": ProblemText(
            "This store is not backed up from here",
            "The database is PostgreSQL; no backup was made.",
            "PostgreSQL is backed up by its own tools.",
            ("back up the database with pg_dump, and the payloads after it",),
        ),
        "storage-in-use": ProblemText(
            "Another process has the store",
            "The database was not opened; nothing was started.",
            "an access point or a network already runs with this directory.",
            ("end the process that has it, or use another --directory (for one node: [store])",),
        ),
        "token-refused": ProblemText(
            "No token was given",
            "The authorization server refused to give a token for reporting.",
            "the client is not enrolled with this TLS certificate, or not for this organisation.",
            (
                "compare the subject of our TLS certificate with the enrolled one",
                "{pending} delivery events are kept and sent when this works",
            ),
        ),
        "token-unreachable": ProblemText(
            "The authorization server did not answer",
            "The authorization server could not be reached, so there is no token for reporting.",
            "it is down, or a firewall is in between.",
            ("nothing; {pending} delivery events are kept and sent when it answers",),
        ),
        "status-refused": ProblemText(
            "A delivery event was refused",
            "{endpoint} refused a delivery event with {status}.",
            "the event's device, organisation or form does not fit the enrolment.",
            ("the event is set aside and the others go on; compare device_ids with the enrolment",),
        ),
        "status-unreachable": ProblemText(
            "The delivery status component did not answer",
            "{endpoint} could not be reached with delivery events.",
            "it is down, or a firewall is in between.",
            ("nothing; {pending} delivery events are kept and sent in order when it answers",),
        ),
        "event-missing": ProblemText(
            "A delivery event is missing",
            "{station} reported no event for a step that happened.",
            "the event is still on its way, was refused, or the station is not configured to report.",
            (_WATCH,),
        ),
        "event-failed": ProblemText(
            "A delivery event tells of a failure",
            "A station reported that its step with {message} did not succeed.",
            "the station could not send the message on or take it over.",
            (_WATCH,),
        ),
        "acknowledgement-missing": ProblemText(
            "No acknowledgement came",
            "No acknowledgement of the envelope of {message} came in time, although the access point took it.",
            "the receiver's message handler is stopped, or its answer cannot find its way back.",
            ("ask the receiver, naming the envelope identifier; a person may send it again",),
        ),
        "acknowledgement-negative": ProblemText(
            "The envelope was refused",
            "The receiver answered the envelope of {message} with a negative acknowledgement.",
            "the envelope or its content does not fit the receiver's rules.",
            ("correct what the acknowledgement names, then send a new message",),
        ),
        "acknowledgement-unexpected": ProblemText(
            "An acknowledgement fits nothing",
            "An acknowledgement came for an envelope that was not sent from here, or has another answer already.",
            "it is late, repeated, or addressed to somebody else.",
            ("nothing; the first answer stays",),
        ),
        "sharing-missing": ProblemText(
            "The document register has no whole copy",
            "{message} was acknowledged by its receiver; the document register has no copy of it, or another one.",
            "the access point of the register is away or refuses the copy.",
            (_WATCH, "see the copy in the journal: it is sent by itself as soon as it can be"),
        ),
        "sharing-not-built": ProblemText(
            "A message could not be shared",
            "{message} was sent and acknowledged; the copy for the document register could not be made of it.",
            "the message lacks what the metadata needs, or is of a type that has none.",
            ("see the message in the journal; the message itself is not affected",),
        ),
        "fhir-acknowledgement-missing": ProblemText(
            "The receiving system has not answered",
            "No MedCom acknowledgement of {message} came in time, although its envelope was acknowledged.",
            "the receiving system has not read the message yet.",
            ("ask the receiver, naming the message identifier",),
        ),
        "fhir-acknowledgement-negative": ProblemText(
            "The receiving system refused the message",
            "The receiving system answered {message} with {status}.",
            "the content does not fit the receiver's rules.",
            ("correct what the acknowledgement names, then send a new message",),
        ),
        "fhir-acknowledgement-unexpected": ProblemText(
            "A MedCom acknowledgement fits nothing",
            "A MedCom acknowledgement came for a message that was not sent from here.",
            "it is late, repeated, or addressed to somebody else.",
            ("nothing; it is kept for the record",),
        ),
        "delivery-failed": ProblemText(
            "A received message was not handed on",
            "The access point of the receiver took {message}, but it did not reach the next station, or more than once.",
            "the station behind the access point is stopped or does not take the message.",
            (_NOTHING, "see the log of the receiver's access point"),
        ),
        "backend-not-accepting": ProblemText(
            "The backend does not take messages",
            "{backend} did not take a message; its sender already has the receipt.",
            "the backend is stopped, or its directory is full or not writable.",
            (_NOTHING, "ls -ld with the directory of [backend]"),
        ),
        "delivery-unknown": ProblemText(
            "Nothing waits under this id",
            "Nothing that could be pulled waits, or waited lately, under this id.",
            "the id is mistyped, of another node, or older than what is kept.",
            ("GET /api/v1/deliveries lists what waits",),
        ),
        "delivery-not-leased": ProblemText(
            "It was never handed out",
            "It was confirmed without having been handed out to anybody; nothing was changed.",
            "the id comes from the list of what waits, and not from a lease.",
            ("lease it with POST /api/v1/deliveries, fetch it, and confirm it then",),
        ),
        "delivery-confirmed": ProblemText(
            "It was confirmed before",
            "It was confirmed for good, and is not handed out again.",
            "another worker of the same system has taken it, or this one asked twice.",
            ("nothing; who confirmed it has it",),
        ),
        "lease-lost": ProblemText(
            "The lease is not held any more",
            "It is held by another lease, or by none; nothing was changed.",
            "the lease ran out, and somebody else may have leased it since.",
            ("nothing; it comes with the next lease",),
        ),
        "nothing-to-pull": ProblemText(
            "Nothing is pulled from this node",
            "The backend of this node is of another kind.",
            "messages are brought to a folder, a webhook or nobody.",
            ('write kind = "pull" under [backend] in accesspoint.toml to fetch them yourself',),
        ),
        "backend-refused": ProblemText(
            "The backend refuses a message",
            "{backend} said of a message that it will not take it; its sender already has the receipt.",
            "the backend expects another form, another address, or another secret than it is given.",
            (
                "see the status in the journal and the log of the backend",
                "nothing is lost: it is offered again, with the same delivery id",
            ),
        ),
    }
)
