//! Prometheus' text format, for metrics that are read when `/metrics` is. Numbers are integers or decimals, never floats.

use std::fmt::{Display, Write};
use std::time::Duration;

#[derive(Clone, Copy)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// A label of a sample.
#[derive(Clone, Copy)]
pub struct MetricLabel<'a> {
    pub name: &'static str,
    pub value: &'a str,
}

/// Writes families and samples.
pub struct TextWriter<'o> {
    pub out: &'o mut String,
}

impl TextWriter<'_> {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Values of labels are not escaped: none comes from a client.
    pub fn sample(&mut self, name: &str, labels: &[MetricLabel<'_>], value: impl Display) {
        self.out.push_str(name);
        for (at, MetricLabel { name: label, value: value_of_label }) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{before}{label}=\"{value_of_label}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.out, "{end} {value}");
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, MetricKind::Gauge, help);
        self.sample(name, &[], value);
    }

    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, MetricKind::Counter, help);
        self.sample(name, &[], value);
    }
}

/// A duration in seconds, exact to the microsecond, without trailing zeros.
pub fn seconds(span: Duration) -> String {
    let text = format!("{}.{:06}", span.as_secs(), span.subsec_micros());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_line_with_its_labels_in_braces() {
        let mut out = String::new();
        let mut text = TextWriter { out: &mut out };
        text.counter("a_total", "How many", 3);
        text.family("b", MetricKind::Gauge, "What");
        text.sample(
            "b",
            &[MetricLabel { name: "x", value: "1" }, MetricLabel { name: "y", value: "2" }],
            seconds(Duration::from_micros(1_500_000)),
        );
        assert_eq!(
            out,
            "# HELP a_total How many\n# TYPE a_total counter\na_total 3\n\
             # HELP b What\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} 1.5\n"
        );
    }

    #[test]
    fn seconds_are_decimals_of_whole_microseconds() {
        for (micros, text) in [(0, "0"), (100, "0.0001"), (10_000_000, "10"), (100_000_001, "100.000001")] {
            assert_eq!(seconds(Duration::from_micros(micros)), text);
        }
    }
}
