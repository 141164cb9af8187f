//! A strict reader of Prometheus' text format: panics at what the format does not allow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

type Labels = BTreeMap<String, String>;

pub struct Exposition {
    text: String,
    families: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), String>,
}

impl Exposition {
    pub fn of(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut read = Self { text: text.to_owned(), families: BTreeMap::new(), samples: BTreeMap::new() };
        let (mut family, mut helped) = (String::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind) && helped.contains(name), "{line}");
                assert!((kind == "counter") == name.ends_with("_total"), "{line}");
                assert!(read.families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                family = name.to_owned();
            } else {
                read.sample(&family, line);
            }
        }
        read.check_histograms();
        read
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (named, value) = line.rsplit_once(' ').expect("a value");
        value.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = match named.split_once('{') {
            None => (named, Labels::new()),
            Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').expect("a closing brace"))),
        };
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("not of {family}: {line}"));
        let is_histogram = self.families.get(family).is_some_and(|kind| kind == "histogram");
        let suffixes: &[&str] = if is_histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}");
        let before = self.samples.insert((name.to_owned(), labels), value.to_owned());
        assert!(before.is_none(), "twice: {line}");
    }

    /// Buckets grow with their bounds, and the last counts everything.
    fn check_histograms(&self) {
        for (name, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut by_series: BTreeMap<Labels, Vec<(f64, u64)>> = BTreeMap::new();
            for ((sample, labels), value) in &self.samples {
                if *sample == format!("{name}_bucket") {
                    let mut series = labels.clone();
                    let bound = series.remove("le").expect("a bound").replace("+Inf", "inf");
                    let bucket = (bound.parse().expect("a bound"), value.parse().expect("a count"));
                    by_series.entry(series).or_default().push(bucket);
                }
            }
            for (series, mut buckets) in by_series {
                buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
                assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{name} {series:?} {buckets:?}");
                let (bound, last) = *buckets.last().expect("a bucket");
                assert!(bound.is_infinite(), "{name} {series:?}");
                let count = self.samples.get(&(format!("{name}_count"), series)).expect("a count");
                assert_eq!(*count, last.to_string(), "{name}");
            }
        }
    }

    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).map(String::as_str)
    }

    /// Every value of a family.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.samples.iter().filter(move |((of, _), _)| of == name).map(|(_, value)| value.as_str())
    }
}

fn labels_of(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in behind.char_indices() {
            match letter {
                'n' if escaped => value.push('\n'),
                _ if escaped => value.push(letter),
                '\\' => {}
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => value.push(letter),
            }
            escaped = letter == '\\' && !escaped;
        }
        let after = &behind[end.expect("a closing quote") + 1..];
        assert!(labels.insert(name.to_owned(), value).is_none(), "twice: {text}");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    labels
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
