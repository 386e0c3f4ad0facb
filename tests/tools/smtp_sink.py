"""A real SMTP server for tests: STARTTLS and login required, a mailbox in a folder, failures on demand.

usage: smtp_sink.py PORT MAILBOX CERT KEY [options]
  PORT 0 takes a free one. When it listens, it prints one line: {"port": N}
  Each accepted message becomes NNNN.eml (as received) and NNNN.json (envelope, headers, parts) in MAILBOX.
  --implicit-tls           TLS from the first byte instead of STARTTLS
  --plain                  neither TLS nor login
  --client-ca FILE         only clients with a certificate of this authority
  --only-login             offers AUTH LOGIN, not PLAIN
  --fail-first N ANSWER    the first N messages are answered with ANSWER ("451 try later")
  --refuse ADDRESS ANSWER  this recipient is always refused
  --delay ADDRESS ANSWER   this recipient is refused the first time
The login is user / secret. Needs aiosmtpd (PyPI).
"""

import argparse
import asyncio
import email
import email.policy
import json
import os
import ssl

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

options = argparse.ArgumentParser()
options.add_argument("port", type=int)
options.add_argument("mailbox")
options.add_argument("cert")
options.add_argument("key")
options.add_argument("--implicit-tls", action="store_true")
options.add_argument("--plain", action="store_true")
options.add_argument("--client-ca")
options.add_argument("--only-login", action="store_true")
options.add_argument("--fail-first", nargs=2, default=["0", ""])
options.add_argument("--refuse", nargs=2, action="append", default=[])
options.add_argument("--delay", nargs=2, action="append", default=[])
options = options.parse_args()

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(options.cert, options.key)
if options.client_ca:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(options.client_ca)


def store(name, content):
    """A reader never sees half a file."""
    path = os.path.join(options.mailbox, name)
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)


def content(part):
    """Words as they are; of a picture, how it stands there."""
    found = part.get_content()
    if isinstance(found, str):
        return found
    place = {name: str(part.get(name, "")) for name in ("Content-ID", "Content-Disposition")}
    return {"begins": found[:8].hex(), "bytes": len(found), **place}


class Mailbox:
    def __init__(self):
        self.messages = len([name for name in os.listdir(options.mailbox) if name.endswith(".json")])
        self.failures = int(options.fail_first[0])
        self.refused = dict(options.refuse)
        self.delayed = dict(options.delay)

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answer = self.refused.get(address) or self.delayed.pop(address, None)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.failures > 0:
            self.failures -= 1
            return options.fail_first[1]
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = [part for part in message.walk() if not part.is_multipart()]
        seen = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or options.implicit_tls,
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "headers": {name: str(value) for name, value in message.items()},
            "parts": {part.get_content_type(): content(part) for part in parts},
            "defects": [repr(defect) for part in message.walk() for defect in part.defects],
        }
        self.messages += 1
        store(f"{self.messages:04}.eml", envelope.content)
        store(f"{self.messages:04}.json", json.dumps(seen).encode())
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and data.login == b"user" and data.password == b"secret"
    return AuthResult(success=known, handled=known, auth_data=data if known else None)


def protocol(mailbox):
    if options.plain:
        return SMTP(mailbox, hostname="sink.test")
    settings = {"authenticator": login, "auth_required": True, "auth_require_tls": not options.implicit_tls}
    if options.only_login:
        settings["auth_exclude_mechanism"] = ["PLAIN"]
    if not options.implicit_tls:
        settings.update(tls_context=tls, require_starttls=True)
    return SMTP(mailbox, hostname="sink.test", **settings)


async def main():
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    wrapped = tls if options.implicit_tls else None
    server = await loop.create_server(lambda: protocol(mailbox), "127.0.0.1", options.port, ssl=wrapped)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(main())
