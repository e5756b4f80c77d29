//! `btc-cluster probe`: says what is in the way between this machine and each price source.

use super::arguments::Probe;
use super::check;
use super::exit::Exit;
use super::out;
use crate::config::{Faults, PriceSection, Provider, Source, load};
use crate::providers::{Content, Finding, Http, HttpLimits, ProbeStep, Proxies, build, probe};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn run(wanted: &Probe, source: Result<Source, Faults>) -> ExitCode {
    let loaded = source.and_then(|mut source| {
        if let Some(name) = &wanted.provider {
            // A kind without a section then has its defaults; a name of the configuration stays the same.
            source.overrides.push(("price.providers".to_owned(), name.clone()));
        }
        load(&source)
    });
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(faults) => return check::refuse(&faults),
    };
    let providers: Vec<_> =
        config.price.providers.iter().filter_map(|name| config.providers.get(name)).cloned().collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(Exit::Failed);
    };
    let findings = runtime.block_on(all(&providers, &config.price, Duration::from_secs(wanted.timeout)));
    let text = match wanted.json {
        true => serde_json::to_string(&findings).unwrap_or_default() + "\n",
        false => words(&findings),
    };
    // The lookup of a name may still hold a thread: do not wait for it.
    runtime.shutdown_background();
    // A source is as good as its best leg.
    let good = |provider: &Provider| findings.iter().any(|f| f.source == provider.name && f.good());
    let code = match providers.iter().all(good) {
        _ if providers.is_empty() => Exit::Usage,
        true => Exit::Done,
        false => Exit::Failed,
    };
    out::end(&text, code)
}

/// Probes all sources at the same time; findings in the order of the sources.
async fn all(providers: &[Provider], price: &PriceSection, patience: Duration) -> Vec<Finding> {
    let http = Arc::new(Http::new(Proxies::Environment));
    http.adopt(HttpLimits::of(price));
    let one = async |provider: &Provider| {
        let content = Content::new(provider, price);
        probe(&provider.name, build(&content, &http), &provider.kind.places(), &http, patience).await
    };
    futures_util::future::join_all(providers.iter().map(one)).await.into_iter().flatten().collect()
}

fn words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let host = if finding.host.is_empty() { String::new() } else { format!("  {}", finding.host) };
        let _ = writeln!(text, "{} {}{host}", finding.source, finding.leg);
        let steps = [
            ("name", &finding.dns),
            ("connection", &finding.tcp),
            ("proxy", &finding.proxy),
            ("TLS", &finding.tls),
            ("http", &finding.http),
            ("price", &finding.price),
        ];
        for (what, step) in steps {
            match step {
                ProbeStep::Ok { what: said, ms } => {
                    let _ = writeln!(text, "  {what:<11} ok      {ms:>5} ms  {said}");
                }
                ProbeStep::Failed { why, ms } => {
                    let _ = writeln!(text, "  {what:<11} FAILED  {ms:>5} ms  {why}");
                }
                ProbeStep::Skipped => {}
            }
        }
        if let Some(ms) = finding.clock_ms {
            let _ = writeln!(text, "  {:<11} {} against ours, to about a second", "its clock", seconds(ms));
        }
    }
    text
}

/// `+0.3 s`: the host's clock is 0.3 s ahead.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    format!("{sign}{}.{} s", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000 / 100)
}
