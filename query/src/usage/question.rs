//! What is asked of usage.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use events::event::admin::Permission;
use events::ids::{KeyId, PartnerId, TenantId, UserId};
use events::wire::Refusal;
use openapi::Operation;
use openapi::schema::{self, object};

use super::cursor::{self, GroupKey};
use crate::described;
use crate::parameters::{Parameters, date};

const SECONDS_AN_HOUR: i64 = 3600;
const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;
/// Names of metadata begin with this where they stand beside dimensions.
const METADATA: &str = "metadata.";
/// More than a request can have.
const METADATA_NAMES_MAX: usize = 16;

/// What rows are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Hour,
    Day,
    Month,
    Partner,
    Tenant,
    User,
    Key,
    Model,
    Provider,
    Backend,
}

impl Dimension {
    /// In the order of columns, and of what groups are listed by: times first.
    pub const ALL: &'static [Self] = &[
        Self::Hour,
        Self::Day,
        Self::Month,
        Self::Partner,
        Self::Tenant,
        Self::User,
        Self::Key,
        Self::Model,
        Self::Provider,
        Self::Backend,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Key => "key",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Backend => "backend",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// What is published of the question and its answer.
pub fn described() -> Operation {
    let names: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.as_str()).collect();
    let dimension = schema::one_of(names.iter().copied());
    let group_by = schema::either([dimension, schema::formed(r"^metadata\.[^,]*[^,\s][^,]*$")]);
    let row = object()
        .required("requests", schema::described(schema::sum(), "Admitted ones"))
        .required("refused", schema::described(schema::sum(), "Not among the requests"))
        .required("failed", schema::described(schema::sum(), "Among the requests"));
    let classes = ["input_uncached", "input_cache_read", "input_cache_write", "output_text", "output_reasoning"];
    let row = classes.iter().fold(row, |row, class| row.required(&format!("{class}_tokens"), schema::sum()));
    let row = row
        .required("cost_usd", schema::money())
        .required("latency_ms_p50", schema::nullable(schema::count()))
        .required("latency_ms_p95", schema::nullable(schema::count()));
    let row = names.iter().fold(row, |row, name| {
        let value = schema::nullable(schema::string());
        row.optional(name, schema::described(value, "Where it is grouped by; null where it is not known"))
    });
    let usage = described::permitted("usage", "Usage", "Requests, tokens, cost and latencies", Permission::UsageRead)
        .says("Whole hours are counted: `from` is rounded down to one, `to` up.")
        .says(
            "By metadata, requests are counted one by one: at most 50,000, refused ones among them, out of fewer than \
             100,000 in the time and of the partner, tenant or key that is asked about. A question about more is a 400.",
        )
        .says("Parameters `metadata.NAME` choose the requests that were sent with that value under that name.")
        .query_list(
            "group_by",
            group_by,
            "Any of the dimensions and `metadata.NAME`, comma-separated; one row for all where it is absent",
        )
        .query("hour", described::time_or_date(), "Of the hour that this time lies in")
        .query("day", schema::date(), "Of this day")
        .query("month", schema::formed("^[0-9]{4}-(0[1-9]|1[0-2])$"), "Of this month");
    let usage = described::of_dimensions(described::between(usage)).paged(LIMIT_DEFAULT, LIMIT_MAX);
    described::answers_page(usage, "A row a group; times first, then names", "UsageRow").defines("UsageRow", row.open())
}

/// Which part of the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups behind this one; `None` from the first on.
    pub after: Option<GroupKey>,
    pub limit: usize,
}

/// The hours that are counted, in seconds since 1970: from the first to before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    pub from: i64,
    pub to: i64,
}

/// A question to the view. Filters are `None` where everything counts.
#[derive(Clone, Debug)]
pub struct Question {
    pub group_by: Vec<Dimension>,
    pub hours: Hours,
    pub partner: Option<String>,
    pub tenant: Option<String>,
    pub user: Option<String>,
    pub key: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub backend: Option<String>,
    /// Names of metadata that rows are grouped by as well.
    pub by_metadata: Vec<String>,
    /// Names of metadata and the values that requests must have.
    pub metadata: Vec<(String, String)>,
    pub limits: Limits,
}

impl Question {
    /// From the parameters of `/v1/usage`, of which none may be left over.
    pub fn take(mut parameters: Parameters) -> Result<Self, Refusal> {
        let (group_by, by_metadata) = group_by(parameters.text("group_by").as_deref())?;
        let mut hours = Hours { from: 0, to: i64::MAX };
        if let Some(from) = parameters.time("from")? {
            hours.from = hour_of(from);
        }
        if let Some(to) = parameters.time("to")? {
            let seconds = to.timestamp() + i64::from(to.timestamp_subsec_micros() > 0);
            hours.to = seconds.div_euclid(SECONDS_AN_HOUR) + i64::from(seconds.rem_euclid(SECONDS_AN_HOUR) > 0);
            hours.to *= SECONDS_AN_HOUR;
        }
        if let Some(hour) = parameters.time("hour")? {
            hours.narrow(hour_of(hour), hour_of(hour) + SECONDS_AN_HOUR);
        }
        if let Some(text) = parameters.text("day") {
            let (from, to) = day(&text).ok_or_else(|| Refusal::invalid("day", "must be like 2026-11-20"))?;
            hours.narrow(from, to);
        }
        if let Some(text) = parameters.text("month") {
            let (from, to) = month(&text).ok_or_else(|| Refusal::invalid("month", "must be like 2026-11"))?;
            hours.narrow(from, to);
        }
        let mut question = Self {
            group_by,
            hours,
            partner: parameters.id::<PartnerId>("partner")?,
            tenant: parameters.id::<TenantId>("tenant")?,
            user: parameters.id::<UserId>("user")?,
            key: parameters.id::<KeyId>("key")?,
            model: parameters.text("model"),
            provider: parameters.text("provider"),
            backend: parameters.text("backend"),
            by_metadata,
            metadata: metadata(&mut parameters)?,
            limits: Limits { after: None, limit: parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)? },
        };
        let cursor = parameters.text("cursor");
        question.limits.after = cursor.map(|text| cursor::read(&question.names(), &text)).transpose()?;
        parameters.finish()?;
        Ok(question)
    }

    /// Whether rows are told apart, or chosen, by what only the requests themselves know.
    pub fn is_about_metadata(&self) -> bool {
        !self.by_metadata.is_empty() || !self.metadata.is_empty()
    }

    /// What rows are grouped by, by name.
    pub fn names(&self) -> Vec<String> {
        let dimensions = Dimension::ALL.iter().filter(|dimension| self.groups_by(**dimension));
        let metadata = self.by_metadata.iter().map(|name| format!("{METADATA}{name}"));
        dimensions.map(|dimension| dimension.as_str().to_owned()).chain(metadata).collect()
    }

    pub fn groups_by(&self, dimension: Dimension) -> bool {
        self.group_by.contains(&dimension)
    }
}

impl Hours {
    fn narrow(&mut self, from: i64, to: i64) {
        self.from = self.from.max(from);
        self.to = self.to.min(to);
    }
}

fn group_by(names: Option<&str>) -> Result<(Vec<Dimension>, Vec<String>), Refusal> {
    let (mut dimensions, mut metadata) = (Vec::new(), Vec::new());
    for name in names.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name.strip_prefix(METADATA) {
            None => dimensions.push(dimension(name)?),
            Some("") => return Err(Refusal::invalid("group_by", "metadata. needs a name behind it")),
            Some(name) if metadata.iter().any(|known| known == name) => {}
            Some(name) => metadata.push(name.to_owned()),
        }
    }
    if metadata.len() > METADATA_NAMES_MAX {
        return Err(Refusal::invalid("group_by", format!("has more than {METADATA_NAMES_MAX} names of metadata")));
    }
    Ok((dimensions, metadata))
}

fn metadata(parameters: &mut Parameters) -> Result<Vec<(String, String)>, Refusal> {
    let named = parameters.named(METADATA);
    if let Some((name, _)) = named.iter().find(|(name, _)| name.is_empty()) {
        return Err(Refusal::invalid(format!("{METADATA}{name}"), "needs a name behind the dot"));
    }
    Ok(named)
}

fn dimension(name: &str) -> Result<Dimension, Refusal> {
    let found = Dimension::ALL.iter().copied().find(|dimension| dimension.as_str() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.as_str()).collect();
        Refusal::invalid("group_by", format!("{name:?} is none of {}, metadata.NAME", known.join(", ")))
    })
}

pub fn hour_of(at: DateTime<Utc>) -> i64 {
    at.timestamp() - at.timestamp().rem_euclid(SECONDS_AN_HOUR)
}

fn day(text: &str) -> Option<(i64, i64)> {
    let day = date(text)?;
    Some((midnight(day), midnight(day.succ_opt()?)))
}

fn month(text: &str) -> Option<(i64, i64)> {
    let first = date(&format!("{text}-01"))?;
    Some((midnight(first), midnight(first.checked_add_months(chrono::Months::new(1))?)))
}

fn midnight(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asker::QueryString;

    fn asked(query: &str) -> Result<Question, Refusal> {
        Question::take(Parameters::parse(&QueryString(query.to_owned()))?)
    }

    fn hours(query: &str) -> (i64, i64) {
        let hours = asked(query).expect("a question").hours;
        (hours.from, hours.to)
    }

    #[test]
    fn whole_hours_are_counted() {
        let (from, to) = hours("from=2026-11-20T08:30:00Z&to=2026-11-20T09:00:00.000001Z");
        assert_eq!((from, to), hours("from=2026-11-20T08:00:00Z&to=2026-11-20T10:00:00Z"));
        assert_eq!(hours("day=2026-11-20"), hours("from=2026-11-20&to=2026-11-21"));
        assert_eq!(hours("month=2026-12"), hours("from=2026-12-01&to=2027-01-01"));
        assert_eq!(hours("hour=2026-11-20T08:00:00Z"), hours("from=2026-11-20T08:00:00Z&to=2026-11-20T09:00:00Z"));
    }

    #[test]
    fn a_dimension_that_is_none_is_named() {
        let refusal = asked("group_by=tenant,team").expect_err("not a dimension");
        assert_eq!(refusal.details["field"], "group_by");
        assert!(refusal.message.contains("team"), "{}", refusal.message);
        assert_eq!(asked("group_by=metadata.").expect_err("no name").details["field"], "group_by");
        assert_eq!(asked("metadata.=x").expect_err("no name").details["field"], "metadata.");
        let asked_of_metadata =
            asked("group_by=metadata.team,day,metadata.team&metadata.env=a%20b").expect("a question");
        assert_eq!(asked_of_metadata.names(), ["day", "metadata.team"]);
        assert_eq!(asked_of_metadata.metadata, [("env".to_owned(), "a b".to_owned())]);
        assert!(
            asked_of_metadata.is_about_metadata() && !asked("group_by=day").expect("a question").is_about_metadata()
        );
        assert_eq!(asked("colour=red").expect_err("unknown").details["field"], "colour");
        assert_eq!(asked("group_by=tenant,day").expect("a question").group_by, [Dimension::Tenant, Dimension::Day]);
    }
}
