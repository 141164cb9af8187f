//! What is asked of usage.

use events::ids::{KeyId, PartnerId, TenantId, UserId};
use events::wire::Refusal;

use super::cursor::{self, GroupKey};
use super::range::Range;
use crate::format::Format;
use crate::parameters::Parameters;

pub const LIMIT_DEFAULT: usize = 1000;
pub const LIMIT_MAX: usize = 10_000;
/// Names of metadata begin with this where they stand beside dimensions.
const METADATA: &str = "metadata.";
/// More than a request can have.
const METADATA_NAMES_MAX: usize = 16;

/// What rows are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Hour,
    Day,
    Week,
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
        Self::Week,
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
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// Which part of the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups behind this one; `None` from the first on.
    pub after: Option<GroupKey>,
    pub limit: usize,
}

/// A question to the view. Filters are `None` where everything counts.
#[derive(Clone, Debug)]
pub struct Question {
    pub group_by: Vec<Dimension>,
    pub range: Range,
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
    pub totals: Totals,
}

/// Where what all groups sum up to is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    Nowhere,
    OnEveryPage,
    OnTheLastPage,
}

impl Question {
    /// From the parameters of `/v1/usage`, of which none may be left over.
    pub fn take(mut parameters: Parameters, format: Format) -> Result<Self, Refusal> {
        let (group_by, by_metadata) = group_by(parameters.text("group_by").as_deref())?;
        let range = Range::take(&mut parameters)?;
        let mut question = Self {
            group_by,
            range,
            partner: parameters.id::<PartnerId>("partner")?.map(|id| id.to_string()),
            tenant: parameters.id::<TenantId>("tenant")?.map(|id| id.to_string()),
            user: parameters.id::<UserId>("user")?.map(|id| id.to_string()),
            key: parameters.id::<KeyId>("key")?.map(|id| id.to_string()),
            model: parameters.text("model"),
            provider: parameters.text("provider"),
            backend: parameters.text("backend"),
            by_metadata,
            metadata: metadata(&mut parameters)?,
            limits: Limits { after: None, limit: parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)? },
            totals: match (parameters.choice("totals")?, format) {
                (Some(false), _) => Totals::Nowhere,
                (Some(true) | None, Format::Json) => Totals::OnEveryPage,
                (Some(true) | None, Format::Lines(_)) => Totals::OnTheLastPage,
            },
        };
        let cursor = parameters.text("cursor");
        question.limits.after = cursor.map(|text| cursor::read(&question.names(), &text)).transpose()?;
        parameters.finish()?;
        Ok(question)
    }

    /// Whether a page has them that is the last, or is not.
    pub fn has_totals(&self, is_last: bool) -> bool {
        match self.totals {
            Totals::Nowhere => false,
            Totals::OnEveryPage => true,
            Totals::OnTheLastPage => is_last,
        }
    }

    /// The same about all groups together.
    pub fn ungrouped(&self) -> Self {
        let limits = Limits { after: None, limit: 1 };
        Self { group_by: Vec::new(), by_metadata: Vec::new(), limits, ..self.clone() }
    }

    /// Whether rows are told apart, or chosen, by what only the requests themselves know.
    pub fn is_about_metadata(&self) -> bool {
        !self.by_metadata.is_empty() || !self.metadata.is_empty()
    }

    /// Whoever asks for a value of metadata asks for requests that have it: what was refused has none.
    pub fn counts_refused(&self) -> bool {
        self.metadata.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asker::QueryString;

    fn asked(query: &str) -> Result<Question, Refusal> {
        Question::take(Parameters::parse(&QueryString(query.to_owned()))?, Format::Json)
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
