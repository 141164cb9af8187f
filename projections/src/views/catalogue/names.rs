//! Names of ids, and ids of names, as far as a caller may be told them. A person's name is in no row here: who asks gets the
//! users, and looks their names up in the erasable side table.

use std::collections::{BTreeSet, HashMap};

use events::event::StreamKind;
use events::ids::{BudgetId, KeyId, LimitId, ModelId, PartnerId, PriceId, ProviderId, TenantId, UserId};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::views::page::one_more_than;
use crate::views::{Question, View, ViewsError};
use crate::visible::Visible;

const NAMED: &str = include_str!("named.sql");
const CALLED: &str = include_str!("called.sql");
const USERS: &str = include_str!("users.sql");
/// Things of one name that are counted.
pub const MATCHES_MAX: usize = 100;
/// Users of a caller below the platform whose names are looked through.
pub const USERS_MAX: usize = 10_000;
/// How the ids of each kind begin.
pub const ID_PREFIXES: [(&str, StreamKind); 9] = [
    (PartnerId::PREFIX, StreamKind::Partner),
    (TenantId::PREFIX, StreamKind::Tenant),
    (UserId::PREFIX, StreamKind::User),
    (KeyId::PREFIX, StreamKind::Key),
    (ProviderId::PREFIX, StreamKind::Provider),
    (ModelId::PREFIX, StreamKind::Model),
    (PriceId::PREFIX, StreamKind::Price),
    (BudgetId::PREFIX, StreamKind::Budget),
    (LimitId::PREFIX, StreamKind::RateLimit),
];

/// Of what has the length of an id and begins like one.
pub fn kind_of(text: &str) -> Option<StreamKind> {
    const DIGITS: usize = 32;
    let is_of = |prefix: &str| text.strip_prefix(prefix).is_some_and(|digits| digits.len() == DIGITS);
    ID_PREFIXES.into_iter().find(|(prefix, _)| is_of(prefix)).map(|(_, kind)| kind)
}

/// What a caller may be told the names of.
#[derive(Clone, Copy, Debug)]
pub struct NameScope {
    pub visible: Visible,
    /// A tenant's key knows its partner, as `/v1/me` says it.
    pub own_partner: Option<PartnerId>,
}

/// The names of these, whatever kinds they are of.
pub struct NamesOf {
    pub scope: NameScope,
    pub ids: BTreeSet<String>,
}

/// Names by id.
#[derive(Debug, Default)]
pub struct Named {
    pub names: HashMap<String, String>,
    /// Users among them that the caller sees, whose names stand elsewhere.
    pub users: Vec<UserId>,
}

/// What the caller sees of these kinds under this slug, external id or name.
pub struct IdsOf {
    pub scope: NameScope,
    pub kinds: Vec<StreamKind>,
    pub text: String,
    /// Whether the users are asked for as well whose names may be this one.
    pub with_users: bool,
}

/// Ids that a text may mean.
#[derive(Debug)]
pub struct Matches {
    /// Of each kind one more than [`MATCHES_MAX`] at most.
    pub ids: BTreeSet<String>,
    /// The users that the caller sees, one more than [`USERS_MAX`] at most; `None` where it sees all, or nobody asks.
    pub users: Option<Vec<UserId>>,
}

impl NameScope {
    fn has(self, id: &str, partner: Option<&str>, tenant: Option<&str>) -> bool {
        let is = |id: Option<&str>, own: String| id == Some(own.as_str());
        match self.visible {
            Visible::Platform => true,
            Visible::Partner(own) => is(partner, own.to_string()),
            Visible::Tenant(own) => {
                is(tenant, own.to_string()) || self.own_partner.is_some_and(|own| is(Some(id), own.to_string()))
            }
        }
    }
}

impl Question for NamesOf {
    type Answer = Named;
    const VIEWS: &'static [View] = &[View::Catalogue];

    fn answer(self, db: &Connection) -> Result<Named, ViewsError> {
        let mut statement = db.prepare_cached(NAMED)?;
        let mut found = Named::default();
        for id in self.ids {
            let Some(kind) = kind_of(&id) else { continue };
            type Row = (Option<String>, Option<String>, Option<String>);
            let row: Option<Row> = statement
                .query_row((kind.as_str(), &id), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((name, partner, tenant)) = row else { continue };
            if !self.scope.has(&id, partner.as_deref(), tenant.as_deref()) {
                continue;
            }
            match (kind, name) {
                (StreamKind::User, _) => found.users.extend(id.parse::<UserId>()),
                (_, Some(name)) => drop(found.names.insert(id, name)),
                (_, None) => {}
            }
        }
        Ok(found)
    }
}

impl Question for IdsOf {
    type Answer = Matches;
    const VIEWS: &'static [View] = &[View::Catalogue];

    fn answer(self, db: &Connection) -> Result<Matches, ViewsError> {
        let mut ids = BTreeSet::new();
        for kind in &self.kinds {
            ids.extend(called(db, self.scope, *kind, &self.text)?);
        }
        let users = if self.with_users { own_users(db, self.scope.visible)? } else { None };
        Ok(Matches { ids, users })
    }
}

fn called(db: &Connection, scope: NameScope, kind: StreamKind, text: &str) -> Result<BTreeSet<String>, ViewsError> {
    let parameters = named_params! {
        ":kind": kind.as_str(), ":text": text, ":rows": one_more_than(MATCHES_MAX),
        ":visible_partner": scope.visible.partner(), ":visible_tenant": scope.visible.tenant(),
        ":own_partner": scope.own_partner.map(|id| id.to_string()),
    };
    let mut statement = db.prepare_cached(CALLED)?;
    Ok(statement.query_map(parameters, |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn own_users(db: &Connection, visible: Visible) -> Result<Option<Vec<UserId>>, ViewsError> {
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
