"""The two servers that a family's client talks to, in one process, on free local ports.

The model plays a script over OpenAI's chat API (also streamed) and Responses API: it asks for
`lookup_order`, then for `issue_refund`, then answers. What it does next follows from how many tool
results the conversation has, so it needs no memory and any number of runs can go on at once.

The capture server takes OTLP over HTTP and writes each request body as it came:
`NNN.traces.http-protobuf.bin`. Metrics are dropped.

    python lab.py --into DIR -- COMMAND…     run a command with both servers around it
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = "gpt-4o-mini"
ANSWERING_MODEL = "gpt-4o-mini-2024-07-18"
ANSWER = "Order 1042 is refunded: 59.90 EUR."
SCRIPT = [
    ("lookup_order", {"order_id": "1042"}),
    ("issue_refund", {"order_id": "1042", "amount": 59.9}),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def reply(self, payload, kind="application/json", status=200):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


class Model(Handler):
    def do_GET(self):
        self.reply(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())

    def do_POST(self):
        request = json.loads(self.body() or b"{}")
        if self.path.endswith("/chat/completions"):
            self.completion(request)
        elif self.path.endswith("/responses"):
            self.response(request)
        elif self.path.endswith("/embeddings"):
            texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
            data = [{"object": "embedding", "index": i, "embedding": [0.1] * 8} for i, _ in enumerate(texts)]
            usage = {"prompt_tokens": 5, "total_tokens": 5}
            self.reply(json.dumps({"object": "list", "model": "text-embedding-3-small", "data": data, "usage": usage}).encode())
        else:
            self.reply(b'{"error":{"message":"not here"}}', status=404)

    @staticmethod
    def next_step(tools, results):
        """What the script says after that many tool results, with the name that was offered."""
        if results >= len(SCRIPT) or not tools:
            return None
        name, arguments = SCRIPT[results]
        return next((offered for offered in tools if name in offered), None), arguments

    def completion(self, request):
        messages = request["messages"]
        # Some frameworks hand results over as words of the user.
        observed = lambda message: message["role"] == "user" and "Observation:" in json.dumps(message)
        results = sum(message["role"] == "tool" or observed(message) for message in messages)
        tools = [tool["function"]["name"] for tool in request.get("tools") or []]
        step = self.next_step(tools, results)
        usage = {"prompt_tokens": 100 + 20 * results, "completion_tokens": 12, "total_tokens": 112 + 20 * results}
        message, reason = {"role": "assistant", "content": ANSWER}, "stop"
        if step and step[0]:
            call = {"name": step[0], "arguments": json.dumps(step[1])}
            calls = [{"id": f"call_fake_{results + 1}", "type": "function", "function": call}]
            message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        head = {"id": f"chatcmpl-fake-{results}", "created": 1790000000, "model": ANSWERING_MODEL}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            answer = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return self.reply(json.dumps(answer).encode())
        delta = dict(message)
        if "tool_calls" in delta:
            delta["tool_calls"] = [{"index": 0, **delta["tool_calls"][0]}]
        chunks = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            {"choices": [], "usage": usage},
        ]
        lines = [json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
        stream = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        self.reply(stream.encode(), "text/event-stream")

    def response(self, request):
        items = request["input"] if isinstance(request["input"], list) else []
        results = sum(item.get("type") == "function_call_output" for item in items)
        tools = [tool["name"] for tool in request.get("tools") or []]
        step = self.next_step(tools, results)
        if step and step[0]:
            item = {
                "type": "function_call", "id": f"fc_{results + 1}", "call_id": f"call_fake_{results + 1}",
                "name": step[0], "arguments": json.dumps(step[1]), "status": "completed",
            }
        else:
            content = [{"type": "output_text", "text": ANSWER, "annotations": []}]
            item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
        usage = {
            "input_tokens": 100 + 20 * results, "output_tokens": 12, "total_tokens": 112 + 20 * results,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        }
        answer = {
            "id": f"resp_fake_{results}", "object": "response", "created_at": 1790000000, "status": "completed",
            "model": ANSWERING_MODEL, "output": [item], "usage": usage, "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": request.get("tools") or [], "error": None, "metadata": {},
        }
        self.reply(json.dumps(answer).encode())


def capture(into):
    numbers, lock = iter(range(1, 1000)), threading.Lock()

    class Capture(Handler):
        def do_POST(self):
            body, signal = self.body(), self.path.rsplit("/", 1)[-1]
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            json_sent = "json" in self.headers.get("content-type", "")
            if signal in ("traces", "logs") and body:
                with lock:
                    kind = "http-json" if json_sent else "http-protobuf"
                    (into / f"{next(numbers):03}.{signal}.{kind}.bin").write_bytes(body)
            self.reply(b"{}" if json_sent else b"", self.headers.get("content-type", "application/x-protobuf"))

    return Capture


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="folder of the captured requests")
    parser.add_argument("--endpoint", help="an OTLP/HTTP receiver to send to instead")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    endpoint = arguments.endpoint
    if not endpoint:
        arguments.into.mkdir(parents=True, exist_ok=True)
        for old in arguments.into.glob("*.bin"):
            old.unlink()
        endpoint = serve(capture(arguments.into))
    model = serve(Model) + "/v1"
    settings = {
        "OPENAI_BASE_URL": model, "OPENAI_API_BASE": model, "OPENAI_API_KEY": "sk-lab-fake", "LAB_MODEL": MODEL,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "refund-service", "OTEL_METRICS_EXPORTER": "none",
    }
    done = subprocess.run(arguments.command, env={**os.environ, **settings}, timeout=240)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
