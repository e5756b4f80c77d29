"""`curl`: REST, Server-Sent Events with -N, and long polling."""

import json
import subprocess
import unittest

from daemon import PATIENCE, Daemon, eventually
from program import Program


def curl(*words):
    """Status and body of one request."""
    command = ["curl", "-sS", "--max-time", str(PATIENCE), "-w", "\n%{http_code}", *words]
    body, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), body


class Events(Program):
    """`curl -N`: the head of the answer, and one event after another."""

    def __init__(self, url, *words):
        super().__init__("curl", "-sS", "-N", "-i", *words, url)

    def __enter__(self):
        super().__enter__()
        version, status, *_ = self.line().split()
        self.version, self.status, self.head = version, int(status), {}
        while line := self.line():
            name, _, value = line.partition(":")
            self.head[name.lower()] = value.strip()
        return self

    def event(self, *kinds):
        """The next event of these types; without any, the next one: its type, its id and its message."""
        while True:
            fields = {}
            while (line := self.line()) or not fields:
                assert line is not None, "the answer has ended"
                name, _, value = line.partition(":")
                # A line without a name is a comment, and `retry` alone is no event.
                if name in ("event", "id", "data"):
                    fields[name] = value.removeprefix(" ")
            if not kinds or fields["event"] in kinds:
                return fields["event"], fields.get("id"), json.loads(fields["data"])


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = cls.enterClassContext(Daemon())
        cls.api = f"http://{cls.daemon.http}/api/v1"


class Rest(Case):
    def test_the_price_and_the_answer_to_a_post(self):
        status, body = curl(f"{self.api}/price")
        self.assertEqual((status, json.loads(body)["symbol"]), (200, "BTC-USD"))
        post = ["-H", "content-type: application/json", "-d", '{"user_id":"nobody"}', f"{self.api}/quotes"]
        status, body = curl(*post)
        self.assertEqual((status, json.loads(body)["type"]), (404, "/problems/user-not-connected"))

    def test_all_three_transports_are_told(self):
        _, body = curl(f"{self.api}/info")
        self.assertEqual(set(json.loads(body)["transports"]), {"websocket", "sse", "poll"})

    def test_a_websocket_address_says_what_it_is(self):
        self.assertEqual(curl(f"http://{self.daemon.http}/ws?user_id=alice")[0], 426)
        self.assertEqual(curl(f"http://{self.daemon.ws}/nothing")[0], 426)


class ServerSentEvents(Case):
    def events(self, query, *words):
        return self.enterContext(Events(f"{self.api}/events?{query}", *words))

    def test_the_welcome_comes_first_and_then_prices_and_statistics(self):
        events = self.events("user_id=alice")
        self.assertEqual((events.status, events.head["content-type"]), (200, "text/event-stream"))
        self.assertEqual((events.head["cache-control"], events.head["x-accel-buffering"]), ("no-cache", "no"))
        kind, _, welcome = events.event()
        self.assertEqual((kind, welcome["type"], welcome["user_id"]), ("welcome", "welcome", "alice"))
        left = {"price", "stats"}
        while left:
            kind, _, message = events.event()
            self.assertEqual(kind, message["type"])
            left.discard(kind)

    def test_a_quote_that_is_posted_comes_with_an_id(self):
        all = []
        while len(all) < 4 or self.daemon.workers_in_use() < 2:
            self.assertLess(len(all), 20, "all on one worker")
            all.append(self.events("user_id=bob&channels=none"))
            all[-1].event("welcome")
        status, receipt = self.daemon.quote("bob")
        self.assertEqual((status, receipt["sessions"]), (202, len(all)))
        for events in all:
            kind, id, quote = events.event()
            self.assertEqual((kind, quote["request_id"]), ("quote", receipt["request_id"]))
            self.assertTrue(id)

    def lost_and_found(self, come_back):
        """Reads two messages, loses its connection and comes back until that was once on another worker; each time it
        must hear what it missed and nothing else."""
        homes = []
        for n in range(20):
            events = self.events(f"user_id=lost{n}&channels=news")
            _, _, welcome = events.event("welcome")
            self.daemon.publish("one", "two")
            self.assertEqual(events.event()[2]["data"], "one")
            _, last, message = events.event()
            self.assertEqual(message["data"], "two")
            events.kill()
            self.daemon.publish("three", "four")
            events = come_back(n, last)
            _, _, again = events.event()
            self.assertEqual((again["resumed"], again["session_id"]), (True, welcome["session_id"]))
            self.assertEqual([events.event()[2]["data"] for _ in range(2)], ["three", "four"])
            status, receipt = self.daemon.quote(f"lost{n}")
            self.assertEqual((status, receipt["sessions"]), (202, 1))
            self.assertEqual(events.event()[2].get("request_id"), receipt["request_id"], "something came twice")
            homes.append((welcome["worker"]["id"], again["worker"]["id"]))
            if homes[-1][0] != homes[-1][1]:
                return
        self.fail(f"never on another worker: {homes}")

    def test_who_comes_back_with_the_last_id_loses_nothing_and_hears_nothing_twice(self):
        self.lost_and_found(lambda n, last: self.events(f"user_id=lost{n}", "-H", f"Last-Event-ID: {last}"))

    def test_the_last_id_may_stand_in_the_query(self):
        self.lost_and_found(lambda n, last: self.events(f"user_id=lost{n}&resume={last}"))

    def test_nobody_is_there_for_a_quote_while_it_is_away(self):
        events = self.events("user_id=carol&channels=news")
        events.event("welcome")
        self.assertEqual(self.daemon.quote("carol")[0], 202)
        _, last, _ = events.event("quote")
        events.kill()
        eventually("the quote is refused", lambda: self.daemon.quote("carol")[0] == 404)
        back = self.events("user_id=carol", "-H", f"Last-Event-ID: {last}")
        self.assertTrue(back.event("welcome")[2]["resumed"])
        self.assertEqual(self.daemon.quote("carol")[0], 202)

    def test_a_client_of_http_1_0_is_served_without_chunks(self):
        events = self.events("user_id=old&channels=none", "-0")
        self.assertNotIn("transfer-encoding", events.head)
        self.assertEqual(events.event()[0], "welcome")
        _, receipt = self.daemon.quote("old")
        self.assertEqual(events.event()[2]["request_id"], receipt["request_id"])

    def test_who_is_disconnected_by_the_operator_is_told_and_then_gets_204(self):
        events = self.events("user_id=frank&channels=none")
        _, _, welcome = events.event("welcome")
        self.daemon.quote("frank")
        _, last, _ = events.event("quote")
        self.daemon.ctl("kick", welcome["session_id"])
        _, _, close = events.event("close")
        self.assertEqual((close["code"], close["reason"]), (4006, "disconnected"))
        self.assertEqual((events.line(), events.end()), (None, 0))
        for _ in range(4):
            self.assertEqual(curl("-H", f"Last-Event-ID: {last}", f"{self.api}/events?user_id=frank"), (204, ""))

    def test_the_end_of_the_daemon_is_told(self):
        with Daemon(workers=2) as daemon, Events(f"http://{daemon.http}/api/v1/events?user_id=alice") as events:
            events.event("welcome")
            daemon.terminate()
            _, _, close = events.event("close")
            self.assertEqual((close["code"], close["reason"]), (1001, "shutdown"))
            self.assertEqual((events.line(), events.end()), (None, 0))


class Polling(Case):
    def poll(self, user, **query):
        """One poll, on a connection of its own: its status, and its answer."""
        status, body = curl(self.url(user, **query))
        return status, json.loads(body or "null")

    def url(self, user, **query):
        return f"{self.api}/poll?user_id={user}" + "".join(f"&{key}={value}" for key, value in query.items())

    def opened(self, user, **query):
        """A session: its cursor and its welcome."""
        status, answer = self.poll(user, **query)
        self.assertEqual((status, answer["messages"][0]["type"]), (200, "welcome"))
        return answer["cursor"], answer["messages"][0]

    def held(self, user, cursor):
        """A poll that waits."""
        return self.enterContext(Program("curl", "-sS", "-N", self.url(user, cursor=cursor)))

    def waiting(self, user, cursor):
        """One that is known to have come there: of two, the other one has ended, empty."""
        two = [self.held(user, cursor) for _ in range(2)]
        ended = eventually("one of two polls ends", lambda: [poll for poll in two if not poll.lines.empty()])
        self.assertEqual(json.loads(ended[0].line())["messages"], [])
        [other] = [poll for poll in two if poll not in ended]
        return other

    def test_the_first_answer_is_the_welcome_at_once(self):
        cursor, welcome = self.opened("alice")
        self.assertTrue(cursor)
        self.assertEqual((welcome["user_id"], welcome["resumed"]), ("alice", False))
        status, answer = self.poll("alice", cursor=cursor)
        self.assertEqual(status, 200)
        self.assertLessEqual({message["type"] for message in answer["messages"]}, {"price", "stats"})

    def test_a_held_poll_answers_when_a_quote_comes(self):
        cursor, _ = self.opened("bob", channels="none")
        held = self.held("bob", cursor)
        status, receipt = self.daemon.quote("bob")
        self.assertEqual((status, receipt["sessions"]), (202, 1))
        answer = json.loads(held.line())
        self.assertEqual([message["request_id"] for message in answer["messages"]], [receipt["request_id"]])
        self.assertNotEqual(answer["cursor"], cursor)

    def test_the_same_messages_come_again_until_their_cursor_is_sent_back(self):
        cursor, _ = self.opened("carol", channels="news")
        self.daemon.publish("one", "two")
        # Each poll is a new connection, to whichever worker.
        for _ in range(10):
            status, answer = self.poll("carol", cursor=cursor)
            self.assertEqual((status, [message["data"] for message in answer["messages"]]), (200, ["one", "two"]))
        self.daemon.publish("three")
        _, answer = self.poll("carol", cursor=answer["cursor"])
        self.assertEqual([message["data"] for message in answer["messages"]], ["three"])

    def test_polls_on_any_worker_lose_nothing(self):
        cursor, _ = self.opened("dave", channels="news")
        heard = []
        for n in range(20):
            self.daemon.publish(n)
            _, answer = self.poll("dave", cursor=cursor)
            heard += [message["data"] for message in answer["messages"]]
            cursor = answer["cursor"]
        self.assertEqual(heard, list(range(20)))

    def test_a_second_poll_ends_the_first_which_is_empty(self):
        cursor, _ = self.opened("erin", channels="news")
        first = self.waiting("erin", cursor)
        second = self.held("erin", cursor)
        self.assertEqual(json.loads(first.line())["messages"], [])
        self.daemon.publish("for the last one")
        self.assertEqual([message["data"] for message in json.loads(second.line())["messages"]], ["for the last one"])

    def test_a_cursor_resumes_over_another_transport(self):
        cursor, welcome = self.opened("grace", channels="news")
        self.daemon.publish("one")
        with Events(f"{self.api}/events?user_id=grace&resume={cursor}") as events:
            _, _, again = events.event()
            self.assertEqual((again["resumed"], again["session_id"]), (True, welcome["session_id"]))
            self.assertEqual(events.event()[2]["data"], "one")

    def test_the_id_of_an_event_is_a_cursor(self):
        with Events(f"{self.api}/events?user_id=heidi&channels=news") as events:
            _, _, welcome = events.event("welcome")
            self.daemon.publish("one")
            _, last, _ = events.event()
        self.daemon.publish("two")
        cursor, messages = last, []
        while len(messages) < 2:
            status, answer = self.poll("heidi", cursor=cursor)
            self.assertEqual(status, 200)
            messages += answer["messages"]
            cursor = answer["cursor"]
        again, two = messages
        self.assertEqual((again["resumed"], again["session_id"]), (True, welcome["session_id"]))
        self.assertEqual(two["data"], "two")

    def test_who_is_disconnected_by_the_operator_is_told_and_then_gets_410(self):
        cursor, welcome = self.opened("frank", channels="none")
        held = self.waiting("frank", cursor)
        self.daemon.ctl("kick", welcome["session_id"])
        answer = json.loads(held.line())
        close = answer["messages"][-1]
        self.assertEqual((close["type"], close["code"], close["reason"]), ("close", 4006, "disconnected"))
        for cursor in (answer["cursor"], cursor) * 2:
            self.assertEqual(self.poll("frank", cursor=cursor)[0], 410)


if __name__ == "__main__":
    unittest.main()
