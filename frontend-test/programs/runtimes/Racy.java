// The server of racy.c for the JVM: answers depend on how its threads interleave.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.atomic.AtomicLong;

public class Racy {
    private static final int ROUNDS = 300;
    private static final Object LOCK = new Object();
    private static final AtomicLong ADDED = new AtomicLong();
    private static long counter;
    private static volatile long plain;

    private static long add() {
        synchronized (LOCK) {
            return ++counter;
        }
    }

    private static void serve(Socket socket) {
        try (socket) {
            var lines = new BufferedReader(new InputStreamReader(socket.getInputStream()));
            for (String line; (line = lines.readLine()) != null; ) {
                long first = add(), last = first;
                for (int round = 1; round < ROUNDS; round++) {
                    // A race on purpose: an addition of another thread may be lost.
                    long before = plain;
                    ADDED.incrementAndGet();
                    Thread.yield();
                    plain = before + 1;
                    last = add();
                }
                String answer = line + " moved " + (last - first) + " to "
                    + (last + plain + ADDED.get()) + "\n";
                socket.getOutputStream().write(answer.getBytes());
            }
        } catch (java.io.IOException ended) {
            // The client has gone.
        }
    }

    public static void main(String[] words) throws Exception {
        try (var listener = new ServerSocket(Integer.parseInt(words[0]))) {
            while (true) {
                Socket socket = listener.accept();
                new Thread(() -> serve(socket)).start();
            }
        }
    }
}
