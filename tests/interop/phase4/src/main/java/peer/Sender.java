package peer;

import java.io.File;
import java.security.MessageDigest;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

import org.apache.hc.core5.util.Timeout;

import com.helger.httpclient.HttpClientFactory;
import com.helger.httpclient.HttpClientSettings;
import com.helger.json.IJson;
import com.helger.json.IJsonObject;
import com.helger.json.JsonArray;
import com.helger.json.JsonObject;
import com.helger.mime.parse.MimeTypeParser;
import com.helger.phase4.CAS4;
import com.helger.phase4.attachment.AS4OutgoingAttachment;
import com.helger.phase4.attachment.EAS4CompressionMode;
import com.helger.phase4.crypto.ECryptoKeyIdentifierType;
import com.helger.phase4.ebms3header.Ebms3Error;
import com.helger.phase4.ebms3header.Ebms3SignalMessage;
import com.helger.phase4.incoming.IAS4IncomingMessageState;
import com.helger.phase4.model.MessageProperty;
import com.helger.phase4.model.message.MessageHelperMethods;
import com.helger.phase4.model.pmode.PMode;
import com.helger.phase4.sender.AS4Sender;
import com.helger.phase4.sender.EAS4UserMessageSendResult;
import com.helger.phase4.sender.IAS4SignalMessageValidationResultHandler;
import com.helger.phase4.util.Phase4Exception;
import com.helger.scope.mgr.ScopeManager;

/** Sends one user message for each job and tells what came back: result, receipt and what was checked of it, errors. */
final class Sender {
  Sender() {
    ScopeManager.onGlobalBegin("phase4-peer");
  }

  IJsonObject send(final IJsonObject job) {
    final JsonObject answer = new JsonObject();
    final Answer signal = new Answer();
    try {
      final AS4Sender.BuilderUserMessage builder = message(job, signal);
      final List<String> problems = new ArrayList<>();
      final EAS4UserMessageSendResult result = builder.sendMessageAndCheckForReceipt((final Phase4Exception problem) -> {
        for (Throwable cause = problem; cause != null; cause = cause.getCause()) {
          problems.add(cause.getClass().getSimpleName() + ": " + cause.getMessage());
        }
      });
      answer.add("result", result.name());
      answer.add("message_id", builder.messageID());
      signal.describe(answer, builder.messageID());
      if (!problems.isEmpty()) {
        answer.add("problem", String.join("; ", problems));
      }
    } catch (final Exception problem) {
      answer.add("result", "NOT_SENT");
      answer.add("problem", problem.toString());
    }
    return answer;
  }

  private static AS4Sender.BuilderUserMessage message(final IJsonObject job, final Answer signal) throws Exception {
    final IJsonObject from = job.getAsObject("from");
    final IJsonObject to = job.getAsObject("to");
    final IJsonObject service = job.getAsObject("service");
    final boolean encrypt = job.getAsBoolean("encrypt", true);
    final X509Certificate receiver = Keys.certificate(job.getAsString("receiver_certificate"));
    final PMode mode = EDeliveryProfile.oneWayPush(from.getAsString("id"), to.getAsString("id"), job.getAsString("endpoint"), encrypt);
    if (!job.getAsBoolean("sign", true)) {
      mode.getLeg1().getSecurity().setX509SignatureAlgorithm(null);
    }
    final AS4Sender.BuilderUserMessage builder = AS4Sender.builderUserMessage();
    builder.as4ProfileID(EDeliveryProfile.ID)
           .pmode(mode)
           .httpClientFactory(new HttpClientFactory(http(job)))
           .cryptoFactory(Keys.messageKeys(job))
           .endpointURL(job.getAsString("endpoint"))
           .messageID(job.getAsString("message_id", MessageHelperMethods.createRandomMessageID()))
           .fromPartyIDType(from.getAsString("type"))
           .fromPartyID(from.getAsString("id"))
           .fromRole(from.getAsString("role", CAS4.DEFAULT_INITIATOR_URL))
           .toPartyIDType(to.getAsString("type"))
           .toPartyID(to.getAsString("id"))
           .toRole(to.getAsString("role", CAS4.DEFAULT_RESPONDER_URL))
           .service(service.getAsString("type"), service.getAsString("value"))
           .action(job.getAsString("action"))
           .conversationID(job.getAsString("conversation_id"))
           .agreementRef(job.getAsString("agreement"))
           .receiverCertificate(encrypt ? receiver : null)
           .signalMsgConsumer((message, metadata, state) -> signal.take(message, state))
           .signalMsgValidationResultHdl(signal);
    final ECryptoKeyIdentifierType token = ECryptoKeyIdentifierType.valueOf(job.getAsString("token", "BST_DIRECT_REFERENCE"));
    EDelivery2.prepare(builder, mode, job);
    builder.signingParams().setKeyIdentifierType(token);
    builder.cryptParams().setKeyIdentifierType(token);
    final IJsonObject properties = job.getAsObject("properties");
    properties.forEach((name, value) -> {
      final IJsonObject property = value.getAsObject();
      builder.addMessageProperty(MessageProperty.builder()
                                                .name(name)
                                                .type(property.getAsString("type"))
                                                .value(property.getAsString("value")));
    });
    builder.payload(payload(job));
    if (job.getAsArray("more_payloads") != null) {
      for (final IJson more : job.getAsArray("more_payloads")) {
        builder.addAttachment(payload(more.getAsObject()));
      }
    }
    return builder;
  }

  private static AS4OutgoingAttachment payload(final IJsonObject job) throws Exception {
    return AS4OutgoingAttachment.builder()
                                .data(new File(job.getAsString("payload")))
                                .contentID(job.getAsString("content_id"))
                                .mimeType(MimeTypeParser.parseMimeType(job.getAsString("mime_type")))
                                .compression(job.getAsBoolean("compress", true) ? EAS4CompressionMode.GZIP : null)
                                .build();
  }

  private static HttpClientSettings http(final IJsonObject job) throws Exception {
    final HttpClientSettings settings = new HttpClientSettings();
    settings.setRetryCount(0);
    settings.setResponseTimeout(Timeout.ofSeconds(60));
    if (job.getAsObject("tls") != null) {
      settings.setSSLContext(Keys.tls(job.getAsObject("tls")));
    }
    return settings;
  }

  /** The signal of one answer, and the verdict phase4 gives on it. */
  private static final class Answer implements IAS4SignalMessageValidationResultHandler {
    private Ebms3SignalMessage message;
    private IAS4IncomingMessageState state;
    private String references = "not compared";

    void take(final Ebms3SignalMessage received, final IAS4IncomingMessageState processed) {
      message = received;
      state = processed;
    }

    @Override
    public void onSuccess() {
      if ("not compared".equals(references)) {
        references = "matched";
      }
    }

    @Override
    public void onError(final String text) {
      references = "differ: " + text;
    }

    @Override
    public void onNotApplicable() {
      references = "not applicable";
    }

    void describe(final JsonObject answer, final String sent) throws Exception {
      if (message == null) {
        return;
      }
      final String about = message.getMessageInfo().getRefToMessageId();
      final X509Certificate signer = state.getSigningCertificate();
      final boolean signed = state.isSoapSignatureChecked() && signer != null;
      if (message.getReceipt() != null) {
        final JsonObject receipt = new JsonObject();
        receipt.add("message_id", message.getMessageInfo().getMessageId());
        receipt.add("ref_to_message_id", about);
        receipt.add("signature_verified", signed);
        receipt.add("references", references);
        receipt.add("verified", signed && "matched".equals(references) && sent.equals(about));
        answer.add("receipt", receipt);
      }
      if (signed) {
        answer.add("signed_by", HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(signer.getEncoded())));
      }
      final JsonArray errors = new JsonArray();
      for (final Ebms3Error error : message.getError()) {
        final JsonObject told = new JsonObject();
        told.add("code", error.getErrorCode());
        told.add("severity", error.getSeverity());
        told.add("category", error.getCategory());
        told.add("short_description", error.getShortDescription());
        told.add("ref_to_message_in_error", error.getRefToMessageInError());
        errors.add(told);
      }
      answer.add("errors", errors);
    }
  }
}
