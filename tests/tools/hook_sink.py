"""A real HTTP endpoint for tests: keeps every request in a folder, fails on demand.

usage: hook_sink.py PORT FOLDER [options]
  PORT 0 takes a free one. When it listens, it prints one line: {"port": N}
  Each request becomes NNNN.json (path, status given, headers in lower case, body) in FOLDER.
  --fail-first N STATUS      the first N requests get this status
  --retry-after VALUE        with that header
  --body TEXT                and this body
  --close-first N            the first N requests are read and the connection closed without an answer
"""

import argparse
import http.server
import json
import os
import threading

options = argparse.ArgumentParser()
options.add_argument("port", type=int)
options.add_argument("folder")
options.add_argument("--fail-first", nargs=2, type=int, default=[0, 500])
options.add_argument("--retry-after")
options.add_argument("--body", default="")
options.add_argument("--close-first", type=int, default=0)
options = options.parse_args()

lock = threading.Lock()
counts = {"requests": 0, "failures": options.fail_first[0], "closes": options.close_first}


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with lock:
            status = 200
            if counts["closes"] > 0:
                counts["closes"] -= 1
                status = 0
            elif counts["failures"] > 0:
                counts["failures"] -= 1
                status = options.fail_first[1]
            counts["requests"] += 1
            number = counts["requests"]
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = {"path": self.path, "status": status, "headers": headers, "body": body.decode("utf8", "replace")}
            path = os.path.join(options.folder, f"{number:04}.json")
            with open(path + ".new", "w", encoding="utf8") as file:
                json.dump(request, file)
            os.rename(path + ".new", path)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if status != 200:
            if options.retry_after:
                self.send_header("Retry-After", options.retry_after)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
        answer = b"ok" if status == 200 else options.body.encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Sink)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
