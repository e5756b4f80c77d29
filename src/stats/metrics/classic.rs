//! Metrics as Prometheus text 0.0.4, the form that every reader of metrics knows. Differs from OpenMetrics in where a
//! counter's `_total` stands, and in what it has no word for: info is a gauge, and there is no end mark.

use super::{Family, Metrics, PREFIX, Sample, Value};
use crate::protocol::cluster::Silences;
use prometheus_client::metrics::MetricType;
use std::fmt::{self, Write};

impl Metrics<'_> {
    /// Writes the text of the type `text/plain; version=0.0.4; charset=utf-8`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        let build = format!("build_info{{version=\"{}\"}} 1", Escaped(self.version));
        // Writing into a string does not fail.
        let _ = head(&mut out, "build_info", "The program.", "gauge");
        let _ = writeln!(out, "{PREFIX}_{build}");
        for family in self.families() {
            let _ = family.write(&mut out);
        }
        out
    }
}

impl Family {
    fn write(&self, out: &mut String) -> fmt::Result {
        let (name, kind) = match self.kind() {
            Some(MetricType::Counter) => (format!("{}_total", self.name), "counter"),
            Some(MetricType::Histogram) => (self.name.to_owned(), "histogram"),
            Some(_) => (self.name.to_owned(), "gauge"),
            None => return Ok(()),
        };
        head(out, &name, self.help, kind)?;
        for Sample { label, value } in &self.samples {
            if let Value::Histogram(all) = value {
                histogram(out, &name, all)?;
                continue;
            }
            write!(out, "{PREFIX}_{name}")?;
            if let Some((label, value)) = self.label.zip(label.as_deref()) {
                write!(out, "{{{label}=\"{}\"}}", Escaped(value))?;
            }
            match value {
                Value::Count(n) => writeln!(out, " {n}")?,
                // `0.0`, as in the other form.
                Value::Seconds(n) | Value::Gauge(n) => writeln!(out, " {n:?}")?,
                Value::Histogram(_) => {}
            }
        }
        Ok(())
    }
}

/// Buckets count all that is below their end.
fn histogram(out: &mut String, name: &str, all: &Silences) -> fmt::Result {
    let mut below = 0;
    for (end, count) in all.buckets() {
        below += count;
        let end = if end.is_infinite() { "+Inf".to_owned() } else { format!("{end:?}") };
        writeln!(out, "{PREFIX}_{name}_bucket{{le=\"{end}\"}} {below}")?;
    }
    writeln!(out, "{PREFIX}_{name}_sum {:?}", all.sum().as_secs_f64())?;
    writeln!(out, "{PREFIX}_{name}_count {below}")
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) -> fmt::Result {
    writeln!(out, "# HELP {PREFIX}_{name} {help}")?;
    writeln!(out, "# TYPE {PREFIX}_{name} {kind}")
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
