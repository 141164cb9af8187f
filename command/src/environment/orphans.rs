//! Prices and models of the operator's that are for a provider from the environment that has ended. A variable that comes back
//! makes a provider with another id, to which list prices apply: whoever set other ones has to know.

use events::event::admin::{Origin, Provider};
use events::ids::ProviderId;
use projections::tables::{Entry, Tables};

/// The most prices and models that are named.
const NAMED_MAX: usize = 5;

/// A sentence for each provider that has ended and still has some, and has come back under another id.
pub fn notes(tables: &Tables) -> Vec<String> {
    let made = |entry: &&Entry<Provider>| entry.value.origin == Some(Origin::Environment);
    let mut ended: Vec<_> = tables.providers().filter(made).filter(|entry| !entry.is_live()).collect();
    ended.sort_by_key(|entry| (entry.created_at, entry.value.provider_id));
    let note = |entry: &Entry<Provider>| {
        let before = &entry.value;
        let is_same = |now: &Provider| now.kind == before.kind && now.key_variable == before.key_variable;
        let now = tables.providers().filter(made).find(|entry| entry.is_live() && is_same(&entry.value))?;
        let what = what_is_for(tables, before.provider_id)?;
        let (name, old, new) = (&before.name, before.provider_id, now.value.provider_id);
        Some(format!(
            "the provider {name} was {old} until its variable was gone, and is {new} now: {what} of yours are for the old one \
             and have no effect. Create them again for {new}, and delete these"
        ))
    };
    ended.into_iter().filter_map(note).collect()
}

fn what_is_for(tables: &Tables, provider: ProviderId) -> Option<String> {
    let prices = tables.created_prices().filter(|entry| entry.value.provider_id == provider);
    let models = tables.created_models().filter(|entry| {
        let targets = &entry.value.targets;
        targets.iter().any(|target| target.provider_id == provider)
    });
    let prices = listed("prices", prices.map(|entry| entry.value.model.clone()).collect());
    let models = listed("models", models.map(|entry| entry.value.name.clone()).collect());
    let both: Vec<String> = prices.into_iter().chain(models).collect();
    (!both.is_empty()).then(|| both.join(" and "))
}

/// `prices (gpt-4o, o3 and 4 more)`; `None` if there are none.
fn listed(noun: &str, mut names: Vec<String>) -> Option<String> {
    names.sort_unstable();
    names.dedup();
    let shown = names.get(..NAMED_MAX).unwrap_or(&names).join(", ");
    let more = names.len().saturating_sub(NAMED_MAX);
    match names.len() {
        0 => None,
        _ if more == 0 => Some(format!("{noun} ({shown})")),
        _ => Some(format!("{noun} ({shown} and {more} more)")),
    }
}
