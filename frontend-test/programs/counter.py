"""Counts POSTs in memory and in a file, with a thread for each connection and a lock.

GET answers with both counts; POST adds one to both and answers with the new counts. Each POST has a
name, which is appended to posts.txt: a line for each POST, in the order of counting.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
count = 0


def lines():
    try:
        with open("posts.txt") as posts:
            return len(posts.readlines())
    except FileNotFoundError:
        return 0


class Counter(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with lock:
            text = f"{count} {lines()}"
        self.answer(text)

    def do_POST(self):
        global count
        name = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with lock:
            count += 1
            with open("posts.txt", "a") as posts:
                posts.write(name + "\n")
            text = f"{count} {lines()}"
        self.answer(text)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


Server(("0.0.0.0", int(sys.argv[1])), Counter).serve_forever()
