//! Quotes: a POST for a user, and the frame on that user's session.

use crate::client::Client;
use crate::options::Options;
use crate::report::{Latency, Quotes, as_f64, micros};
use crate::sessions::{Crowd, user};
use crate::usage::{Family, own_cpu_us};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Longest time from the last answer to the last frame.
const TAIL: Duration = Duration::from_secs(3);

/// Answers and their times.
#[derive(Default)]
struct Posted {
    answers: BTreeMap<String, u64>,
    times: Vec<u32>,
}

/// Asks for quotes for some seconds, so many at a time. Each poster has users of its own and takes one after another.
pub(crate) async fn ask(crowd: &Rc<Crowd>, options: &Options, family: &Family) -> Result<Quotes, String> {
    let posted = Rc::new(RefCell::new(Posted::default()));
    let posters = options.post_inflight.min(crowd.size);
    let (start, cpu, own) = (Instant::now(), family.cpu_us(), own_cpu_us());
    let end = start + Duration::from_secs(options.seconds.into());
    let mut tasks = JoinSet::new();
    for poster in 0..posters {
        let client = Client::new(options.ports.http.address);
        let path = format!("{}/api/v1/quotes", options.ports.http.path);
        let users = (poster..crowd.size).step_by(posters as usize);
        tasks.spawn_local(post(crowd.clone(), posted.clone(), client, path, users.collect(), end));
    }
    while tasks.join_next().await.is_some() {}
    let seconds = start.elapsed().as_secs_f64();
    let (cpu, own) = (family.cpu_us() - cpu, own_cpu_us() - own);
    let tail = Instant::now();
    while crowd.asked.borrow().iter().any(Option::is_some) && tail.elapsed() < TAIL {
        sleep(Duration::from_millis(20)).await;
    }
    let lost = crowd.asked.borrow().iter().filter(|asked| asked.is_some()).count() as u64;
    let posted = posted.take();
    let delivered = crowd.quotes.borrow().len() as u64;
    Ok(Quotes {
        posted: posted.answers.values().sum(),
        answers: posted.answers,
        delivered,
        lost,
        per_second: as_f64(delivered) / seconds,
        round_trip: Latency::of(crowd.quotes.take()),
        answer: Latency::of(posted.times),
        server_cpu_us_per_quote: as_f64(cpu) / as_f64(delivered.max(1)),
        client_cpu_pct: as_f64(own) / seconds / 10_000.0,
    })
}

async fn post(
    crowd: Rc<Crowd>,
    posted: Rc<RefCell<Posted>>,
    mut client: Client,
    path: String,
    users: Vec<u32>,
    end: Instant,
) {
    for index in users.into_iter().cycle() {
        if Instant::now() >= end {
            return;
        }
        // Still under way, or lost: not asked for again, so that it stays visible.
        if crowd.asked.borrow()[index as usize].is_some() {
            sleep(Duration::from_millis(1)).await;
            continue;
        }
        let asked = Instant::now();
        crowd.asked.borrow_mut()[index as usize] = Some(asked);
        let json = format!(r#"{{"user_id":"{}"}}"#, user(index));
        let answer = match client.post(&path, &json).await {
            Ok((202, _)) => "202".to_owned(),
            refused => {
                crowd.asked.borrow_mut()[index as usize] = None;
                refused.map_or_else(|error| error.kind().to_string(), |(status, _)| status.to_string())
            }
        };
        let mut posted = posted.borrow_mut();
        posted.times.push(micros(asked.elapsed()));
        *posted.answers.entry(answer).or_default() += 1;
    }
}
