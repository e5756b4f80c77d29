// A cluster for a test: the real binary on free ports, or the stand-in with BTC_CLUSTER_STANDIN=1. Both have `url`,
// `ports`, `stop()` and `start()` (again, on the same ports).

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { standin } from "../standin.mjs";
import { eventually } from "./browser.mjs";

const STANDIN = process.env.BTC_CLUSTER_STANDIN === "1";
const BIN = process.env.BTC_CLUSTER_BIN;
const run = promisify(execFile);

/** What every cluster of these tests is configured with, unless the test says otherwise. */
const CONFIG = {
  cluster: { workers: 3 },
  http: { listen: ["127.0.0.1:0"] },
  ws: { listen: ["127.0.0.1:0"] },
  price: { providers: ["mock"] },
  provider: { mock: { tick: "200ms" } },
};

/**
 * Starts one with more configuration, `{section: {key: value}}`; it is stopped after the test `t`. It is started when
 * the route of that name answers: with `healthz` it may have no price yet.
 */
export async function startCluster(t, config = {}, route = "readyz") {
  const it = STANDIN ? new StandinCluster(merge(CONFIG, config)) : new RealCluster(merge(CONFIG, config), route);
  t.after(() => it.end());
  await it.start();
  return it;
}

class RealCluster {
  #child = null;
  #log = "";
  #written = {};

  constructor(config, route) {
    this.config = config;
    this.route = route;
  }

  async start() {
    if (!BIN) throw new Error("BTC_CLUSTER_BIN does not name the binary under test");
    this.folder ??= await mkdtemp(join(tmpdir(), "btc-cluster-"));
    this.socket = join(this.folder, "control.sock");
    const file = await this.#write(this.config);
    const child = spawn(BIN, ["--env", "test", "--config", file], { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (this.#log += data));
    this.#child = child;
    await this.#ready(child);
  }

  async #write(config) {
    const file = join(this.folder, "btc-cluster.toml");
    this.#written = config;
    await writeFile(file, toml(merge(config, { control: { socket: this.socket } })));
    return file;
  }

  async #ready(child) {
    try {
      await eventually(async () => {
        if (child.exitCode !== null) return; // told below
        const { http, ws, "http-tls": tls = [] } = await listening(this.socket);
        this.ports = { http: portOf(http), ws: portOf(ws) };
        this.url = `http://127.0.0.1:${this.ports.http}`;
        if (tls.length > 0) this.tls = `127.0.0.1:${portOf(tls)}`;
        const { status } = await fetch(`${this.url}/${this.route}`);
        if (status !== 200) throw new Error(`/${this.route} answers ${status}`);
      }, 15_000);
    } catch (error) {
      throw new Error(`the cluster is not ready: ${error.message}\n${this.#log}`);
    }
    if (child.exitCode !== null) throw new Error(`the cluster ended with ${child.exitCode}\n${this.#log}`);
    this.config = merge(this.config, { http: { listen: [`127.0.0.1:${this.ports.http}`] }, ws: { listen: [`127.0.0.1:${this.ports.ws}`] } });
  }

  async stop() {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await gone;
    clearTimeout(late);
  }

  /** Another configuration on top of this one, in force when it settles. */
  async reload(more) {
    this.config = merge(this.config, more);
    // On top of the ports as they were asked for: others would be a change, too.
    await this.#write(merge(this.#written, more));
    await run(BIN, ["ctl", "--socket", this.socket, "reload"]);
  }

  /** Replaces all workers, one after the other. */
  replace() {
    this.#child.kill("SIGUSR2");
  }

  async end() {
    await this.stop();
    if (this.folder) await rm(this.folder, { recursive: true, force: true });
  }
}

/** Where the daemon behind this control socket listens: `{http: ["127.0.0.1:41234"], ws: [...]}`. */
async function listening(socket) {
  const { stdout } = await run(BIN, ["ctl", "--socket", socket, "status", "--json"]);
  return JSON.parse(stdout).listening;
}

function portOf([address]) {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

class StandinCluster {
  #server = null;

  constructor(config) {
    this.options = optionsOf(config);
  }

  async start() {
    this.#server = await standin(this.options);
    this.ports = this.#server.ports;
    this.url = this.#server.url;
    Object.assign(this.options, this.ports);
  }

  async stop() {
    await this.#server?.stop();
    this.#server = null;
  }

  replace() {
    this.#server.move();
  }

  end() {
    return this.stop();
  }
}

/** The few keys that the stand-in knows. */
function optionsOf({ cluster, limits, price, provider }) {
  const options = {
    workers: cluster.workers,
    sessionsPerUser: limits?.sessions_per_user,
    tick: milliseconds(provider?.mock?.tick),
    freshFor: milliseconds(price.fresh_for),
    maxAge: milliseconds(price.max_age),
    forgetAfter: milliseconds(price.forget_after),
    refuseStale: price.on_stale === "refuse" || undefined,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function milliseconds(text) {
  if (text === undefined) return undefined;
  const [, number, unit] = /^(\d+)(ms|s|m|h)$/.exec(text);
  return Number(number) * { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit];
}

function merge(base, more) {
  const merged = { ...base };
  for (const [key, value] of Object.entries(more)) {
    const both = isTable(value) && isTable(base[key]);
    merged[key] = both ? merge(base[key], value) : value;
  }
  return merged;
}

function isTable(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Tables of plain values and arrays, as TOML. JSON's strings, numbers and arrays of them are TOML's, too. */
function toml(tables, path = []) {
  const lines = [];
  for (const [key, value] of Object.entries(tables)) {
    if (!isTable(value)) continue;
    const name = [...path, key];
    const plain = Object.entries(value).filter(([, inner]) => !isTable(inner));
    if (plain.length > 0) lines.push(`[${name.join(".")}]`, ...plain.map(([k, v]) => `${k} = ${JSON.stringify(v)}`), "");
    lines.push(toml(value, name));
  }
  return lines.filter(Boolean).join("\n");
}
