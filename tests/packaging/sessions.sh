#!/bin/bash
# Sessions over an upgrade of the package, a restart and a stop. Runs in the machine; OLD.deb and NEW.deb lie beside it.
set -u
. /test/check.sh

unit=btc-cluster.service
config=/etc/btc-cluster
count=${COUNT:-1000}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$1"
}
main_pid() { systemctl show -P MainPID $unit; }
installed() { dpkg-query -W -f '${Version}' btc-cluster; }
exposure() { systemd-analyze security $unit --no-pager | sed -nE 's/.*level for .*: ([0-9.]+) .*/\1/p'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }' || { echo "$1 is over $2"; false; }; }
status() { btc-cluster ctl status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
sessions_are() { local now; now=$(status "['totals']['sessions']" 2>/dev/null || status "['sessions']"); [[ $now == "$1" ]] || { echo "sessions: $now"; false; }; }

hold() {
    rm -f /tmp/stop /tmp/hold.json*
    python3 /test/traffic.py hold "$count" /tmp/stop /tmp/hold.json &
    holding=$!
    soon test -e /tmp/hold.json.ready
}
hold_over() { touch /tmp/stop; wait "$holding"; note "$(cat /tmp/hold.json)"; }
hold_says() { python3 -c "import json; held = json.load(open('/tmp/hold.json')); print(held); assert $1"; }
all_open() { check "$1: none of $count sessions is closed" hold_says "held['open'] == held['sessions'] == $count and not held['closed']"; }

mkdir -p $config/conf.d
check "the older version is installed" install /test/OLD.deb
cat >$config/conf.d/price.toml <<'TOML'
[cluster]
workers = 2
[price]
providers = ["mock"]
[provider.mock]
price = "64250.12"
TOML
check "it starts" systemctl restart $unit
check "is at most 1.2 insecure, says systemd" at_most "$(exposure)" 1.2

echo "== upgrade of the package with $count sessions"
hold
main=$(main_pid) old=$(installed)
check "is upgraded" install /test/NEW.deb
check "is another version" not test "$(installed)" = "$old"
sleep 2
hold_over
all_open upgrade
check "the keeper stays" test "$(main_pid)" = "$main"
show journalctl -u btc-cluster -o cat -n 30 --no-pager

echo "== restart with $count sessions"
hold
main=$(main_pid)
check "restarts" systemctl restart $unit
sleep 2
hold_over
all_open restart
check "is another process" not test "$(main_pid)" = "$main"
check "the journal says it" grep -q restarted <(journalctl -u btc-cluster -o cat)
hold
check "and again" systemctl restart $unit
sleep 1
hold_over
all_open "second restart"
show journalctl -u btc-cluster -o cat -n 30 --no-pager
check "nothing is left in the store but what listens" test "$(systemctl show -P NFileDescriptorStore $unit)" -le 4

echo "== stop with $count sessions"
hold
check "stops" systemctl stop $unit
sleep 1
hold_over
check "all are told that the daemon stops" hold_says "held['closed'] == {'1001': $count}"
finish
