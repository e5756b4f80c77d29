"""A program that runs beside the test: what it prints is read line by line."""

import queue
import subprocess
import threading

from daemon import PATIENCE


class Program:
    """Runs from `with` to its end; what is said to it goes to its standard input."""

    def __init__(self, *command):
        self.command = command

    def __enter__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        return self

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\r\n"))
        self.lines.put(None)

    def say(self, line):
        self.process.stdin.write(line + "\n")

    def line(self):
        """The next line; None at the end."""
        try:
            return self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"not a line within {PATIENCE} s: {self.command}") from None

    def end(self):
        """Its exit code, when it ends by itself."""
        return self.process.wait(PATIENCE)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
