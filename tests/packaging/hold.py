"""Sessions that do not come back, and what they hear while the daemon changes under them.

    hold.py sessions COUNT STOP FILE
                        so many sessions, numbered messages to all of them and quotes for one after the other, until the
                        file STOP is there; FILE.ready is there as soon as all are connected, FILE says what they heard
    hold.py room STOP   one session says something in a room; when STOP is there another one enters, and must hear it.
                        STOP.ready is there as soon as it is said
"""

import collections
import json
import os
import selectors
import sys
import threading
import time

from traffic import HTTP, WS, Tab, exchange, post

ADMIN = 3001
# Between two messages, so also how exactly a silence is measured.
PACE = 0.1


class Posts(threading.Thread):
    """Messages and quotes under way, and what was answered: only what got a 202 must arrive."""

    def __init__(self, users):
        super().__init__(daemon=True)
        self.users, self.over = users, threading.Event()
        self.said, self.quotes, self.refused = set(), {}, collections.Counter()

    def run(self):
        number = 0
        while not self.over.wait(PACE):
            number += 1
            if self.ask(ADMIN, "/api/v1/channels/news/messages", {"data": number}):
                self.said.add(number)
            user = self.users[number % len(self.users)]
            if receipt := self.ask(HTTP, "/api/v1/quotes", {"user_id": user}):
                self.quotes[receipt["request_id"]] = user

    def ask(self, port, path, value):
        try:
            status, body = exchange(port, post(path, value))
            if status == 202:
                return json.loads(body)
        except OSError as error:
            status = type(error).__name__
        self.refused[str(status)] += 1
        return None


class Held(Tab):
    def __init__(self, number):
        self.user = f"held-{number}"
        super().__init__(self.user, (HTTP, WS)[number % 2], channels="news")
        self.until("welcome")
        self.stream.setblocking(False)
        self.closed = None
        self.heard, self.longest, self.told = time.monotonic(), 0, 0
        self.moves, self.disorder = 0, 0
        self.news, self.quotes = collections.Counter(), collections.Counter()
        self.last = 0

    def hear(self):
        """Everything that has come."""
        now = time.monotonic()
        self.longest, self.heard = max(self.longest, now - self.heard), now
        try:
            self.more()
            while self.closed is None:
                self.take(*self.whole())
        except BlockingIOError:
            pass
        except OSError as error:
            self.closed = type(error).__name__

    def take(self, opcode, payload):
        if opcode == 8:
            self.closed = str(int.from_bytes(payload[:2], "big"))
        if opcode == 9:
            self.stream.sendall(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        if opcode != 1:
            return
        message = json.loads(payload)
        if message["type"] == "message":
            self.news[message["data"]] += 1
            self.disorder += message["data"] < self.last
            self.last = message["data"]
        elif message["type"] == "quote":
            self.quotes[message["request_id"]] += 1
        elif message.get("event") == "moved":
            self.moves += 1
            self.told = max(self.told, message["silence_ms"])


def leave(tabs):
    """Ends sessions for good: none stays behind suspended."""
    for tab in tabs:
        tab.stream.settimeout(10)
        tab.stream.sendall(bytes([0x88, 0x82, 0, 0, 0, 0, 1000 >> 8, 1000 & 255]))
    for tab in tabs:
        while tab.stream.recv(65536):
            pass


def lacks(tabs, posts):
    """Messages and quotes that were accepted and have not come to sessions that are open."""
    messages = sum(len(posts.said - tab.news.keys()) for tab in tabs)
    have = {tab.user: tab.quotes for tab in tabs}
    return messages, sum(user in have and quote not in have[user] for quote, user in posts.quotes.items())


def sessions(count, stop, file):
    tabs = [Held(number) for number in range(int(count))]
    posts = Posts([tab.user for tab in tabs])
    posts.start()
    chosen = selectors.DefaultSelector()
    for tab in tabs:
        chosen.register(tab.stream, selectors.EVENT_READ, tab)
    ready, until = False, None
    while until is None or time.monotonic() < until:
        for key, _ in chosen.select(0.05):
            key.data.hear()
            if key.data.closed is not None:
                chosen.unregister(key.fileobj)
                key.fileobj.close()
        if not ready and posts.said:
            # From here on it counts: who was connected first has waited for the others.
            for tab in tabs:
                tab.heard, tab.longest = time.monotonic(), 0
            ready = True
            open(file + ".ready", "w").close()
        if os.path.exists(stop):
            posts.over.set()
            until = until or time.monotonic() + 10
        if until and not posts.is_alive() and lacks([tab for tab in tabs if tab.closed is None], posts) == (0, 0):
            break
    alive = [tab for tab in tabs if tab.closed is None]
    messages, quotes = lacks(alive, posts)
    twice = [sum(count > 1 for tab in tabs for count in heard(tab).values()) for heard in (lambda t: t.news, lambda t: t.quotes)]
    values = {
        "sessions": len(tabs), "held": len(alive), "closed": collections.Counter(tab.closed for tab in tabs if tab.closed),
        "longest_ms": round(max((tab.longest for tab in alive), default=0) * 1000),
        "moved": sum(tab.moves > 0 for tab in alive), "told_ms": max(tab.told for tab in tabs),
        "messages": len(posts.said), "messages_lost": messages, "messages_twice": twice[0],
        "disorder": sum(tab.disorder for tab in tabs),
        "quotes": len(posts.quotes), "quotes_lost": quotes, "quotes_twice": twice[1], "not_accepted": posts.refused,
    }  # fmt: skip
    leave(alive)
    with open(file + ".new", "w") as out:
        json.dump(values, out)
    os.rename(file + ".new", file)


def room(stop):
    alice = Tab("alice", channels="none")
    alice.say({"type": "subscribe", "channels": ["chat:lobby"], "id": 0})
    alice.until("ack")
    alice.say({"type": "publish", "channel": "chat:lobby", "data": "said before", "id": 1})
    alice.until("ack")
    open(stop + ".ready", "w").close()
    while not os.path.exists(stop):
        time.sleep(0.05)
    bob = Tab("bob", channels="none")
    bob.say({"type": "subscribe", "channels": ["chat:lobby"], "id": 0})
    print(message := bob.until("message"))
    assert message["data"] == "said before"
    alice.say({"type": "publish", "channel": "chat:lobby", "data": "said after", "id": 2})
    print(message := bob.until("message"))
    assert message["data"] == "said after"


if __name__ == "__main__":
    {"sessions": sessions, "room": room}[sys.argv[1]](*sys.argv[2:])
