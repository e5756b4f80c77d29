// The browser and its tabs, with the words that the tests use.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** The system's Chromium, headless, with more arguments. */
export function launch(more = []) {
  return chromium.launch({ executablePath: process.env.BTC_CLUSTER_CHROMIUM ?? "/usr/bin/chromium", args: [...ARGS, ...more] });
}

/** Waits until `check` no longer throws; its last error is the reason when patience ends. */
export async function eventually(check, patience = 15_000) {
  const end = performance.now() + patience;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((done) => setTimeout(done, 25));
    }
  }
}

/** One tab. Opened in `context`, so that tabs of one context know each other as in one browser. */
export class Tab {
  static recordStates = recordStates;
  errors = [];

  constructor(page) {
    this.page = page;
    page.setDefaultTimeout(20_000); // all cores of the machine may be busy
    page.on("console", (message) => message.type() === "error" && this.errors.push(message.text()));
    page.on("pageerror", (error) => this.errors.push(String(error)));
  }

  static async open(context, url) {
    const tab = new Tab(await context.newPage());
    await tab.page.addInitScript(recordStates);
    await tab.page.goto(url);
    return tab;
  }

  at(testid) {
    return this.page.getByTestId(testid);
  }

  text(testid) {
    return this.at(testid).textContent();
  }

  count(testid) {
    return this.at(testid).count();
  }

  async is(word, patience = 20_000) {
    await this.at("connection").filter({ hasText: new RegExp(`^${word}$`) }).waitFor({ timeout: patience });
    return this;
  }

  /** Every word that the connection has shown since the page was loaded. */
  states() {
    return this.page.evaluate(() => globalThis.connectionStates);
  }

  /** The workers' table as data. */
  workers() {
    return this.at("workers").locator("tbody tr").evaluateAll((rows) =>
      rows.map((row) => ({
        id: Number(row.dataset.workerId),
        pid: row.dataset.pid ? Number(row.dataset.pid) : null,
        sessions: Number(row.dataset.sessions),
        own: row.classList.contains("own"),
        text: row.textContent,
      })),
    );
  }

  async totals() {
    const text = (await this.at("totals").innerText()).replaceAll("\n", " ");
    const number = (name) => Number(new RegExp(`${name} (\\d+)`).exec(text)?.[1]);
    return { workers: number("Workers"), sessions: number("Sessions"), users: number("Users") };
  }

  async worker() {
    return (await this.workers()).find((worker) => worker.own);
  }

  async screenshot(name) {
    const folder = process.env.BTC_CLUSTER_ARTIFACTS;
    if (!folder) return;
    await mkdir(folder, { recursive: true });
    await this.page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  }

  close() {
    return this.page.close();
  }
}

function recordStates() {
  globalThis.connectionStates = [];
  document.addEventListener("DOMContentLoaded", () => {
    const element = document.querySelector('[data-testid="connection"]');
    const note = () => {
      const word = element.textContent;
      if (globalThis.connectionStates.at(-1) !== word) globalThis.connectionStates.push(word);
    };
    note();
    new MutationObserver(note).observe(element, { childList: true, characterData: true, subtree: true });
  });
}
