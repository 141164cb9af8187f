//! Filters that name a thing: by its id, or by its slug, its external id or its name where that means one of those which
//! the caller sees, and no other.

use std::collections::BTreeSet;

use events::concurrency::QueryPermit;
use events::event::StreamKind;
use events::ids::{RequestId, UserId};
use events::wire::Refusal;
use projections::views::{View, ViewsError};
use rusqlite::{Connection, named_params};

use super::{PREFIXES, Sight, kind_of};
use crate::QueryState;
use crate::asker::Asker;
use crate::error::QueryError;
use crate::parameters::Parameters;
use projections::visible::Visible;

const CALLED: &str = include_str!("called.sql");
const USERS: &str = include_str!("users.sql");
/// Things of one name that are counted.
const MATCHES_MAX: usize = 100;
/// Ids of theirs that a refusal lists.
const IDS_SHOWN_MAX: usize = 10;
/// Users of a caller below the platform whose names are looked through.
const USERS_MAX: usize = 10_000;
/// Filters by owner, and what they name.
const OWNERS: [(&str, StreamKind); 4] = [
    ("partner", StreamKind::Partner),
    ("tenant", StreamKind::Tenant),
    ("user", StreamKind::User),
    ("key", StreamKind::Key),
];

/// Puts ids in the place of what `partner`, `tenant`, `user` and `key` say.
/// Errors: 400 for what means nothing that the caller sees, and for what means several.
pub async fn resolve_owners(
    state: &QueryState,
    asker: &mut Asker,
    parameters: &mut Parameters,
) -> Result<(), QueryError> {
    for (name, kind) in OWNERS {
        let Some(text) = parameters.peek(name).filter(|text| kind_of(text) != Some(kind)).map(str::to_owned) else {
            continue;
        };
        match meant(state, asker, vec![kind], &text).await?.as_slice() {
            [] => return Err(none(name, kind).into()),
            [id] => parameters.put(name, id.clone()),
            several => return Err(ambiguous(name, several).into()),
        }
    }
    Ok(())
}

/// The same of the audit's `actor` and `resource`, which may also be what has no name: that is looked for as it is.
/// Errors: 400 for what means several.
pub async fn resolve_actor_and_resource(
    state: &QueryState,
    asker: &mut Asker,
    parameters: &mut Parameters,
) -> Result<(), QueryError> {
    let is_key = |text: &&str| *text != "operator" && !text.starts_with("system:") && kind_of(text).is_none();
    if let Some(text) = parameters.peek("actor").filter(is_key).map(str::to_owned) {
        match meant(state, asker, vec![StreamKind::Key], &text).await?.as_slice() {
            [] => {}
            [id] => parameters.put("actor", id.clone()),
            several => return Err(ambiguous("actor", several).into()),
        }
    }
    let Some(text) = parameters.peek("resource").map(str::to_owned) else { return Ok(()) };
    let of_kind = text.split_once('/').and_then(|(kind, rest)| Some((StreamKind::parse(kind)?, rest)));
    let (kinds, text) = match of_kind {
        Some((kind, rest)) => (PREFIXES.iter().map(|(_, known)| *known).filter(|known| *known == kind).collect(), rest),
        None => (PREFIXES.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), text.as_str()),
    };
    let is_id = kind_of(text).is_some() || text.starts_with(RequestId::PREFIX);
    if kinds.is_empty() || is_id {
        return Ok(());
    }
    match meant(state, asker, kinds, text).await?.as_slice() {
        [] => Ok(()),
        [id] => {
            parameters.put("resource", id.clone());
            Ok(())
        }
        several => Err(ambiguous("resource", several).into()),
    }
}

/// Ids of what the caller sees of these kinds under this slug, external id or name; of each kind hardly more than
/// [`MATCHES_MAX`].
async fn meant(
    state: &QueryState,
    asker: &mut Asker,
    kinds: Vec<StreamKind>,
    text: &str,
) -> Result<Vec<String>, QueryError> {
    // That there is one and no other is said by a view alone that has taken in everything which was recorded by now.
    state.views.wait_for(View::Catalogue, state.log.head().position).await?;
    let permit = state.admit(asker).await?;
    let sight = Sight::of(state, asker, Visible::to(asker));
    // Among things of all kinds nobody looks for a person.
    let is_of_people = sight.people && kinds == [StreamKind::User];
    let of = text.to_owned();
    let look = move |db: &Connection| {
        let mut ids = BTreeSet::new();
        for kind in &kinds {
            ids.extend(called(db, sight, *kind, &of)?);
        }
        let own_users = if is_of_people { own_users(db, sight)? } else { None };
        Ok((ids, own_users))
    };
    let (mut ids, own_users) = state.views.read(&permit, View::Catalogue, look).await?.value;
    if is_of_people {
        let people = people(state, &permit, text, own_users).await?;
        ids.extend(people.iter().map(ToString::to_string));
    }
    Ok(ids.into_iter().collect())
}

/// Who is called so, of these users, or of all that there are. How many others have the name makes no difference to a caller
/// that sees its own alone.
async fn people(
    state: &QueryState,
    permit: &QueryPermit,
    name: &str,
    among: Option<Vec<UserId>>,
) -> Result<Vec<UserId>, QueryError> {
    if among.as_ref().is_some_and(|users| users.len() > USERS_MAX) {
        let reason =
            format!("is looked for among the names of {USERS_MAX} users at most: give an id, a slug or an external id");
        return Err(Refusal::invalid("user", reason).into());
    }
    let name = name.to_owned();
    let read = state.log.read(permit, move |reader| match among {
        None => reader.people_named(&name, MATCHES_MAX + 1),
        Some(users) => {
            let people = reader.personal_data(&users)?.into_values();
            Ok(people.filter(|person| person.name == name).map(|person| person.subject).collect())
        }
    });
    Ok(read.await?)
}

/// The users that the caller sees, one more than are looked through; `None` where it sees all.
fn own_users(db: &Connection, sight: Sight) -> Result<Option<Vec<UserId>>, ViewsError> {
    if sight.visible == Visible::Platform {
        return Ok(None);
    }
    let rows = i64::try_from(USERS_MAX).map_or(i64::MAX, |max| max + 1);
    let parameters = named_params! {
        ":visible_partner": sight.visible.partner(), ":visible_tenant": sight.visible.tenant(), ":rows": rows,
    };
    let mut statement = db.prepare_cached(USERS)?;
    let ids = statement.query_map(parameters, |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(ids.iter().filter_map(|id| id.parse().ok()).collect()))
}

fn called(db: &Connection, sight: Sight, kind: StreamKind, text: &str) -> Result<BTreeSet<String>, ViewsError> {
    let rows = i64::try_from(MATCHES_MAX).map_or(i64::MAX, |max| max + 1);
    let parameters = named_params! {
        ":kind": kind.as_str(), ":text": text, ":rows": rows,
        ":visible_partner": sight.visible.partner(), ":visible_tenant": sight.visible.tenant(),
        ":own_partner": sight.own_partner.map(|id| id.to_string()),
    };
    let mut statement = db.prepare_cached(CALLED)?;
    Ok(statement.query_map(parameters, |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn none(field: &str, kind: StreamKind) -> Refusal {
    let what = kind.as_str();
    let handles = if kind == StreamKind::Key { "name" } else { "slug, external id or name" };
    Refusal::invalid(field, format!("is neither the id nor the {handles} of a {what} that you can see"))
}

fn ambiguous(field: &str, ids: &[String]) -> Refusal {
    let number = if ids.len() > MATCHES_MAX { format!("more than {MATCHES_MAX}") } else { ids.len().to_string() };
    let reason = format!("is the slug, external id or name of {number} that you can see: give the id of one");
    let shown = ids.get(..IDS_SHOWN_MAX).unwrap_or(ids);
    Refusal::invalid(field, reason).with("matches", ids.len().min(MATCHES_MAX)).with("ids", shown)
}
