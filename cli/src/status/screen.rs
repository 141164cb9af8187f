//! The status as text.

use std::fmt::Write;

use access_control::limits::LocalSince;
use events::time::rfc3339;
use events_log::RunningNode;
use events_log::lock::LockHolder;

use super::super::printable;
use super::super::printable_text::printable_line;
use super::set_aside::KeySetAside;
use super::{SHOWN_MAX, Status, known_refusals};
use projections::views::summary::SummarizedView;

/// The most characters of the reason of a local period.
const REASON_CHARS_MAX: usize = 300;

/// One screen, whose parts have a line or several each.
pub fn render(status: &Status) -> String {
    let mut screen = String::new();
    let mut add = |name: &str, lines: Vec<String>| {
        for (index, line) in lines.iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(screen, "{name:<12}{line}");
        }
    };
    let data = status.folder.as_ref().map(|(data, _)| format!(", data in {}", data.display()));
    add("ledgerway", vec![format!("{}{}", env!("CARGO_PKG_VERSION"), data.unwrap_or_default())]);
    add("database", status.database.iter().cloned().collect());
    let moved = |moved_to: &String| format!("{moved_to}; what was recorded there since is not shown");
    add("moved to", status.moved_to.iter().map(moved).collect());
    add("gateway", status.folder.iter().map(|(_, served)| running(served)).collect());
    add("nodes", nodes(status));
    add("limits", status.local_limits.iter().map(limits).collect());
    add("log", vec![head(status)]);
    if let Some(dir) = &status.foreign_views {
        let dir = dir.display();
        let why = format!("those in {dir} are of another ledger, or of this one before a restore: not shown");
        add("views", vec![why]);
    } else if status.folder.is_some() {
        add("views", vec![views(status)]);
    }
    add("holds", vec![holds(status)]);
    add("today", today(status));
    add("budgets", budgets(status));
    if !status.keyless.is_empty() {
        add("providers", vec![keyless(status)]);
    }
    add("set aside", set_aside(status));
    screen.truncate(screen.trim_end().len());
    screen
}

fn running(served: &LockHolder) -> String {
    match served {
        LockHolder::Nobody => "not running".to_owned(),
        LockHolder::WithoutAddress => "running, address unknown".to_owned(),
        LockHolder::At(url) => format!("running at {url}"),
    }
}

/// The nodes of a database, one a line.
fn nodes(status: &Status) -> Vec<String> {
    if status.database.is_some() && status.nodes.is_empty() {
        return vec!["none running".to_owned()];
    }
    let nodes = status.nodes.iter().map(|running| {
        let RunningNode { node_id, address, started_at, seen_at, limit_sharing, .. } = running;
        let redis = limit_sharing.map(|sharing| format!(", Redis {}", sharing.as_str())).unwrap_or_default();
        format!("{node_id} from {address}, since {}, last seen {}{redis}", rfc3339(*started_at), rfc3339(*seen_at))
    });
    nodes.collect()
}

fn limits(local: &LocalSince) -> String {
    let LocalSince { began_at, node, reason } = local;
    format!(
        "a node counts by its share since {}: node {node}: {}",
        rfc3339(*began_at),
        printable_line(reason, REASON_CHARS_MAX)
    )
}

fn head(status: &Status) -> String {
    let at = status.head.recorded_at.map_or_else(|| "empty".to_owned(), |at| format!("last event {}", rfc3339(at)));
    let size = status.ledger_bytes.map(|bytes| format!(", {}", size(bytes)));
    format!("position {}, {at}{}", status.head.position, size.unwrap_or_default())
}

fn views(status: &Status) -> String {
    let Some(views_summary) = &status.views_summary else { return "none: the next start builds them".to_owned() };
    let behind: Vec<String> = views_summary
        .views
        .iter()
        .filter_map(|SummarizedView { view, checkpoint }| {
            let position = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position);
            let lag = status.head.position.saturating_sub(position);
            let stopped = checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.error.is_some());
            let words = if stopped { ", stopped" } else { "" };
            (lag > 0 || stopped).then(|| format!("{} {lag} events behind{words}", view.as_str()))
        })
        .collect();
    let standing = if behind.is_empty() { "all at the head".to_owned() } else { behind.join("; ") };
    format!("{standing}, {}", size(status.views_bytes))
}

fn holds(status: &Status) -> String {
    match status.holds.oldest {
        None => "none open".to_owned(),
        Some(oldest) => {
            let (count, held) = (status.holds.count, status.holds.held);
            let last = status.holds.last_expires_at.map(|at| format!(", the last ends by {}", rfc3339(at)));
            let since = rfc3339(oldest);
            format!("{count} open, {held} USD held, the oldest since {since}{}", last.unwrap_or_default())
        }
    }
}

fn today(status: &Status) -> Vec<String> {
    let Some(spent) = status.views_summary.as_ref().and_then(|views_summary| views_summary.spent.as_ref()) else {
        return vec!["unknown: there are no views".to_owned()];
    };
    if spent.is_empty() {
        return vec!["nothing spent".to_owned()];
    }
    let tenant = spent.iter().map(|spent| {
        let named = spent.name.as_deref().map(|name| format!("{} ", printable(name))).unwrap_or_default();
        let requests = spent.requests;
        // Only copies that the platform pays for belong to no tenant.
        let whose = if spent.tenant.is_empty() { "copies for shadows" } else { &spent.tenant };
        format!("{:>16} USD  {requests:>9} requests  {named}{whose}", spent.cost.to_string())
    });
    tenant.collect()
}

fn budgets(status: &Status) -> Vec<String> {
    let mut lines = near_limits(status);
    if known_refusals(status.views_summary.as_ref()).is_none() {
        lines.push("refusals of today are unknown until the views are built".to_owned());
    }
    lines
}

fn near_limits(status: &Status) -> Vec<String> {
    if status.near.is_empty() {
        return vec!["none near its limit".to_owned()];
    }
    let budget = status.near.iter().map(|near| {
        let resets = near.resets_at.map(|at| format!(", resets at {}", rfc3339(at))).unwrap_or_default();
        let (settled, held, limit) = (near.settled, near.held, near.limit);
        let owner = near.scope_name.as_deref().map_or_else(|| near.scope.owner.to_string(), printable);
        let narrowing = near.scope.narrowing.as_ref();
        let narrowing = narrowing.map(|conditions| format!(" with {}", printable(&conditions.to_string())));
        let of = format!("{} of {} {owner}{}", near.budget, near.scope.kind(), narrowing.unwrap_or_default());
        let refused = match near.refused_today {
            0 => String::new(),
            1 => ", refused 1 request today".to_owned(),
            refused => format!(", refused {refused} requests today"),
        };
        format!("{:>4} % of {limit} USD  {of}: {settled} settled, {held} held{resets}{refused}", near.used_percent)
    });
    budget.collect()
}

fn keyless(status: &Status) -> String {
    let names = status.keyless.iter().take(SHOWN_MAX).map(|provider| {
        let name = provider.name.as_deref().map(|name| format!("{} ", printable(name))).unwrap_or_default();
        format!("{name}{}", provider.id)
    });
    let more = status.keyless.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("not called until you give them an API key: {}{more}", names.collect::<Vec<_>>().join(", "))
}

/// Keys that are used only if no other key of their provider is left, one a line.
fn set_aside(status: &Status) -> Vec<String> {
    let mut lines: Vec<String> = status.set_aside.iter().take(SHOWN_MAX).map(KeySetAside::in_words).collect();
    let more = status.set_aside.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=1_048_575 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes >> 20),
    }
}
