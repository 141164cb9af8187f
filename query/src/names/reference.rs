//! Filters by owner or resource: by id, or by a slug, external id or name that matches exactly one that the caller can see.

use events::concurrency::QueryPermit;
use events::event::StreamKind;
use events::event::admin::Permission;
use events::ids::{RequestId, UserId};
use events::refusal::Refusal;
use projections::views::View;
use projections::views::catalogue::{ID_PREFIXES, IdMatches, IdsByText, MATCHES_MAX, USERS_MAX, kind_of};
use projections::visible::Visible;

use super::name_scope;
use crate::QueryState;
use crate::error::QueryError;
use crate::parameters::Parameters;
use crate::query_caller::QueryCaller;

/// The most matching ids that a refusal lists.
const IDS_SHOWN_MAX: usize = 10;
/// Filters by owner, and the kinds that they select.
const OWNERS: [(&str, StreamKind); 4] = [
    ("partner", StreamKind::Partner),
    ("tenant", StreamKind::Tenant),
    ("user", StreamKind::User),
    ("key", StreamKind::Key),
];

/// Replaces the values of `partner`, `tenant`, `user` and `key` by ids.
///
/// Errors: 400 for a value that matches nothing or several that the caller can see.
pub async fn resolve_owners(
    state: &QueryState,
    query_caller: &mut QueryCaller,
    parameters: &mut Parameters,
) -> Result<(), QueryError> {
    for (name, kind) in OWNERS {
        let Some(text) = parameters.peek(name).filter(|text| kind_of(text) != Some(kind)).map(str::to_owned) else {
            continue;
        };
        match meant(state, query_caller, vec![kind], &text).await?.as_slice() {
            [] => return Err(none(name, kind).into()),
            [id] => parameters.put(name, id.clone()),
            several => return Err(ambiguous(name, several).into()),
        }
    }
    Ok(())
}

/// Replaces the values of the audit's `actor` and `resource` by ids; a value that matches nothing is searched for as given.
///
/// Errors: 400 for a value that matches several.
pub async fn resolve_actor_and_resource(
    state: &QueryState,
    query_caller: &mut QueryCaller,
    parameters: &mut Parameters,
) -> Result<(), QueryError> {
    let is_key = |text: &&str| *text != "operator" && !text.starts_with("system:") && kind_of(text).is_none();
    if let Some(text) = parameters.peek("actor").filter(is_key).map(str::to_owned) {
        match meant(state, query_caller, vec![StreamKind::Key], &text).await?.as_slice() {
            [] => {}
            [id] => parameters.put("actor", id.clone()),
            several => return Err(ambiguous("actor", several).into()),
        }
    }
    let Some(text) = parameters.peek("resource").map(str::to_owned) else { return Ok(()) };
    let of_kind = text.split_once('/').and_then(|(kind, rest)| Some((StreamKind::parse(kind)?, rest)));
    let (kinds, text) = match of_kind {
        Some((kind, rest)) => {
            (ID_PREFIXES.iter().map(|(_, known)| *known).filter(|known| *known == kind).collect(), rest)
        }
        None => (ID_PREFIXES.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), text.as_str()),
    };
    let is_id = kind_of(text).is_some() || text.starts_with(RequestId::PREFIX);
    if kinds.is_empty() || is_id {
        return Ok(());
    }
    match meant(state, query_caller, kinds, text).await?.as_slice() {
        [] => Ok(()),
        [id] => {
            parameters.put("resource", id.clone());
            Ok(())
        }
        several => Err(ambiguous("resource", several).into()),
    }
}

/// The ids that the caller can see of these kinds with this slug, external id or name; of each kind hardly more than
/// [`MATCHES_MAX`].
async fn meant(
    state: &QueryState,
    query_caller: &mut QueryCaller,
    kinds: Vec<StreamKind>,
    text: &str,
) -> Result<Vec<String>, QueryError> {
    // Only a view that has applied everything recorded by now can say that there is exactly one.
    state.views.wait_for(View::Catalogue, state.log.head().position).await?;
    let permit = state.admit(query_caller).await?;
    let scope = name_scope(state, Visible::for_caller(query_caller));
    // Names of people are searched only if users are asked for.
    let include_users = query_caller.may(Permission::AdminAccess) && kinds == [StreamKind::User];
    let question = IdsByText { scope, kinds, text: text.to_owned(), include_users };
    let IdMatches { mut ids, users } = state.views.ask(&permit, question).await?.value;
    if include_users {
        let people = people(state, &permit, text, users).await?;
        ids.extend(people.iter().map(ToString::to_string));
    }
    Ok(ids.into_iter().collect())
}

/// The users with this name, of the given ones or of all. To a caller that sees only its own users, others of the name
/// make no difference.
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
