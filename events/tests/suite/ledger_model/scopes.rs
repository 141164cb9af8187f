//! Whom budgets bind, and who asks.

use events::event::admin::{Narrowing, Scope};
use events::event::inference::InferenceAdmitted;
use proptest::prelude::*;

use crate::facts::id;

pub const KEYS: u128 = 3;
const TEAMS: u128 = 2;

/// The model, the project and the team that a request has, or that a budget is narrowed to; `None` is another model, or no such
/// metadata.
pub type Conditions = [Option<u8>; 3];

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestSender {
    pub key: u128,
    /// A bit for each team that its user is in.
    teams: u128,
    has: Conditions,
}

/// Mostly not narrowed, and few values, so that budgets and requests often meet.
pub fn conditions() -> impl Strategy<Value = Conditions> {
    let value = || proptest::option::weighted(0.3, 0u8..2);
    [value(), value(), value()]
}

pub fn sender() -> impl Strategy<Value = RequestSender> {
    (0..KEYS, 0..1u128 << TEAMS, conditions()).prop_map(|(key, teams, has)| RequestSender { key, teams, has })
}

pub fn narrowing([model, project, team]: Conditions) -> Narrowing {
    let metadata = [("project", project), ("team", team)];
    let metadata = metadata.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
    Narrowing { model: model.map(|model| model.to_string()), metadata: metadata.collect() }
}

/// The number of levels that budgets have.
pub const LEVELS: u8 = 5;

pub fn scope(level: u8, budget: u128) -> Scope {
    match level {
        0 => Scope::Partner(id(1)),
        1 => Scope::Tenant(id(1)),
        2 => Scope::User(id(1)),
        3 => Scope::Team(id(budget % TEAMS)),
        _ => Scope::Key(id(budget % KEYS)),
    }
}

impl RequestSender {
    fn teams(self) -> impl Iterator<Item = u128> {
        (0..TEAMS).filter(move |team| self.teams & (1u128 << team) != 0)
    }

    pub fn is_bound_by(self, scope: &Scope, conditions: &Conditions) -> bool {
        let is_owned = match *scope {
            Scope::Key(of) => of == id(self.key),
            Scope::Team(of) => self.teams().any(|team| of == id(team)),
            Scope::Partner(_) | Scope::Tenant(_) | Scope::User(_) => true,
        };
        is_owned && conditions.iter().zip(&self.has).all(|(wanted, has)| wanted.is_none() || wanted == has)
    }

    /// Writes the sender into an admission.
    pub fn put_into(self, admitted: &mut InferenceAdmitted) {
        let Narrowing { model, metadata } = narrowing(self.has);
        admitted.model = model.unwrap_or_else(|| "m".to_owned());
        admitted.metadata = metadata.to_metadata();
        admitted.versions.teams = self.teams().map(|team| (id(team), 1)).collect();
    }
}
