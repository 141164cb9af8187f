//! A query of `/v1/usage`.

use std::collections::BTreeSet;
use std::sync::Arc;

use events::refusal::Refusal;
use projections::views::usage_by_hour::{Dimension, Selection, Totals};

use super::{cursor, range};
use crate::format::Format;
use crate::parameters::Parameters;

pub const LIMIT_DEFAULT: usize = 1000;
pub const LIMIT_MAX: usize = 10_000;
/// The prefix of names of metadata among dimensions.
const METADATA: &str = "metadata.";
/// The most names of metadata, as many as a request can have.
const METADATA_NAMES_MAX: usize = 16;

/// The query: its part for the view, and its part for the metadata of requests, which no view has.
#[derive(Clone, Debug)]
pub struct Question {
    pub selection: Arc<Selection>,
    /// Names of metadata to group by, after the dimensions.
    pub by_metadata: Vec<String>,
    /// Names of metadata and the values that requests must have.
    pub metadata: Vec<(String, String)>,
}

impl Question {
    /// Reads the parameters of `/v1/usage`, and refuses others.
    pub fn take(mut parameters: Parameters, format: Format) -> Result<Self, Refusal> {
        let (group_by, by_metadata) = group_by(parameters.text("group_by").as_deref())?;
        let range = range::take(&mut parameters)?;
        let requests = parameters.request_filter()?;
        let metadata = metadata(&mut parameters)?;
        let limit = parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
        let totals = match (parameters.choice("totals")?, format) {
            (Some(false), _) => Totals::Never,
            (Some(true) | None, Format::Json) => Totals::OnEveryPage,
            (Some(true) | None, Format::Lines(_)) => Totals::OnTheLastPage,
        };
        let cursor = parameters.text("cursor");
        let names = names(&group_by, &by_metadata);
        let after = cursor.map(|text| cursor::read(&names, &text)).transpose()?;
        parameters.finish()?;
        let without_tenants = BTreeSet::new();
        let selection = Arc::new(Selection { group_by, range, requests, without_tenants, after, limit, totals });
        Ok(Self { selection, by_metadata, metadata })
    }

    /// True if rows are grouped or filtered by metadata.
    pub fn is_about_metadata(&self) -> bool {
        !self.by_metadata.is_empty() || !self.metadata.is_empty()
    }

    /// True if refusals count. They have no metadata, so a filter by metadata excludes them.
    pub fn counts_refused(&self) -> bool {
        self.metadata.is_empty()
    }

    /// The names of the grouping.
    pub fn names(&self) -> Vec<String> {
        names(&self.selection.group_by, &self.by_metadata)
    }
}

fn names(group_by: &[Dimension], by_metadata: &[String]) -> Vec<String> {
    let dimensions = Dimension::ALL.iter().filter(|dimension| group_by.contains(dimension));
    let metadata = by_metadata.iter().map(|name| format!("{METADATA}{name}"));
    dimensions.map(|dimension| dimension.as_str().to_owned()).chain(metadata).collect()
}

fn group_by(names: Option<&str>) -> Result<(Vec<Dimension>, Vec<String>), Refusal> {
    let (mut dimensions, mut metadata) = (Vec::new(), Vec::new());
    for name in names.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name.strip_prefix(METADATA) {
            None => dimensions.push(dimension(name)?),
            Some("") => return Err(Refusal::invalid("group_by", "metadata. must be followed by a name")),
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
        return Err(Refusal::invalid(format!("{METADATA}{name}"), "needs a name after the dot"));
    }
    Ok(named)
}

fn dimension(name: &str) -> Result<Dimension, Refusal> {
    Dimension::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Dimension::words().collect();
        Refusal::invalid("group_by", format!("{name:?} is none of {}, metadata.NAME", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Question, Refusal> {
        Question::take(Parameters::parse(query)?, Format::Json)
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
        assert_eq!(
            asked("group_by=tenant,day").expect("a question").selection.group_by,
            [Dimension::Tenant, Dimension::Day]
        );
    }
}
