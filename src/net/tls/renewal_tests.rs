//! Histories of certificate files, in virtual time.

use super::super::pair::tests::{FIRST, RENEWED, UNNAMED, WILD, pair};
use super::*;
use proptest::prelude::*;

type Texts = (&'static [u8], &'static [u8]);

fn look((certificate, key): Texts) -> Look {
    Look { certificate: Ok(certificate.to_vec()), key: Ok(key.to_vec()) }
}

/// A wall clock at which all fixtures are valid.
fn wall() -> Wall {
    Wall(pair(WILD).validity().from.0.max(pair(FIRST).validity().from.0) + 86_400_000)
}

fn words(deeds: &[Deed]) -> Vec<String> {
    let word = |deed: &Deed| match deed {
        Deed::Take(pair) => format!("take {}", pair.name()),
        Deed::Refuse(refusal) => format!("refuse: {refusal}"),
        Deed::Restored => "restored".to_owned(),
        Deed::EndsSoon(left) => format!("ends in {} days", left.as_secs() / 86_400),
        Deed::Trouble(trouble) => format!("trouble: {trouble}"),
    };
    deeds.iter().map(word).collect()
}

/// A pair in force and a clock that goes from look to look.
struct Watch {
    renewal: Renewal,
    now: Mono,
    wall: Wall,
}

impl Watch {
    fn new(texts: Texts) -> Self {
        let now = Mono(1_000_000_000);
        Self { renewal: Renewal::start(&look(texts), now).unwrap(), now, wall: wall() }
    }

    /// Looks whenever it is time, for so long, with a hint at the beginning; the deeds, each with the time that has passed.
    fn run(&mut self, look: &Look, time: Duration) -> Vec<(Duration, String)> {
        self.renewal.hint(self.now);
        let (start, end) = (self.now, self.now.after(time));
        let mut all = vec![];
        while self.renewal.look_at() <= end {
            self.now = self.now.max(self.renewal.look_at());
            let deeds = words(&self.renewal.looked(look, self.now, self.wall));
            all.extend(deeds.into_iter().map(|word| (self.now.since(start), word)));
            assert!(self.renewal.look_at() > self.now);
        }
        self.now = end;
        all
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_renewed_pair_is_taken_when_its_files_rest() {
    let mut watch = Watch::new(FIRST);
    assert_eq!(watch.run(&look(FIRST), MINUTE), []);
    assert_eq!(watch.run(&look(RENEWED), MINUTE), [(QUIET, "take one.example.com".to_owned())]);
    assert_eq!(watch.renewal.pair().mark(), pair(RENEWED).mark());
    assert_eq!(watch.run(&look(RENEWED), MINUTE), []);
}

#[test]
fn links_that_are_swapped_one_after_the_other_are_no_fault() {
    let mut watch = Watch::new(FIRST);
    let between = look((RENEWED.0, FIRST.1));
    assert_eq!(watch.run(&between, Duration::from_millis(4500)), []);
    assert_eq!(watch.run(&look(RENEWED), MINUTE), [(QUIET, "take one.example.com".to_owned())]);
}

#[test]
fn a_bad_pair_leaves_the_old_one_and_is_told_once() {
    let mut watch = Watch::new(FIRST);
    let bad = look((RENEWED.0, FIRST.1));
    let said = watch.run(&bad, MINUTE * 60);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].0 >= PATIENCE && said[0].0 < PATIENCE + QUIET * 2, "{said:?}");
    assert_eq!(said[0].1, "refuse: certificate and key do not fit");
    assert_eq!(watch.renewal.pair().mark(), pair(FIRST).mark());
    // Other bad files have five seconds of their own.
    let none = Look { certificate: Err("is missing".to_owned()), key: Ok(vec![]) };
    let said = watch.run(&none, MINUTE);
    assert!(said.len() == 1 && said[0].0 >= PATIENCE, "{said:?}");
    assert_eq!(said[0].1, "refuse: the certificate's file is missing");
    assert_eq!(words(&[]), watch.run(&none, MINUTE).iter().map(|(_, word)| word.clone()).collect::<Vec<_>>());
    assert_eq!(watch.run(&look(FIRST), MINUTE), [(Duration::ZERO, "restored".to_owned())]);
    assert_eq!(watch.run(&look(RENEWED), MINUTE).len(), 1);
}

#[test]
fn files_that_never_rest_are_told_of() {
    let mut watch = Watch::new(FIRST);
    let mut said = vec![];
    for nth in 0..80_u8 {
        let growing = Look { certificate: Ok(vec![nth]), key: Ok(vec![]) };
        said.extend(watch.run(&growing, QUIET / 2));
    }
    let told: Vec<_> = said.into_iter().map(|(_, word)| word).collect();
    assert_eq!(told, ["refuse: the files are still being written"]);
}

#[test]
fn a_certificate_that_clients_refuse_is_not_taken_for_a_good_one() {
    let mut watch = Watch::new(FIRST);
    let end = pair(RENEWED).validity().until;
    watch.wall = Wall(end.0 + 1);
    let said = watch.run(&look(RENEWED), MINUTE);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1, format!("refuse: the certificate has expired at {end}"));
    // It is good from now on: the clock was wrong.
    watch.wall = wall();
    assert_eq!(watch.run(&look(RENEWED), MINUTE), [(Duration::ZERO, "take one.example.com".to_owned())]);
    // Where the old one is no better, any is taken, and told of.
    watch.wall = Wall(end.0 + 86_400_000);
    let said = watch.run(&look(UNNAMED), MINUTE);
    assert_eq!(said[0].1, format!("trouble: the certificate has expired at {end}"));
    assert_eq!(said[1], (QUIET, "take (no name)".to_owned()));
    assert!(said.len() == 3 && said[2].1.starts_with("trouble: "), "{said:?}");
}

#[test]
fn the_end_of_a_certificate_is_told_once_before_and_once_after() {
    let mut watch = Watch::new(WILD);
    let until = pair(WILD).validity().until;
    let day = 86_400_000;
    let mut said = vec![];
    for before in (-3..20).rev() {
        watch.wall = Wall(until.0 - before * day - 1000);
        said.extend(watch.run(&look(WILD), MINUTE).into_iter().map(|(_, word)| (before, word)));
    }
    let expired = format!("trouble: the certificate has expired at {until}");
    assert_eq!(said, [(13, "ends in 13 days".to_owned()), (-1, expired)]);
    // The next one is told of anew.
    watch.wall = Wall(until.0 - day);
    assert_eq!(watch.run(&look(WILD), MINUTE)[0].1, "ends in 1 days");
    let mut next = Watch::new(FIRST);
    next.wall = Wall(pair(RENEWED).validity().until.0 - day);
    let said: Vec<_> = next.run(&look(RENEWED), MINUTE).into_iter().map(|(_, word)| word).collect();
    assert_eq!(said, ["take one.example.com", "ends in 1 days"]);
}

#[test]
fn no_pair_at_the_start_is_a_fault_at_once() {
    let start = |look: &Look| Renewal::start(look, Mono(0)).unwrap_err().to_string();
    assert_eq!(start(&look((FIRST.0, RENEWED.1))), "certificate and key do not fit");
    let denied = Look { certificate: Ok(vec![]), key: Err("cannot be read: permission denied".to_owned()) };
    assert_eq!(start(&denied), "the key's file cannot be read: permission denied");
    assert!(!format!("{:?}", look(FIRST)).contains("BEGIN"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the files go through: the pair in force is always one that stood in them whole, an unchanged state is told
    /// at most once, a good one never, and files that rest as a good pair are in force after at most 5.3 s.
    #[test]
    fn the_pair_in_force_is_always_a_good_one(steps in prop::collection::vec((0usize..6, 0u64..9000), 1..20)) {
        let torn = (RENEWED.0, FIRST.1);
        let states = [FIRST, RENEWED, WILD, torn, (&FIRST.0[..100], FIRST.1), (b"".as_slice(), FIRST.1)];
        let mut watch = Watch::new(FIRST);
        for (state, ms) in steps {
            let time = Duration::from_millis(ms);
            let said = watch.run(&look(states[state]), time);
            prop_assert!(said.len() <= 1, "{:?}", said);
            let refused = said.iter().any(|(_, word)| word.starts_with("refuse"));
            prop_assert!(!refused || state > 2, "{:?}", said);
            if state < 3 && time > EVERY + QUIET {
                prop_assert_eq!(watch.renewal.pair().mark(), pair(states[state]).mark());
            }
            prop_assert!(states[..3].iter().any(|good| watch.renewal.pair().mark() == pair(*good).mark()));
        }
    }
}
