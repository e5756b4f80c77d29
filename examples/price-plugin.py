#!/usr/bin/env python3
"""A price source for btc-cluster in Python: one JSON object a line, for ever. See docs/providers.md.

    [provider.mine]
    kind = "command"
    program = ["/usr/local/lib/btc-cluster/price-plugin.py", "64000.00"]

This one walks at random from the price in its argument. Prices are Decimal and leave as text: a float would lose
digits.
"""

import json
import random
import sys
import time
from decimal import Decimal

CENT = Decimal("0.01")


def main() -> int:
    price = Decimal(sys.argv[1])
    seq = 0
    while True:
        price = max(CENT, price + random.randint(-500, 500) * CENT)
        seq += 1
        tick = {
            "symbol": "BTC-USD",
            "price": str(price),
            "bid": str(max(CENT, price - CENT)),
            "ask": str(price + CENT),
            "ts": time.time_ns() // 1_000_000,
            "seq": seq,
        }
        try:
            # A pipe is buffered: without `flush` a price would wait for a hundred others.
            print(json.dumps(tick), flush=True)
        except BrokenPipeError:
            sys.stderr.close()
            return 0
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
