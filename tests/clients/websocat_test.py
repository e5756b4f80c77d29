"""`websocat`, the command line's WebSocket: lines in, lines out."""

import json
import unittest

from daemon import Daemon, eventually
from program import Program


class Websocat(unittest.TestCase):
    def test_it_is_greeted_and_answered_by_commands(self):
        with Daemon(root="command") as daemon, Program("websocat", f"ws://{daemon.ws}") as websocat:
            self.assertEqual(websocat.line(), "Вы подключились")
            for said, answer in [
                ('{"action":"PING"}', "^PONG$"),
                ('{"action":"ECHO","data":"привет"}', "^Сервер услышал: привет$"),
                ("nonsense", "^Error: "),
                ('{"action":"PING"}', "^PONG$"),
            ]:
                websocat.say(said)
                self.assertRegex(websocat.line(), answer)

    def test_two_of_them_chat(self):
        with Daemon(root="chat") as daemon, Program("websocat", f"ws://{daemon.ws}") as one:
            with Program("websocat", f"ws://{daemon.ws}") as other:
                eventually("both are there", lambda: daemon.ctl("status")["totals"]["sessions"] == 2)
                one.say("hello")
                self.assertEqual((one.line(), other.line()), ("hello", "hello"))

    def test_it_hears_the_broadcast_and_the_end(self):
        with Daemon() as daemon, Program("websocat", "--exit-on-eof", f"ws://{daemon.ws}") as websocat:
            self.assertEqual(json.loads(websocat.line())["type"], "welcome")
            websocat.say("hello")
            while (heard := json.loads(websocat.line()))["type"] != "echo":
                pass
            self.assertEqual(heard["data"], "hello\n", "it sends the end of the line, too")
            daemon.terminate()
            *_, last = iter(websocat.line, None)
            self.assertEqual((json.loads(last)["event"], websocat.end()), ("shutdown", 0))

    def test_it_watches_a_stream_and_gets_a_quote(self):
        with Daemon() as daemon:
            with Program("websocat", f"ws://{daemon.ws}/stream1") as stream:
                self.assertEqual(json.loads(stream.line())["channel"], "price:BTC-USD")
            session = f"ws://{daemon.http}/ws?user_id=alice&channels=none"
            with Program("websocat", "--protocol", "btc-cluster.v1.json", session) as websocat:
                self.assertEqual(json.loads(websocat.line())["type"], "welcome")
                status, receipt = daemon.quote("alice")
                self.assertEqual((status, json.loads(websocat.line())["request_id"]), (202, receipt["request_id"]))


if __name__ == "__main__":
    unittest.main()
