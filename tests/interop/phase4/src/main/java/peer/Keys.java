package peer;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;

import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

import com.helger.json.IJsonObject;
import com.helger.phase4.crypto.AS4CryptoFactoryInMemoryKeyStore;
import com.helger.phase4.crypto.IAS4CryptoFactory;

/** The key material a job names: PKCS#12 files with one private key, PKCS#12 files with anchors, PEM certificates. */
final class Keys {
  private Keys() {}

  /** Keys and anchors for WS-Security, from the job's keystore, truststore, password and alias. */
  static IAS4CryptoFactory messageKeys(final IJsonObject job) throws GeneralSecurityException, IOException {
    return new AS4CryptoFactoryInMemoryKeyStore(pkcs12(job, "keystore"),
                                                job.getAsString("alias"),
                                                password(job),
                                                pkcs12(job, "truststore"));
  }

  /** A TLS context from the job's {@code tls} object: own certificate, and the anchors for the other side's. */
  static SSLContext tls(final IJsonObject tls) throws GeneralSecurityException, IOException {
    final KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    own.init(pkcs12(tls, "keystore"), password(tls));
    final TrustManagerFactory anchors = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    anchors.init(pkcs12(tls, "truststore"));
    final SSLContext context = SSLContext.getInstance("TLS");
    context.init(own.getKeyManagers(), anchors.getTrustManagers(), null);
    return context;
  }

  static X509Certificate certificate(final String file) throws GeneralSecurityException, IOException {
    try (InputStream in = Files.newInputStream(Path.of(file))) {
      return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
    }
  }

  static KeyStore pkcs12(final IJsonObject job, final String name) throws GeneralSecurityException, IOException {
    final KeyStore store = KeyStore.getInstance("PKCS12");
    try (InputStream in = Files.newInputStream(Path.of(job.getAsString(name)))) {
      store.load(in, password(job));
    }
    return store;
  }

  private static char[] password(final IJsonObject job) {
    return job.getAsString("password").toCharArray();
  }
}
