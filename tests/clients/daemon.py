"""The daemon under test: real workers on free ports, and an operator's ways to it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BINARY = os.environ["BTC_CLUSTER_BIN"]
PATIENCE = 10

CONFIG = """
[cluster]
workers = {workers}
[http]
listen = "127.0.0.1:0"
[ws]
listen = "127.0.0.1:0"
root = "{root}"
[admin]
listen = "127.0.0.1:0"
[control]
socket = "{folder}/control.sock"
[provider.mock]
tick = "200ms"
[broadcast]
heartbeat = "1s"
[[channels]]
name = "news"
publish = "anyone"
[[channels]]
name = "weather"
"""


def eventually(what, check, patience=PATIENCE):
    """Asks until the answer is true, and gives it; when patience ends that is a failure."""
    end = time.monotonic() + patience
    while not (answer := check()):
        assert time.monotonic() < end, f"not within {patience} s: {what}"
        time.sleep(0.02)
    return answer


def ask(method, url, body=None):
    """Status and JSON (None without any) of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as refusal:
        response = refusal
    with response:
        return response.status, json.loads(response.read() or "null")


class Daemon:
    """Runs from `with` to its end; `http`, `ws` and `admin` are its addresses as people type them."""

    def __init__(self, root="broadcast", workers=3):
        self.folder = tempfile.TemporaryDirectory(prefix="btc-cluster-clients.")
        self.log = os.path.join(self.folder.name, "log")
        self.config = os.path.join(self.folder.name, "btc-cluster.toml")
        with open(self.config, "w") as file:
            file.write(CONFIG.format(root=root, workers=workers, folder=self.folder.name))

    def __enter__(self):
        with open(self.log, "w") as log:
            command = [BINARY, "--env", "test", "--config", self.config]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            ports = eventually("the daemon listens", self.listening)
            self.http, self.ws, self.admin = (
                "localhost:" + ports[name][0].rpartition(":")[2] for name in ("http", "ws", "admin")
            )
            eventually("it is ready", lambda: ask("GET", f"http://{self.http}/readyz")[0] == 200)
        except BaseException:
            self.process.kill()
            self.process.wait()
            self.tell()
            raise
        return self

    def listening(self):
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
        status = self.ctl("status", check=False)
        return status and status["listening"]

    def __exit__(self, *_):
        self.terminate()
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code != 0:
            self.tell()
        self.folder.cleanup()
        assert code == 0, f"the daemon ended with {code}"

    def tell(self):
        with open(self.log) as log:
            print("".join(log.readlines()[-30:]))

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def ctl(self, *words, check=True):
        """What `ctl` says, or None where it fails and may."""
        command = [BINARY, "ctl", "--socket", f"{self.folder.name}/control.sock", "--json", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.returncode == 0 else None

    def quote(self, user):
        """Orders the price for a user: status, and the receipt or the problem."""
        return ask("POST", f"http://{self.http}/api/v1/quotes", {"user_id": user})

    def publish(self, *news):
        """Says each to all subscribers of `news`."""
        for data in news:
            status, receipt = ask("POST", f"http://{self.admin}/api/v1/channels/news/messages", {"data": data})
            assert status == 202, (status, receipt)

    def workers_in_use(self):
        """How many workers hold sessions."""
        _, stats = ask("GET", f"http://{self.http}/api/v1/stats")
        return sum(worker["sessions"] > 0 for worker in stats["workers"])


if __name__ == "__main__":
    # For a program in another language: `daemon.py ROOT WORKERS` says where it is and ends it with its standard input.
    with Daemon(sys.argv[1], int(sys.argv[2])) as daemon:
        print(json.dumps({name: getattr(daemon, name) for name in ("http", "ws", "admin")}), flush=True)
        sys.stdin.read()
