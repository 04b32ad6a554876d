import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * Counts requests, by a pool of threads: each answer is the next number. Each leaves garbage, some
 * of it later, so that there is something to collect.
 */
public class Count {
    private static final int KEPT = 64;

    public static void main(String[] arguments) throws Exception {
        AtomicLong count = new AtomicLong();
        AtomicReferenceArray<byte[]> kept = new AtomicReferenceArray<>(KEPT);
        int port = Integer.parseInt(arguments[0]);
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 100);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            long number = count.incrementAndGet();
            kept.set((int) (number % KEPT), new byte[100_000]);
            byte[] body = (number + "\n").getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
