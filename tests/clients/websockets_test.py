"""Python's `websockets`: what scripts do with it, at the four seeds' addresses and on the main session."""

import asyncio
import json
import logging
import socket
import struct
import unittest

import websockets
from websockets.sync.client import connect as connect_in_a_thread

from daemon import PATIENCE, Daemon

SUBPROTOCOL = "btc-cluster.v1.json"
# Which step of a test was slow is nobody's concern.
logging.getLogger("asyncio").setLevel(logging.ERROR)


async def text(ws):
    """The next message as it came."""
    return await asyncio.wait_for(ws.recv(), PATIENCE)


async def message(ws, *kinds):
    """The next message of these types; without any, the next one."""
    while True:
        it = json.loads(await text(ws))
        if not kinds or it["type"] in kinds:
            return it


async def closed(ws):
    """Everything that still comes, the close code and its reason."""
    heard = []
    try:
        while True:
            heard.append(json.loads(await text(ws)))
    except websockets.ConnectionClosed:
        return heard, ws.close_code, ws.close_reason


async def cut(ws):
    """What a dead network is to a client: no close frame, no FIN, only a reset."""
    ws.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.transport.abort()
    await ws.wait_closed()


class Case(unittest.IsolatedAsyncioTestCase):
    root = "broadcast"

    @classmethod
    def setUpClass(cls):
        cls.daemon = cls.enterClassContext(Daemon(root=cls.root))

    async def open(self, path="", **options):
        """A client that stays for the rest of the test."""
        return await self.enterAsyncContext(websockets.connect(f"ws://{self.daemon.ws}{path}", **options))

    async def many(self, path=""):
        """Some that are on more than one worker."""
        all = []
        while len(all) < 4 or await asyncio.to_thread(self.daemon.workers_in_use) < 2:
            self.assertLess(len(all), 20, "all on one worker")
            all.append(await self.open(path))
        return all

    async def welcomed(self, path="", **options):
        """One that is greeted with a `welcome`, and that."""
        ws = await self.open(path, **options)
        welcome = await message(ws)
        self.assertEqual(welcome["type"], "welcome")
        return ws, welcome


class Broadcast(Case):
    async def test_a_client_that_names_no_path_is_welcomed_and_hears_its_own_words(self):
        ws, welcome = await self.welcomed()
        self.assertEqual(welcome["client"], welcome["session_id"])
        for said, heard in [('{"price": [1, 2.5]}', {"price": [1, 2.5]}), ("just text", "just text")]:
            await ws.send(said)
            echo = await message(ws, "echo", "broadcast")
            self.assertEqual((echo["type"], echo["data"], echo["from"]), ("echo", heard, welcome["client"]))

    async def test_what_one_says_reaches_a_client_on_another_worker(self):
        listener, welcome = await self.welcomed()
        home = elsewhere = welcome["worker"]["id"]
        for _ in range(20):
            speaker, welcome = await self.welcomed("/?user_id=alice")
            if (elsewhere := welcome["worker"]["id"]) != home:
                break
        self.assertNotEqual(elsewhere, home, "20 clients, and all on one worker")
        await speaker.send('{"hello": "world"}')
        heard = await message(listener, "broadcast")
        self.assertEqual((heard["data"], heard["from"]), ({"hello": "world"}, "alice"))
        self.assertEqual((await message(speaker, "echo", "broadcast"))["type"], "echo")

    async def test_who_comes_and_goes_is_told(self):
        first, _ = await self.welcomed()
        second, _ = await self.welcomed("/?user_id=bob")
        for kind, total in [("client_connected", 2), ("client_disconnected", 1)]:
            told = await message(first, kind)
            while "bob" not in told["clients"]:
                told = await message(first, kind)
            self.assertEqual((told["count"], told["total"]), (len(told["clients"]), total))
            await second.close()

    async def test_the_heartbeat_beats(self):
        ws, _ = await self.welcomed()
        for _ in range(2):
            beat = await message(ws, "system")
            self.assertEqual((beat["event"], beat["connections"]), ("heartbeat", 1))
            self.assertGreater(beat["memory_bytes"], 0)

    async def test_a_binary_message_is_not_for_this_endpoint(self):
        ws, _ = await self.welcomed()
        await ws.send(b"\x00\x01")
        self.assertEqual((await closed(ws))[1], 1003)

    async def test_the_end_of_the_daemon_is_told_to_all(self):
        with Daemon(workers=2) as daemon:
            all = [await self.enterAsyncContext(websockets.connect(f"ws://{daemon.ws}")) for _ in range(4)]
            for ws in all:
                await message(ws, "welcome")
            daemon.terminate()
            for ws in all:
                heard, code, reason = await closed(ws)
                self.assertEqual((heard[-1]["type"], heard[-1]["event"]), ("system", "shutdown"))
                self.assertEqual((code, reason), (1001, "shutdown"))


class Command(Case):
    root = "command"

    async def test_a_client_is_greeted_and_its_commands_are_answered(self):
        ws = await self.open()
        self.assertEqual(await text(ws), "Вы подключились")
        for said, answer in [
            ({"action": "PING"}, "PONG"),
            ({"action": "ECHO", "data": "привет"}, "Сервер услышал: привет"),
        ]:
            await ws.send(json.dumps(said))
            self.assertEqual(await text(ws), answer)

    async def test_nonsense_gets_one_error_each_and_the_session_stays(self):
        ws = await self.open()
        await text(ws)
        for nonsense in ["{broken", '{"action": "DANCE"}', "PING", "[]"]:
            await ws.send(nonsense)
            self.assertRegex(await text(ws), "^Error: ")
        await ws.send('{"action": "PING"}')
        self.assertEqual(await text(ws), "PONG")

    async def test_a_script_without_asyncio_is_answered_too(self):
        def script():
            with connect_in_a_thread(f"ws://{self.daemon.ws}") as ws:
                ws.send('{"action": "PING"}')
                return [ws.recv(PATIENCE), ws.recv(PATIENCE)]

        self.assertEqual(await asyncio.to_thread(script), ["Вы подключились", "PONG"])


class Chat(Case):
    root = "chat"

    async def test_a_message_reaches_everybody_and_the_sender_as_it_was_written(self):
        all = await self.many()
        said = '{ "event": "chat-message", "payload": {"userName": "Аня", "message": "привет"} }'
        for words in [said, "plain text"]:
            await all[0].send(words)
            self.assertEqual([await text(ws) for ws in all], [words] * len(all))

    async def test_a_long_message_is_cut_to_fifty_characters(self):
        all = await self.many()
        payload = {"userName": "Аня", "message": "ж" * 60}
        await all[1].send(json.dumps({"event": "chat-message", "payload": payload}, ensure_ascii=False))
        for ws in all:
            self.assertEqual(json.loads(await text(ws))["payload"], payload | {"message": "ж" * 50})
        await all[1].send("x" * 60)
        self.assertEqual([await text(ws) for ws in all], ["x" * 50] * len(all))

    async def test_another_object_is_a_wrong_query_and_nobody_else_hears_of_it(self):
        one, other = await self.open(), await self.open()
        await one.send('{"event": "other"}')
        self.assertEqual(await text(one), "Wrong query")
        await one.send("last")
        self.assertEqual([await text(one), await text(other)], ["last", "last"])


class Streams(Case):
    async def test_each_of_the_four_pushes_its_channel_at_once(self):
        for path, kind, channel in [
            ("/stream1", "price", "price:BTC-USD"),
            ("/stream2", "price", "price:BTC-USD@1s"),
            ("/stream3", "candle", "candle:BTC-USD@1s"),
            ("/stream4", "stats", None),
        ]:
            ws = await self.open(path + "?user_id=" + path[1:])
            first = await message(ws)
            self.assertEqual((first["type"], first.get("channel")), (kind, channel))

    async def test_the_fourth_of_one_user_is_refused_until_one_of_the_three_leaves(self):
        all = [await self.open(f"/stream{n}?user_id=alice") for n in (1, 2, 3)]
        with self.assertRaises(websockets.InvalidStatus) as refused:
            await self.open("/stream4?user_id=alice")
        self.assertEqual(refused.exception.response.status_code, 429)
        await self.open("/stream4?user_id=bob")
        await all[1].close()
        await self.open("/stream4?user_id=alice")

    async def test_without_a_name_the_address_is_the_user(self):
        for n in (1, 2, 3):
            await self.open(f"/stream{n}")
        with self.assertRaises(websockets.InvalidStatus):
            await self.open("/stream4")


class Session(Case):
    root = "ws"

    async def test_the_subprotocol_is_agreed_on_and_none_is_no_hindrance(self):
        for offered, agreed in [
            ([SUBPROTOCOL], SUBPROTOCOL),
            (["other", SUBPROTOCOL], SUBPROTOCOL),
            (["other"], None),
            (None, None),
        ]:
            ws, welcome = await self.welcomed("/ws?user_id=alice", subprotocols=offered)
            self.assertEqual((ws.subprotocol, welcome["user_id"]), (agreed, "alice"))

    async def test_a_quote_that_is_posted_comes_to_every_session_of_the_user(self):
        all = await self.many("/ws?user_id=alice&channels=none")
        for ws in all:
            await message(ws, "welcome")
        status, receipt = await asyncio.to_thread(self.daemon.quote, "alice")
        self.assertEqual((status, receipt["sessions"]), (202, len(all)))
        for ws in all:
            quote = await message(ws)
            self.assertEqual((quote["type"], quote["request_id"]), ("quote", receipt["request_id"]))
            self.assertGreater(float(quote["price"]), 0)
        self.assertEqual((await asyncio.to_thread(self.daemon.quote, "nobody"))[0], 404)

    async def test_it_asks_and_is_answered(self):
        ws, welcome = await self.welcomed("/?user_id=alice")
        self.assertEqual(set(welcome["channels"]), {"price:BTC-USD", "stats"})
        await message(ws, "price")
        for said, kind in [
            ({"type": "ping", "id": 1}, "pong"),
            ({"type": "echo", "data": {"a": 1}, "id": "e"}, "echo"),
            ({"type": "quote", "id": 2}, "quote"),
            ({"type": "subscribe", "channels": ["news"], "id": 3}, "ack"),
            ({"type": "dance", "id": 4}, "error"),
        ]:
            await ws.send(json.dumps(said))
            self.assertEqual((await message(ws, kind))["id"], said["id"])
        await ws.send(json.dumps({"type": "publish", "channel": "news", "data": "said by a session"}))
        self.assertEqual((await message(ws, "message"))["data"], "said by a session")

    async def test_people_in_a_room_hear_each_other_and_a_newcomer_what_was_said(self):
        async def enter(user):
            ws, _ = await self.welcomed(f"/ws?user_id={user}&channels=none")
            await ws.send('{"type": "subscribe", "channels": ["chat:lobby"], "id": 1}')
            return ws

        ann, bob = await enter("ann"), await enter("bob")
        for ws in (ann, bob):
            await message(ws, "ack")
        await ann.send('{"type": "publish", "channel": "chat:lobby", "data": "привет"}')
        for ws in (ann, bob, await enter("newcomer")):
            heard = await message(ws, "message")
            self.assertEqual((heard["channel"], heard["from"], heard["data"]), ("chat:lobby", "ann", "привет"))

    async def lost_and_found(self, resume):
        """A client reads two messages, loses its connection, and comes back with `resume(token)` until that was once
        on another worker; each time it must hear what it missed and nothing else."""
        homes = []
        for n in range(20):
            ws, welcome = await self.welcomed(f"/ws?user_id=lost{n}&channels=news")
            await asyncio.to_thread(self.daemon.publish, "one", "two")
            self.assertEqual([(await message(ws))["data"] for _ in range(2)], ["one", "two"])
            # The ping carries TCP's word for all that has come.
            await asyncio.wait_for(await ws.ping(), PATIENCE)
            await cut(ws)
            await asyncio.to_thread(self.daemon.publish, "three", "four")
            ws, again = await self.welcomed(f"/ws?user_id=lost{n}&resume={resume(welcome['resume'])}")
            self.assertEqual((again["resumed"], again["session_id"]), (True, welcome["session_id"]))
            self.assertNotEqual(again["resume"], welcome["resume"])
            self.assertEqual([(await message(ws))["data"] for _ in range(2)], ["three", "four"])
            await ws.send('{"type": "ping"}')
            self.assertEqual((await message(ws))["type"], "pong", "something came twice")
            # It stays, so that others are welcome elsewhere, but a client that does not read cannot close.
            await ws.send('{"type": "unsubscribe", "channels": ["news"]}')
            homes.append((welcome["worker"]["id"], again["worker"]["id"]))
            if homes[-1][0] != homes[-1][1]:
                return
        self.fail(f"never on another worker: {homes}")

    async def test_who_counted_hears_what_it_missed_on_another_worker(self):
        await self.lost_and_found(lambda token: f"{token}.2")

    async def test_who_did_not_count_hears_what_tcp_did_not_bring(self):
        await self.lost_and_found(lambda token: token)

    async def test_what_arrived_but_was_not_read_comes_again_to_who_counts(self):
        ws, welcome = await self.welcomed("/ws?user_id=late&channels=news")
        said = [f"{n}" for n in range(30)]
        await asyncio.to_thread(self.daemon.publish, *said)
        self.assertEqual((await message(ws))["data"], "0")
        await cut(ws)
        ws, again = await self.welcomed(f"/ws?user_id=late&resume={welcome['resume']}.1")
        self.assertTrue(again["resumed"])
        self.assertEqual([(await message(ws))["data"] for _ in range(29)], said[1:])

    async def test_a_token_is_good_once_and_for_its_user_only(self):
        ws, welcome = await self.welcomed("/ws?user_id=carol")
        await cut(ws)
        _, thief = await self.welcomed(f"/ws?user_id=mallory&resume={welcome['resume']}")
        self.assertFalse(thief["resumed"])
        _, back = await self.welcomed(f"/ws?user_id=carol&resume={welcome['resume']}")
        self.assertTrue(back["resumed"])
        _, late = await self.welcomed(f"/ws?user_id=carol&resume={welcome['resume']}")
        self.assertFalse(late["resumed"])
        self.assertNotEqual(late["session_id"], welcome["session_id"])

    async def test_who_comes_back_before_it_was_missed_replaces_its_old_self(self):
        old, welcome = await self.welcomed("/ws?user_id=dave&channels=news")
        new, again = await self.welcomed(f"/ws?user_id=dave&resume={welcome['resume']}.0")
        self.assertEqual((again["resumed"], again["session_id"]), (True, welcome["session_id"]))
        self.assertEqual((await closed(old))[1:], (4005, "replaced"))
        await asyncio.to_thread(self.daemon.publish, "once")
        self.assertEqual((await message(new))["data"], "once")

    async def test_who_said_goodbye_is_forgotten(self):
        ws, welcome = await self.welcomed("/ws?user_id=erin")
        await ws.close()
        _, again = await self.welcomed(f"/ws?user_id=erin&resume={welcome['resume']}")
        self.assertFalse(again["resumed"])

    async def test_who_is_disconnected_by_the_operator_is_told_why(self):
        ws, welcome = await self.welcomed("/ws?user_id=frank&channels=none")
        await asyncio.to_thread(self.daemon.ctl, "kick", welcome["session_id"])
        heard, code, _ = await closed(ws)
        self.assertEqual((heard[-1]["type"], code), ("system", 4006))


if __name__ == "__main__":
    unittest.main()
