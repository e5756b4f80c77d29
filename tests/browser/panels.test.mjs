// The panels below the price, against the stand-in: each is there while it is open, and what others say is text.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { crampedPanels, faintTexts } from "./lib/looks.mjs";
import { proxy } from "./lib/proxy.mjs";
import { standin } from "./standin.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const STILL = { tick: 1e9, mock: false, source: "binance" };
const EVIL = '<img src=x onerror="document.title=1">';

async function serve(t, options) {
  const server = await standin({ ...STILL, ...options });
  t.after(() => server.stop({ notice: false }));
  return server;
}

/** Connected tabs, and their server; the panel of that name is open in each. */
async function opened(t, panel, { count = 1, ...options } = {}) {
  const server = await serve(t, options);
  const context = await browser.newContext();
  t.after(() => context.close());
  const tabs = [];
  for (let i = 0; i < count; i += 1) {
    const tab = await (await Tab.open(context, server.url)).is("connected");
    await toggle(tab, panel);
    tabs.push(tab);
  }
  return { server, context, tabs, tab: tabs[0] };
}

const toggle = (tab, panel) => tab.at(panel).locator("summary").click();
const has = (tab, testid, text) => tab.at(testid).filter({ hasText: text }).waitFor();
const lines = (tab, testid) => tab.at(testid).locator("li").evaluateAll((all) => all.map((line) => [line.dataset.kind, line.querySelector("b")?.textContent ?? "", line.lastElementChild.textContent]));

function calm(...tabs) {
  for (const tab of tabs) assert.deepEqual(tab.errors, [], "no console errors");
}

test("an idle page has one session and no other connection", async (t) => {
  const server = await serve(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  const tab = await (await Tab.open(context, server.url)).is("connected");
  assert.deepEqual([server.sessions.size, server.sides.sockets.size], [1, 0]);
  assert.ok(!server.requests.includes("GET /api/v1/streams"));
  for (const testid of ["chat-log", "broadcast-test", "command-input", "streams"]) assert.equal(await tab.at(testid).isVisible(), false, testid);
  calm(tab);
});

describe("the chat", () => {
  test("is a room of the own session: what was said, what is said, and who is there", async (t) => {
    const { server, tabs: [tab, other] } = await opened(t, "chat", { count: 2 });
    await has(tab, "chat-presence", "2 users, 2 sessions here");
    const [user, her] = [await tab.text("user-id"), await other.text("user-id")];
    assert.deepEqual((await tab.at("chat-users").locator("li").allTextContents()).toSorted(), [user, her].toSorted());
    await tab.at("chat-input").fill("Hello");
    await tab.at("chat-input").press("Enter");
    await eventually(async () => assert.deepEqual(await lines(other, "chat-log"), [["other", user, "Hello"]]));
    await eventually(async () => assert.deepEqual(await lines(tab, "chat-log"), [["own", "you", "Hello"]]));
    assert.equal(await tab.at("chat-input").inputValue(), "");
    await other.at("chat-input").fill(EVIL);
    await other.at("chat-send").click();
    await eventually(async () => assert.deepEqual((await lines(tab, "chat-log"))[1], ["other", her, EVIL]));
    assert.equal(await tab.page.locator("img").count(), 0);
    // Closed and opened again: what was said is there again, once.
    await toggle(other, "chat");
    await has(tab, "chat-presence", "1 user, 1 session here");
    server.rooms.say("chat:lobby", "back-end", ["any", { data: 1 }]);
    await toggle(other, "chat");
    await eventually(async () => assert.deepEqual((await lines(other, "chat-log")).map(([, , text]) => text), ["Hello", EVIL, '["any",{"data":1}]']));
    calm(tab, other);
  });

  test("changes its room, and refuses what cannot be one", async (t) => {
    const { server, tabs: [tab, other] } = await opened(t, "chat", { count: 2 });
    await has(tab, "chat-presence", "2 users");
    await tab.at("chat-room").fill("no spaces");
    await tab.at("chat-room").press("Enter");
    await has(tab, "chat-state", "A room has 1 to 64 of the characters");
    await tab.at("chat-room").fill("quiet");
    await tab.at("chat-room").press("Enter");
    await has(tab, "chat-presence", "1 user, 1 session here");
    await has(other, "chat-presence", "1 user, 1 session here");
    server.rooms.say("chat:lobby", "her", { text: "not here" });
    server.rooms.say("chat:quiet", "her", { text: "here" });
    await eventually(async () => assert.deepEqual((await lines(tab, "chat-log")).map(([, , text]) => text), ["here"]));
    calm(tab);
  });

  test("does not say a thing twice after a reconnection with a gap, and says what it does not know", async (t) => {
    const { server, tab } = await opened(t, "chat");
    await has(tab, "chat-presence", "1 user");
    server.rooms.say("chat:lobby", "her", { text: "one" });
    await eventually(async () => assert.equal((await lines(tab, "chat-log")).length, 1));
    server.silent = true;
    await tab.at("chat-input").fill("lost");
    await tab.at("chat-input").press("Enter");
    await eventually(() => assert.ok(server.heard.some(({ type }) => type === "publish")));
    server.silent = false;
    server.all.resume = false;
    server.cut();
    await has(tab, "chat-log", "whether the last message got through is not known");
    await has(tab, "chat-presence", "1 user");
    server.rooms.say("chat:lobby", "her", { text: "two" });
    await eventually(async () => assert.deepEqual((await lines(tab, "chat-log")).map(([kind, , text]) => (kind === "system" ? kind : text)), ["one", "system", "two"]));
    calm(tab);
  });

  test("shows a refusal in words and gives the text back", async (t) => {
    const { server, tab } = await opened(t, "chat");
    await has(tab, "chat-presence", "1 user");
    server.publishRefusal = { code: "too-long", message: "a message has at most 50 characters" };
    await tab.at("chat-input").fill("a long one");
    await tab.at("chat-input").press("Enter");
    await has(tab, "chat-state", "Not sent: a message has at most 50 characters.");
    assert.equal(await tab.at("chat-input").inputValue(), "a long one");
    server.publishRefusal = null;
    await tab.at("chat-input").press("Enter");
    await eventually(async () => assert.deepEqual((await lines(tab, "chat-log")).map(([, , text]) => text), ["a long one"]));
    assert.equal(await tab.text("chat-state"), "");
  });

  test("without user ids is without them", async (t) => {
    const { tab } = await opened(t, "chat", { statsUsers: false });
    await has(tab, "chat-presence", "1 user, 1 session here");
    assert.equal(await tab.at("chat-users").locator("li").count(), 0);
  });

  test("keeps two hundred lines", async (t) => {
    const { server, tab } = await opened(t, "chat");
    await has(tab, "chat-presence", "1 user");
    for (let n = 1; n <= 260; n += 1) server.rooms.say("chat:lobby", "her", { text: `line ${n}` });
    await has(tab, "chat-log", "line 260");
    const all = await lines(tab, "chat-log");
    assert.deepEqual([all.length, all[0][2]], [200, "line 61"]);
    const below = await tab.at("chat-log").evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight);
    assert.ok(below < 2, "the newest is in sight");
  });

  for (const mode of ["sse", "poll"]) {
    test(`only listens over ${mode}, and says so`, async (t) => {
      const { server, context } = await opened(t, "streams-panel");
      const tab = await (await Tab.open(context, server.url)).is("connected");
      await tab.at("transport-select").selectOption(mode);
      await tab.at("transport").filter({ hasText: mode }).waitFor();
      await tab.is("connected");
      server.rooms.say("chat:lobby", "her", { text: "before" });
      await toggle(tab, "chat");
      await has(tab, "chat-state", "Over this transport the page only listens");
      assert.deepEqual([await tab.at("chat-input").isDisabled(), await tab.at("chat-send").isDisabled()], [true, true]);
      server.rooms.say("chat:lobby", "her", { text: "after" });
      await has(tab, "chat-log", "after");
      assert.ok(server.asked.at(-1).path.endsWith(mode === "sse" ? "events" : "poll"));
      await tab.at("transport-select").selectOption("websocket");
      await tab.at("chat-input").and(tab.page.locator(":enabled")).waitFor();
      await tab.at("chat-input").fill("now");
      await tab.at("chat-input").press("Enter");
      await has(tab, "chat-log", "now");
      calm(tab);
    });
  }

  test("over a server without rooms says so, and the session goes on", async (t) => {
    const { server, context } = await opened(t, "streams-panel");
    server.rooms.is = () => false;
    const tab = await (await Tab.open(context, server.url)).is("connected");
    await toggle(tab, "chat");
    await has(tab, "chat-state", /This room cannot be entered: there is no channel/);
    await toggle(tab, "chat");
    await tab.at("transport-select").selectOption("sse");
    await tab.at("transport").filter({ hasText: "sse" }).waitFor();
    await tab.is("connected");
    await toggle(tab, "chat");
    await has(tab, "chat-state", "There is no such channel");
    await tab.is("connected");
  });
});

describe("broadcast", () => {
  test("goes from one to all others, and is over when the panel is closed", async (t) => {
    const { server, tabs: [tab, other] } = await opened(t, "broadcast", { count: 2 });
    const user = await tab.text("user-id");
    await has(other, "broadcast-state", "Connected.");
    await tab.at("broadcast-test").click();
    await eventually(async () => assert.deepEqual((await lines(other, "broadcast-log")).at(-1), ["other", user, "Test"]));
    await eventually(async () => assert.deepEqual((await lines(tab, "broadcast-log")).at(-1), ["own", "you", "Test"]));
    await has(tab, "broadcast-log", `${await other.text("user-id")} came; 2 here.`);
    await toggle(tab, "broadcast");
    await has(other, "broadcast-log", `${user} left; 1 here.`);
    assert.deepEqual(server.sides.closes, [{ path: "/broadcast", code: 1000 }]);
    await tab.is("connected");
    calm(tab, other);
  });

  test("comes back by itself, and says why not where it does not", async (t) => {
    const { server, tab } = await opened(t, "broadcast");
    await has(tab, "broadcast-state", "Connected.");
    const close = (code, reason) => [...server.sides.sockets].forEach(({ socket }) => socket.close(code, reason));
    close(1012, "worker-replaced");
    await has(tab, "broadcast-state", "(worker-replaced, 1012) It is tried again.");
    assert.equal(await tab.at("broadcast-test").isDisabled(), true);
    await has(tab, "broadcast-state", /^Connected\.$/);
    close(4006, "kicked");
    await has(tab, "broadcast-state", /An administrator disconnected this session\. \(kicked, 4006\)$/);
    await tab.page.waitForTimeout(1_200);
    assert.equal(server.sides.sockets.size, 0);
    await toggle(tab, "broadcast");
    await toggle(tab, "broadcast");
    await has(tab, "broadcast-state", /^Connected\.$/);
  });

  test("cannot be had where WebSockets are shut out, and says so", async (t) => {
    const server = await serve(t);
    const between = await proxy(t, server.url, { upgrades: "cut" });
    const context = await browser.newContext();
    t.after(() => context.close());
    const tab = await (await Tab.open(context, between.url)).is("connected", 20_000);
    await toggle(tab, "broadcast");
    await has(tab, "broadcast-state", "WebSockets may not get through from here");
    between.rules.upgrades = "pass";
    await has(tab, "broadcast-state", /^Connected\.$/);
  });

  test("goes to the server's other address where there is one", async (t) => {
    const { server, tab } = await opened(t, "broadcast", { pageWsUrl: "own" });
    await has(tab, "broadcast-state", /^Connected\.$/);
    const [{ socket }] = server.sides.sockets;
    assert.equal(socket._socket.localPort, server.ports.ws);
  });
});

test("commands: what is typed is sent, and the answers are text", async (t) => {
  const { server, tab } = await opened(t, "command");
  await has(tab, "command-log", "Вы подключились");
  for (const typed of ["PING", `ECHO ${EVIL}`, '{"action":"ECHO","data":1}', "nonsense"]) {
    await tab.at("command-input").fill(typed);
    await tab.at("command-input").press("Enter");
  }
  await has(tab, "command-log", "Error: a command is");
  const answers = (await lines(tab, "command-log")).filter(([kind]) => kind === "other").map(([, , text]) => text);
  assert.deepEqual(answers.slice(0, 4), ["Вы подключились", "PONG", `Сервер услышал: ${EVIL}`, "Сервер услышал: 1"]);
  await tab.page.getByRole("button", { name: "PING" }).click();
  assert.equal(await tab.at("command-input").inputValue(), "PING");
  assert.equal(await tab.page.evaluate(() => document.activeElement.dataset.testid), "command-input");
  await toggle(tab, "command");
  await eventually(() => assert.deepEqual(server.sides.closes, [{ path: "/command", code: 1000 }]));
  assert.equal(await tab.page.locator("img").count(), 0);
  calm(tab);
});

describe("streams", () => {
  const turn = (tab, n) => tab.at(`stream-toggle-${n}`).click();

  test("show the newest of what is switched on, three at most", async (t) => {
    const { server, tab } = await opened(t, "streams-panel");
    await has(tab, "streams-remark", "at most 3 streams");
    assert.equal(server.sides.sockets.size, 0, "none by itself");
    await turn(tab, 1);
    await has(tab, "stream-1", /^\d+\.\d\d$/);
    server.tick(77_777);
    await has(tab, "stream-1", /^77777\.00$/);
    await turn(tab, 4);
    await has(tab, "stream-4", "1 session");
    await turn(tab, 5);
    await has(tab, "stream-5", /^<b>a line<\/b> of the log$/);
    await turn(tab, 3);
    await has(tab, "stream-state-3", "This user has as many streams open as one may have. (user-stream-limit, 429)");
    assert.equal(await tab.at("stream-toggle-3").isChecked(), false);
    await turn(tab, 1);
    await eventually(() => assert.deepEqual(server.sides.closes.at(-1), { path: "/stream1", code: 1000 }));
    await turn(tab, 3);
    await has(tab, "stream-3", /^\d+\.\d\d$/);
    assert.equal(await tab.text("stream-state-3"), "");
    await toggle(tab, "streams-panel");
    await eventually(() => assert.equal(server.sides.sockets.size, 0));
    assert.equal(await tab.at("streams").locator("li").count(), 0);
    assert.ok(tab.errors.every((error) => /429/.test(error)), tab.errors.join());
  });

  test("that are removed say so", async (t) => {
    const { server, tab } = await opened(t, "streams-panel");
    await turn(tab, 2);
    await has(tab, "stream-2", /^\d+\.\d\d$/);
    [...server.sides.sockets][0].socket.close(4006, "stream-removed");
    await has(tab, "stream-state-2", "(stream-removed, 4006)");
    assert.equal(await tab.at("stream-toggle-2").isChecked(), false);
  });

  test("are asked for again with the panel", async (t) => {
    const { server, tab } = await opened(t, "broadcast");
    server.sides.streams = [];
    await toggle(tab, "streams-panel");
    await has(tab, "streams-remark", "This server has no streams.");
    await toggle(tab, "streams-panel");
    server.sides.streams = [{ name: "one", path: "/one", channel: "stats" }];
    await toggle(tab, "streams-panel");
    await has(tab, "streams", "one");
  });
});

test("all of it is for the keyboard, too", async (t) => {
  const { tab } = await opened(t, "chat");
  const press = (key) => tab.page.keyboard.press(key);
  const at = () => tab.page.evaluate(() => document.activeElement.dataset.testid ?? document.activeElement.textContent.trim().split(" ")[0]);
  await has(tab, "chat-presence", "1 user");
  await tab.at("chat").locator("summary").focus();
  const order = [];
  for (let i = 0; i < 4; i += 1) {
    await press("Tab");
    order.push(await at());
  }
  assert.deepEqual(order, ["chat-room", "chat-log", "chat-input", "chat-send"]);
  await press("Tab");
  await press("Enter");
  await has(tab, "broadcast-state", "Connected.");
  for (const name of ["Room", "Message", "Command", "Transport"]) assert.equal(await tab.page.getByLabel(name, { exact: true }).count(), 1, name);
  for (const name of ["Chat", "Broadcast"]) assert.equal(await tab.page.getByRole("log", { name }).count(), 1, name);
});

describe("the looks of the panels", () => {
  for (const width of [360, 1_200]) {
    for (const colorScheme of ["light", "dark"]) {
      test(`fit ${width} px and can be read, ${colorScheme}`, async (t) => {
        const server = await serve(t);
        const context = await browser.newContext({ viewport: { width, height: 740 }, colorScheme, reducedMotion: "reduce" });
        t.after(() => context.close());
        const tab = await (await Tab.open(context, server.url)).is("connected");
        assert.deepEqual(await tab.page.evaluate(crampedPanels), []);
        for (const panel of ["chat", "broadcast", "command", "streams-panel"]) await toggle(tab, panel);
        await has(tab, "chat-presence", "1 user");
        server.rooms.say("chat:lobby", `${"her".repeat(40)}`, { text: "x".repeat(300) });
        await has(tab, "chat-log", "xxx");
        await tab.at("broadcast-test").click();
        await has(tab, "broadcast-log", "Test");
        for (const n of [1, 5, 4]) await tab.at(`stream-toggle-${n}`).click();
        await has(tab, "stream-4", "session");
        await tab.at("stream-toggle-2").click();
        await has(tab, "stream-state-2", "429");
        const fits = async () => {
          assert.equal(await tab.page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
          assert.deepEqual(await tab.page.evaluate(faintTexts), []);
        };
        await fits();
        await tab.at("transport-select").selectOption("poll");
        await has(tab, "chat-state", "only listens");
        server.all.resume = false;
        server.cut();
        await tab.at("gap").waitFor();
        await fits();
        await tab.screenshot(`panels-${width}-${colorScheme}`);
      });
    }
  }
});
