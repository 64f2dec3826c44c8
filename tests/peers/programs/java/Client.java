// Java's own HttpClient: makes the calls of its standard input, and says of each what it sent and got.
//
// java Client.java BASE VERSION: BASE a URL without a path, VERSION HTTP_1_1 or HTTP_2, which over plaintext begins as
// HTTP/1.1 and asks for h2c. A line of the input is "METHOD PATH BYTES"; of the output,
// "VERSION METHOD PATH STATUS SENT RECEIVED". An empty line of input waits for the calls before it.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.valueOf(arguments[1]))
            .connectTimeout(Duration.ofSeconds(20))
            .build();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        List<CompletableFuture<Void>> open = new ArrayList<>();
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            if (line.isEmpty()) {
                open.forEach(CompletableFuture::join);
                open.clear();
                continue;
            }
            String[] words = line.split(" ");
            byte[] body = "x".repeat(Integer.parseInt(words[2])).getBytes();
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + words[1]))
                .timeout(Duration.ofSeconds(30))
                .method(words[0], body.length == 0 ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body))
                .build();
            open.add(client.sendAsync(request, BodyHandlers.ofByteArray()).thenAccept(response -> say(words, response)));
        }
        open.forEach(CompletableFuture::join);
    }

    private static synchronized void say(String[] words, HttpResponse<byte[]> response) {
        System.out.printf(
            "%s %s %s %d %s %d%n",
            response.version(), words[0], words[1], response.statusCode(), words[2], response.body().length);
    }
}
