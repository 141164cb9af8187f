//! Merges a provider's usage reports of one response into one object. A stream may report with every chunk, so reports
//! are buffered as text and merged in bulk, at a cost that depends on their length alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::json::{self, Cursor, DEPTH_MAX, JsonFault, Kind, State};
use super::work;

/// Bytes of a report, and of all of them merged. A longer one is ignored, because reports are recorded for ever.
pub const REPORT_BYTES_MAX: usize = 8 * 1024;
/// Larger counts are cut to this: no request has so many tokens, and no sum of such counts overflows 64 bits.
pub const COUNT_MAX: u64 = 1_000_000_000_000;
/// The total of a report, and the sides that it sums.
const TOTAL: &str = "total_tokens";
const SIDES: [&str; 2] = ["prompt_tokens", "completion_tokens"];
/// Counts of input, in every dialect, that are billed on their own. Those that are part of another count
/// (`cached_tokens`) are not here: without them the other is billed in full.
pub const INPUTS: [&str; 11] = [
    "input_tokens",
    CACHE_WRITE,
    "cache_read_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "inputTokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokens",
    "prompt_tokens",
    "promptTokenCount",
    "prompt_eval_count",
];
/// Anthropic's count of what was written to a cache, and its split by lifetime. A longer one costs more.
pub const CACHE_WRITE: &str = "cache_creation_input_tokens";
pub const CACHE_SPLIT: &str = "cache_creation";
/// Ends each buffered report; it occurs in no JSON.
const END: char = '\0';

/// A reported count: an integer, or a float (Cohere writes `12.0`) rounded up. `None` for negative numbers and other
/// values, because a missing count is not zero.
pub fn count(value: &str) -> Option<u64> {
    let count = json::integer(value).or_else(|| rounded_up(value))?;
    Some(count.min(COUNT_MAX))
}

/// A JSON number with a fraction or an exponent, digit by digit, so that none is lost. Saturates where 64 bits are too few.
fn rounded_up(text: &str) -> Option<u64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (mantissa, is_negative) = mantissa.strip_prefix('-').map_or((mantissa, false), |positive| (positive, true));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let significant = digits().filter(|digit| *digit != b'0').count();
    if significant == 0 || is_negative {
        return (significant == 0).then_some(0);
    }
    let (is_small, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => (true, exponent),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    if exponent.is_empty() || !exponent.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // An exponent that no `usize` holds is beyond every number of digits.
    let exponent: usize = exponent.parse().unwrap_or(usize::MAX);
    let units = if is_small { whole.len().saturating_sub(exponent) } else { whole.len().saturating_add(exponent) };
    let mut value = 0_u64;
    for digit in digits().take(units) {
        value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    let missing = units.saturating_sub(whole.len() + fraction.len());
    for _ in 0..missing.min(20) {
        value = value.saturating_mul(10);
    }
    let has_rest = digits().skip(units).any(|digit| digit != b'0');
    Some(value.saturating_add(u64::from(has_rest)))
}

/// All reports so far. A single report stays byte for byte. They are kept as text, because a tree takes twenty times
/// the memory.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    merged: Option<Box<str>>,
    /// The reports since the last merge, each with its [`END`].
    buffered: String,
}

#[derive(Clone, Debug)]
enum Node {
    Object {
        members: BTreeMap<String, Node>,
        /// Its length as JSON, with a comma after each member.
        bytes: usize,
    },
    /// Any other value, as JSON text.
    Other(Box<str>),
}

impl Reports {
    /// Adds a report: the later figure wins, member by member, because figures are cumulative. Null never replaces a
    /// figure. 0 never replaces a count of input if the later report has less input in all: servers that leave the input
    /// out of a later report write 0 there. If it has as much, the input is in another class now. A class that the later
    /// report leaves out, or has as null, stays as it was, as in Anthropic's own packages: what a first call wrote to a cache
    /// and a second one read from it is in both classes, and the later report may have only the second. A server that means
    /// by this that the input has moved is not told apart from it. A total is dropped when one of its sides is reported
    /// again without it, because it is stale. Returns false, and adds nothing, if the report is too long or not an object.
    /// If all reports merged are too long, the last one replaces them.
    pub fn add(&mut self, report: &str) -> bool {
        if report.len() > REPORT_BYTES_MAX || json::kind(report) != Kind::Object {
            return false;
        }
        if self.buffered.len() + report.len() > REPORT_BYTES_MAX {
            self.merged = self.whole().map(Into::into);
            self.buffered.clear();
        }
        work::steps(report.len());
        self.buffered.push_str(report);
        self.buffered.push(END);
        true
    }

    /// All reports as one object; `None` before the first.
    pub fn whole(&self) -> Option<String> {
        let (mut merged, mut last) = (None::<Node>, self.merged.as_deref());
        for report in self.buffered.split_terminator(END) {
            let earlier = merged.take().or_else(|| Node::read(last?).ok());
            merged = earlier.and_then(|earlier| {
                let report = Node::read(report).ok()?;
                let merged = earlier.without_stale_total(&report).with(report, None);
                (merged.bytes() <= REPORT_BYTES_MAX).then_some(merged)
            });
            last = Some(report);
        }
        let Some(merged) = merged else { return last.map(str::to_owned) };
        let mut out = String::with_capacity(merged.bytes());
        merged.write(&mut out);
        work::steps(out.len());
        Some(out)
    }

    /// Bytes of memory taken.
    pub fn held_bytes(&self) -> usize {
        self.merged.as_deref().map_or(0, str::len) + self.buffered.capacity()
    }
}

impl Node {
    fn read(text: &str) -> Result<Self, JsonFault> {
        Self::at(&mut Cursor::new(text), DEPTH_MAX)
    }

    /// Reads the value at the cursor in one pass. Scanning each nested object anew would read it once for each level.
    fn at(cursor: &mut Cursor<'_>, depth_left: u32) -> Result<Self, JsonFault> {
        work::steps(1);
        if cursor.peek() != Some(b'{') {
            let text = cursor.element()?;
            work::steps(text.len());
            return Ok(Self::Other(cursor.slice(&text).into()));
        }
        let depth_left = depth_left.checked_sub(1).ok_or(JsonFault::TooDeep)?;
        let (mut members, mut bytes, mut state) = (BTreeMap::new(), 2, State::Before);
        while cursor.advance(&mut state, b'{', b'}')? {
            let key = cursor.key()?;
            let name = cursor.name(&key)?;
            let node = Self::at(cursor, depth_left)?;
            // Of two members with one name, the first counts.
            if let Entry::Vacant(place) = members.entry(name.into_owned()) {
                bytes += member_bytes(place.key(), &node);
                place.insert(node);
            }
        }
        Ok(Self::Object { members, bytes })
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Object { bytes, .. } => *bytes,
            Self::Other(text) => text.len(),
        }
    }

    fn without_stale_total(self, later: &Self) -> Self {
        let is_stale = SIDES.iter().any(|side| later.has_figure(side)) && !later.has_figure(TOTAL);
        match self {
            Self::Object { mut members, mut bytes } if is_stale => {
                if let Some(total) = members.remove(TOTAL) {
                    bytes -= member_bytes(TOTAL, &total);
                }
                Self::Object { members, bytes }
            }
            current => current,
        }
    }

    /// True if the report has a member of this name that is not null.
    fn has_figure(&self, name: &str) -> bool {
        let Self::Object { members, .. } = self else { return false };
        members.get(name).is_some_and(|figure| !matches!(figure, Self::Other(text) if &**text == "null"))
    }

    /// True if this is a count of input, and the later value of that name is none or 0.
    fn is_input_without(&self, name: &str, later: &Self) -> bool {
        INPUTS.contains(&name) && self.figure() > 0 && later.figure() == 0
    }

    /// The count that it is, or 0.
    fn figure(&self) -> u64 {
        let Self::Other(text) = self else { return 0 };
        count(text).unwrap_or(0)
    }

    /// `has_less`: the later report has less input, if this is part of an object with input. The split of a cache write by
    /// lifetime is judged alone if the later report has its total: zeros there put nothing into another class.
    fn with(self, later: Self, has_less: Option<bool>) -> Self {
        match (self, later) {
            (earlier, Self::Other(text)) if &*text == "null" => earlier,
            (Self::Object { mut members, mut bytes }, Self::Object { members: newer, .. }) => {
                let has_less = has_less.or_else(|| has_less_input(&newer, &members));
                let written = newer.get(CACHE_WRITE).map_or(0, Node::figure);
                for (name, node) in newer {
                    work::steps(1);
                    let inside = if name == CACHE_SPLIT && written > 0 { None } else { has_less };
                    let node = match members.remove(&name) {
                        Some(earlier) => {
                            bytes -= member_bytes(&name, &earlier);
                            match has_less == Some(true) && earlier.is_input_without(&name, &node) {
                                true => earlier,
                                false => earlier.with(node, inside),
                            }
                        }
                        None => node,
                    };
                    bytes += member_bytes(&name, &node);
                    members.insert(name, node);
                }
                Self::Object { members, bytes }
            }
            (_, later) => later,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Object { members, .. } => {
                for (at, (name, node)) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    out.push(':');
                    node.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
            Self::Other(text) => out.push_str(text),
        }
    }
}

/// True if a later object counts less input than an earlier one, all classes taken together. `None` if the earlier one has
/// none.
fn has_less_input(later: &BTreeMap<String, Node>, earlier: &BTreeMap<String, Node>) -> Option<bool> {
    let input = |members: &BTreeMap<String, Node>| {
        INPUTS.iter().filter_map(|name| members.get(*name)).map(Node::figure).sum::<u64>()
    };
    let before = input(earlier);
    (before > 0).then(|| input(later) < before)
}

/// Bytes of a member as JSON, with its quotes, colon and comma.
fn member_bytes(name: &str, node: &Node) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    };
    name.bytes().map(escaped).sum::<usize>() + 4 + node.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(reports: &[&str]) -> String {
        let mut all = Reports::default();
        assert!(reports.iter().all(|report| all.add(report)));
        all.whole().expect("a report")
    }

    #[test]
    fn a_count_is_rounded_up_from_its_digits() {
        for (text, wanted) in [
            ("12.0", Some(12)),
            ("12.000000000000000000001", Some(13)),
            ("0.0", Some(0)),
            ("-0.0", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("1.25e1", Some(13)),
            ("1.25E+2", Some(125)),
            ("1e3", Some(1_000)),
            ("15e-1", Some(2)),
            ("1e-400", Some(1)),
            ("1e-99999999999999999999999", Some(1)),
            ("9007199254.0", Some(9_007_199_254)),
            ("1e999", Some(COUNT_MAX)),
            ("1e99999999999999999999999", Some(COUNT_MAX)),
            ("0.000000001e30", Some(COUNT_MAX)),
            ("99999999999999999999", Some(COUNT_MAX)),
            ("-1", None),
            ("-1.5", None),
            (r#""12""#, None),
            ("true", None),
            ("null", None),
        ] {
            assert_eq!(count(text), wanted, "{text}");
        }
    }

    #[test]
    fn merging_takes_the_later_figure_unless_it_is_null() {
        let merged = merged(&[r#"{"a":1,"d":{"x":1.10,"y":2},"n":5}"#, r#"{"d":{"y":3,"z":4},"n":null,"e":0}"#]);
        assert_eq!(merged, r#"{"a":1,"d":{"x":1.10,"y":3,"z":4},"e":0,"n":5}"#);
    }

    #[test]
    fn an_input_that_was_counted_is_not_erased_by_a_later_zero() {
        let split = r#"{"ephemeral_1h_input_tokens":7,"ephemeral_5m_input_tokens":0}"#;
        let first = format!(
            r#"{{"cache_creation":{split},"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"input_tokens":25,"output_tokens":1}}"#
        );
        let none = split.replace('7', "0");
        for (later, wanted) in [
            (r#"{"input_tokens":0,"output_tokens":9}"#.to_owned(), first.replace(":1}", ":9}")),
            (r#"{"input_tokens":-1,"cache_read_input_tokens":0.0}"#.to_owned(), first.clone()),
            (format!(r#"{{"cache_creation":{none},"cache_creation_input_tokens":0}}"#), first.clone()),
            // What is reported again is cumulative, and the output may become 0.
            (r#"{"input_tokens":26,"output_tokens":0}"#.to_owned(), first.replace("25", "26").replace(":1}", ":0}")),
            (r#"{"cache_read_input_tokens":4}"#.to_owned(), first.replace(r#"s":5"#, r#"s":4"#)),
        ] {
            assert_eq!(merged(&[&first, &later]), wanted, "{later}");
        }
        // Part of another count, which costs more without it.
        let openai = r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8}}"#;
        let later = r#"{"prompt_tokens":0,"prompt_tokens_details":{"cached_tokens":0}}"#;
        assert_eq!(merged(&[openai, later]), openai.replace('8', "0"));
    }

    #[test]
    fn the_split_of_a_cache_write_is_kept_while_its_total_stays() {
        let of = |hour: u64, minutes: u64, total: u64, output: u64| {
            format!(
                r#"{{"cache_creation":{{"ephemeral_1h_input_tokens":{hour},"ephemeral_5m_input_tokens":{minutes}}},"cache_creation_input_tokens":{total},"input_tokens":25,"output_tokens":{output}}}"#
            )
        };
        for (first, later, wanted) in [
            // Without a lifetime, all seven would have the lower price of five minutes.
            (of(7, 0, 7, 1), of(0, 0, 7, 9), of(7, 0, 7, 9)),
            (of(3, 4, 7, 1), of(0, 0, 8, 9), of(3, 4, 8, 9)),
            (of(7, 0, 7, 1), of(0, 7, 7, 9), of(0, 7, 7, 9)),
            (of(7, 0, 7, 1), of(8, 0, 8, 9), of(8, 0, 8, 9)),
            // The last total says that nothing was written.
            (of(7, 0, 7, 1), of(0, 0, 0, 9).replace("25", "32"), of(0, 0, 0, 9).replace("25", "32")),
        ] {
            assert_eq!(merged(&[&first, &later]), wanted, "{first} {later}");
        }
    }

    #[test]
    fn an_input_that_a_later_report_counts_in_another_class_is_counted_once() {
        for (first, later) in [
            (r#"{"input_tokens":1000}"#, r#"{"cache_read_input_tokens":1000,"input_tokens":0}"#),
            (r#"{"input_tokens":900}"#, r#"{"cache_read_input_tokens":1000,"input_tokens":0}"#),
            (r#"{"inputTokens":9}"#, r#"{"cacheReadInputTokens":5,"cacheWriteInputTokens":4,"inputTokens":0}"#),
            // What was written to a cache, with its lifetimes, was read from it after all.
            (
                r#"{"cache_creation":{"ephemeral_5m_input_tokens":8},"cache_creation_input_tokens":8,"input_tokens":1}"#,
                r#"{"cache_creation":{"ephemeral_5m_input_tokens":0},"cache_creation_input_tokens":0,"cache_read_input_tokens":8,"input_tokens":1}"#,
            ),
        ] {
            assert_eq!(merged(&[first, later]), later, "{first}");
        }
        // The later report leaves something out.
        let less = merged(&[r#"{"input_tokens":1000}"#, r#"{"cache_read_input_tokens":999,"input_tokens":0}"#]);
        assert_eq!(less, r#"{"cache_read_input_tokens":999,"input_tokens":1000}"#);
        // Each part of a report is a report of its own if the whole has no input.
        let cohere = r#"{"billed_units":{"input_tokens":7},"tokens":{"input_tokens":9}}"#;
        assert_eq!(merged(&[cohere, r#"{"billed_units":{"input_tokens":0},"tokens":{"input_tokens":0}}"#]), cohere);
    }

    #[test]
    fn an_input_that_a_later_report_leaves_out_is_as_it_was() {
        for (first, later, wanted) in [
            (
                r#"{"cache_read_input_tokens":50,"input_tokens":1000}"#,
                r#"{"cache_read_input_tokens":50,"output_tokens":15}"#,
                r#"{"cache_read_input_tokens":50,"input_tokens":1000,"output_tokens":15}"#,
            ),
            // A second call reads what the first one wrote: both are billed, although each has as much input as the other.
            (
                r#"{"cache_creation_input_tokens":1000,"input_tokens":null}"#,
                r#"{"cache_read_input_tokens":1000,"output_tokens":15}"#,
                r#"{"cache_creation_input_tokens":1000,"cache_read_input_tokens":1000,"input_tokens":null,"output_tokens":15}"#,
            ),
            (
                r#"{"input_tokens":1000}"#,
                r#"{"cache_read_input_tokens":1000,"input_tokens":null}"#,
                r#"{"cache_read_input_tokens":1000,"input_tokens":1000}"#,
            ),
        ] {
            assert_eq!(merged(&[first, later]), wanted, "{first} {later}");
        }
    }

    #[test]
    fn a_total_goes_with_the_sides_that_it_is_of() {
        let first = r#"{"completion_tokens":1,"prompt_tokens":20,"total_tokens":21,"x":1}"#;
        for (later, wanted) in [
            (r#"{"completion_tokens":9}"#, r#"{"completion_tokens":9,"prompt_tokens":20,"x":1}"#),
            (
                r#"{"prompt_tokens":9,"total_tokens":null}"#,
                r#"{"completion_tokens":1,"prompt_tokens":9,"total_tokens":null,"x":1}"#,
            ),
            (r#"{"completion_tokens":null}"#, first),
            (r#"{"x":1}"#, first),
            (r#"{"total_tokens":30}"#, r#"{"completion_tokens":1,"prompt_tokens":20,"total_tokens":30,"x":1}"#),
        ] {
            assert_eq!(merged(&[first, later]), wanted, "{later}");
        }
    }

    #[test]
    fn a_single_report_stays_as_it_came() {
        assert_eq!(merged(&[r#"{ "b":1,"a":1.0 , "b":2}"#]), r#"{ "b":1,"a":1.0 , "b":2}"#);
    }

    #[test]
    fn reports_take_no_more_room_than_their_text() {
        let of_many_names = |first: usize| {
            let members = (first..).take(900).map(|number| format!(r#""{number:x}":0"#)).collect::<Vec<_>>();
            format!("{{{}}}", members.join(","))
        };
        let mut all = Reports::default();
        for report in [of_many_names(0), of_many_names(0), "{}".to_owned(), of_many_names(450)] {
            assert!(all.add(&report), "{}", report.len());
            assert!(all.held_bytes() <= 3 * REPORT_BYTES_MAX, "{} bytes are held", all.held_bytes());
        }
        for _ in 0..5_000 {
            all.add("{}");
            assert!(all.held_bytes() <= 3 * REPORT_BYTES_MAX, "{} bytes are held", all.held_bytes());
        }
    }

    #[test]
    fn a_report_of_eight_kibibytes_is_one_and_a_longer_one_is_none() {
        let of = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - r#"{"x":""}"#.len()));
        let mut all = Reports::default();
        assert!(!all.add(&of(8_193)) && all.add(&of(8_192)));
        assert_eq!(all.whole(), Some(of(8_192)));
    }

    #[test]
    fn a_figure_that_is_reported_once_is_kept_however_often_others_are() {
        let mut all = Reports::default();
        assert!(all.add(r#"{"once":1}"#));
        for number in 0..3_000 {
            assert!(all.add(&format!(r#"{{"again":{number}}}"#)));
        }
        assert_eq!(all.whole().as_deref(), Some(r#"{"again":2999,"once":1}"#));
    }

    #[test]
    fn a_report_that_is_too_long_is_left_out_and_the_length_of_the_rest_is_exact() {
        let mut all = Reports::default();
        assert!(!all.add("7") && !all.add(&format!(r#"{{"x":"{}"}}"#, "x".repeat(REPORT_BYTES_MAX))));
        assert_eq!(all.whole(), None);
        let long = "x".repeat(REPORT_BYTES_MAX / 4);
        for number in 0..9 {
            assert!(all.add(&format!(r#"{{"\u0001\n\"é{number}":"{long}","o":{{"a":{number}}}}}"#)));
            let whole = all.whole().expect("a report");
            assert!(whole.len() <= REPORT_BYTES_MAX && whole.contains(&format!(r#""a":{number}"#)), "{whole}");
            // A comma after every member, of which the last of each object has none.
            assert_eq!(Node::read(&whole).map(|merged| merged.bytes()), Ok(whole.len() + 2));
        }
    }
}
