package peer;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.DigestOutputStream;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicInteger;

import org.w3c.dom.Node;

import com.helger.collection.commons.ICommonsList;
import com.helger.http.header.HttpHeaderMap;
import com.helger.json.IJsonObject;
import com.helger.json.JsonArray;
import com.helger.json.JsonObject;
import com.helger.phase4.attachment.WSS4JAttachment;
import com.helger.phase4.ebms3header.Ebms3CollaborationInfo;
import com.helger.phase4.ebms3header.Ebms3PartyId;
import com.helger.phase4.ebms3header.Ebms3Property;
import com.helger.phase4.ebms3header.Ebms3SignalMessage;
import com.helger.phase4.ebms3header.Ebms3UserMessage;
import com.helger.phase4.error.AS4ErrorList;
import com.helger.phase4.incoming.IAS4IncomingMessageMetadata;
import com.helger.phase4.incoming.IAS4IncomingMessageState;
import com.helger.phase4.incoming.spi.AS4MessageProcessorResult;
import com.helger.phase4.incoming.spi.AS4SignalMessageProcessorResult;
import com.helger.phase4.incoming.spi.IAS4IncomingMessageProcessorSPI;
import com.helger.phase4.model.error.EEbmsError;
import com.helger.phase4.model.pmode.IPMode;

/** Writes each received payload into a folder and says one line per message; it never decides anything. */
final class Inbox implements IAS4IncomingMessageProcessorSPI {
  private final Path folder;
  private final AtomicInteger written = new AtomicInteger();

  Inbox(final Path folder) {
    this.folder = folder;
  }

  @Override
  public AS4MessageProcessorResult processAS4UserMessage(final IAS4IncomingMessageMetadata metadata,
                                                         final HttpHeaderMap headers,
                                                         final Ebms3UserMessage message,
                                                         final IPMode mode,
                                                         final Node bodyPayload,
                                                         final ICommonsList<WSS4JAttachment> attachments,
                                                         final IAS4IncomingMessageState state,
                                                         final AS4ErrorList errors) {
    final JsonObject line = new JsonObject();
    final Ebms3CollaborationInfo collaboration = message.getCollaborationInfo();
    line.add("received", message.getMessageInfo().getMessageId());
    line.add("from", party(message.getPartyInfo().getFrom().getPartyId(), message.getPartyInfo().getFrom().getRole()));
    line.add("to", party(message.getPartyInfo().getTo().getPartyId(), message.getPartyInfo().getTo().getRole()));
    line.add("service", new JsonObject().add("value", collaboration.getServiceValue())
                                        .add("type", collaboration.getService().getType()));
    line.add("action", collaboration.getAction());
    line.add("conversation_id", collaboration.getConversationId());
    line.add("properties", properties(message));
    line.add("signature_verified", state.isSoapSignatureChecked());
    line.add("decrypted", state.isSoapDecrypted());
    try {
      line.add("payloads", payloads(attachments));
    } catch (final UncheckedIOException problem) {
      // phase4 decompresses while a processor reads, and leaves it to the processor to say what failed.
      errors.add(EEbmsError.EBMS_DECOMPRESSION_FAILURE.errorBuilder(Locale.ENGLISH)
                                                      .refToMessageInError(message.getMessageInfo().getMessageId())
                                                      .build());
      return AS4MessageProcessorResult.createFailure();
    }
    Main.say(line);
    return AS4MessageProcessorResult.createSuccess();
  }

  @Override
  public AS4SignalMessageProcessorResult processAS4SignalMessage(final IAS4IncomingMessageMetadata metadata,
                                                                 final HttpHeaderMap headers,
                                                                 final Ebms3SignalMessage message,
                                                                 final IPMode mode,
                                                                 final IAS4IncomingMessageState state,
                                                                 final AS4ErrorList errors) {
    final JsonObject line = new JsonObject();
    line.add("received_signal", message.getMessageInfo().getMessageId());
    line.add("ref_to_message_id", message.getMessageInfo().getRefToMessageId());
    Main.say(line);
    return AS4SignalMessageProcessorResult.createSuccess();
  }

  @Override
  public void processAS4ResponseMessage(final IAS4IncomingMessageMetadata metadata,
                                        final IAS4IncomingMessageState state,
                                        final String responseMessageId,
                                        final byte[] response,
                                        final boolean available,
                                        final AS4ErrorList errors) {
    // the other side of the connection sees the response itself
  }

  private static IJsonObject party(final List<Ebms3PartyId> ids, final String role) {
    return new JsonObject().add("id", ids.get(0).getValue()).add("type", ids.get(0).getType()).add("role", role);
  }

  private static JsonObject properties(final Ebms3UserMessage message) {
    final JsonObject properties = new JsonObject();
    if (message.getMessageProperties() != null) {
      for (final Ebms3Property property : message.getMessageProperties().getProperty()) {
        properties.add(property.getName(), new JsonObject().add("value", property.getValue()).add("type", property.getType()));
      }
    }
    return properties;
  }

  private JsonArray payloads(final List<WSS4JAttachment> attachments) {
    final JsonArray payloads = new JsonArray();
    if (attachments == null) {
      return payloads;
    }
    for (final WSS4JAttachment attachment : attachments) {
      final Path file = folder.resolve("payload-" + written.incrementAndGet());
      try (InputStream in = attachment.getInputStreamProvider().getInputStream();
           DigestOutputStream out = digesting(Files.newOutputStream(file))) {
        final long size = in.transferTo(out);
        payloads.add(new JsonObject().add("content_id", attachment.getId())
                                     .add("mime_type", attachment.getUncompressedMimeType())
                                     .add("file", file.toString())
                                     .add("size", size)
                                     .add("sha256", HexFormat.of().formatHex(out.getMessageDigest().digest())));
      } catch (final IOException problem) {
        throw new UncheckedIOException(problem);
      }
    }
    return payloads;
  }

  private static DigestOutputStream digesting(final OutputStream out) {
    try {
      return new DigestOutputStream(out, MessageDigest.getInstance("SHA-256"));
    } catch (final GeneralSecurityException problem) {
      throw new IllegalStateException(problem);
    }
  }
}
