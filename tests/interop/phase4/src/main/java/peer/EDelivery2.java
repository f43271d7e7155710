package peer;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Map;

import com.helger.json.IJsonObject;
import com.helger.phase4.crypto.AS4CryptParams;
import com.helger.phase4.crypto.AS4CryptoFactoryInMemoryKeyStore;
import com.helger.phase4.crypto.ECryptoAlgorithmSign;
import com.helger.phase4.crypto.IAS4CryptoFactory;
import com.helger.phase4.model.pmode.IPModeIDProvider;
import com.helger.phase4.model.pmode.PMode;
import com.helger.phase4.profile.AS4Profile;
import com.helger.phase4.profile.IAS4ProfileRegistrar;
import com.helger.phase4.profile.IAS4ProfileRegistrarSPI;
import com.helger.phase4.sender.AS4Sender;

/**
 * eDelivery AS4 2.0 as phase4 profiles: the mode of 1.15 with Ed25519 and X25519, or with ECDSA and ECDH-ES on P-256,
 * each with one key that signs and another one that agrees. A job asks for one by its {@code generation}.
 */
public final class EDelivery2 implements IAS4ProfileRegistrarSPI {
  private static final String PREFIX = "edelivery-";
  private static final Map<String, ECryptoAlgorithmSign> SIGNATURES = Map.of("2.0",
                                                                             ECryptoAlgorithmSign.EDDSA_ED25519,
                                                                             "2.0-p256",
                                                                             ECryptoAlgorithmSign.ECDSA_SHA_256);

  @Override
  public void registerAS4Profile(final IAS4ProfileRegistrar registrar) {
    SIGNATURES.forEach((generation, algorithm) -> registrar.registerProfile(new AS4Profile(PREFIX + generation,
                                                                                           "eDelivery AS4 " + generation,
                                                                                           FourCornerValidator::new,
                                                                                           (initiator, responder, address) -> signing(EDeliveryProfile.oneWayPush(initiator,
                                                                                                                                                                  responder,
                                                                                                                                                                  address,
                                                                                                                                                                  true),
                                                                                                                                      algorithm),
                                                                                           IPModeIDProvider.DEFAULT_DYNAMIC,
                                                                                           false,
                                                                                           false)));
  }

  /** The id of the profile that a job asks for: 1.15 where it does not say. */
  static String profile(final IJsonObject job) {
    final String generation = job.getAsString("generation");
    return generation == null ? EDeliveryProfile.ID : PREFIX + generation;
  }

  /** The keys that sign in a job's generation. */
  static IAS4CryptoFactory signing(final IJsonObject job) throws GeneralSecurityException, IOException {
    return job.getAsString("generation") == null ? Keys.messageKeys(job) : keys(job, "signing");
  }

  /** The keys that decrypt in a job's generation. */
  static IAS4CryptoFactory decryption(final IJsonObject job) throws GeneralSecurityException, IOException {
    return job.getAsString("generation") == null ? Keys.messageKeys(job) : keys(job, "agreement");
  }

  /** Let a message be sent in a job's generation. */
  static void prepare(final AS4Sender.BuilderUserMessage builder, final PMode mode, final IJsonObject job) throws GeneralSecurityException,
                                                                                                           IOException {
    final String generation = job.getAsString("generation");
    if (generation == null) {
      return;
    }
    signing(mode, SIGNATURES.get(generation));
    builder.as4ProfileID(profile(job));
    builder.cryptoFactorySign(signing(job));
    builder.cryptoFactoryCrypt(decryption(job));
    final AS4CryptParams crypt = builder.cryptParams();
    if ("2.0".equals(generation)) {
      crypt.setEDelivery2KeyAgreementX25519();
    } else {
      crypt.setEDelivery2KeyAgreementECDHES();
    }
  }

  private static PMode signing(final PMode mode, final ECryptoAlgorithmSign algorithm) {
    if (mode.getLeg1().getSecurity().getX509SignatureAlgorithm() != null) {
      mode.getLeg1().getSecurity().setX509SignatureAlgorithm(algorithm);
    }
    return mode;
  }

  /** One pair of a job: {@code NAME.key} is PKCS#8 in DER, {@code NAME.chain} certificates in PEM, its own first. */
  private static IAS4CryptoFactory keys(final IJsonObject job, final String name) throws GeneralSecurityException, IOException {
    final IJsonObject pair = job.getAsObject(name);
    final char[] password = job.getAsString("password").toCharArray();
    final Certificate[] chain;
    try (InputStream in = Files.newInputStream(Path.of(pair.getAsString("chain")))) {
      chain = CertificateFactory.getInstance("X.509").generateCertificates(in).toArray(new Certificate[0]);
    }
    final PrivateKey key = KeyFactory.getInstance(chain[0].getPublicKey().getAlgorithm())
                                     .generatePrivate(new PKCS8EncodedKeySpec(Files.readAllBytes(Path.of(pair.getAsString("key")))));
    final KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, password);
    store.setKeyEntry("own", key, password, chain);
    return new AS4CryptoFactoryInMemoryKeyStore(store, "own", password, Keys.pkcs12(job, "truststore"));
  }
}
