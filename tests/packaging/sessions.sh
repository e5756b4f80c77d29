#!/bin/bash
# A thousand sessions over upgrades of the package, restarts, deaths and a stop, inside the unit's whole sandbox. Prints
# a table of what became of them. Runs in the machine; OLD.deb and NEW.deb lie beside it.
set -u
. /test/check.sh

unit=btc-cluster.service
drop=/etc/systemd/system/$unit.d
config=/etc/btc-cluster
count=${COUNT:-1000}
table=/tmp/table

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --allow-downgrades -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$1"
}
main_pid() { systemctl show -P MainPID $unit; }
installed() { dpkg-query -W -f '${Version}' btc-cluster; }
exposure() { systemd-analyze security $unit --no-pager | sed -nE 's/.*level for .*: ([0-9.]+) .*/\1/p'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }' || { echo "$1 is over $2"; false; }; }
status() { btc-cluster ctl status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
listening() { ss -Hltn 'sport = :3000 or sport = :8080 or sport = :3001' | wc -l; }

hold() {
    rm -f /tmp/stop /tmp/hold.json*
    python3 /test/hold.py sessions "$count" /tmp/stop /tmp/hold.json &
    holding=$!
    check "$count sessions" soon test -e /tmp/hold.json.ready
}

# hold_over WHAT: ends them, and adds a row to the table.
hold_over() {
    touch /tmp/stop
    wait "$holding"
    python3 - "$1" >>$table <<'PYTHON'
import json, sys
it = json.load(open("/tmp/hold.json"))
closed = " ".join(f"{many} x {code}" for code, many in it["closed"].items()) or "0"
refused = " ".join(f"{many} x {status}" for status, many in it["not_accepted"].items()) or "0"
print("%-44s %5d  %-14s %5d ms  %5d ms  %5d %5d %5d   %5d %5d %5d  %s" % (
    sys.argv[1], it["held"], closed, it["longest_ms"], it["told_ms"], it["messages"], it["messages_lost"],
    it["messages_twice"] + it["disorder"], it["quotes"], it["quotes_lost"], it["quotes_twice"], refused))
PYTHON
    note "$(cat /tmp/hold.json)"
}
hold_says() { python3 -c "import json; it = json.load(open('/tmp/hold.json')); print(it); assert $1"; }

# keeps MOST WHAT COMMAND...: with all sessions; at most so many may be closed by it, and nobody else loses anything.
keeps() {
    local most=$1 what=$2
    shift 2
    echo "== $what with $count sessions"
    hold
    check "$what" "$@"
    # Whoever is closed late is closed by now.
    sleep 2
    hold_over "$what"
    check "at most $most of $count sessions are closed" hold_says "it['held'] >= it['sessions'] - $most and it['sessions'] == $count"
    check "nothing is lost, nothing comes twice" \
        hold_says "not any(it[what] for what in ('messages_lost', 'messages_twice', 'disorder', 'quotes_lost', 'quotes_twice'))"
}
replaced() { local now; now=$(status "$1") && [[ $now =~ ^[0-9]+$ && $now != "$2" ]] || { echo "it is $now"; false; }; }
# another PATH SIGNAL: sends it to the process that the status has at PATH; there is another one soon.
another() { local old; old=$(status "$1") && kill "-$2" "$old" && soon replaced "$1" "$old"; }
upgrade_to() {
    local old main
    old=$(installed) main=$(main_pid)
    install "$1" || return
    [[ $(installed) != "$old" ]] || { echo "it is $old still"; return 1; }
    [[ $(main_pid) == "$main" ]] || { echo "the keeper was restarted"; return 1; }
    [[ $(status "['upgrade']['outcome']") == upgraded ]] || { status "['upgrade']"; return 1; }
}
restart() {
    local main
    main=$(main_pid)
    systemctl restart $unit || return
    [[ $(main_pid) != "$main" ]] || { echo "nothing was restarted"; return 1; }
}
reload_with() { printf '[cluster]\nworkers = %s\n' "$1" >$config/conf.d/workers.toml && systemctl reload $unit; }
all_replaced() { journalctl --sync; journalctl -u btc-cluster -o cat --since "@$1" | grep -q workers-replaced; }
usr2() {
    local since
    since=$(date +%s.%6N)
    systemctl kill -s USR2 --kill-whom=main $unit
    soon all_replaced "$since"
}

mkdir -p $config/conf.d
check "the older version is installed" install /test/OLD.deb
cat >$config/conf.d/test.toml <<'TOML'
[cluster]
workers = 2
[admin]
listen = ["127.0.0.1:3001"]
[price]
providers = ["mock"]
[provider.mock]
price = "64250.12"
[[channels]]
name = "news"
TOML
check "it starts" systemctl restart $unit
check "is at most 1.2 insecure, says systemd" at_most "$(exposure)" 1.2
kept=$(listening)

keeps 0 "upgrade of the package" upgrade_to /test/NEW.deb
keeps 0 "downgrade of the package" upgrade_to /test/OLD.deb
keeps 0 "upgrade again" upgrade_to /test/NEW.deb
keeps 0 "systemctl restart" restart
check "the journal says it" grep -q restarted <(journalctl -u btc-cluster -o cat)
keeps 0 "systemctl restart again" restart
check "nothing is left in the store but what listens" test "$(systemctl show -P NFileDescriptorStore $unit)" -le "$((kept + 1))"
keeps 0 "USR2" usr2
keeps 0 "reload with 3 workers" reload_with 3
keeps 0 "reload with 1 worker" reload_with 1
keeps 0 "reload with 2 workers" reload_with 2
keeps 0 "kill -9 of the master" another "['master']" KILL
keeps 0 "SIGSTOP of the master" another "['master']" STOP
keeps 0 "kill -9 of the feeder" another "['feeder']['pid']" KILL
keeps 20 "kill -9 of a worker" another "['workers'][0]['pid']" KILL
show journalctl -u btc-cluster -o cat -p warning -n 30 --no-pager

echo "== a room over a restart"
rm -f /tmp/room*
python3 /test/hold.py room /tmp/room >/tmp/room.said 2>&1 &
room=$!
check "something is said" soon test -e /tmp/room.ready
check "restarts" systemctl restart $unit
touch /tmp/room
wait "$room"
check "who enters then hears it, and who was there still is" test $? = 0
show cat /tmp/room.said

echo "== a restart that takes longer than sessions are kept"
mkdir -p $drop
printf '[Service]\nExecStartPre=+/bin/sleep 11\n' >$drop/slow.conf
systemctl daemon-reload
hold
check "restarts" systemctl restart $unit
sleep 1
hold_over "a restart that takes 11 s"
check "all are told to come back" hold_says "it['closed'] == {'1012': $count}"
rm -r $drop
systemctl daemon-reload

echo "== stop with $count sessions"
hold
check "stops" systemctl stop $unit
sleep 1
hold_over "systemctl stop"
check "all are told that the daemon stops" hold_says "it['closed'] == {'1001': $count}"

echo "== all of it; a silence is measured to 0.1 s"
printf '%-44s %5s  %-14s %8s  %8s  %17s   %17s  %s\n' '' held closed silence told 'news lost twice' 'quotes lost twice' 'not accepted'
cat $table
finish
