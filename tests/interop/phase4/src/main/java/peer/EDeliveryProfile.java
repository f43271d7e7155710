package peer;

import com.helger.base.state.ETriState;
import com.helger.phase4.CAS4;
import com.helger.phase4.crypto.ECryptoAlgorithmCrypt;
import com.helger.phase4.crypto.ECryptoAlgorithmSign;
import com.helger.phase4.crypto.ECryptoAlgorithmSignDigest;
import com.helger.phase4.model.EMEP;
import com.helger.phase4.model.EMEPBinding;
import com.helger.phase4.model.pmode.IPModeIDProvider;
import com.helger.phase4.model.pmode.PMode;
import com.helger.phase4.model.pmode.PModeParty;
import com.helger.phase4.model.pmode.PModeReceptionAwareness;
import com.helger.phase4.model.pmode.leg.EPModeSendReceiptReplyPattern;
import com.helger.phase4.model.pmode.leg.PModeLeg;
import com.helger.phase4.model.pmode.leg.PModeLegBusinessInformation;
import com.helger.phase4.model.pmode.leg.PModeLegErrorHandling;
import com.helger.phase4.model.pmode.leg.PModeLegProtocol;
import com.helger.phase4.model.pmode.leg.PModeLegSecurity;
import com.helger.phase4.profile.AS4Profile;
import com.helger.phase4.profile.IAS4ProfileRegistrar;
import com.helger.phase4.profile.IAS4ProfileRegistrarSPI;
import com.helger.phase4.wss.EWSSVersion;

/**
 * The eDelivery AS4 1.15 common profile as a phase4 profile: one-way push, signed with RSA-SHA256, encrypted with
 * AES-128-GCM, a signed non-repudiation receipt in the HTTP response, duplicates found.
 */
public final class EDeliveryProfile implements IAS4ProfileRegistrarSPI {
  static final String ID = "edelivery-1.15";

  @Override
  public void registerAS4Profile(final IAS4ProfileRegistrar registrar) {
    registrar.registerProfile(new AS4Profile(ID,
                                             "eDelivery AS4 1.15, one-way push",
                                             FourCornerValidator::new,
                                             (initiator, responder, address) -> oneWayPush(initiator, responder, address, true),
                                             IPModeIDProvider.DEFAULT_DYNAMIC,
                                             false,
                                             false));
  }

  /** The processing mode for one pair of access points; {@code encrypted} false leaves the payload in clear. */
  static PMode oneWayPush(final String initiator, final String responder, final String address, final boolean encrypted) {
    final PModeParty from = PModeParty.createSimple(initiator, CAS4.DEFAULT_INITIATOR_URL);
    final PModeParty to = PModeParty.createSimple(responder, CAS4.DEFAULT_RESPONDER_URL);
    return new PMode(IPModeIDProvider.DEFAULT_DYNAMIC.getPModeID(from, to),
                     from,
                     to,
                     null,
                     EMEP.ONE_WAY,
                     EMEPBinding.PUSH,
                     leg(address, encrypted),
                     null,
                     null,
                     new PModeReceptionAwareness(ETriState.TRUE, ETriState.FALSE, 0, 1_000, ETriState.TRUE));
  }

  private static PModeLeg leg(final String address, final boolean encrypted) {
    final PModeLegErrorHandling errors = PModeLegErrorHandling.createUndefined();
    errors.setReportAsResponse(true);
    return new PModeLeg(PModeLegProtocol.createForDefaultSoapVersion(address),
                        PModeLegBusinessInformation.create(null, null, null, CAS4.DEFAULT_MPC_ID),
                        errors,
                        null,
                        security(encrypted));
  }

  private static PModeLegSecurity security(final boolean encrypted) {
    final PModeLegSecurity security = new PModeLegSecurity();
    security.setWSSVersion(EWSSVersion.WSS_111);
    security.setX509SignatureAlgorithm(ECryptoAlgorithmSign.RSA_SHA_256);
    security.setX509SignatureHashFunction(ECryptoAlgorithmSignDigest.DIGEST_SHA_256);
    if (encrypted) {
      security.setX509EncryptionAlgorithm(ECryptoAlgorithmCrypt.AES_128_GCM);
      security.setX509EncryptionMinimumStrength(128);
    }
    security.setPModeAuthorize(false);
    security.setSendReceipt(true);
    security.setSendReceiptNonRepudiation(true);
    security.setSendReceiptReplyPattern(EPModeSendReceiptReplyPattern.RESPONSE);
    return security;
  }
}
