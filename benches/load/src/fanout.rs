//! Fan-out: one message by the admin route to every session.

use crate::client::Client;
use crate::options::Options;
use crate::report::{Fanout, Latency, as_f64, micros};
use crate::sessions::Crowd;
use crate::usage::{Family, own_cpu_us};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Longest time in which a message reaches all sessions.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the messages, the next when the one before has reached everybody.
pub(crate) async fn publish(crowd: &Crowd, options: &Options, family: &Family) -> Result<Fanout, String> {
    let mut client = Client::new(options.ports.admin.address);
    let path = format!("{}/api/v1/channels/{}/messages", options.ports.admin.path, options.ports.channel);
    let (start, cpu, own) = (Instant::now(), family.cpu_us(), own_cpu_us());
    let (mut all, mut expected, mut wanted) = (Vec::new(), 0, 0);
    for number in 0..options.messages {
        expected += crowd.alive() as usize;
        wanted += u64::from(crowd.alive());
        let sent = Instant::now();
        crowd.message.set(Some((number, sent)));
        let json = format!(r#"{{"data":{{"load":{number}}}}}"#);
        let (status, body) = client.post(&path, &json).await.map_err(|error| error.to_string())?;
        if status != 202 {
            return Err(format!("POST {path}: {status} {body}"));
        }
        while crowd.messages.borrow().len() < expected {
            if timeout_at(sent + PATIENCE, crowd.news.notified()).await.is_err() {
                // The next message must not be taken for late ones of this.
                expected = crowd.messages.borrow().len();
                break;
            }
        }
        all.push(micros(sent.elapsed()));
    }
    let (cpu, own, seconds) = (family.cpu_us() - cpu, own_cpu_us() - own, start.elapsed().as_secs_f64());
    let deliveries = crowd.messages.borrow().len() as u64;
    Ok(Fanout {
        messages: options.messages,
        deliveries,
        missing: wanted.saturating_sub(deliveries),
        latency: Latency::of(crowd.messages.take()),
        all: Latency::of(all),
        server_cpu_us_per_delivery: as_f64(cpu) / as_f64(deliveries.max(1)),
        client_cpu_pct: as_f64(own) / seconds / 10_000.0,
    })
}
