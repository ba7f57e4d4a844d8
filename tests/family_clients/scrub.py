"""Takes out of captured requests what tells about the machine: paths, host names, process ids.

Texts are replaced inside the decoded message, so lengths stay right; nothing else is changed.

    python scrub.py DIR
"""

import os
import re
import socket
import sys
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

RULES = [
    (re.compile(re.escape(sys.prefix)), "/srv/venv"),
    (re.compile(r"/[^\s\"']*/lib/python3\.\d+"), "/usr/lib/python3"),
    (re.compile(re.escape(str(Path(__file__).resolve().parent))), "/srv/agent"),
    (re.compile(re.escape(os.getcwd())), "/srv/agent"),
    (re.compile(re.escape(socket.gethostname())), "agent-host"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:8000"),
]
# Attributes whose value is of this machine, whatever it is.
REPLACED = {"process.pid": 4242, "server.port": 8000, "host.name": "agent-host", "host.id": "agent-host", "os.version": "6.1", "process.executable.path": "/usr/bin/python3"}


def text(value):
    for pattern, instead in RULES:
        value = pattern.sub(instead, value)
    return value


def scrub(message):
    """Every string of the message, at any depth."""
    if message.DESCRIPTOR.name == "KeyValue" and message.key == "service.version":
        # Logfire takes the commit of the folder that it runs in.
        message.value.string_value = "1.4.2"
        return
    local = message.DESCRIPTOR.name == "KeyValue" and message.value.int_value != 443
    if local and message.key in REPLACED:
        instead = REPLACED[message.key]
        if isinstance(instead, int):
            message.value.int_value = instead
        else:
            message.value.string_value = instead
        return
    for field, value in message.ListFields():
        repeated = not hasattr(value, "DESCRIPTOR") and not isinstance(value, (str, bytes, int, float, bool))
        if field.type == field.TYPE_MESSAGE:
            for inner in value if repeated else [value]:
                scrub(inner)
        elif field.type == field.TYPE_STRING:
            if repeated:
                value[:] = [text(one) for one in value]
            else:
                setattr(message, field.name, text(value))


def main():
    for path in sorted(Path(sys.argv[1]).glob("*.http-protobuf.bin")):
        request = ExportTraceServiceRequest() if ".traces." in path.name else ExportLogsServiceRequest()
        request.ParseFromString(path.read_bytes())
        scrub(request)
        path.write_bytes(request.SerializeToString())


if __name__ == "__main__":
    main()
