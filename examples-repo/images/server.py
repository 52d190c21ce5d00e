"""The examples' program: `server.py web` greets and asks the other for the count, `server.py visits` counts."""

import os
import signal
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COUNT_FILE = Path("/data/count")


def web():
    greeting = os.environ.get("GREETING", "Hello")
    try:
        with urllib.request.urlopen("http://visits/", timeout=2) as answer:
            visits = answer.read().decode()
    except OSError as error:
        visits = f"unknown ({error})"
    return f"{greeting} from {os.environ.get('HOSTNAME', 'nowhere')}, visit {visits}\n"


def visits():
    count = int(COUNT_FILE.read_text()) + 1 if COUNT_FILE.exists() else 1
    COUNT_FILE.write_text(str(count))
    return str(count)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"ok" if self.path == "/healthz" else PAGE().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        if self.path != "/healthz":
            print(self.address_string(), format % arguments, flush=True)


if __name__ == "__main__":
    PAGE = {"web": web, "visits": visits}[sys.argv[1]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"{sys.argv[1]} listens on 8080", flush=True)
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
