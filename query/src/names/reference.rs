//! Filters that name a thing: by its id, or by its slug, its external id or its name where that means one of those which
//! the caller sees, and no other.

use std::collections::BTreeSet;

use events::event::StreamKind;
use events::ids::{KeyId, PartnerId, TenantId, UserId};
use events::wire::Refusal;
use projections::views::{View, ViewsError};
use rusqlite::{Connection, named_params};

use super::{NAMED, PREFIXES, Sight, kind_of};
use crate::QueryState;
use crate::asker::Asker;
use crate::error::QueryError;
use crate::parameters::Parameters;
use crate::visible::Visible;

const CALLED: &str = include_str!("called.sql");
/// Things of one name that are counted.
const MATCHES_MAX: usize = 100;
/// People of one name that are looked through for those that the caller sees.
const PEOPLE_MAX: usize = 10_000;
/// Filters by owner, and what they name.
const OWNERS: [(&str, StreamKind); 4] = [
    ("partner", StreamKind::Partner),
    ("tenant", StreamKind::Tenant),
    ("user", StreamKind::User),
    ("key", StreamKind::Key),
];

/// Puts ids in the place of what `partner`, `tenant`, `user` and `key` say.
/// Errors: 400 for what means nothing that the caller sees, and for what means several.
pub async fn resolve_owners(state: &QueryState, asker: &Asker, parameters: &mut Parameters) -> Result<(), QueryError> {
    for (name, kind) in OWNERS {
        let Some(text) = parameters.peek(name).filter(|text| !is_id(kind, text)).map(str::to_owned) else { continue };
        match meant(state, asker, vec![kind], &text).await?.as_slice() {
            [] => return Err(none(name, kind).into()),
            [id] => parameters.put(name, id.clone()),
            several => return Err(ambiguous(name, several.len()).into()),
        }
    }
    Ok(())
}

/// The same of the audit's `actor` and `resource`, which may also be what has no name: that is looked for as it is.
/// Errors: 400 for what means several.
pub async fn resolve_actor_and_resource(
    state: &QueryState,
    asker: &Asker,
    parameters: &mut Parameters,
) -> Result<(), QueryError> {
    let is_key = |text: &&str| *text != "operator" && !text.starts_with("system:") && kind_of(text).is_none();
    if let Some(text) = parameters.peek("actor").filter(is_key).map(str::to_owned) {
        match meant(state, asker, vec![StreamKind::Key], &text).await?.as_slice() {
            [] => {}
            [id] => parameters.put("actor", id.clone()),
            several => return Err(ambiguous("actor", several.len()).into()),
        }
    }
    let Some(text) = parameters.peek("resource").map(str::to_owned) else { return Ok(()) };
    let of_kind = text.split_once('/').and_then(|(kind, text)| Some((kind_called(kind)?, text)));
    let (kinds, text) = match of_kind {
        Some((kind, text)) => (vec![kind], text.to_owned()),
        None => (PREFIXES.iter().map(|(_, kind)| *kind).collect(), text),
    };
    if kind_of(&text).is_some() {
        return Ok(());
    }
    match meant(state, asker, kinds, &text).await?.as_slice() {
        [] => Ok(()),
        [id] => {
            parameters.put("resource", id.clone());
            Ok(())
        }
        several => Err(ambiguous("resource", several.len()).into()),
    }
}

fn kind_called(name: &str) -> Option<StreamKind> {
    PREFIXES.into_iter().map(|(_, kind)| kind).find(|kind| kind.as_str() == name)
}

fn is_id(kind: StreamKind, text: &str) -> bool {
    match kind {
        StreamKind::Partner => text.parse::<PartnerId>().is_ok(),
        StreamKind::Tenant => text.parse::<TenantId>().is_ok(),
        StreamKind::User => text.parse::<UserId>().is_ok(),
        _ => text.parse::<KeyId>().is_ok(),
    }
}

/// Ids of what the caller sees of these kinds under this slug, external id or name; of each kind hardly more than
/// [`MATCHES_MAX`].
async fn meant(
    state: &QueryState,
    asker: &Asker,
    kinds: Vec<StreamKind>,
    text: &str,
) -> Result<Vec<String>, QueryError> {
    let sight = Sight::of(state, asker, Visible::to(asker));
    let is_of_people = sight.people && kinds.contains(&StreamKind::User);
    let people = if is_of_people { people(state, asker, text).await? } else { Vec::new() };
    // That there is one and no other is said by a view alone that has taken in everything which was recorded by now.
    state.views.wait_for(View::Catalogue, state.log.head().position).await?;
    let (permit, text) = (state.admit(asker).await?, text.to_owned());
    let look = move |db: &Connection| {
        let mut ids: BTreeSet<String> = seen(db, sight, &people)?.into_iter().collect();
        for kind in &kinds {
            ids.extend(called(db, sight, *kind, &text)?);
        }
        Ok(ids)
    };
    Ok(state.views.read(&permit, View::Catalogue, look).await?.value.into_iter().collect())
}

/// Who is called so, on the whole platform.
async fn people(state: &QueryState, asker: &Asker, name: &str) -> Result<Vec<UserId>, QueryError> {
    let (permit, name) = (state.admit(asker).await?, name.to_owned());
    let people = state.log.read(&permit, move |reader| reader.people_named(&name, PEOPLE_MAX + 1)).await?;
    if people.len() > PEOPLE_MAX {
        return Err(Refusal::invalid("user", "is the name of too many: give an id, a slug or an external id").into());
    }
    Ok(people)
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

/// Those of these users that the caller sees.
fn seen(db: &Connection, sight: Sight, people: &[UserId]) -> Result<Vec<String>, ViewsError> {
    let mut statement = db.prepare_cached(NAMED)?;
    let mut ids = Vec::new();
    for id in people.iter().map(ToString::to_string) {
        let mut rows = statement.query((StreamKind::User.as_str(), &id))?;
        let Some(row) = rows.next()? else { continue };
        let (partner, tenant): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
        if sight.sees(&id, partner.as_deref(), tenant.as_deref()) {
            ids.push(id);
        }
        if ids.len() > MATCHES_MAX {
            break;
        }
    }
    Ok(ids)
}

fn none(field: &str, kind: StreamKind) -> Refusal {
    let what = kind.as_str();
    let handles = if kind == StreamKind::Key { "name" } else { "slug, external id or name" };
    Refusal::invalid(field, format!("is neither the id nor the {handles} of a {what} that you can see"))
}

fn ambiguous(field: &str, matches: usize) -> Refusal {
    let number = if matches > MATCHES_MAX { format!("more than {MATCHES_MAX}") } else { matches.to_string() };
    let reason = format!("is the slug, external id or name of {number} that you can see: give the id of one");
    Refusal::invalid(field, reason).with("matches", matches.min(MATCHES_MAX))
}
