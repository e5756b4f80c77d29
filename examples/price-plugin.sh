#!/bin/sh
# A price source for btc-cluster in POSIX sh: one price a line on standard output, for ever. See docs/providers.md.
#
#   [provider.mine]
#   kind = "command"
#   program = ["/usr/local/lib/btc-cluster/price-plugin.sh", "/run/price"]
#
# This one tells what a file holds, whenever somebody has put another price there.

file=${1:?"usage: $0 FILE"}
last=

while :; do
    # Errors go to standard error: a few of them a minute are in the daemon's log.
    if price=$(cat "$file"); then
        if [ "$price" != "$last" ]; then
            last=$price
            # printf and not echo: it ends this program with SIGPIPE when nobody listens any more.
            printf '%s\n' "$price" || exit 1
        else
            # A sign of life is no price: one that is not said again for `no_tick` has this program restarted.
            printf '{}\n' || exit 1
        fi
    fi
    sleep 1
done
