//! `ledgerway status`: the state of a ledger, and of the data folder if there is one, on one screen. Read-only, whether or not a
//! gateway serves the folder. Exit 0, or 2 if it cannot be read.

mod budgets;
mod screen;
mod set_aside;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use access_control::limits::LocalSince;
use chrono::{DateTime, NaiveTime, Utc};
use events::event::admin::{NarrowedScope, Scope};
use events::ledger::Balances;
use events::money::NanoUsdSum;
use events::time::{Clock, SystemClock, rfc3339};
use events_log::lock::{LockHolder, lock_holder};
use events_log::{Head, LimitSharing, RunningNode, offline};
use projections::views::VIEWS_FILE;
use projections::views::summary::{NamedResource, SummarizedView, ViewsSummary, summarize};
use secrets::keyless::{self, KeylessProvider};
use serde_json::{Value, json};

use super::ledger_place::LedgerPlace;
use super::{Failure, moved_ledger, print_line};
use crate::arguments::StatusArgs;
use crate::settings::Flags;
use budgets::NearLimit;
use set_aside::KeySetAside;

/// The most tenants and budgets that are shown.
const SHOWN_MAX: usize = 5;
/// How often the views of a running gateway are read again until they have caught up with the log, and the time in between.
const VIEW_READS_MAX: u32 = 8;
const VIEW_READ_INTERVAL: Duration = Duration::from_millis(25);

/// Everything that is shown.
struct Status {
    /// The data folder, and who serves it; `None` if only a database was named, or no node of it has the folder.
    folder: Option<(PathBuf, LockHolder)>,
    /// The database that the folder's ledger was moved to: `serve` refuses the folder.
    moved_to: Option<String>,
    head: Head,
    now: DateTime<Utc>,
    /// The database with the ledger, if it is not in the folder.
    database: Option<String>,
    /// The processes that serve the database.
    nodes: Vec<RunningNode>,
    /// Why one of them counts rate limits by its share; `None` if none does, or none has a Redis.
    local_limits: Option<LocalSince>,
    /// `None` if it is in a database.
    ledger_bytes: Option<u64>,
    views_bytes: u64,
    /// The folder whose views are of another ledger, and are not shown.
    foreign_views: Option<PathBuf>,
    holds: OpenHolds,
    near: Vec<NearLimit>,
    views_summary: Option<ViewsSummary>,
    /// Providers that are not called, because their API keys were deleted.
    keyless: Vec<KeylessProvider>,
    /// Keys that their providers do not accept.
    set_aside: Vec<KeySetAside>,
}

#[derive(Default)]
struct OpenHolds {
    count: u64,
    held: NanoUsdSum,
    oldest: Option<DateTime<Utc>>,
    /// When the last of them expires.
    last_expires_at: Option<DateTime<Utc>>,
}

pub fn run(args: &StatusArgs, flags: &Flags) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let ledger = LedgerPlace::find(&args.ledger, flags)?;
    let folder = args.ledger.data.folder();
    let read = || read_status(folder, &ledger, SystemClock::new().now());
    let status = match (&ledger, folder) {
        (LedgerPlace::File(_), Some(dir)) => offline::read_consistently(dir, read),
        _ => read(),
    };
    let status = status.map_err(Failure::NotBegun)?;
    print_line(&if json { status.json().to_string() } else { screen::render(&status) });
    Ok(())
}

fn read_status(folder: Option<&Path>, ledger: &LedgerPlace, now: DateTime<Utc>) -> Result<Status, String> {
    let unreadable = |what: &dyn Display, error: &dyn Display| format!("cannot read {what}: {error}");
    let served = folder.map(|dir| lock_holder(dir).map_err(|error| unreadable(&dir.display(), &error))).transpose()?;
    let is_served = !matches!(served, None | Some(LockHolder::Nobody));
    let moved_to = folder.filter(|_| ledger.file().is_some()).map(|dir| {
        moved_ledger::moved_to(dir).map_err(|error| unreadable(&moved_ledger::marker(dir).display(), &error))
    });
    let moved_to = moved_to.transpose()?.flatten();
    let reader = ledger.open_reader().map_err(|error| unreadable(ledger, &error))?;
    let (head, balances) = reader.balances(now).map_err(|error| unreadable(ledger, &error))?;
    let midnight = now.date_naive().and_time(NaiveTime::MIN).and_utc().timestamp();
    let read_views = |of: Option<&Path>, named: &[NamedResource]| match of {
        Some(dir) => summarize(dir, midnight, SHOWN_MAX, named)
            .map_err(|error| unreadable(&dir.join(VIEWS_FILE).display(), &error)),
        None => Ok(None),
    };
    let found = read_views(folder, &[])?;
    let is_of_ledger = found.as_ref().map_or(Ok(true), |found| found.is_of(&*reader));
    // Views of another ledger are not shown: their money is not that of this one.
    let (shown, foreign) = match is_of_ledger.map_err(|error| unreadable(ledger, &error))? {
        true => (folder, None),
        false => (None, folder),
    };
    let mut views_summary = found.filter(|_| shown.is_some());
    // A gateway writes its views a few times a second: events that it has just recorded are not a lag.
    for _ in 0..VIEW_READS_MAX {
        if !is_served || !views_summary.as_ref().is_some_and(|views_summary| is_behind(views_summary, head.position)) {
            break;
        }
        std::thread::sleep(VIEW_READ_INTERVAL);
        views_summary = read_views(shown, &[])?;
    }
    let refusals = known_refusals(views_summary.as_ref()).unwrap_or_default();
    let refused = budgets::count_refusals(&reader.at(refusals).map_err(|error| unreadable(ledger, &error))?);
    let mut near = budgets::near_limits(&balances, &refused, head.time_after(now));
    let named = |of: &NarrowedScope| NamedResource { kind: of.kind(), id: of.owner.to_string() };
    let owners: Vec<_> = near.iter().map(|budget| named(&budget.scope)).collect();
    // Again, for the names of these owners, who are only known now.
    views_summary = read_views(shown, &owners)?;
    let users = near.iter().filter_map(|budget| if let Scope::User(id) = budget.scope.owner { Some(id) } else { None });
    let people = reader.personal_data(&users.collect::<Vec<_>>()).map_err(|error| unreadable(ledger, &error))?;
    for budget in &mut near {
        let known =
            views_summary.as_ref().and_then(|views_summary| views_summary.names.get(&budget.scope.owner.to_string()));
        budget.scope_name = match budget.scope.owner {
            Scope::User(id) => people.get(&id).map(|person| person.name.clone()),
            Scope::Partner(_) | Scope::Tenant(_) | Scope::Team(_) | Scope::Key(_) => known.cloned(),
        };
    }
    let keyless = keyless::all(&*reader).map_err(|error| unreadable(ledger, &error))?;
    let set_aside = set_aside::all(&*reader).map_err(|error| unreadable(ledger, &error))?;
    let data = match ledger {
        LedgerPlace::File(_) => folder,
        // Only a gateway and views of this ledger show that the folder is one of a node.
        LedgerPlace::Database(_) => shown.filter(|_| views_summary.is_some() || is_served),
    };
    Ok(Status {
        folder: data.map(Path::to_owned).zip(served),
        moved_to,
        head,
        now,
        nodes: reader.running_nodes().map_err(|error| unreadable(ledger, &error))?,
        local_limits: LocalSince::of(&*reader).map_err(|error| unreadable(ledger, &error))?,
        database: ledger.file().is_none().then(|| ledger.to_string()),
        ledger_bytes: ledger.file().map(bytes_of),
        views_bytes: shown.map_or(0, |dir| bytes_of(&dir.join(VIEWS_FILE))),
        foreign_views: foreign.map(Path::to_owned),
        holds: OpenHolds::of(&balances),
        near,
        views_summary,
        keyless,
        set_aside,
    })
}

/// Log positions of today's refusals; `None` if no view knows them.
fn known_refusals(views_summary: Option<&ViewsSummary>) -> Option<&[u64]> {
    views_summary?.refusals.as_deref()
}

fn is_behind(views_summary: &ViewsSummary, head: u64) -> bool {
    let is_behind = |view: &SummarizedView| view.checkpoint.as_ref().is_some_and(|found| found.position < head);
    views_summary.views.iter().any(is_behind)
}

/// The size of a database with its write-ahead log.
fn bytes_of(database: &Path) -> u64 {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    bytes(database) + bytes(&events::private::beside(database, "-wal"))
}

impl OpenHolds {
    fn of(balances: &Balances) -> Self {
        balances.open_holds().fold(Self::default(), |sum, (_, hold)| Self {
            count: sum.count + 1,
            held: NanoUsdSum::new(sum.held.nanos() + i128::from(hold.held.nanos())),
            oldest: Some(sum.oldest.map_or(hold.admitted_at, |oldest| oldest.min(hold.admitted_at))),
            last_expires_at: sum.last_expires_at.max(Some(hold.expires_at)),
        })
    }
}

impl Status {
    fn json(&self) -> Value {
        let keyless = self.keyless.iter().map(|provider| json!({ "provider_id": provider.id, "name": provider.name }));
        let (data, served) = self.folder.as_ref().map(|(data, served)| (data.display().to_string(), served)).unzip();
        let listening = match served {
            Some(LockHolder::At(url)) => Some(url.as_str()),
            Some(LockHolder::Nobody | LockHolder::WithoutAddress) | None => None,
        };
        let nodes = self.nodes.iter().map(|running| {
            let RunningNode { node_id, address, started_at, seen_at, limit_sharing, .. } = running;
            let (started_at, seen_at) = (rfc3339(*started_at), rfc3339(*seen_at));
            let limit_sharing = limit_sharing.map(LimitSharing::as_str);
            json!({ "node_id": node_id, "address": address, "started_at": started_at, "seen_at": seen_at,
                    "limit_sharing": limit_sharing })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "data": data,
            "moved_to": self.moved_to,
            "database": self.database,
            "running": served.map(|served| *served != LockHolder::Nobody),
            "listening": listening,
            "nodes": nodes.collect::<Vec<_>>(),
            "local_limits": self.local_limits.as_ref().map(|local| json!({
                "began_at": rfc3339(local.began_at), "node": local.node, "reason": local.reason,
            })),
            "head": { "position": self.head.position, "recorded_at": self.head.recorded_at.map(rfc3339) },
            "ledger_bytes": self.ledger_bytes,
            "views_bytes": self.views_bytes,
            "views": self.views_json(),
            "foreign_views": self.foreign_views.as_ref().map(|dir| dir.display().to_string()),
            "open_holds": {
                "count": self.holds.count,
                "held_usd": self.holds.held.to_string(),
                "oldest_at": self.holds.oldest.map(rfc3339),
                "last_expires_at": self.holds.last_expires_at.map(rfc3339),
            },
            "today": self.today_json(),
            "providers_without_key": keyless.collect::<Vec<_>>(),
            "provider_keys_set_aside": self.set_aside.iter().map(KeySetAside::json).collect::<Vec<_>>(),
            "budgets_near_limit": self.near.iter().map(NearLimit::json).collect::<Vec<_>>(),
        })
    }

    fn views_json(&self) -> Vec<Value> {
        let views = self.views_summary.as_ref().map(|views_summary| views_summary.views.as_slice()).unwrap_or_default();
        let view = views.iter().map(|SummarizedView { view, checkpoint }| {
            let checkpoint = checkpoint.clone().unwrap_or_default();
            json!({
                "name": view.as_str(),
                "version": checkpoint.version,
                "position": checkpoint.position,
                "lag_events": self.head.position.saturating_sub(checkpoint.position),
                "error": checkpoint.error,
            })
        });
        view.collect()
    }

    /// Null if there is no view.
    fn today_json(&self) -> Value {
        let Some(spent) = self.views_summary.as_ref().and_then(|views_summary| views_summary.spent.as_ref()) else {
            return Value::Null;
        };
        let tenants = spent.iter().map(|spent| {
            let tenant = Some(&spent.tenant).filter(|tenant| !tenant.is_empty());
            json!({ "tenant_id": tenant, "name": spent.name, "requests": spent.requests,
                    "cost_usd": spent.cost.to_string() })
        });
        json!({ "date": self.now.date_naive().to_string(), "tenants": tenants.collect::<Vec<_>>() })
    }
}
