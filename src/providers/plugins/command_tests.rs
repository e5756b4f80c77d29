//! Real programs: good ones, and those that end, hang, flood, leave children behind or ignore signals.

use super::*;
use crate::providers::tests::battery::{Heard, listen, listen_until};
use crate::providers::tests::standin::eventually;
use crate::providers::{Budget, Tick};
use rustix::process::{Pid, test_kill_process};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const LONG: Duration = Duration::from_secs(20);

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap()
}

fn provider(program: &[&str], no_tick: Duration) -> ProgramSource {
    let pairs = [("BTC-USD", "BTC-USDT"), ("ETH-USD", "ETH-USD")].map(|(a, b)| (symbol(a), symbol(b)));
    let grammar = Grammar { symbol: symbol("BTC-USD"), pairs: pairs.into() };
    ProgramSource::new(program.iter().map(ToString::to_string).collect(), grammar, no_tick)
}

fn shell(script: &str) -> ProgramSource {
    provider(&["/bin/sh", "-c", script], LONG)
}

async fn heard(script: &str) -> Heard {
    listen(&mut shell(script), LONG).await
}

fn prices(heard: &Heard) -> Vec<String> {
    heard.ticks.iter().map(|tick| tick.price.to_string()).collect()
}

fn retry(why: &str) -> Option<Fault> {
    Some(Fault::Retry(why.to_owned()))
}

/// Whether the process exists and is no zombie.
fn runs(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The state letter of proc_pid_stat(5); `None` without such a process.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn there(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

/// Process ids that a script writes into a file; waits until there are `count`.
async fn pids(file: &Path, count: usize) -> Vec<i32> {
    let read = || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse().unwrap()).collect::<Vec<i32>>()
    };
    assert!(eventually(|| read().len() >= count).await, "{}", file.display());
    read()
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    (folder, file)
}

#[tokio::test]
async fn prices_are_told_and_the_end_has_its_status() {
    let heard = heard(
        r#"echo 61000.20; echo '# a comment'; echo '{}'; echo garbage
           echo '{"price":"61000.30","bid":1,"ts":1763640000123,"seq":7,"more":[]}'
           echo '{"symbol":"ETH-USD","price":"3000.1"}'; echo '{"pair":"BTC-EUR","price":55000}'
           printf 61000.40; exit 3"#,
    )
    .await;
    assert_eq!(prices(&heard), ["61000.20", "61000.30", "3000.1", "55000"]);
    let pairs: Vec<_> = heard.ticks.iter().map(|tick| tick.pair.as_str()).collect();
    assert_eq!(pairs, ["BTC-USDT", "BTC-USDT", "ETH-USD", "BTC-EUR"], "as mapped where it is not named");
    assert_eq!((heard.bad.len(), heard.raw.len()), (1, 7), "{:?}", heard.bad);
    assert_eq!(heard.fault, retry("the program ended: exit status: 3"));
}

#[tokio::test]
async fn half_a_line_is_a_price_only_of_a_program_that_ended_well() {
    for (end, told) in [
        ("exit 0", true),
        ("exit 1", false),
        ("kill -9 $$", false),
        ("kill -TERM $$", false),
        ("exec >&-; exec sleep 60", false),
        // A child holds the output open.
        ("sleep 60 2>/dev/null & exit 0", false),
    ] {
        let heard = heard(&format!("echo 61000.20; printf 6100; {end}")).await;
        let expected: &[&str] = if told { &["61000.20", "6100"] } else { &["61000.20"] };
        assert_eq!(prices(&heard), expected, "{end}");
        assert_eq!(heard.raw.len(), expected.len(), "{end}");
    }
}

#[tokio::test]
async fn carriage_returns_and_byte_order_marks_are_no_part_of_a_price_and_nul_is() {
    let heard = heard(r"printf '\357\273\27761000.20\r\n61000.30\r\n\0006100\n6100\000\n'").await;
    assert_eq!(prices(&heard), ["61000.20", "61000.30"]);
    assert_eq!(heard.bad.len(), 2, "{:?}", heard.bad);
}

#[tokio::test]
async fn how_it_ends_is_told() {
    assert_eq!(heard("kill -9 $$").await.fault, retry("the program ended: signal: 9 (SIGKILL)"));
    assert_eq!(heard("true").await.fault, retry("the program ended: exit status: 0"));
    assert_eq!(heard("exec >&-; exec sleep 60").await.fault, retry("the program closed its output"));
    let missing = listen(&mut provider(&["/no/such/program"], LONG), LONG).await;
    assert_eq!(missing.fault, retry("cannot be started: No such file or directory (os error 2)"));
    let folder = listen(&mut provider(&["/"], LONG), LONG).await;
    assert_eq!(folder.fault, retry("cannot be started: Permission denied (os error 13)"));
}

#[tokio::test]
async fn a_program_finds_little() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Variables that the shell sets itself do not count; standard input is at its end.
    let script =
        format!("env | grep -vE '^(PWD|SHLVL|_|OLDPWD)=' > {0}; cat >> {0}; echo 1", file.path().display());
    let heard = listen(&mut shell(&script), LONG).await;
    assert_eq!(prices(&heard), ["1"]);
    let found = std::fs::read_to_string(file.path()).unwrap();
    assert!(found.starts_with("PATH=") && found.lines().count() == 1, "{found}");
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_session() {
    let fault = retry("a line of more than 4096 bytes");
    assert_eq!(heard("echo 1; head -c 4097 /dev/zero | tr '\\0' 1; exec sleep 60").await.fault, fault);
    let heard = heard("printf '# '; head -c 4094 /dev/zero | tr '\\0' x; echo; echo 2").await;
    assert_eq!(prices(&heard), ["2"]);
}

#[tokio::test]
async fn without_a_price_it_is_killed_whatever_else_it_says() {
    let (_folder, file) = file();
    let script =
        format!("echo $$ > {}; trap '' TERM INT; while :; do echo '{{}}'; sleep 0.02; done", file.display());
    let heard = listen(&mut provider(&["/bin/sh", "-c", &script], Duration::from_millis(300)), LONG).await;
    assert_eq!(heard.fault, retry("no price for 300ms"));
    let pid = pids(&file, 1).await[0];
    assert!(!there(pid), "killed and reaped when the session ends: {:?}", state(pid));
}

#[tokio::test]
async fn a_child_that_floods_does_not_outlive_its_program_s_end() {
    let heard = heard("yes 64000.00 & exit 0").await;
    assert_eq!(heard.fault, retry("the program ended: exit status: 0"));
}

#[tokio::test]
async fn a_program_that_ends_leaves_no_children_behind() {
    let (_folder, file) = file();
    // The first child keeps the output open, the second does not; both would stay.
    let script = format!(
        "sleep 600 & echo $! > {0}; sleep 600 >/dev/null 2>&1 & echo $! >> {0}; echo 1; exit 4",
        file.display()
    );
    let heard = listen(&mut shell(&script), LONG).await;
    assert_eq!(
        (prices(&heard), heard.fault),
        (vec!["1".to_owned()], retry("the program ended: exit status: 4"))
    );
    assert!(heard.lasted < Duration::from_secs(8), "{:?}", heard.lasted);
    let children = pids(&file, 2).await;
    assert!(eventually(|| !children.iter().any(|pid| runs(*pid))).await, "{children:?}");
}

#[tokio::test]
async fn a_session_that_is_dropped_kills_the_whole_group_and_leaves_no_zombie() {
    for _ in 0..3 {
        let (_folder, file) = file();
        let script = format!(
            "echo $$ > {0}; sleep 600 & echo $! >> {0}; trap '' TERM HUP; echo 1; wait",
            file.display()
        );
        let heard = listen_until(&mut shell(&script), |heard| !heard.ticks.is_empty()).await;
        assert_eq!(heard.fault, None);
        let all = pids(&file, 2).await;
        assert!(eventually(|| !runs(all[1])).await, "the child");
        assert!(eventually(|| !there(all[0])).await, "the program is reaped: {:?}", state(all[0]));
    }
}

/// Counts prices and remembers the last one.
#[derive(Clone, Default)]
struct PriceCounter(Arc<Mutex<(u64, String)>>);

impl Sink for PriceCounter {
    fn tick(&mut self, tick: Tick) -> bool {
        let mut inner = self.0.lock().unwrap();
        *inner = (inner.0 + 1, tick.price.to_string());
        true
    }
    fn bad(&mut self, _why: String) {}
    fn budget(&mut self, _budget: Budget) {}
}

#[tokio::test]
async fn a_program_that_floods_is_read_slowly_and_the_others_go_on() {
    let counter = PriceCounter::default();
    let mut out = counter.clone();
    let mut flood = provider(&["/bin/sh", "-c", "yes 1 & yes noise >&2"], LONG);
    let begin = Instant::now();
    let mut turns = 0;
    let others = async {
        while begin.elapsed() < Duration::from_secs(1) {
            turns += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        fault = flood.session(&mut out) => panic!("{fault}"),
        () = others => {}
    }
    let count = counter.0.lock().unwrap().0;
    // A piece of 1024 bytes has 512 of these lines, so one batch is a little more than BATCH.
    assert!(count > 100 && count < 120_000, "{count}");
    assert!(turns > 50, "{turns}");
}

#[tokio::test]
async fn a_recording_is_a_program_s_output() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |n: u32| format!("{{\"price\":\"{n}.50\",\"seq\":{n}}}\n");
    std::fs::write(file.path(), (1..=5000).map(line).collect::<String>()).unwrap();
    let heard = listen(&mut provider(&["/bin/cat", file.path().to_str().unwrap()], LONG), LONG).await;
    assert_eq!((heard.ticks.len(), heard.bad.len()), (5000, 0));
    assert_eq!(heard.ticks[4999].price.to_string(), "5000.50");
    assert_eq!(heard.fault, retry("the program ended: exit status: 0"));
}

#[test]
fn lines_come_in_pieces() {
    let mut lines = LineBuffer::default();
    let mut all = Vec::new();
    for piece in ["ab", "c\nd", "", "e\n\nf"] {
        lines
            .push(piece.as_bytes(), |line| {
                all.push(String::from_utf8_lossy(line).into_owned());
                true
            })
            .unwrap();
    }
    assert_eq!(all, ["abc", "de", ""]);
    assert!(lines.push(&[b'x'; 4095], |_| true).is_ok());
    assert!(lines.push(b"x", |_| true).is_err());
}
