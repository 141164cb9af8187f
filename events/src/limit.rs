//! Rate limits: what they measure, and how limits are named.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidId, LimitId};
use crate::named;
use crate::text_on_the_wire::text_on_the_wire;

named! {
    /// The quantity that a rate limit counts, and its window.
    #[derive(PartialOrd, Ord)]
    pub enum Measure {
        RequestsPerMinute = "requests_per_minute",
        RequestsPerHour = "requests_per_hour",
        RequestsPerDay = "requests_per_day",
        TokensPerMinute = "tokens_per_minute",
        TokensPerDay = "tokens_per_day",
        /// Requests that are being answered.
        ConcurrentRequests = "concurrent_requests",
    }
}

impl Measure {
    /// The length of the sliding window; `None` for a measure that is counted at one instant.
    pub const fn window(self) -> Option<Duration> {
        match self {
            Self::RequestsPerMinute | Self::TokensPerMinute => Some(Duration::from_mins(1)),
            Self::RequestsPerHour => Some(Duration::from_hours(1)),
            Self::RequestsPerDay | Self::TokensPerDay => Some(Duration::from_hours(24)),
            Self::ConcurrentRequests => None,
        }
    }

    pub const fn is_of_tokens(self) -> bool {
        matches!(self, Self::TokensPerMinute | Self::TokensPerDay)
    }
}

named! {
    /// A quantity that the gateway always bounds, whatever limits are configured, because all callers share it.
    #[derive(PartialOrd, Ord)]
    pub enum BuiltInMeasure {
        /// Running queries.
        ConcurrentQueries = "concurrent_queries",
        /// Administration commands under way.
        ConcurrentCommands = "concurrent_commands",
        /// Open event streams.
        EventStreams = "event_streams",
        /// Bytes of answers that their client has not read yet.
        UnreadBytes = "unread_bytes",
    }
}

named! {
    /// A quantity of what the administrators of a tenant write: see [`ResourceBound`](crate::event::admin::ResourceBound).
    #[derive(PartialOrd, Ord)]
    pub enum AdministrationMeasure {
        /// Bytes of creations and changes on one day, in UTC.
        BytesPerDay = "admin_bytes_per_day",
    }
}

/// The measure that a refused request exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LimitedMeasure {
    Configured(Measure),
    BuiltIn(BuiltInMeasure),
    Administration(AdministrationMeasure),
}

impl From<Measure> for LimitedMeasure {
    fn from(measure: Measure) -> Self {
        Self::Configured(measure)
    }
}

/// The limit that refused a request. A response extension, by which the refusal is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    pub name: LimitName,
    pub measure: LimitedMeasure,
    pub limit: u64,
}

/// The bound of each measure of a limit; a limit that was created has at least one. Events of versions with fewer measures
/// lack the others, which then limit nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_hour: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
}

impl Bounds {
    /// The bound of one measure only.
    pub fn of(measure: Measure, number: u64) -> Self {
        let mut bounds = Self::default();
        bounds.set(measure, Some(number));
        bounds
    }

    pub const fn get(mut self, measure: Measure) -> Option<u64> {
        *self.bound(measure)
    }

    pub const fn set(&mut self, measure: Measure, number: Option<u64>) {
        *self.bound(measure) = number;
    }

    const fn bound(&mut self, measure: Measure) -> &mut Option<u64> {
        match measure {
            Measure::RequestsPerMinute => &mut self.requests_per_minute,
            Measure::RequestsPerHour => &mut self.requests_per_hour,
            Measure::RequestsPerDay => &mut self.requests_per_day,
            Measure::TokensPerMinute => &mut self.tokens_per_minute,
            Measure::TokensPerDay => &mut self.tokens_per_day,
            Measure::ConcurrentRequests => &mut self.concurrent_requests,
        }
    }

    /// The measures that have a bound.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, u64)> + '_ {
        Measure::ALL.iter().filter_map(|measure| Some((*measure, self.get(*measure)?)))
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// The name of a limit: one that was created, one that the configuration gives to every key, or a built-in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitName {
    Configured(LimitId),
    /// The limit of a key that has none of its own: `default` on the wire.
    Default,
    /// The limit of a key on the admin API: `admin_default` on the wire.
    AdminDefault,
    /// See [`BuiltInMeasure`]: `built_in` on the wire.
    BuiltIn,
}

const DEFAULT: &str = "default";
const ADMIN_DEFAULT: &str = "admin_default";
const BUILT_IN: &str = "built_in";

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured(id) => id.fmt(f),
            Self::Default => f.write_str(DEFAULT),
            Self::AdminDefault => f.write_str(ADMIN_DEFAULT),
            Self::BuiltIn => f.write_str(BUILT_IN),
        }
    }
}

impl FromStr for LimitName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            DEFAULT => Ok(Self::Default),
            ADMIN_DEFAULT => Ok(Self::AdminDefault),
            BUILT_IN => Ok(Self::BuiltIn),
            configured => configured.parse().map(Self::Configured),
        }
    }
}

text_on_the_wire!(LimitName, "a string");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_has_the_name_of_its_field() {
        for &measure in Measure::ALL {
            assert_eq!(serde_json::to_value(measure).ok(), Some(measure.as_str().into()));
            let bounds = Bounds::of(measure, 7);
            assert_eq!(serde_json::to_value(bounds).ok(), Some(serde_json::json!({ measure.as_str(): 7 })));
            assert_eq!(bounds.iter().collect::<Vec<_>>(), [(measure, 7)]);
        }
    }

    #[test]
    fn a_measure_counts_what_its_name_says_over_the_time_that_its_name_says() {
        for measure in Measure::ALL {
            let name = measure.to_string();
            assert_eq!(measure.is_of_tokens(), name.starts_with("tokens_"), "{name}");
            let seconds = match name.rsplit_once("_per_") {
                Some((_, "minute")) => Some(60),
                Some((_, "hour")) => Some(3_600),
                Some((_, "day")) => Some(86_400),
                _ => None,
            };
            assert_eq!(measure.window().map(|window| window.as_secs()), seconds, "{name}");
        }
    }

    #[test]
    fn bounds_without_a_number_limit_nothing() {
        assert!(Bounds::default().is_empty());
        assert!(!Bounds::of(Measure::TokensPerDay, 0).is_empty());
    }

    #[test]
    fn a_measure_of_any_kind_is_read_as_what_it_was_written_as() {
        let made = Measure::NAMED.iter().map(|named| (named.name, LimitedMeasure::Configured(named.value)));
        let built_in = BuiltInMeasure::NAMED.iter().map(|named| (named.name, LimitedMeasure::BuiltIn(named.value)));
        let written = AdministrationMeasure::NAMED.iter();
        let written = written.map(|named| (named.name, LimitedMeasure::Administration(named.value)));
        for (word, measure) in made.chain(built_in).chain(written) {
            assert_eq!(serde_json::to_value(measure).ok(), Some(word.into()));
            assert_eq!(serde_json::from_value(word.into()).ok(), Some(measure));
        }
    }

    #[test]
    fn limits_of_the_configuration_have_names_that_no_created_one_can_have() {
        let made = LimitName::Configured(LimitId::from(uuid::Uuid::from_u128(1)));
        for (name, text) in [
            (made, "lim_00000000000000000000000000000001"),
            (LimitName::Default, "default"),
            (LimitName::AdminDefault, "admin_default"),
            (LimitName::BuiltIn, "built_in"),
        ] {
            assert_eq!((name.to_string().as_str(), text.parse()), (text, Ok(name)));
        }
        assert!("key_00000000000000000000000000000001".parse::<LimitName>().is_err());
    }
}
