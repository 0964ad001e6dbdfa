"""A bot for Hongyan in Python, over HTTP, with nothing but the standard library."""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("BOT_SECRET", "")  # the bot's secret in hongyan.yaml
MAX_BODY = 16 << 20  # bytes; a picture in base64 needs some


def answer(request):
    """Turns a request into a response. Everything that this bot can do is in here."""
    message, session = request["message"], request["session"]
    # What was kept for this user comes back with every message. Values are strings.
    turns = int(session.get("turns", 0)) + 1

    def say(*answers):
        return {"answers": answers, "session": {"turns": str(turns)}}

    match message["kind"]:
        case "text" if message["text"] == "人工":
            return {"hand_over": {}}  # to a support agent of the account
        case "text" if message["text"] == "慢":
            time.sleep(5)  # the signs of life below keep the engine waiting
            return say("久等了。")
        case "text":
            return say(f"第 {turns} 句：{message['text']}")
        case "image":
            return say(f"收到图片 {message['media']['id']}")  # by this id it can be sent back, or fetched from WeChat
        case "click":  # of a menu button; the key is the one that you gave it
            return say(f"您点了 {message['event']['key']}")
        case _:
            return {"handled": False}  # the next bot of the chain is asked


def genuine(headers, body, now):
    """Tells whether a request is the engine's: https://www.standardwebhooks.com"""
    stamp = headers.get("webhook-timestamp", "")
    if not SECRET or not stamp.isdecimal() or abs(now - int(stamp)) > 300:  # an old one may be somebody's copy
        return False
    key = base64.b64decode(SECRET[6:]) if SECRET.startswith("whsec_") else SECRET.encode()
    signed = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body
    want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    signatures = headers.get("webhook-signature", "").split()  # several while a secret changes
    return any(hmac.compare_digest(want.encode(), s.encode()) for s in signatures)


class Bot(BaseHTTPRequestHandler):
    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return self.send_error(413)
        body = self.rfile.read(int(length))
        if not genuine(self.headers, body, time.time()):
            return self.send_error(401)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        # A blank every second, in front of the answer, is a sign of life: the engine sees that this bot is slow, and not dead.
        done = threading.Event()
        signs = threading.Thread(target=self.give_signs, args=(done,))
        signs.start()
        try:
            response = answer(json.loads(body))
        except Exception as err:  # whatever it is, the engine must hear of it; its text may quote a user, so it stays here
            print(f"failed: {err!r}", file=sys.stderr, flush=True)
            response = {"error": "bot_failed"}  # a short word for the engine's log
        finally:
            done.set()
            signs.join()
        self.wfile.write(json.dumps(response, ensure_ascii=False).encode())

    def give_signs(self, done):
        try:
            while not done.wait(1):
                self.wfile.write(b" ")
                self.wfile.flush()
        except OSError:
            pass  # the engine does not wait any more

    def log_message(self, *args):
        """Nothing for each request: its line would be all that the log holds."""


if __name__ == "__main__":
    if not SECRET:
        sys.exit("set BOT_SECRET to the bot's secret in hongyan.yaml: without it anybody could write to this bot")
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("BOT_PORT", "8090"))), Bot)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
