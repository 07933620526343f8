import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Requests through the proxy with the JDK's own client, which offers HTTP/2 as it is made. */
public final class ThroughProxy {
    private static final String BODY =
        "{\"model\": \"x\", \"stream\": %s, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}";

    private static HttpRequest request(String base, boolean stream) {
        return HttpRequest.newBuilder(URI.create(base + "/chat/v1/chat/completions"))
            .header("Content-Type", "application/json")
            .header("Authorization", "Bearer sk-previous")
            .header("X-Rollout-Org", "acme")
            .POST(HttpRequest.BodyPublishers.ofString(String.format(BODY, stream)))
            .build();
    }

    public static void main(String[] words) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpResponse<String> whole =
            client.send(request(words[0], false), HttpResponse.BodyHandlers.ofString());
        System.out.println(whole.statusCode() + " " + whole.version());
        System.out.println(whole.body().replace("\n", " "));

        HttpResponse<Stream<String>> streamed =
            client.send(request(words[0], true), HttpResponse.BodyHandlers.ofLines());
        System.out.println(streamed.body().filter(line -> line.startsWith("data:"))
            .collect(Collectors.toList()).size() > 2);

        String many = Stream.generate(() -> client.sendAsync(
                request(words[0], false), HttpResponse.BodyHandlers.discarding()))
            .limit(20).collect(Collectors.toList()).stream()
            .map(CompletableFuture::join).map(one -> "" + one.statusCode())
            .distinct().collect(Collectors.joining(","));
        System.out.println(many);
    }
}
