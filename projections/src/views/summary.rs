//! A summary of the views of a folder, read from outside, whether or not a process serves it. It is read-only.

use std::collections::HashMap;
use std::path::Path;

use events::event::StreamKind;
use events::money::NanoUsdSum;
use events_log::{LogError, Reader, offline};
use rusqlite::{Connection, OptionalExtension};

use super::View;
use super::exact;
use super::store::{Checkpoint, HAS_CHECKPOINTS, VIEWS_FILE, read_checkpoint};

const SPENT: &str = include_str!("summary/spent.sql");
const REFUSALS: &str = include_str!("summary/refusals.sql");
/// Refusals that a summary reads at most: of a flood the log keeps only some each second.
pub const REFUSALS_MAX: usize = 10_000;
const NAME: &str = "SELECT name FROM rows_catalogue WHERE kind = ?1 AND id = ?2";
/// The views that spending is read from.
const SPENT_FROM: [View; 2] = [View::UsageByHour, View::Catalogue];

/// A summary of the views.
#[derive(Clone, Debug, Default)]
pub struct ViewsSummary {
    pub views: Vec<SummarizedView>,
    /// Spending by tenant, highest first; `None` without rows of this version.
    pub spent: Option<Vec<TenantSpending>>,
    /// Log positions of the refusals since then, newest first; at most [`REFUSALS_MAX`]. `None` without rows of this version.
    pub refusals: Option<Vec<u64>>,
    /// The names that were asked for, by id. Views have no names of users.
    pub names: HashMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct SummarizedView {
    pub view: View,
    /// `None` if the file does not have the view.
    pub checkpoint: Option<Checkpoint>,
}

/// The kind and id of a resource whose name is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedResource {
    pub kind: StreamKind,
    pub id: String,
}

/// The cost of a tenant's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSpending {
    /// Empty for requests without a tenant.
    pub tenant: String,
    pub name: Option<String>,
    pub requests: u64,
    pub cost: NanoUsdSum,
}

impl ViewsSummary {
    /// Whether the log has the events up to which the views are.
    pub fn is_of(&self, log: &dyn Reader) -> Result<bool, LogError> {
        let mut checkpoints = self.views.iter().filter_map(|view| view.checkpoint.as_ref());
        checkpoints.try_fold(true, |is_of, checkpoint| Ok(is_of && checkpoint.is_of(log)?))
    }
}

/// Reads the summary; `None` if there is no file. Costs and refusals count from `since` on, the start of an hour in seconds
/// since 1970. At most `tenants` tenants are listed. `named` are those whose names are wanted.
pub fn summarize(
    dir: &Path,
    since: i64,
    tenants: usize,
    named: &[NamedResource],
) -> Result<Option<ViewsSummary>, rusqlite::Error> {
    let path = dir.join(VIEWS_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let db = offline::connect(&path)?;
    db.execute_batch("BEGIN")?;
    if db.query_row(HAS_CHECKPOINTS, [], |row| row.get::<_, u32>(0))? == 0 {
        return Ok(Some(ViewsSummary::default()));
    }
    let views =
        View::ALL.iter().map(|view| Ok(SummarizedView { view: *view, checkpoint: read_checkpoint(&db, *view)? }));
    let views = views.collect::<Result<Vec<_>, rusqlite::Error>>()?;
    let has = |view| is_of_this_version(&views, view);
    let spent = SPENT_FROM.into_iter().all(has).then(|| spent_since(&db, since, tenants)).transpose()?;
    let names = if has(View::Catalogue) { names_of(&db, named)? } else { HashMap::new() };
    let refusals = has(View::Inferences).then(|| refusals_since(&db, since)).transpose()?;
    Ok(Some(ViewsSummary { views, spent, refusals, names }))
}

fn names_of(db: &Connection, named: &[NamedResource]) -> Result<HashMap<String, String>, rusqlite::Error> {
    let mut statement = db.prepare(NAME)?;
    let mut names = HashMap::new();
    for NamedResource { kind, id } in named {
        let name: Option<Option<String>> = statement.query_row((kind.as_str(), id), |row| row.get(0)).optional()?;
        names.extend(name.flatten().map(|name| (id.clone(), name)));
    }
    Ok(names)
}

/// Whether this version wrote the view: tables of another one may have other columns.
fn is_of_this_version(views: &[SummarizedView], view: View) -> bool {
    let found = views.iter().find(|found| found.view == view).and_then(|found| found.checkpoint.as_ref());
    found.is_some_and(|checkpoint| checkpoint.version == view.projector().version())
}

fn refusals_since(db: &Connection, since: i64) -> Result<Vec<u64>, rusqlite::Error> {
    let mut statement = db.prepare(REFUSALS)?;
    let positions = statement.query_map((since.saturating_mul(1_000_000), REFUSALS_MAX), |row| row.get(0))?;
    positions.collect()
}

fn spent_since(db: &Connection, since: i64, tenants: usize) -> Result<Vec<TenantSpending>, rusqlite::Error> {
    exact::register(db)?;
    let mut statement = db.prepare(SPENT)?;
    let rows = statement.query_map([since], |row| {
        let [requests, cost] = exact::sums(row, 2)?;
        let requests = u64::try_from(requests).unwrap_or(0);
        Ok(TenantSpending { tenant: row.get(0)?, name: row.get(1)?, requests, cost: NanoUsdSum::new(cost) })
    })?;
    let mut spent: Vec<TenantSpending> = rows.collect::<Result<_, _>>()?;
    spent.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.tenant.cmp(&b.tenant)));
    spent.truncate(tenants);
    Ok(spent)
}
