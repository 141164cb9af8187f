//! The query string, parsed strictly: an unknown, repeated or malformed parameter is a 400 that names it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::Query;
use chrono::{DateTime, Utc};
use events::event::inference::Payer;
use events::named::NamedValue;
use events::nearest_name::did_you_mean;
use events::refusal::{ErrorCode, Refusal};
use events_log::Head;
use http::Uri;
use projections::parameter_text;
use projections::views::RequestFilter;

/// The parameter that asks for the answer as of an earlier position.
pub const AS_OF: &str = "as_of";
/// The longest value; no id, name, time or cursor is longer.
const VALUE_BYTES_MAX: usize = 6 * 1024;

/// Parameters that have not been taken yet.
#[derive(Debug)]
pub struct Parameters {
    left: BTreeMap<String, String>,
    /// Names that were asked for, to suggest one for an unknown name.
    asked: Vec<String>,
}

impl Parameters {
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::invalid("", "the query string is malformed");
        let uri: Uri = Uri::builder().path_and_query(format!("/?{query}")).build().map_err(|_| malformed())?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| malformed())?;
        Self::of(pairs)
    }

    /// The parameters with these names and values.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Refusal> {
        let mut left = BTreeMap::new();
        for (name, value) in pairs {
            if value.len() > VALUE_BYTES_MAX || value.contains('\0') {
                return Err(Refusal::invalid(name, "is too long or contains a NUL"));
            }
            if left.insert(name.clone(), value).is_some() {
                return Err(Refusal::invalid(name, "is given twice"));
            }
        }
        Ok(Self { left, asked: Vec::new() })
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        #[cfg(test)]
        asked::note(name);
        self.asked.push(name.to_owned());
        self.left.remove(name)
    }

    /// The value, which is not taken.
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.left.get(name).map(String::as_str)
    }

    /// Replaces the value.
    pub fn put(&mut self, name: &str, value: String) {
        self.left.insert(name.to_owned(), value);
    }

    /// Every parameter that begins with `prefix`, by the rest of its name.
    pub fn named(&mut self, prefix: &str) -> Vec<(String, String)> {
        let names: Vec<String> = self.left.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let mut pair = |name: String| Some((name.strip_prefix(prefix)?.to_owned(), self.text(&name)?));
        names.into_iter().filter_map(&mut pair).collect()
    }

    /// An id of the right kind.
    pub fn id<I: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<I>, Refusal> {
        let parse = |text: String| text.parse().map_err(|error: I::Err| Refusal::invalid(name, error.to_string()));
        self.text(name).map(parse).transpose()
    }

    /// `partner`, `tenant`, `user`, `key`, `model`, `provider`, `backend` and `payer`.
    pub fn request_filter(&mut self) -> Result<RequestFilter, Refusal> {
        Ok(RequestFilter {
            partner: self.id("partner")?,
            tenant: self.id("tenant")?,
            user: self.id("user")?,
            key: self.id("key")?,
            model: self.text("model"),
            provider: self.text("provider"),
            backend: self.text("backend"),
            payer: self.word("payer", Payer::NAMED)?,
        })
    }

    /// A whole number, not negative.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        let parse = |text: String| text.parse().map_err(|_| Refusal::invalid(name, "must be a whole number"));
        self.text(name).map(parse).transpose()
    }

    /// `limit`, from 1 to `max`.
    pub fn limit(&mut self, default: usize, max: usize) -> Result<usize, Refusal> {
        let Some(limit) = self.number("limit")? else { return Ok(default) };
        let within = usize::try_from(limit).ok().filter(|limit| (1..=max).contains(limit));
        within.ok_or_else(|| Refusal::invalid("limit", format!("must be 1 to {max}")))
    }

    /// An RFC 3339 time, or a date: the instant at which it begins in UTC.
    pub fn time(&mut self, name: &str) -> Result<Option<DateTime<Utc>>, Refusal> {
        self.text(name).map(|text| parameter_text::time(name, &text)).transpose()
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// `true` or `false`; `None` if absent.
    pub fn choice(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("false") => Ok(Some(false)),
            Some("true") => Ok(Some(true)),
            Some(_) => Err(Refusal::invalid(name, "must be true or false")),
        }
    }

    /// One of these words.
    pub fn word<T: Copy>(&mut self, name: &str, words: &[NamedValue<T>]) -> Result<Option<T>, Refusal> {
        self.text(name).map(|text| parameter_text::word(name, &text, words)).transpose()
    }

    /// Refuses parameters that were not taken.
    pub fn finish(self) -> Result<(), Refusal> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let meant = did_you_mean(&name, self.asked.iter().map(String::as_str));
                Err(Refusal::invalid(name, format!("is not a parameter of this path{meant}")))
            }
        }
    }
}

/// Refuses a `min_position` beyond the head: every position that a client has received is in the log.
pub fn require_recorded(head: Head, min_position: u64) -> Result<(), Refusal> {
    if min_position <= head.position {
        return Ok(());
    }
    Err(beyond_the_head("min_position", &min_position.to_string(), head))
}

/// The refusal of a position that the log does not have.
pub fn beyond_the_head(name: &str, asked: &str, head: Head) -> Refusal {
    let head = head.position;
    let reason = format!("{asked} is beyond the newest event of the log, which is at {head}");
    Refusal::invalid(name, reason).with("position", head)
}

/// The refusal of a `min_position` of which this node does not know whether it is recorded.
pub fn not_known_yet(min_position: u64) -> Refusal {
    let message = format!(
        "this node has not read position {min_position} from the ledger's database yet, and cannot reach it now; try again"
    );
    Refusal::new(ErrorCode::ViewBehind, message).with("min_position", min_position).try_again()
}

/// `min_position` in a query string that may have other, foreign parameters of any form.
pub fn min_position_among_others(query: &str) -> Result<Option<u64>, Refusal> {
    #[cfg(test)]
    asked::note("min_position");
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("min_position=")) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Refusal::invalid("min_position", "must be a whole number"))
}

/// Refuses `as_of` in a query string that may have other, foreign parameters of any form. Without it, the answer would be that of now.
pub fn refuse_as_of_among_others(query: &str, instead: &str) -> Result<(), Refusal> {
    if query.split('&').any(|pair| pair.split('=').next() == Some(AS_OF)) {
        return Err(Refusal::invalid(AS_OF, format!("is not a parameter of this path; {instead} takes it")));
    }
    Ok(())
}

/// The parameters that handlers asked for, compared with those that are described.
#[cfg(test)]
pub mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static NAMES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub fn note(name: &str) {
        NAMES.with_borrow_mut(|names| names.insert(name.to_owned()));
    }

    /// The names since the last call.
    pub fn taken() -> BTreeSet<String> {
        NAMES.take()
    }
}

#[cfg(test)]
mod tests {
    use events::ids::KeyId;

    use super::*;

    fn parsed(query: &str) -> Parameters {
        Parameters::parse(query).expect("a query string")
    }

    fn field(refusal: &Refusal) -> Option<&str> {
        refusal.details.get("field").and_then(|field| field.as_str())
    }

    #[test]
    fn what_is_unknown_doubled_or_malformed_is_named() {
        assert_eq!(field(&parsed("colour=red").finish().expect_err("unknown")), Some("colour"));
        let mut mistaken = parsed("form=2026-11-20");
        assert_eq!((mistaken.time("from"), mistaken.time("to")), (Ok(None), Ok(None)));
        let said = mistaken.finish().expect_err("unknown").message;
        assert_eq!(said, "form: is not a parameter of this path; did you mean from?");
        let doubled = Parameters::parse("a=1&a=2").expect_err("doubled");
        assert_eq!(field(&doubled), Some("a"));
        assert_eq!(field(&parsed("limit=0").limit(1, 10).expect_err("too small")), Some("limit"));
        assert_eq!(field(&parsed("limit=11").limit(1, 10).expect_err("too large")), Some("limit"));
        assert_eq!(field(&parsed("key=usr_1").id::<KeyId>("key").expect_err("no key")), Some("key"));
        assert_eq!(field(&parsed("from=yesterday").time("from").expect_err("no time")), Some("from"));
    }

    #[test]
    fn a_date_has_a_year_of_four_digits() {
        for other in ["%2B12345-01-01", "-0001-01-01", "-001-01-01", "2026-1-5", "2026-11-31", "10000-01-01", "x"] {
            assert_eq!(
                field(&parsed(&format!("from={other}")).time("from").expect_err(other)),
                Some("from"),
                "{other}"
            );
        }
    }

    #[test]
    fn a_date_is_the_instant_at_which_it_begins() {
        let at = |query: &str| parsed(query).time("from").expect("a time");
        assert_eq!(at("from=2026-11-20"), at("from=2026-11-20T00:00:00Z"));
        assert_eq!(at("from=2026-11-20T01:00:00%2B01:00"), at("from=2026-11-20"));
        assert_eq!(at(""), None);
    }
}
