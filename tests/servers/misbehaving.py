"""A server with OpenAI's API whose models behave as they are called: `python misbehaving.py [PORT]` prints its port and serves.

A word is a token. What a model does wrong it does from the request after those with which mtbench gets to know a server.
`GET /seen` tells what was asked.
"""

import json
import os
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

KEY = "sk-a-key-that-nobody-may-see"
PROBES = 2
TEMPLATE = 7  # tokens that a chat puts around a prompt

MODELS = (
    "good", "chunked", "splits", "talks", "thinks", "pairs", "uncounted", "silent", "strict", "early", "drafts", "cached",
    "locked", "empty", "forgets", "breaks", "exits", "hangs", "babbles", "page", "lists", "refuses", "complains", "missing",
)  # fmt: skip

lock = Lock()
requests: Counter[str] = Counter()
seen: dict[str, Any] = {"prompts": [], "running": 0, "at_once": 0, "bodies": []}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.answer(200, {"data": [{"id": name} for name in (*MODELS, "small:latest")]})
        elif self.path == "/seen":
            self.answer(200, seen)
        elif self.path == "/api/version":
            self.answer(200, {"version": "0.0.1"})
        else:
            self.answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, chat = body["model"], self.path.endswith("/chat/completions")
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        with lock:
            requests[model] += 1
            number = requests[model]
            seen["prompts"].append(prompt)
            seen["bodies"].append(body | {"chat": chat})
            seen["running"] += 1
            seen["at_once"] = max(seen["at_once"], seen["running"])
        try:
            self.serve(model, body, chat, len(prompt.split()), number > PROBES)
        finally:
            with lock:
                seen["running"] -= 1

    def serve(self, model: str, body: dict[str, Any], chat: bool, words: int, wrong: bool) -> None:
        if model == "missing" or (model in ("talks", "thinks") and not chat):
            return self.answer(404, {"error": {"message": f"no model or place for {model}"}})
        if model == "locked" and self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.answer(401, {"error": {"message": f"wrong key {self.headers.get('Authorization')}"}})
        if model == "strict" and "ignore_eos" in body:
            return self.answer(422, {"detail": "Unexpected keys in the request: {'ignore_eos'}"})
        if model == "refuses" and wrong:
            return self.answer(500, {"error": {"message": f"out of luck\nkey {KEY}"}})
        new = body["max_tokens"] // 2 if model == "early" else 0 if model == "empty" and wrong else body["max_tokens"]
        usage: dict[str, Any] = {"prompt_tokens": words + (TEMPLATE if chat else 0), "completion_tokens": new}
        if model == "silent":
            usage = {}
        if model == "cached":
            usage["prompt_tokens_details"] = {"cached_tokens": words}
        if not body.get("stream"):
            return self.answer(200, {"choices": [{"text": "word " * new}], "usage": usage})
        if model == "page" and wrong:
            return self.answer(200, "<html><body>Welcome</body></html>")
        self.begin(model in ("chunked", "splits"))
        if chat:
            self.event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        step = 2 if model in ("pairs", "uncounted") else 1
        for made in range(0, new, step):
            if wrong and made >= 2 and self.went_wrong(model):
                return None
            text = " word" * min(step, new - made)
            if model == "splits":
                self.in_two('data: {"choices": [{"text": " wört"}]}\n\n'.encode())
                continue
            thought = model == "thinks" and made < new // 2
            delta = {"reasoning_content": text, "content": None} if thought else {"content": text}
            self.event({"choices": [{"delta": delta} if chat else {"text": text, "finish_reason": None}]})
        finish = "stop" if model == "early" else "length"
        self.event({"choices": [{"finish_reason": finish, **({"delta": {}} if chat else {"text": ""})}]})
        if model == "forgets" and wrong:
            return None
        if body.get("stream_options") and model not in ("uncounted", "silent"):
            timings = {"timings": {"draft_n": 4, "draft_n_accepted": 3}} if model == "drafts" else {}
            self.event({"choices": [], "usage": usage, **timings})
        self.send("data: [DONE]\n\n")
        self.send("")
        return None

    def went_wrong(self, model: str) -> bool:
        """What a model does in the middle of a text; whether that ends it."""
        if model == "exits":
            os._exit(3)
        if model == "hangs":
            time.sleep(3600)
        if model == "babbles":
            self.send("data: {no json at all\n\n")
        if model == "lists":
            self.send("data: [1, 2, 3]\n\n")
        if model == "complains":
            self.event({"error": {"message": "the model fell over", "code": 500}})
        return model == "breaks"

    def begin(self, chunked: bool) -> None:
        self.chunked = chunked
        self.protocol_version = "HTTP/1.1" if chunked else "HTTP/1.0"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not chunked:
            self.send(": still here\n\n")

    def event(self, said: Any) -> None:
        self.send(f"data: {json.dumps(said)}\n\n")

    def in_two(self, data: bytes) -> None:
        """In two chunks, of which the first ends within a letter."""
        for part in (data[: data.index(b"\xb6")], data[data.index(b"\xb6") :]):
            self.send_bytes(part)

    def send(self, text: str) -> None:
        self.send_bytes(text.encode())

    def send_bytes(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self.chunked else data)
        self.wfile.flush()

    def answer(self, code: int, said: Any) -> None:
        data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None: ...


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
