//! The process with the role copies what its views have, again and again, until it loses the role. It asks for the role once its
//! views can be copied, and gives it up when they stand still while the log goes on: those of another process may not.

use std::sync::Arc;
use std::time::Duration;

use events::backoff::Backoff;
use events::log::{DatabaseAddress, Lease, LeaseWorkEnd, Log, Reader};
use events::role::RoleStatus;
use events::time::Clock;
use projections::views::{CopiedPosition, CopySource, View, ViewChanges, ViewsHandle};

use crate::copied::CopiedView;
use crate::copy_writer::CopyWriter;
use crate::error::CopyError;
use crate::reading::Reading;

/// The pauses between attempts. They begin anew once the copier has worked for longer than the longest of them.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The copy is meant to follow within a moment: if the log has more than the views have written, they write it after this long.
/// Otherwise they wait for up to 100 ms, to write rows that several events change only once.
const VIEWS_WAIT_MAX: Duration = Duration::from_millis(25);

/// How long the copy may stand still while the log goes on. Views write at least every 100 ms, unless their file fails them.
const STANDSTILL_MAX: Duration = Duration::from_secs(5);
/// How often that is looked at.
const STANDSTILL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the copier works with.
pub struct CopierParts {
    pub log: Log,
    /// Views that were started with [`projections::views::start_copied`].
    pub views: ViewsHandle,
    /// The position that those views were started with.
    pub copied: CopiedPosition,
    /// The database that has the ledger.
    pub database: DatabaseAddress,
    pub status: RoleStatus,
    pub clock: Arc<dyn Clock>,
}

/// Copies whenever this process has the role, until the log is closed and copied. May be dropped at any time: a transaction is
/// then rolled back.
pub async fn run(parts: CopierParts) {
    let mut holder = parts.log.lease(&parts.status);
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    // Long enough for another process, which asks for the role every second.
    let mut standstill = Backoff::new(RETRY_MAX, RETRY_MAX);
    loop {
        wait_for_views(&parts).await;
        let lease = holder.wait().await;
        let began = parts.clock.monotonic();
        let ended = follow(&parts, &lease).await;
        let worked = parts.clock.monotonic().saturating_sub(began);
        let pauses = match &ended {
            Err(CopyError::StandsStill { .. }) => &mut standstill,
            _ => &mut backoff,
        };
        // It has worked for a while, so this failure is a new one.
        if worked > RETRY_MAX {
            pauses.reset();
        }
        if !holder.conclude(lease, ended, pauses, parts.clock.now()).await {
            return;
        }
    }
}

/// Waits until this process has views that can be copied. One whose views are being built from the beginning leaves the role to
/// others. A view that another version wrote may take long to rebuild: the others are copied meanwhile.
async fn wait_for_views(parts: &CopierParts) {
    let (mut source, mut changes) = (parts.views.copy_source(), parts.views.changes());
    loop {
        changes.mark_seen();
        let looked = tokio::task::spawn_blocking(move || (source.has_views(), source)).await;
        match looked {
            Ok((Ok(true), _)) => return,
            Ok((Ok(false), returned)) => source = returned,
            Ok((Err(error), returned)) => {
                parts.status.failing(&CopyError::from(error), parts.clock.now());
                source = returned;
            }
            // The process is ending.
            Err(_) => source = parts.views.copy_source(),
        }
        let _ = tokio::time::timeout(STANDSTILL_CHECK_INTERVAL, changes.next()).await;
    }
}

/// Copies until something fails, the views stand still or the role is lost.
async fn follow(parts: &CopierParts, lease: &Lease) -> Result<LeaseWorkEnd, CopyError> {
    let mut writer = CopyWriter::open(&parts.database).await?;
    let mut copied = copied_of_log(writer.copied().await?, &parts.log).await?;
    let (mut source, mut changes) = (parts.views.copy_source(), parts.views.changes());
    let (mut before, mut still_since) = (slowest(&copied).1, None);
    loop {
        changes.mark_seen();
        let Some(returned) = copy(source, &mut writer, &mut copied, lease).await? else {
            return Ok(LeaseWorkEnd::LeaseLost);
        };
        source = returned;
        let (view, position) = slowest(&copied);
        parts.copied.set(position);
        parts.status.reached(position);
        let (head, now) = (parts.log.head().position, parts.clock.monotonic());
        if position >= head || position != before {
            parts.status.working();
            (before, still_since) = (position, None);
        } else if now.saturating_sub(*still_since.get_or_insert(now)) >= STANDSTILL_MAX {
            return Err(CopyError::StandsStill { view, position, head });
        }
        tokio::select! {
            () = lease.lost() => return Ok(LeaseWorkEnd::LeaseLost),
            () = wait(parts, &mut changes, position) => {}
            is_open = stay_behind(&parts.log, position) => if !is_open {
                return Ok(LeaseWorkEnd::LogClosed);
            },
        }
    }
}

/// The view that is copied least far.
fn slowest(copied: &[CopiedView]) -> (View, u64) {
    let positions = copied.iter().map(|view| (view.view, view.position));
    positions.min_by_key(|(_, position)| *position).unwrap_or((View::Budgets, 0))
}

/// Returns once the log has been ahead of a position for a while, or false once it is closed and never will be.
async fn stay_behind(log: &Log, position: u64) -> bool {
    let mut head = log.watch_head();
    if head.wait_for(|head| head.position > position).await.is_err() {
        return false;
    }
    tokio::time::sleep(STANDSTILL_CHECK_INTERVAL).await;
    true
}

/// Copies once what the views have and the copy lacks. `None` if the lease was lost: nothing was copied.
async fn copy(
    source: CopySource,
    writer: &mut CopyWriter,
    copied: &mut [CopiedView],
    lease: &Lease,
) -> Result<Option<CopySource>, CopyError> {
    let mut reading = Reading::start(source, copied.to_vec());
    let steps = reading.steps().await.unwrap_or_default();
    if steps.is_empty() {
        return reading.finish().await.map(Some);
    }
    writer.begin(&steps, lease.token()).await?;
    while let Some(piece) = reading.next().await {
        if !lease.is_held() {
            return Ok(None);
        }
        writer.write(&piece).await?;
    }
    let source = reading.finish().await?;
    if !lease.is_held() {
        return Ok(None);
    }
    writer.commit().await?;
    for step in steps {
        if let Some(view) = copied.iter_mut().find(|view| view.view == step.to.view) {
            *view = step.to;
        }
    }
    Ok(Some(source))
}

/// What is copied; views of another ledger, or of this one before a restore, count as not copied.
async fn copied_of_log(mut copied: Vec<CopiedView>, log: &Log) -> Result<Vec<CopiedView>, CopyError> {
    let log = log.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let reader = log.reader()?;
        for view in &mut copied {
            if !is_of(view, &*reader)? {
                tracing::warn!(
                    view = view.view.as_str(),
                    "the copy has events that the ledger does not have: copying all again"
                );
                view.version = 0;
            }
        }
        Ok(copied)
    });
    checked.await.map_err(|_| CopyError::Interrupted)?
}

fn is_of(view: &CopiedView, log: &dyn Reader) -> Result<bool, CopyError> {
    Ok(view.checkpoint().is_of(log)?)
}

/// Waits until there is something to copy.
async fn wait(parts: &CopierParts, changes: &mut ViewChanges, position: u64) {
    let mut head = parts.log.watch_head();
    loop {
        let is_behind = head.borrow_and_update().position > position;
        tokio::select! {
            () = changes.next() => return,
            () = tokio::time::sleep(VIEWS_WAIT_MAX), if is_behind => changes.hurry(),
            moved = head.changed(), if !is_behind => if moved.is_err() {
                // The log is closed: the copier ends.
                std::future::pending::<()>().await;
            },
        }
    }
}
