package peer;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import javax.crypto.SecretKey;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.parsers.DocumentBuilderFactory;

import org.apache.wss4j.common.WSEncryptionPart;
import org.apache.wss4j.common.crypto.Merlin;
import org.apache.wss4j.common.ext.Attachment;
import org.apache.wss4j.common.ext.AttachmentRequestCallback;
import org.apache.wss4j.common.ext.AttachmentResultCallback;
import org.apache.wss4j.common.ext.WSPasswordCallback;
import org.apache.wss4j.common.util.KeyUtils;
import org.apache.wss4j.common.util.XMLUtils;
import org.apache.wss4j.dom.WSConstants;
import org.apache.wss4j.dom.WSDataRef;
import org.apache.wss4j.dom.engine.WSSConfig;
import org.apache.wss4j.dom.engine.WSSecurityEngine;
import org.apache.wss4j.dom.engine.WSSecurityEngineResult;
import org.apache.wss4j.dom.handler.RequestData;
import org.apache.wss4j.dom.handler.WSHandlerResult;
import org.apache.wss4j.dom.message.WSSecEncrypt;
import org.apache.wss4j.dom.message.WSSecHeader;
import org.apache.wss4j.dom.message.WSSecSignature;
import org.w3c.dom.Document;

import com.helger.json.IJson;
import com.helger.json.IJsonObject;
import com.helger.json.JsonArray;
import com.helger.json.JsonObject;

/**
 * WSS4J and Santuario without an access point around them: judge one security header, or write one. Nothing of phase4
 * takes part, and the Basic Security Profile is enforced.
 */
final class Wss4j {
  private static final Map<String, Integer> FORMS = Map.of("x509v3", WSConstants.BST_DIRECT_REFERENCE,
                                                           "pkipath", WSConstants.BST_DIRECT_REFERENCE,
                                                           "ski", WSConstants.SKI_KEY_IDENTIFIER,
                                                           "issuer-serial", WSConstants.ISSUER_SERIAL,
                                                           "issuer-serial-quoted", WSConstants.ISSUER_SERIAL_QUOTE_FORMAT,
                                                           "certificate", WSConstants.X509_KEY_IDENTIFIER,
                                                           "thumbprint", WSConstants.THUMBPRINT_IDENTIFIER,
                                                           "x509-ski", WSConstants.X509_SKI);

  Wss4j() {
    WSSConfig.init();
  }

  IJsonObject answer(final IJsonObject job) {
    try {
      return "write".equals(job.getAsString("do")) ? write(job) : judge(job);
    } catch (final Exception problem) {
      final List<String> told = new ArrayList<>();
      for (Throwable cause = problem; cause != null; cause = cause.getCause()) {
        told.add(cause.getClass().getSimpleName() + ": " + cause.getMessage());
      }
      return new JsonObject().add("refused", String.join("; ", told));
    }
  }

  /** What a recipient that is nothing but WSS4J says: who signed what, in which form, and the decrypted parts. */
  private static IJsonObject judge(final IJsonObject job) throws Exception {
    final Parts parts = new Parts(job);
    final Merlin keys = keys(job);
    final RequestData data = new RequestData();
    data.setWssConfig(WSSConfig.getNewInstance());
    data.setSigVerCrypto(keys);
    data.setDecCrypto(keys);
    data.setCallbackHandler(passwords(job));
    data.setAttachmentCallbackHandler(parts);
    final WSHandlerResult result = new WSSecurityEngine().processSecurityHeader(document(job), data);
    final JsonObject answer = new JsonObject();
    final JsonArray signed = new JsonArray();
    for (final WSSecurityEngineResult each : result.getActionResults().getOrDefault(WSConstants.SIGN, List.of())) {
      answer.add("form", String.valueOf(each.get(WSSecurityEngineResult.TAG_X509_REFERENCE_TYPE)));
      final X509Certificate signer = (X509Certificate) each.get(WSSecurityEngineResult.TAG_X509_CERTIFICATE);
      answer.add("signed_by", sha256(signer.getEncoded()));
      for (final WSDataRef reference : references(each)) {
        signed.add(reference.isAttachment() ? reference.getWsuId() : reference.getName().getLocalPart());
      }
    }
    answer.add("signed", signed);
    final JsonArray encrypted = new JsonArray();
    for (final WSSecurityEngineResult each : result.getActionResults().getOrDefault(WSConstants.ENCR, List.of())) {
      answer.add("transport", String.valueOf(each.get(WSSecurityEngineResult.TAG_ENCRYPTED_KEY_TRANSPORT_METHOD)));
      references(each).forEach(reference -> encrypted.add(reference.getWsuId()));
    }
    answer.add("encrypted", encrypted);
    answer.add("parts", parts.digests());
    return answer;
  }

  private static List<WSDataRef> references(final WSSecurityEngineResult result) {
    final List<WSDataRef> found = new ArrayList<>();
    if (result.get(WSSecurityEngineResult.TAG_DATA_REF_URIS) instanceof final List<?> references) {
      references.forEach(reference -> found.add((WSDataRef) reference));
    }
    return found;
  }

  /** Sign Messaging, Body and all parts of an envelope without header, then encrypt the parts; files are rewritten. */
  private static IJsonObject write(final IJsonObject job) throws Exception {
    final Parts parts = new Parts(job);
    final Merlin keys = keys(job);
    final Document document = document(job);
    final WSSecHeader header = new WSSecHeader(document);
    header.insertSecurityHeader();
    final WSSecSignature signature = new WSSecSignature(header);
    signature.setUserInfo(job.getAsString("alias"), job.getAsString("password"));
    signature.setKeyIdentifierType(form(job, "signing_token"));
    signature.setUseSingleCertificate(!"pkipath".equals(job.getAsString("signing_token")));
    signature.setSignatureAlgorithm(WSConstants.RSA_SHA256);
    signature.setDigestAlgo(WSConstants.SHA256);
    signature.setAddInclusivePrefixes(job.getAsBoolean("inclusive_prefixes", true));
    signature.getParts().add(new WSEncryptionPart("Messaging", job.getAsString("messaging_namespace"), "Element"));
    signature.getParts().add(new WSEncryptionPart(WSConstants.ELEM_BODY, WSConstants.URI_SOAP12_ENV, "Element"));
    signature.setAttachmentCallbackHandler(parts);
    if (!parts.isEmpty()) {
      signature.getParts().add(new WSEncryptionPart("cid:Attachments", "Content"));
    }
    signature.build(keys);
    if (job.getAsBoolean("encrypt", true) && !parts.isEmpty()) {
      final WSSecEncrypt encryption = new WSSecEncrypt(header);
      encryption.setUseThisCert(Keys.certificate(job.getAsString("receiver_certificate")));
      encryption.setKeyIdentifierType(form(job, "encryption_token"));
      encryption.setSymmetricEncAlgorithm(WSConstants.AES_128_GCM);
      encryption.setKeyEncAlgo(WSConstants.KEYTRANSPORT_RSAOAEP_XENC11);
      encryption.setDigestAlgorithm(WSConstants.SHA256);
      encryption.setMGFAlgorithm(WSConstants.MGF_SHA256);
      encryption.setAttachmentCallbackHandler(parts);
      encryption.getParts().add(new WSEncryptionPart("cid:Attachments", "Content"));
      final SecretKey contentKey = KeyUtils.getKeyGenerator(WSConstants.AES_128_GCM).generateKey();
      encryption.build(keys, contentKey);
    }
    Files.writeString(Path.of(job.getAsString("soap")), XMLUtils.prettyDocumentToString(document), StandardCharsets.UTF_8);
    parts.save(job);
    return new JsonObject().add("written", true);
  }

  private static int form(final IJsonObject job, final String name) {
    return FORMS.get(job.getAsString(name, "x509v3"));
  }

  private static Merlin keys(final IJsonObject job) throws Exception {
    final Merlin keys = new Merlin();
    keys.setKeyStore(Keys.pkcs12(job, "keystore"));
    keys.setTrustStore(Keys.pkcs12(job, "truststore"));
    return keys;
  }

  private static CallbackHandler passwords(final IJsonObject job) {
    return callbacks -> {
      for (final Callback callback : callbacks) {
        if (callback instanceof final WSPasswordCallback password) {
          password.setPassword(job.getAsString("password"));
        }
      }
    };
  }

  private static Document document(final IJsonObject job) throws Exception {
    final DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
    factory.setNamespaceAware(true);
    factory.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
    return factory.newDocumentBuilder().parse(Path.of(job.getAsString("soap")).toFile());
  }

  private static String sha256(final byte[] octets) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(octets));
  }

  /** The MIME parts as WSS4J asks for them and gives them back: octets with an id and a media type. */
  private static final class Parts implements CallbackHandler {
    private record Part(String mimeType, byte[] octets) {}

    private final Map<String, Part> parts = new LinkedHashMap<>();

    Parts(final IJsonObject job) throws IOException {
      for (final IJson each : job.getAsArray("parts")) {
        final IJsonObject part = each.getAsObject();
        parts.put(part.getAsString("id"), new Part(part.getAsString("mime_type"), Files.readAllBytes(Path.of(part.getAsString("file")))));
      }
    }

    boolean isEmpty() {
      return parts.isEmpty();
    }

    @Override
    public void handle(final Callback[] callbacks) {
      for (final Callback callback : callbacks) {
        if (callback instanceof final AttachmentRequestCallback request) {
          request.setAttachments(attachments(request.getAttachmentId()));
        } else if (callback instanceof final AttachmentResultCallback result) {
          take(result.getAttachment());
        }
      }
    }

    private List<Attachment> attachments(final String wanted) {
      final List<Attachment> found = new ArrayList<>();
      parts.forEach((id, part) -> {
        if ("Attachments".equals(wanted) || id.equals(wanted)) {
          final Attachment attachment = new Attachment();
          attachment.setId(id);
          attachment.setMimeType(part.mimeType());
          attachment.addHeader("Content-Type", part.mimeType());
          attachment.setSourceStream(new ByteArrayInputStream(part.octets()));
          found.add(attachment);
        }
      });
      return found;
    }

    private void take(final Attachment attachment) {
      try {
        parts.put(attachment.getId(), new Part(attachment.getMimeType(), attachment.getSourceStream().readAllBytes()));
      } catch (final IOException problem) {
        throw new UncheckedIOException(problem);
      }
    }

    JsonObject digests() throws Exception {
      final JsonObject digests = new JsonObject();
      for (final Map.Entry<String, Part> part : parts.entrySet()) {
        digests.add(part.getKey(), sha256(part.getValue().octets()));
      }
      return digests;
    }

    void save(final IJsonObject job) throws IOException {
      for (final IJson each : job.getAsArray("parts")) {
        final IJsonObject part = each.getAsObject();
        Files.write(Path.of(part.getAsString("file")), parts.get(part.getAsString("id")).octets());
      }
    }
  }
}
