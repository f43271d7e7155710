package peer;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

import com.helger.json.IJsonObject;
import com.helger.json.serialize.JsonReader;

/**
 * The peer's modes. Jobs come in as one JSON object a line on standard input, answers leave as one JSON object a
 * line on standard output, log lines go to standard error; the process ends when its standard input ends, so it never
 * outlives the test that started it.
 */
public final class Main {
  private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

  private Main() {}

  public static void main(final String[] arguments) throws Exception {
    final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    switch (arguments.length == 1 ? arguments[0] : "") {
      case "send" -> send(in);
      case "receive" -> receive(in);
      case "wss4j" -> wss4j(in);
      default -> {
        System.err.println("usage: phase4-peer send|receive|wss4j");
        System.exit(64);
      }
    }
    System.exit(0);
  }

  /** Say one thing to the test: whole lines only, also when several requests end at once. */
  static synchronized void say(final IJsonObject line) {
    OUT.println(line.getAsJsonString());
    OUT.flush();
  }

  private static void send(final BufferedReader in) throws IOException {
    final Sender sender = new Sender();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      say(sender.send(job(line)));
    }
  }

  private static void wss4j(final BufferedReader in) throws IOException {
    final Wss4j wss4j = new Wss4j();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      say(wss4j.answer(job(line)));
    }
  }

  private static void receive(final BufferedReader in) throws Exception {
    final String line = in.readLine();
    if (line == null) {
      return;
    }
    try (Receiver receiver = new Receiver(job(line))) {
      say(receiver.ready());
      while (in.readLine() != null) {
        // nothing more to be told: the loop only waits for the end of the test
      }
    }
  }

  private static IJsonObject job(final String line) {
    if (JsonReader.readFromString(line) instanceof final IJsonObject job) {
      return job;
    }
    throw new IllegalArgumentException("a job is one JSON object on one line");
  }
}
