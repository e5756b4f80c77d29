//! The loop over real sockets, turn by turn, with processes that the tests play.

use super::*;
use crate::protocol::keeper::FromKeeper;
use rustix::fs::fstat;
use std::collections::BTreeMap;

/// A loop whose children are the other ends of pairs; no process is started.
struct Bench {
    all: Loop,
}

impl Bench {
    fn new() -> Self {
        let settings =
            Settings { pid: 1, watchdog: None, passed: Vec::new(), sockets: 5_000, left: Vec::new() };
        let mut keeper = Keeper::new(settings, clock::mono());
        // A first master has no deadline: the loop waits for nothing but sockets.
        keeper.master_started(0, clock::mono());
        let all = Loop {
            keeper,
            processes: BTreeMap::new(),
            systemd: Systemd::default(),
            signals: Pending::new().unwrap(),
            configuration: Vec::new(),
            buffer: vec![0; READ].into(),
            end: None,
        };
        Self { all }
    }

    fn child(&mut self, generation: u32) -> PolledLink {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // No process has this number.
        self.all.settle(Who::Child(generation), Ok((0, ours))).unwrap();
        PolledLink::new(theirs, 64 << 20).unwrap()
    }

    fn turn(&mut self) {
        self.all.carry_out();
        self.all.wait().unwrap();
        self.all.read();
        self.all.write();
    }

    fn ends(&mut self, generation: u32) {
        self.all.read_line(Who::Child(generation), usize::MAX);
        self.all.processes.remove(&Who::Child(generation));
        self.all.keeper.ended(Who::Child(generation), End::Unknown, clock::mono());
        self.all.carry_out();
    }
}

fn received(child: &mut PolledLink) -> Vec<(FromKeeper, Vec<OwnedFd>)> {
    let (mut buffer, mut all) = (vec![0; READ], Vec::new());
    while let Ok(Some(batch)) = child.receive(&mut buffer) {
        let Some(mut batch) = batch else { continue };
        while let Some(message) = batch.next_with::<FromKeeper>() {
            all.push(message.unwrap());
        }
    }
    all
}

#[test]
fn what_a_dead_process_kept_reaches_its_heir_whole() {
    const COUNT: u32 = 700;
    let _ = process::raise_open_files();
    let mut bench = Bench::new();
    let (mut dying, mut heir) = (bench.child(7), bench.child(8));
    let inode = |fd: &OwnedFd| fstat(fd).unwrap().st_ino;
    let mut given = BTreeMap::new();
    for key in 0..COUNT {
        let socket = OwnedFd::from(UnixStream::pair().unwrap().0);
        given.insert(key, inode(&socket));
        dying.send_with(&ToKeeper::Keep { key }, vec![socket]).unwrap();
        dying.write().unwrap();
        bench.turn();
    }
    let cells = OwnedFd::from(tempfile::tempfile().unwrap());
    let cells_inode = inode(&cells);
    dying.send_with(&ToKeeper::Cells, vec![cells]).unwrap();
    // The last words of a process that has ended already.
    dying.send_with(&ToKeeper::Drop { key: 3 }, Vec::new()).unwrap();
    dying.write().unwrap();
    drop(dying);
    given.remove(&3);
    bench.ends(7);

    heir.send_with(&ToKeeper::Fetch { request: 5, of: 7, keys: None }, Vec::new()).unwrap();
    heir.write().unwrap();
    let (mut got, mut over, mut pages) = (BTreeMap::new(), false, 0);
    while !over {
        bench.turn();
        for (message, with) in received(&mut heir) {
            match message {
                FromKeeper::Cells { request: 5, of: 7 } => assert_eq!(inode(&with[0]), cells_inode),
                FromKeeper::Sockets { request: 5, of: 7, keys, last } => {
                    assert_eq!(keys.len(), with.len());
                    got.extend(keys.into_iter().zip(with.iter().map(inode)));
                    (over, pages) = (last, pages + 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((got == given, pages), (true, 3));
}

#[test]
fn one_that_does_not_read_its_line_is_given_up_and_the_others_go_on() {
    let mut bench = Bench::new();
    let (deaf, mut other) = (bench.child(7), bench.child(8));
    let error: Box<str> = "x".repeat(50_000).into();
    for generation in 0..60 {
        let message = FromKeeper::NotStarted { generation, error: error.clone() };
        bench.all.carry(Deed::Say(Who::Child(7), message, Vec::new()), clock::mono());
        let message = FromKeeper::NotStarted { generation, error: "".into() };
        bench.all.carry(Deed::Say(Who::Child(8), message, Vec::new()), clock::mono());
        bench.turn();
    }
    assert!(bench.all.processes[&Who::Child(7)].broken, "it is killed");
    assert_eq!(received(&mut other).len(), 60);
    drop(deaf);
}

#[test]
fn noise_on_a_line_ends_its_process_and_nothing_else() {
    use std::io::Write;
    let mut bench = Bench::new();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    bench.all.settle(Who::Child(7), Ok((0, ours))).unwrap();
    theirs.write_all(&[255; 64]).unwrap();
    bench.turn();
    assert!(bench.all.processes[&Who::Child(7)].broken);
    assert!(bench.all.end.is_none());
}
