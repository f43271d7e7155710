package peer;

import java.nio.file.Path;

import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.SecureRequestCustomizer;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.SslConnectionFactory;
import org.eclipse.jetty.util.ssl.SslContextFactory;

import com.helger.collection.commons.CommonsArrayList;
import com.helger.http.EHttpMethod;
import com.helger.json.IJsonObject;
import com.helger.json.JsonObject;
import com.helger.phase4.crypto.IAS4CryptoFactory;
import com.helger.phase4.incoming.AS4IncomingProfileSelectorConstant;
import com.helger.phase4.incoming.AS4RequestHandler;
import com.helger.phase4.incoming.AS4ServerInitializer;
import com.helger.phase4.model.pmode.resolve.AS4DefaultPModeResolver;
import com.helger.phase4.servlet.AS4UnifiedResponse;
import com.helger.phase4.servlet.AS4XServletHandler;
import com.helger.phase4.servlet.IAS4ServletRequestHandlerCustomizer;
import com.helger.web.scope.IRequestWebScopeWithoutResponse;
import com.helger.web.servlets.scope.WebScopeListener;
import com.helger.xservlet.AbstractXServlet;

import jakarta.servlet.ServletContextEvent;

/** An access point on a loopback port: phase4's servlet handler in an embedded Jetty, at {@code /as4}. */
final class Receiver implements AutoCloseable {
  private final Server server = new Server();
  private final ServerConnector connector;
  private final boolean secure;

  Receiver(final IJsonObject job) throws Exception {
    final IJsonObject tls = job.getAsObject("tls");
    secure = tls != null;
    connector = secure ? secure(tls) : new ServerConnector(server);
    connector.setHost("127.0.0.1");
    connector.setPort(job.getAsInt("port", 0));
    server.addConnector(connector);
    final ServletContextHandler context = new ServletContextHandler();
    context.setContextPath("/");
    context.addEventListener(new AccessPointListener(Setting.of(job)));
    server.setHandler(context);
    server.start();
  }

  IJsonObject ready() {
    final JsonObject line = new JsonObject();
    line.add("ready", connector.getLocalPort());
    line.add("url", (secure ? "https" : "http") + "://127.0.0.1:" + connector.getLocalPort() + "/as4");
    return line;
  }

  @Override
  public void close() throws Exception {
    server.stop();
  }

  private ServerConnector secure(final IJsonObject tls) throws Exception {
    final SslContextFactory.Server factory = new SslContextFactory.Server();
    factory.setSslContext(Keys.tls(tls));
    factory.setNeedClientAuth(tls.getAsBoolean("client_certificate", true));
    final HttpConfiguration configuration = new HttpConfiguration();
    final SecureRequestCustomizer customizer = new SecureRequestCustomizer();
    customizer.setSniHostCheck(false);
    configuration.addCustomizer(customizer);
    return new ServerConnector(server, new SslConnectionFactory(factory, "http/1.1"), new HttpConnectionFactory(configuration));
  }

  /** What requests are received with: the keys and the profile of the job's generation, and where payloads go. */
  private record Setting(IAS4CryptoFactory signing, IAS4CryptoFactory decryption, String profile, Inbox inbox) {
    static Setting of(final IJsonObject job) throws Exception {
      final Inbox inbox = new Inbox(Path.of(job.getAsString("folder")));
      return new Setting(EDelivery2.signing(job), EDelivery2.decryption(job), EDelivery2.profile(job), inbox);
    }
  }

  /** Opens phase4's scopes and managers with the servlet context and closes them with it; the servlet needs them. */
  private static final class AccessPointListener extends WebScopeListener {
    private final Setting setting;

    AccessPointListener(final Setting setting) {
      this.setting = setting;
    }

    @Override
    public void contextInitialized(final ServletContextEvent event) {
      super.contextInitialized(event);
      AS4ServerInitializer.initAS4Server();
      event.getServletContext().addServlet("as4", new Endpoint(setting)).addMapping("/as4");
    }

    @Override
    public void contextDestroyed(final ServletContextEvent event) {
      AS4ServerInitializer.shutdownAS4Server();
      super.contextDestroyed(event);
    }
  }

  /** POST only; keys, profile and inbox are set on each request's handler, so nothing is read from files of its own. */
  private static final class Endpoint extends AbstractXServlet {
    private static final long serialVersionUID = 1L;

    Endpoint(final Setting setting) {
      settings().setMultipartEnabled(false);
      final AS4XServletHandler handler = new AS4XServletHandler();
      handler.setRequestHandlerCustomizer(new IAS4ServletRequestHandlerCustomizer() {
        @Override
        public void customizeBeforeHandling(final IRequestWebScopeWithoutResponse scope,
                                            final AS4UnifiedResponse response,
                                            final AS4RequestHandler request) {
          request.setCryptoFactorySign(setting.signing);
          request.setCryptoFactoryCrypt(setting.decryption);
          request.setPModeResolver(new AS4DefaultPModeResolver(setting.profile));
          request.setIncomingProfileSelector(new AS4IncomingProfileSelectorConstant(setting.profile, true));
          request.setProcessorSupplier(() -> new CommonsArrayList<>(setting.inbox));
        }

        @Override
        public void customizeAfterHandling(final IRequestWebScopeWithoutResponse scope,
                                           final AS4UnifiedResponse response,
                                           final AS4RequestHandler request) {
          // nothing: the inbox has told the test already
        }
      });
      handlerRegistry().registerHandler(EHttpMethod.POST, handler);
    }
  }
}
