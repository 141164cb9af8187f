//! Questions that resolve ids to names and names to ids, within what a caller may see. No row holds a person's name: the
//! answers contain user ids, whose names are in the erasable side table.

use std::collections::{BTreeSet, HashMap};

use events::event::{Resource, StreamKind};
use events::ids::{PartnerId, UserId};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::views::page::one_more_than;
use crate::views::{Question, View, ViewsError};
use crate::visible::Visible;

const NAME: &str = include_str!("name.sql");
const MATCHING: &str = include_str!("matching.sql");
const USERS: &str = include_str!("users.sql");
/// Resources of one name that are counted.
pub const MATCHES_MAX: usize = 100;
/// Users whose names are searched for a caller below the platform.
pub const USERS_MAX: usize = 10_000;

/// The kind of a text that has the prefix and the length of an id.
pub fn kind_of(text: &str) -> Option<StreamKind> {
    const DIGITS: usize = 32;
    let is_of = |prefix: &str| text.strip_prefix(prefix).is_some_and(|digits| digits.len() == DIGITS);
    Resource::ID_PREFIXES.iter().find(|(prefix, _)| is_of(prefix)).map(|(_, kind)| *kind)
}

/// The resources whose names a caller may see.
#[derive(Clone, Copy, Debug)]
pub struct NameScope {
    pub visible: Visible,
    /// The partner of a tenant's key: `/v1/me` shows it, so its name may be seen as well.
    pub own_partner: Option<PartnerId>,
}

/// The names of these ids, which may be of any kind.
pub struct NamesById {
    pub scope: NameScope,
    pub ids: BTreeSet<String>,
}

/// Names by id.
#[derive(Debug, Default)]
pub struct ResolvedNames {
    pub names: HashMap<String, String>,
    /// The users among the ids that the caller sees; their names are not in the view.
    pub users: Vec<UserId>,
}

/// The resources of these kinds with this slug, external id or name that the caller sees.
pub struct IdsByText {
    pub scope: NameScope,
    pub kinds: Vec<StreamKind>,
    pub text: String,
    /// Whether to return users as well, whose names may match.
    pub include_users: bool,
}

/// The ids that match a text.
#[derive(Debug)]
pub struct IdMatches {
    /// At most one more than [`MATCHES_MAX`] of each kind.
    pub ids: BTreeSet<String>,
    /// The users that the caller sees, at most one more than [`USERS_MAX`]. `None` if it sees all, or if they were not asked for.
    pub users: Option<Vec<UserId>>,
}

impl Question for NamesById {
    type Answer = ResolvedNames;
    const VIEWS: &'static [View] = &[View::Catalogue];

    fn answer(self, db: &Connection) -> Result<ResolvedNames, ViewsError> {
        let NameScope { visible, own_partner } = self.scope;
        let (partner, tenant, own_partner) =
            (visible.partner(), visible.tenant(), own_partner.map(|id| id.to_string()));
        let mut statement = db.prepare_cached(NAME)?;
        let mut resolved = ResolvedNames::default();
        for id in self.ids {
            let Some(kind) = kind_of(&id) else { continue };
            let parameters = named_params! {
                ":kind": kind.as_str(), ":id": id, ":visible_partner": partner, ":visible_tenant": tenant,
                ":own_partner": own_partner,
            };
            let name: Option<Option<String>> = statement.query_row(parameters, |row| row.get(0)).optional()?;
            match (kind, name) {
                (StreamKind::User, Some(_)) => resolved.users.extend(id.parse::<UserId>()),
                (_, Some(Some(name))) => drop(resolved.names.insert(id, name)),
                (_, Some(None) | None) => {}
            }
        }
        Ok(resolved)
    }
}

impl Question for IdsByText {
    type Answer = IdMatches;
    const VIEWS: &'static [View] = &[View::Catalogue];

    fn answer(self, db: &Connection) -> Result<IdMatches, ViewsError> {
        let (mut ids, visible) = (BTreeSet::new(), self.scope.visible);
        let mut statement = db.prepare_cached(MATCHING)?;
        for kind in self.kinds {
            let parameters = named_params! {
                ":kind": kind.as_str(), ":text": self.text, ":rows": one_more_than(MATCHES_MAX),
                ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
                ":own_partner": self.scope.own_partner.map(|id| id.to_string()),
            };
            for id in statement.query_map(parameters, |row| row.get(0))? {
                ids.insert(id?);
            }
        }
        let users = if self.include_users { visible_users(db, visible)? } else { None };
        Ok(IdMatches { ids, users })
    }
}

fn visible_users(db: &Connection, visible: Visible) -> Result<Option<Vec<UserId>>, ViewsError> {
    if visible == Visible::Platform {
        return Ok(None);
    }
    let parameters = named_params! {
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(), ":rows": one_more_than(USERS_MAX),
    };
    let mut statement = db.prepare_cached(USERS)?;
    let ids = statement.query_map(parameters, |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(ids.iter().filter_map(|id| id.parse().ok()).collect()))
}
