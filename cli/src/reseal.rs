//! `ledgerway reseal`: replaces the node's key of a ledger that no gateway serves. Exit 0 done, 1 failed, 2 not begun.
//!
//! Everything is sealed anew in one append: wherever the command is interrupted, either the old key or the new one opens
//! everything. The next run finds out which, and continues from there.

mod database;
mod folder;
mod keys;

use std::sync::Arc;

use events::ids::{IdMaker, SystemRandom};
use events::time::{Clock, SystemClock};
use secrets::NodeKey;
use secrets::keyless::KeylessProvider;
use secrets::reseal::Resealed;

use super::ledger_place::LedgerPlace;
use super::runtime::CommandRuntime;
use super::{Failure, print_lines, printable};
use crate::arguments::ResealArgs;
use crate::settings::Flags;
use keys::Keys;

/// The most providers that are listed by name.
const NAMED_MAX: usize = 20;

pub fn run(args: &ResealArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let keys = Keys::read(args, flags)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = IdMaker::new(Arc::clone(&clock), Arc::new(SystemRandom));
    let lines = match LedgerPlace::find(&args.ledger, flags)? {
        LedgerPlace::File(_) => folder::replace(&args.ledger.data.dir, &keys, &ids, clock, runtime),
        LedgerPlace::Database(database) => database::replace(&database, &keys, &ids),
    };
    print_lines(&lines?);
    Ok(())
}

fn summary(resealed: &Resealed, new: &NodeKey, old: &Option<NodeKey>) -> Vec<String> {
    let Resealed { position, resealed, discarded } = resealed;
    let fingerprint = new.fingerprint();
    if old.is_some() {
        return vec![format!(
            "resealed under node key {fingerprint}, at position {position}: {} API keys of providers; API keys of clients stay \
             valid",
            resealed.len()
        )];
    }
    let mut lines = vec![format!(
        "started over under node key {fingerprint}, at position {position}: API keys of clients have stopped working, rotate \
         the ones that are needed"
    )];
    if !discarded.is_empty() {
        let named = discarded.iter().take(NAMED_MAX).map(provider).collect::<Vec<_>>().join(", ");
        let more = discarded.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("give these providers an API key again, and secret_headers if they had any, they are not called until then: {named}{more}"));
    }
    lines
}

fn provider(provider: &KeylessProvider) -> String {
    match &provider.name {
        Some(name) => format!("{} ({})", printable(name), provider.id),
        None => provider.id.clone(),
    }
}
