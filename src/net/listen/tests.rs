//! Real sockets on loopback.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

fn listen(addresses: &[&str], best_effort: bool) -> Listen {
    Listen { addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), best_effort }
}

fn open(old: &Listeners, http: &Listen) -> Result<Listeners, ListenError> {
    old.with(&[(Port::Http.into(), Some(http))])
}

fn http(listeners: &Listeners) -> Vec<SocketAddr> {
    listeners.addresses(Port::Http).collect()
}

/// Waits until nobody listens there. A process that another test starts has a copy of every socket of ours until it
/// executes, and the port may be somebody else's for a moment.
fn until_refused(at: SocketAddr) {
    let begin = Instant::now();
    while TcpStream::connect(at).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(20), "somebody listens at {at}");
        std::thread::yield_now();
    }
}

/// A port of loopback that is ours as long as the socket lives: bound with `SO_REUSEADDR`, so that others that ask for
/// it by its number may have it, too, and never listening.
fn reserve() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, at)
}

#[test]
fn port_0_is_one_free_port_for_all_addresses_of_a_key() {
    let wanted = listen(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"], false);
    let listeners = open(&Listeners::default(), &wanted).unwrap();
    let found = http(&listeners);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|at| at.port() != 0 && at.port() == found[0].port()), "{found:?}");
    found.iter().for_each(|at| drop(TcpStream::connect(at).unwrap()));
}

#[test]
fn a_port_of_another_program_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    for best_effort in [false, true] {
        let error = open(&Listeners::default(), &listen(&[&at.to_string()], best_effort)).unwrap_err();
        assert_eq!(error.to_string(), format!("http.listen: {at} is in use by another program"));
    }
    let all = listen(&[&format!("0.0.0.0:{}", at.port())], false);
    let error = io::Error::from(open(&Listeners::default(), &all).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another program"), "{error}");
}

#[test]
fn an_address_of_another_machine_is_an_error_or_left_out() {
    let there = ["192.0.2.1:0", "127.0.0.1:0"];
    let error = open(&Listeners::default(), &listen(&there, false)).unwrap_err();
    assert_eq!(error.to_string(), "http.listen: 192.0.2.1 is no address of this machine");
    assert_eq!(http(&open(&Listeners::default(), &listen(&there, true)).unwrap()).len(), 1);
    let error = open(&Listeners::default(), &listen(&there[..1], true)).unwrap_err();
    assert!(matches!(error, ListenError::NotHere(..)), "one must be left: {error}");
}

#[test]
fn what_stays_keeps_its_socket_and_what_goes_is_closed() {
    let inode = |listeners: &Listeners| {
        let number = listeners.0[0].socket.as_raw_fd();
        std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap()
    };
    let first = open(&Listeners::default(), &listen(&["127.0.0.1:0"], false)).unwrap();
    let second = open(&first, &listen(&["127.0.0.1:0", "127.0.0.2:0"], false)).unwrap();
    assert_eq!((inode(&first), http(&first)[0].port()), (inode(&second), http(&second)[1].port()));
    drop(first);
    let gone = http(&second)[1];
    TcpStream::connect(gone).unwrap();
    let third = open(&second, &listen(&["127.0.0.1:0"], false)).unwrap();
    drop(second);
    TcpStream::connect(http(&third)[0]).unwrap();
    until_refused(gone);
}

#[test]
fn an_address_may_change_its_key() {
    let (_reserved, free) = reserve();
    let at = listen(&[&free.to_string()], false);
    let before = open(&Listeners::default(), &at).unwrap();
    let after = before.with(&[(Port::Http.into(), None), (Port::Ws.into(), Some(&at))]).unwrap();
    assert_eq!(after.all().map(|(port, _)| port).collect::<Vec<_>>(), [Port::Ws.into()]);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let old = open(&Listeners::default(), &listen(&["127.0.0.1:0"], false)).unwrap();
    let (_reserved, free) = reserve();
    let error = open(&old, &listen(&["127.0.0.1:0", &free.to_string(), &taken], false)).unwrap_err();
    assert!(error.to_string().contains(&taken), "the last one is refused: {error}");
    TcpStream::connect(http(&old)[0]).unwrap();
    until_refused(free);
}

#[test]
fn our_own_sockets_are_not_called_another_program() {
    let old = open(&Listeners::default(), &listen(&["127.0.0.1:0"], false)).unwrap();
    let all = listen(&[&format!("0.0.0.0:{}", http(&old)[0].port())], false);
    let error = open(&old, &all).unwrap_err();
    assert!(error.to_string().ends_with("where this daemon listens already"), "{error}");
}

#[test]
fn one_address_for_two_keys_is_told() {
    let (_reserved, free) = reserve();
    let twice = listen(&[&free.to_string()], false);
    let error = Listeners::default()
        .with(&[(Port::Http.into(), Some(&twice)), (Port::Ws.into(), Some(&twice))])
        .unwrap_err();
    let words = format!("ws.listen: {free} overlaps with {free}, where this daemon listens already");
    assert_eq!(error.to_string(), words);
}

#[test]
fn all_of_ipv6_is_all_of_ipv4_too() {
    let listeners = open(&Listeners::default(), &listen(&["[::]:0"], false)).unwrap();
    let port = http(&listeners)[0].port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    if TcpListener::bind("[::1]:0").is_ok() {
        TcpStream::connect(("::1", port)).unwrap();
    }
}

#[test]
fn without_ipv6_there_is_ipv4() {
    let any: SocketAddr = "[::]:3000".parse().unwrap();
    assert!(no_ipv6(any, &Errno::AFNOSUPPORT.into()) && no_ipv6(any, &Errno::ADDRNOTAVAIL.into()));
    assert!(!no_ipv6(any, &Errno::ADDRINUSE.into()));
    assert!(!no_ipv6("127.0.0.1:1".parse().unwrap(), &Errno::ADDRNOTAVAIL.into()));
}

#[test]
fn both_families_may_be_named_apart() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    for _ in 0..20 {
        let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let both = listen(&[&format!("0.0.0.0:{port}"), &format!("[::]:{port}")], false);
        match open(&Listeners::default(), &both) {
            Ok(listeners) => return assert_eq!(http(&listeners).len(), 2),
            // Another process took the port between the two lines.
            Err(error) => assert!(matches!(error, ListenError::InUse(..)), "{error}"),
        }
    }
    panic!("never");
}

#[test]
fn what_systemd_passes_is_taken_and_stays() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = passed.local_addr().unwrap();
    let listeners = Listeners::from_systemd(vec![("http".into(), passed.into())]).unwrap();
    let other = listen(&["127.0.0.1:0"], false);
    let listeners =
        listeners.with(&[(Port::Http.into(), Some(&other)), (Port::Ws.into(), Some(&other))]).unwrap();
    assert_eq!(http(&listeners), [at]);
    assert_eq!(listeners.addresses(Port::Ws).count(), 1);
    assert_eq!(http(&open(&listeners, &other).unwrap()), [at]);
}

#[test]
fn what_systemd_passes_for_tls_needs_a_certificate() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = passed.local_addr().unwrap();
    let listeners = Listeners::from_systemd(vec![("http-tls".into(), passed.into())]).unwrap();
    let source = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        std::fs::write(&file, text).unwrap();
        let around = crate::config::Surroundings::default();
        let source = crate::config::Source::find(Some(&file), Some("test"), &around).unwrap();
        crate::config::load(&source).unwrap().config
    };
    let without = source("[http]\nlisten = \"127.0.0.1:0\"\n[ws]\nlisten = \"127.0.0.1:0\"");
    let error = listeners.change(&without).unwrap_err();
    let words = format!("tls.cert: the socket http-tls that systemd passed ({at}) needs a certificate");
    assert_eq!((error.to_string(), error.kind()), (words, io::ErrorKind::InvalidInput));
    assert!(Listeners::default().fits(&without).is_ok());
    let mut with = without;
    with.tls.cert = Some("a.crt".into());
    with.tls.key = Some("a.key".into());
    assert_eq!(
        listeners.change(&with).unwrap().addresses(Door { port: Port::Http, tls: true }).next(),
        Some(at)
    );
}

#[test]
fn what_systemd_kept_serves_the_address_that_it_was_wanted_for_and_no_other() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = kept.local_addr().unwrap();
    let name = format!("kept/http/127.0.0.1;{}", at.port());
    let kept = Listeners::from_systemd(vec![(name.into(), kept.into())]).unwrap();
    let same = listen(&[&at.to_string()], false);
    let listeners = open(&kept, &same).unwrap();
    assert_eq!(http(&listeners), [at], "else it would be in use");
    assert_eq!(
        listeners.own().map(|(port, wanted, _)| (port, wanted)).collect::<Vec<_>>(),
        [(Port::Http.into(), at)]
    );
    let moved = open(&kept, &listen(&["127.0.0.1:0"], false)).unwrap();
    assert_ne!(http(&moved), [at]);
}

/// Not a test but the process that the next one starts, as systemd would.
#[test]
#[ignore = "the child of another test"]
fn act_as_daemon() {
    let listeners = Listeners::from_systemd(
        crate::os::notify::passed().into_iter().filter(|(name, _)| **name != *"other").collect(),
    )
    .unwrap();
    let of = |port| listeners.addresses(port).map(|at| at.port()).collect::<Vec<_>>();
    println!("passed {:?} {:?} {:?}", of(Port::Http), of(Port::Ws), of(Port::Admin));
}

#[test]
fn systemd_passes_them_by_name() {
    let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (http, ws) = (bound(), bound());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let words = format!("passed [{}] [{}] []", port(&http), port(&ws));
    let stdio = |listener: TcpListener| std::process::Stdio::from(OwnedFd::from(listener));
    let run = |pid: &str, http: &TcpListener, ws: &TcpListener| {
        let script = format!(
            "exec 3<&0 4<&0 5<&2 2>/dev/null; LISTEN_FDS=3 LISTEN_PID={pid} LISTEN_FDNAMES=http:other:ws exec \"$0\" \
             --exact net::listen::tests::act_as_daemon --ignored --nocapture"
        );
        let mut command = std::process::Command::new("/bin/sh");
        command.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
        command.stdin(stdio(http.try_clone().unwrap())).stderr(stdio(ws.try_clone().unwrap()));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = run("$$", &http, &ws);
    assert!(said.contains(&words), "{said}");
    let said = run("1", &http, &ws);
    assert!(said.contains("passed [] [] []"), "they are for somebody else: {said}");
}
