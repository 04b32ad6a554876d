"""The server of racy.c for Python: answers depend on how its threads interleave."""

import socketserver
import sys
import threading
import time

ROUNDS = 300
lock = threading.Lock()
counter = 0
plain = 0


def add():
    """Counts, and returns the new count."""
    global counter
    with lock:
        counter += 1
        return counter


class Serve(socketserver.StreamRequestHandler):
    """Answers lines."""

    def handle(self):
        global plain
        for line in self.rfile:
            first = last = add()
            for _ in range(1, ROUNDS):
                # A race on purpose: an addition of another thread may be lost.
                before = plain
                time.sleep(0)
                plain = before + 1
                last = add()
            name = line.decode().strip()
            self.wfile.write(f"{name} moved {last - first} to {last + plain}\n".encode())


class Server(socketserver.ThreadingTCPServer):
    """A server that can start again at once."""

    allow_reuse_address = True
    daemon_threads = True


with Server(("0.0.0.0", int(sys.argv[1])), Serve) as server:
    server.serve_forever()
