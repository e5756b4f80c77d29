// Whose page this is: what the page around it is asked, and what is made of its answers.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Tokens, bearing } from "../../../static/tokens.js";
import * as words from "../../../static/words.js";

/** Tokens of a page whose surrounding answers with what is put on `answers`, the last one again and again. */
function tokens(...answers) {
  const asked = [];
  const hook = (question) => {
    asked.push(question);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const late = [];
  const it = new Tokens({ hook: () => (answers.length > 0 ? hook : undefined), later: (ring) => late.push(ring) });
  it.mode("token");
  return Object.assign(it, { questions: asked, late, say: (...more) => answers.splice(0, answers.length, ...more) });
}

describe("tokens", () => {
  test("each attempt asks anew, those at the same time ask once", async () => {
    const it = tokens("a.b.c", Promise.resolve("d.e.f"));
    assert.deepEqual(await Promise.all([it.fresh(), it.fresh()]), [{ token: "a.b.c" }, { token: "a.b.c" }]);
    assert.deepEqual(await it.fresh(), { token: "d.e.f" });
    assert.deepEqual(it.questions, [{ refused: null }, { refused: null }]);
  });

  test("nobody is asked in open mode, nor where nobody answers", async () => {
    const open = tokens("a.b.c");
    open.mode("open");
    assert.deepEqual([open.awaited, await open.fresh(), open.questions], [false, { token: null }, []]);
    const cookie = tokens();
    assert.deepEqual([cookie.awaited, await cookie.fresh()], [false, { token: null }]);
    const unknown = tokens("a.b.c");
    unknown.mode(null);
    assert.equal(unknown.awaited, true, "who answers knows of tokens");
  });

  test("no answer leaves it to the cookie; what is no token is a fault", async () => {
    for (const none of [null, undefined, ""]) assert.deepEqual(await tokens(none).fresh(), { token: null });
    for (const broken of ["a b", "a=b", 7, {}, "a,b"]) assert.equal((await tokens(broken).fresh()).fault, "token-broken");
    assert.equal((await tokens(new Error("no")).fresh()).fault, "token-failed");
    assert.equal((await tokens(Promise.reject(new Error("no"))).fresh()).fault, "token-failed");
  });

  test("who does not answer is waited for a while, and asked again then", async () => {
    const it = tokens(new Promise(() => {}), "a.b.c");
    const first = it.fresh();
    await Promise.resolve();
    it.late[0]();
    assert.equal((await first).fault, "token-late");
    assert.deepEqual(await it.fresh(), { token: "a.b.c" });
  });

  test("a token that is past its end or revoked is not shown again, another is", async () => {
    for (const slug of ["token-expired", "token-revoked"]) {
      const it = tokens("a.b.c");
      it.refused("a.b.c", slug);
      assert.deepEqual(await it.fresh(), { token: null, fault: "token-same", slug });
      assert.deepEqual(it.questions, [{ refused: slug }]);
      it.say("d.e.f");
      assert.deepEqual(await it.fresh(), { token: "d.e.f" });
    }
  });

  test("one that was not accepted may be good later, and other refusals say nothing of it", async () => {
    const it = tokens("a.b.c");
    for (const slug of ["token-invalid", "forbidden", "full", "", undefined]) it.refused("a.b.c", slug);
    assert.deepEqual(await it.fresh(), { token: "a.b.c" });
    it.taken();
    await it.fresh();
    assert.deepEqual(it.questions.at(-1), { refused: null });
  });

  test("a header shows it", () => {
    assert.deepEqual(bearing("a.b.c", { accept: "x" }), { accept: "x", authorization: "Bearer a.b.c" });
    assert.deepEqual(bearing(null, { accept: "x" }), { accept: "x" });
  });

  test("it is told in words", () => {
    assert.equal(words.why({ code: 4001, slug: "token-revoked" }), "Your token was revoked. (token-revoked, 4001)");
    assert.equal(words.why({ status: 401, slug: "token-expired", detail: "x" }), "Your token has expired. (token-expired, 401)");
    assert.equal(
      words.why({ kind: "token-same", slug: "token-expired" }),
      "Your token has expired. This site still gives the token that was refused.",
    );
    assert.equal(words.why({ kind: "token-late", slug: null }), "This site did not say in time who you are.");
  });
});
