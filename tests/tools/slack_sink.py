"""Slack's Web API as far as Plimsoll speaks to it, with Slack's own manners, and its memory in a folder.

usage: slack_sink.py PORT FOLDER [options]
  PORT 0 takes a free one. When it listens, it prints one line: {"port": N}
  Each call becomes NNNN.json in FOLDER: method, form or JSON, what was answered.
  --fail METHOD N ERROR    the first N calls of METHOD are answered with ok:false and ERROR ("429" is answered as such)
  --retry-after SECONDS    with failures
  --close METHOD           the first call of METHOD is done, but its answer breaks off
The token is xoxb-test, the conversations are #ops (C0OPS) and C0OPS. Slack answers 200 also when it refuses.
"""

import argparse
import json
import os
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

options = argparse.ArgumentParser()
options.add_argument("port", type=int)
options.add_argument("folder")
options.add_argument("--fail", nargs=3, action="append", default=[])
options.add_argument("--retry-after", default=None)
options.add_argument("--close", action="append", default=[])
options = options.parse_args()

failures = {method: [int(count), error] for method, count, error in options.fail}
closing = set(options.close)
messages = {}
files = {}
calls = len(os.listdir(options.folder))


def keep(call):
    """A reader never sees half a file."""
    global calls
    calls += 1
    path = os.path.join(options.folder, f"{calls:04}.json")
    with open(path + ".new", "w") as file:
        json.dump(call, file)
    os.rename(path + ".new", path)


def channel_of(given):
    return "C0OPS" if given in ("#ops", "ops", "C0OPS") else None


def post_message(given, where):
    channel = channel_of(given.get("channel"))
    if not channel:
        return {"ok": False, "error": "channel_not_found"}
    if not (given.get("text") or given.get("attachments") or given.get("blocks")):
        return {"ok": False, "error": "no_text"}
    thread = given.get("thread_ts")
    if thread and thread not in messages:
        return {"ok": False, "error": "thread_not_found"}
    ts = f"1700000000.{len(messages) + 1:06}"
    messages[ts] = given
    return {"ok": True, "channel": channel, "ts": ts, "message": {"text": given.get("text"), "ts": ts, "thread_ts": thread}}


def update(given, where):
    if given.get("channel") != "C0OPS":  # A name is not taken here.
        return {"ok": False, "error": "channel_not_found"}
    if given.get("ts") not in messages:
        return {"ok": False, "error": "message_not_found"}
    messages[given["ts"]] = given
    return {"ok": True, "channel": "C0OPS", "ts": given["ts"], "text": given.get("text")}


def upload_url(given, where):
    if not given.get("filename") or not str(given.get("length", "")).isdigit():
        return {"ok": False, "error": "invalid_arguments"}
    file = f"F{len(files) + 1:04}"
    files[file] = {"length": int(given["length"]), "bytes": None}
    return {"ok": True, "upload_url": f"{where}/upload/v1/{file}?token=one-time", "file_id": file}


def complete(given, where):
    listed = json.loads(given["files"]) if isinstance(given.get("files"), str) else given.get("files") or []
    for file in listed:
        found = files.get(file.get("id"))
        if not found or found["bytes"] != found["length"]:
            return {"ok": False, "error": "file_not_found"}
    if given.get("channel_id") != "C0OPS":
        return {"ok": False, "error": "channel_not_found"}
    if given.get("thread_ts") and given["thread_ts"] not in messages:
        return {"ok": False, "error": "invalid_ts"}
    return {"ok": True, "files": listed}


METHODS = {
    "chat.postMessage": post_message,
    "chat.update": update,
    "files.getUploadURLExternal": upload_url,
    "files.completeUploadExternal": complete,
}
FORMS_ONLY = {"files.getUploadURLExternal"}


class Slack(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=(), broken=False):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken else body)
        self.close_connection = broken

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urllib.parse.urlparse(self.path)
        where = f"http://127.0.0.1:{self.server.server_port}"
        if address.path.startswith("/upload/v1/"):
            file = files[address.path.rsplit("/", 1)[1]]
            file["bytes"] = len(body)
            seen = {"length": len(body), "png": body[:8] == b"\x89PNG\r\n\x1a\n", "authorization": self.headers.get("Authorization")}
            keep({"method": "upload", "given": seen, "answer": {}})
            return self.answer(200, b"OK")
        method = address.path.rsplit("/", 1)[1]
        kind = (self.headers.get("Content-Type") or "").split(";")[0]
        form = urllib.parse.parse_qsl(address.query)
        if kind == "application/json":
            given = {**dict(form), **json.loads(body)}
        else:
            given = dict(form + urllib.parse.parse_qsl(body.decode()))
        call = {"method": method, "given": given, "kind": kind}
        left = failures.get(method, [0, ""])
        headers = [("Retry-After", options.retry_after)] if options.retry_after and left[0] > 0 else []
        status = 200
        if left[0] > 0:
            left[0] -= 1
            status = 429 if left[1] == "429" else 200
            answer = {"ok": False, "error": "ratelimited" if status == 429 else left[1]}
        elif self.headers.get("Authorization") != "Bearer xoxb-test":
            answer = {"ok": False, "error": "invalid_auth"}
        elif method not in METHODS:
            answer = {"ok": False, "error": "unknown_method"}
        elif method in FORMS_ONLY and kind == "application/json":
            answer = {"ok": False, "error": "invalid_arguments"}
        else:
            answer = METHODS[method](given, where)
        keep({**call, "answer": answer})
        broken = method in closing and answer["ok"]
        closing.discard(method)
        self.answer(status, json.dumps(answer).encode(), headers, broken)


server = ThreadingHTTPServer(("127.0.0.1", options.port), Slack)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
