package peer;

import java.util.List;
import java.util.Objects;

import com.helger.diagnostics.error.SingleError;
import com.helger.diagnostics.error.list.ErrorList;
import com.helger.phase4.CAS4;
import com.helger.phase4.ebms3header.Ebms3Property;
import com.helger.phase4.ebms3header.Ebms3UserMessage;
import com.helger.phase4.profile.IAS4ProfileValidator;

/** What eDelivery asks of a user message beyond ebMS: one party id on each side, and both end parties named. */
final class FourCornerValidator implements IAS4ProfileValidator {
  @Override
  public void validateUserMessage(final Ebms3UserMessage message, final ErrorList errors) {
    if (message.getPartyInfo().getFrom().getPartyIdCount() != 1) {
      errors.add(SingleError.builderError().errorText("From carries not exactly one PartyId").build());
    }
    if (message.getPartyInfo().getTo().getPartyIdCount() != 1) {
      errors.add(SingleError.builderError().errorText("To carries not exactly one PartyId").build());
    }
    for (final String name : List.of(CAS4.ORIGINAL_SENDER, CAS4.FINAL_RECIPIENT)) {
      final boolean named = message.getMessageProperties() != null &&
                            message.getMessageProperties()
                                   .getProperty()
                                   .stream()
                                   .map(Ebms3Property::getName)
                                   .anyMatch(found -> Objects.equals(found, name));
      if (!named) {
        errors.add(SingleError.builderError().errorText("message property " + name + " is missing").build());
      }
    }
  }
}
