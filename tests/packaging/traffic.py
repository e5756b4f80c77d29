"""Clients of a daemon that is being restarted: what they see.

    traffic.py quote            one tab, one POST; prints both, fails when the price does not reach the tab
    traffic.py proxied PORT REST_PORT HOST
                                the same through proxies, the tab from another address, which the daemon must see
    traffic.py storm STOP FILE  new connections to both ports, one after the other in each of four threads, and ten tabs
                                that come back by themselves, until the file STOP is there; writes what happened to FILE
"""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time

HTTP, WS = 3000, 8080


def connect(port, timeout, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), timeout, (source, 0))


def exchange(port, request, timeout=30):
    """One request on a connection of its own: status and body."""
    with connect(port, timeout) as stream:
        stream.sendall(request)
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("no answer")
    return int(head.split()[1]), body


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def post(path, value, host="localhost"):
    body = json.dumps(value)
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Tab:
    """A WebSocket session, just enough of one."""

    def __init__(self, user, port=HTTP, timeout=30, host="localhost", source="127.0.0.1", channels=None):
        self.stream = connect(port, timeout, source)
        key = base64.b64encode(os.urandom(16)).decode()
        query = user if channels is None else f"{user}&channels={channels}"
        self.stream.sendall(
            f"GET /ws?user_id={query} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        if self.status != 101:
            raise ConnectionError(f"status {self.status}")

    def more(self):
        piece = self.stream.recv(65536)
        if not piece:
            raise ConnectionResetError("gone")
        self.rest += piece

    def upto(self, count):
        while len(self.rest) < count:
            self.more()

    def frame(self):
        """The next frame: its opcode and payload. Nothing is lost when the time is over in the middle of it."""
        self.upto(2)
        start, length = 2, self.rest[1]
        if length >= 126:
            start = 4 if length == 126 else 10
            self.upto(start)
            length = int.from_bytes(self.rest[2:start], "big")
        self.upto(start + length)
        opcode, payload = self.rest[0] & 15, self.rest[start : start + length]
        self.rest = self.rest[start + length :]
        if opcode == 9:
            # A pong, masked with nothing.
            self.stream.sendall(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        return opcode, payload

    def whole(self):
        """The next frame of what has come already; BlockingIOError when it is not whole."""
        rest = self.rest
        start, length = 2, rest[1] if len(rest) > 1 else 0
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(rest[2:start], "big")
        if len(rest) < start + length:
            raise BlockingIOError
        self.rest = rest[start + length :]
        return rest[0] & 15, rest[start : start + length]

    def say(self, value):
        """A text of a few words."""
        text = json.dumps(value).encode()
        assert len(text) < 126
        self.stream.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)

    def until(self, kind):
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                raise ConnectionResetError(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if opcode == 1 and (message := json.loads(payload)).get("type") == kind:
                return message


def quote():
    tab = Tab("alice", WS)
    welcome = tab.until("welcome")
    print("tab:    ", json.dumps({name: welcome[name] for name in ("type", "user_id", "worker", "channels")}))
    status, body = exchange(HTTP, post("/api/v1/quotes", {"user_id": "alice"}))
    print("poster: ", status, body.decode())
    message = tab.until("quote")
    print("tab:    ", json.dumps(message))
    assert status == 202 and json.loads(body)["request_id"] == message["request_id"]


def proxied(port, rest_port, host):
    """A tab and a POST through proxies; the tab stays until somebody ends it."""
    tab = Tab("carol", int(port), host=host, source="127.0.0.9")
    tab.until("welcome")
    status, body = exchange(int(rest_port), post("/api/v1/quotes", {"user_id": "carol"}, host))
    message = tab.until("quote")
    assert status == 202 and json.loads(body)["request_id"] == message["request_id"]
    found = subprocess.run(["btc-cluster", "ctl", "sessions", "--json", "--user", "carol"], capture_output=True, check=True)
    address = json.loads(found.stdout)[0]["address"]
    print(f"{host}: quote through ports {port} and {rest_port}, the client's address is {address}")
    assert address == "127.0.0.9"


class Count:
    def __init__(self):
        self.lock = threading.Lock()
        self.values = {
            "connections": 0, "answered": 0, "refused": 0, "reset": 0, "timed_out": 0, "longest_ms": 0,
            "tabs": 0, "tab_opened": 0, "tab_closed_1001": 0, "tab_cut": 0, "tab_refused": 0, "tab_longest_away_ms": 0,
        }
        self.faults = {}

    def add(self, name, fault=None):
        with self.lock:
            self.values[name] += 1
            if fault is not None:
                self.faults[repr(fault)] = self.faults.get(repr(fault), 0) + 1

    def most(self, name, since):
        with self.lock:
            self.values[name] = max(self.values[name], round((time.monotonic() - since) * 1000))


def knock(count, stop, number):
    """New connections without a pause: is anyone refused?"""
    turn = number
    while not os.path.exists(stop):
        turn += 1
        since = time.monotonic()
        count.add("connections")
        try:
            status, _ = exchange((HTTP, WS)[turn % 2], get("/healthz"))
            # 503: the door is open, the house is being left.
            count.add("answered" if status in (200, 503) else "reset", None if status == 200 else status)
        except ConnectionRefusedError as error:
            count.add("refused", error)
        except TimeoutError as error:
            count.add("timed_out", error)
        except OSError as error:
            count.add("reset", error)
        count.most("longest_ms", since)
        time.sleep(0.002)


def tab(count, stop, number):
    """A session that comes back by itself, as the page's does."""
    away = None
    while True:
        session = None
        try:
            session = Tab(f"tab-{number}", (HTTP, WS)[number % 2])
            session.until("welcome")
            count.add("tab_opened")
            if away is not None:
                count.most("tab_longest_away_ms", away)
            session.stream.settimeout(0.5)
            while True:
                try:
                    session.until("nothing")
                except TimeoutError:
                    if os.path.exists(stop):
                        count.add("tabs")
                        return
        except ConnectionRefusedError as error:
            count.add("tab_refused", error)
        except OSError as error:
            count.add("tab_closed_1001" if "1001" in str(error) else "tab_cut", error)
        # Like a browser it answers a close by hanging up.
        if session is not None:
            session.stream.close()
        if os.path.exists(stop):
            return
        away = time.monotonic()
        time.sleep(0.05)


def storm(stop, file):
    count = Count()
    threads = [threading.Thread(target=knock, args=(count, stop, number)) for number in range(4)]
    threads += [threading.Thread(target=tab, args=(count, stop, number)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(file + ".new", "w") as out:
        json.dump({**count.values, "faults": count.faults}, out)
    os.rename(file + ".new", file)


if __name__ == "__main__":
    {"quote": quote, "proxied": proxied, "storm": storm}[sys.argv[1]](*sys.argv[2:])
