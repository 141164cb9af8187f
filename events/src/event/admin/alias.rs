//! Aliases: models without targets of their own, which stand for another model, and from a date on for a further one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decision_time;
use crate::time::wire;

/// For which model an alias stands from a time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasStep {
    /// Its name.
    pub model: String,
    /// Absent for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire::option")]
    pub from: Option<DateTime<Utc>>,
}

/// The steps of an alias, by their times. Empty for a model with targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Alias(Vec<AliasStep>);

impl Alias {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn steps(&self) -> &[AliasStep] {
        &self.0
    }

    /// The name of the model that it stands for: the last one whose time has come. `None` for a model with targets.
    pub fn stands_for(&self, at: DateTime<Utc>) -> Option<&str> {
        let in_force = self.0.iter().rev().find(|step| step.from.is_none_or(|from| from <= at));
        in_force.map(|step| &*step.model)
    }

    /// Whether it is switched about that time.
    pub fn is_switched_near(&self, at: DateTime<Utc>) -> bool {
        self.0.iter().filter_map(|step| step.from).any(|from| decision_time::is_near(from, at))
    }
}

impl From<Vec<AliasStep>> for Alias {
    fn from(steps: Vec<AliasStep>) -> Self {
        Self(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_whose_time_has_come_counts() {
        let at = |seconds| DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
        let step = |model: &str, from: Option<i64>| AliasStep { model: model.to_owned(), from: from.map(at) };
        let alias: Alias = vec![step("a", None), step("b", Some(10)), step("c", Some(20))].into();
        let names = [0, 9, 10, 19, 20, 99].map(|seconds| alias.stands_for(at(seconds)).unwrap_or_default());
        assert_eq!(names, ["a", "a", "b", "b", "c", "c"]);
        assert_eq!(Alias::default().stands_for(at(0)), None);
        let near = [-3591, -3590, 3620, 3621].map(|seconds| alias.is_switched_near(at(seconds)));
        assert_eq!(near, [false, true, true, false]);
    }
}
