"""A real WebSocket server for tests: another implementation than ours, which answers by path.

usage: websocket_sink.py PORT [CERT KEY]
  PORT 0 takes a free one. With CERT and KEY it speaks TLS. When it listens, it prints one line: {"port": N}
  /echo        every message comes back
  /pieces      every message comes back in fragments of three bytes
  /chatty      greets, sends three other messages before each echo, and prints {"said": MESSAGE} after it
  /headers     greets with the headers of the handshake and the subprotocol, as JSON
  /pings       answers a message only after the client has answered a ping
  /keepalive   sends {"ping": N} for every ping that the client has answered, one after the other, 1500
  /close       closes with 1011 when a message comes
  /bye         prints {"closed": CODE} when the client has closed
  /farewell    sends three messages, and prints {"closed": CODE, "reason": REASON} when the client has closed
  /part        a message "CODE REASON" is answered with three others, then with closing so
  /refuse      is answered with 403
Subprotocols: v1, v2. Needs websockets (PyPI).
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

tls = None
if len(sys.argv) > 2:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[2], sys.argv[3])


def show(line):
    print(json.dumps(line), flush=True)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def pieces(socket):
    async for message in socket:
        await socket.send([message[at : at + 3] for at in range(0, len(message), 3)])


async def chatty(socket):
    await socket.send(json.dumps({"type": "welcome"}))
    async for message in socket:
        for number in range(3):
            await socket.send(json.dumps({"type": "news", "number": number}))
        await socket.send(message)
        show({"said": message})


async def headers(socket):
    names = {name.lower(): value for name, value in socket.request.headers.raw_items()}
    await socket.send(json.dumps({"path": socket.request.path, "headers": names, "subprotocol": socket.subprotocol}))
    await socket.wait_closed()


async def pings(socket):
    async for message in socket:
        await (await socket.ping())
        await socket.send(message)


async def keepalive(socket):
    for number in range(1, 1501):
        await (await socket.ping())
        await socket.send(json.dumps({"ping": number}))


async def close(socket):
    await socket.recv()
    await socket.close(1011, "out of order; token=hunter2hunter2")


async def bye(socket):
    await socket.wait_closed()
    show({"closed": socket.close_code})


async def farewell(socket):
    for number in range(3):
        await socket.send(json.dumps({"type": "news", "number": number}))
    await socket.wait_closed()
    show({"closed": socket.close_code, "reason": socket.close_reason})


async def part(socket):
    code, _, reason = (await socket.recv()).partition(" ")
    for number in range(3):
        await socket.send(json.dumps({"type": "news", "number": number}))
    await socket.close(int(code), reason)


PATHS = {
    "/echo": echo,
    "/pieces": pieces,
    "/chatty": chatty,
    "/headers": headers,
    "/pings": pings,
    "/keepalive": keepalive,
    "/close": close,
    "/bye": bye,
    "/farewell": farewell,
    "/part": part,
}


async def handle(socket):
    try:
        await PATHS[socket.request.path.split("?")[0]](socket)
    except ConnectionClosed:
        pass


def refuse(connection, request):
    if request.path == "/refuse":
        return connection.respond(403, "no entry for s3cr3t-value\n")


def choose(connection, offered):
    return next((name for name in offered if name in ("v1", "v2")), None)


async def main():
    async with serve(
        handle,
        "127.0.0.1",
        int(sys.argv[1]),
        ssl=tls,
        process_request=refuse,
        select_subprotocol=choose,
        ping_interval=None,
        max_size=2**24,
    ) as server:
        show({"port": server.sockets[0].getsockname()[1]})
        await server.serve_forever()


asyncio.run(main())
