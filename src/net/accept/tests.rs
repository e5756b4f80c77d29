//! Real sockets; a process of its own uses up its descriptors.

use super::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// Answers from a list, then always with the last one.
#[derive(Clone, Default)]
struct Answers {
    answers: Rc<RefCell<Vec<Go>>>,
    asked: Rc<Cell<u32>>,
    errors: Rc<Cell<u32>>,
}

impl Answers {
    fn new(answers: &[Go]) -> Self {
        Self { answers: Rc::new(RefCell::new(answers.to_vec())), ..Self::default() }
    }
}

impl Gate for Answers {
    fn before_accept(&mut self) -> Go {
        self.asked.set(self.asked.get() + 1);
        let mut answers = self.answers.borrow_mut();
        if answers.len() > 1 { answers.remove(0) } else { answers[0] }
    }

    fn accept_error(&mut self) {
        self.errors.set(self.errors.get() + 1);
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

type Taken = Rc<RefCell<Vec<(TcpStream, SocketAddr)>>>;

fn serve(listener: TcpListener, gate: impl Gate + 'static) -> (Taken, JoinHandle<()>) {
    let taken = Taken::default();
    let into = taken.clone();
    let task = spawn_local(accept_loop(listener, gate, move |stream, address| {
        into.borrow_mut().push((stream, address));
    }));
    (taken, task)
}

async fn eventually(what: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "never");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn connections_come_with_their_address_and_without_delay() {
    LocalSet::new()
        .run_until(async {
            let (listener, at) = listener().await;
            let (taken, _task) = serve(listener, Answers::new(&[Go::Now]));
            let client = TcpStream::connect(at).await.unwrap();
            eventually(|| taken.borrow().len() == 1).await;
            let taken = taken.borrow();
            assert_eq!(taken[0].1, client.local_addr().unwrap());
            assert!(taken[0].0.nodelay().unwrap());
        })
        .await;
}

#[tokio::test]
async fn a_gate_may_hold_and_stop() {
    LocalSet::new()
        .run_until(async {
            let (listener, at) = listener().await;
            let ms = Duration::from_millis;
            let gate = Answers::new(&[Go::Hold(ms(1)), Go::Now, Go::Hold(ms(1)), Go::Now, Go::Stop]);
            let (taken, task) = serve(listener, gate.clone());
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(TcpStream::connect(at).await.unwrap());
            }
            task.await.unwrap();
            assert_eq!((taken.borrow().len(), gate.asked.get()), (2, 5));
        })
        .await;
}

#[test]
fn errors_are_sorted() {
    for clients in [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::PERM] {
        assert!(is_clients(&clients.into()), "{clients}");
    }
    for ours in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
        assert!(!is_clients(&ours.into()), "{ours}");
    }
}

/// Not a test but the process that the next one starts: it uses up its descriptors, and frees some later.
#[tokio::test]
#[ignore = "the child of another test"]
async fn act_as_worker() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    LocalSet::new()
        .run_until(async {
            let (listener, at) = listener().await;
            let gate = Answers::new(&[Go::Now]);
            let (taken, task) = serve(listener, gate.clone());
            setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
            let client = std::net::TcpStream::connect(at).unwrap();
            eventually(|| taken.borrow().len() == 1).await;
            let second = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            let all: Vec<_> = std::iter::from_fn(|| client.try_clone().ok()).collect();
            second.connect(&at.into()).unwrap();
            eventually(|| gate.errors.get() >= 3).await;
            assert!(taken.borrow().len() == 1 && !task.is_finished());
            drop(all);
            eventually(|| taken.borrow().len() == 2).await;
            assert!(gate.errors.get() < 100, "it waits between");
        })
        .await;
}

#[test]
fn a_process_without_descriptors_waits_and_goes_on() {
    let output = std::process::Command::new("/proc/self/exe")
        .args(["--exact", "net::accept::tests::act_as_worker", "--ignored"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
