# For scripts that run in the machine.
# shellcheck shell=bash
passed=0 failed=0

# check WHAT COMMAND...: one line, and the command's output where it fails.
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        printf 'ok    %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAIL  %s\n' "$what"
        printf '      | %s\n' "${output//$'\n'/$'\n      | '}"
    fi
}

# show COMMAND...: for the reader of the log.
show() {
    printf '      $ %s\n' "$*"
    "$@" 2>&1 | sed 's/^/      | /'
}

note() { printf '      %s\n' "$*"; }

not() { ! "$@"; }

# soon COMMAND...: succeeds as soon as the command does, within thirty seconds.
soon() {
    for _ in {1..300}; do
        "$@" && return
        sleep 0.1
    done >/dev/null 2>&1
    "$@"
}

# finish: the closing line, and the exit status.
finish() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [[ $failed == 0 ]]
}
