"""A real gRPC server for tests (grpcio, not of the same family as the client): the service of echo.proto, which does what it is told.

usage: grpc_server.py PORT DESCRIPTORS [options]
  PORT 0 takes a free one. When it listens, it prints one line: {"port": N}
  DESCRIPTORS is a file with the FileDescriptorSet of echo.proto and its imports.
  --reflection        offers server reflection (v1alpha, which is what grpcio-reflection has)
  --tls CERT KEY      serves over TLS
  --streams N         most calls at the same time on one connection
  --max-age MS        connections are closed after so long, with GOAWAY
Needs grpcio, grpcio-reflection and protobuf (PyPI).
"""

import argparse
import base64
import json
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection

options = argparse.ArgumentParser()
options.add_argument("port", type=int)
options.add_argument("descriptors")
options.add_argument("--reflection", action="store_true")
options.add_argument("--tls", nargs=2)
options.add_argument("--streams", type=int)
options.add_argument("--max-age", type=int)
options = options.parse_args()

pool = descriptor_pool.Default()
files = descriptor_pb2.FileDescriptorSet()
with open(options.descriptors, "rb") as file:
    files.ParseFromString(file.read())
for file in files.file:
    pool.AddSerializedFile(file.SerializeToString())
service = pool.FindServiceByName("test.v1.Echo")
Request = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.v1.Request"))
Reply = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.v1.Reply"))
codes = {code.value[0]: code for code in grpc.StatusCode}


def shown(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def reply(request, context, count=1):
    answer = Reply(text="x" * request.size if request.size else request.text, count=count, request=request)
    for key, value in context.invocation_metadata():
        answer.metadata[key] = shown(value)
    remaining = context.time_remaining()
    # Without a deadline it is a time that nobody lives to see.
    if remaining is not None and remaining < 1e9:
        answer.remaining_ms = int(remaining * 1000)
    return answer


def begin(request, context):
    """What every call does first; ends it when the request says so."""
    if request.gzip:
        context.set_compression(grpc.Compression.Gzip)
    context.send_initial_metadata((("x-first", "yes"), ("x-bytes-bin", b"\x00\xff")))
    context.set_trailing_metadata((("x-last", str(request.count)),))
    time.sleep(request.sleep_ms / 1000)
    if request.status:
        context.abort(codes[request.status], request.status_text)


def unary(request, context):
    begin(request, context)
    return reply(request, context)


def download(request, context):
    begin(request, context)
    for number in range(request.count):
        yield reply(request, context, number + 1)


def upload(requests, context):
    count, last = 0, Request()
    for last in requests:
        count += 1
        if last.status:
            break
    begin(last, context)
    return reply(last, context, count)


def talk(requests, context):
    count = 0
    for request in requests:
        count += 1
        if count == 1:
            begin(request, context)
        elif request.status:
            context.abort(codes[request.status], request.status_text)
        yield reply(request, context, count)


handlers = {}
for name, make, behaviour in [
    ("Unary", grpc.unary_unary_rpc_method_handler, unary),
    ("Download", grpc.unary_stream_rpc_method_handler, download),
    ("Upload", grpc.stream_unary_rpc_method_handler, upload),
    ("Talk", grpc.stream_stream_rpc_method_handler, talk),
]:
    handlers[name] = make(behaviour, request_deserializer=Request.FromString, response_serializer=Reply.SerializeToString)

settings = [("grpc.so_reuseport", 0)]
if options.streams:
    settings.append(("grpc.max_concurrent_streams", options.streams))
if options.max_age:
    settings += [("grpc.max_connection_age_ms", options.max_age), ("grpc.max_connection_age_grace_ms", 30_000)]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=settings)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
if options.reflection:
    reflection.enable_server_reflection((service.full_name, reflection.SERVICE_NAME), server)
address = f"127.0.0.1:{options.port}"
if options.tls:
    with open(options.tls[0], "rb") as cert, open(options.tls[1], "rb") as key:
        credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
    port = server.add_secure_port(address, credentials)
else:
    port = server.add_insecure_port(address)
server.start()
print(json.dumps({"port": port}), flush=True)
server.wait_for_termination()
