"""What the Autobahn test suite shall do, and what it found: see `run`."""

import collections
import json
import pathlib
import re
import sys

AGENT = "btc-cluster"
# NON-STRICT: within the RFC, but later than it wishes. INFORMATIONAL: the RFC leaves it open.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def spec(report, url, cases):
    return {
        "outdir": report,
        "servers": [{"agent": AGENT, "url": url}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }


def judge(report):
    """Prints the counts and every failed case; 0 if there is none, 2 if cases are missing."""
    log = (report / "wstest.log").read_text()
    promised = re.search(r"will run (\d+) test cases", log)
    index = report / "index.json"
    if not promised or not index.exists():
        print("autobahn: no report; is there a server?")
        return 2
    found = json.loads(index.read_text()).get(AGENT, {})
    failed = [
        (case, result)
        for case, result in sorted(found.items(), key=lambda item: [int(n) for n in item[0].split(".")])
        if not GOOD.issuperset((result["behavior"], result["behaviorClose"]))
    ]
    for case, result in failed:
        detail = json.loads((report / result["reportfile"]).read_text())
        print(f"autobahn: {case} {result['behavior']}, close {result['behaviorClose']}: {detail['description']}")
        print(f"    {detail['result']} {detail['resultClose']}")
    counts = collections.Counter(result["behavior"] for result in found.values())
    counts = ", ".join(f"{count} {behavior}" for behavior, count in counts.most_common())
    missing = int(promised[1]) - len(found)
    print(f"autobahn: {len(found)} cases: {counts}; {len(failed)} failed, {missing} missing")
    return 2 if missing or not found else int(bool(failed))


if __name__ == "__main__":
    verb, report, *rest = sys.argv[1:]
    if verb == "spec":
        print(json.dumps(spec(report, rest[0], rest[1:])))
    else:
        sys.exit(judge(pathlib.Path(report)))
