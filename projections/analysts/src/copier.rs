//! The process with the role copies what its views have, again and again, until it loses the role.

use std::sync::Arc;
use std::time::Duration;

use events::log::{Lease, Log, Reader};
use events::role::RoleStatus;
use events::time::Clock;
use projections::views::{CopiedPosition, CopySource, ViewChanges, ViewsHandle};

use crate::CopyPlace;
use crate::copied::CopiedView;
use crate::error::CopyError;
use crate::reading::Reading;
use crate::target::Target;

/// How long the copier waits after a failure: from the first to the second, doubling.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// In PostgreSQL the copy is meant to follow within a moment: if the log has more than the views have written, they write it after
/// this long. Otherwise they wait for up to 100 ms, to write rows that several events change only once.
const VIEWS_WAIT_MAX: Duration = Duration::from_millis(25);
/// A file is read by people, for whom a second is soon enough: rows that change many times in it are then copied once.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// What the copier works with.
pub struct CopierParts {
    pub log: Log,
    /// Views that were started with [`projections::views::start_copied`].
    pub views: ViewsHandle,
    /// The position that those views were started with.
    pub copied: CopiedPosition,
    pub place: CopyPlace,
    pub status: RoleStatus,
    pub clock: Arc<dyn Clock>,
}

/// Copies whenever this process has the role, for ever. May be dropped at any time: a transaction is then rolled back.
pub async fn run(parts: CopierParts) {
    let mut leases = parts.log.lease(&parts.status);
    let mut pause = RETRY_AFTER.0;
    loop {
        let lease = leases.wait().await;
        let began = parts.clock.monotonic();
        let Err(error) = follow(&parts, &lease).await;
        if matches!(error, CopyError::LeaseLost) {
            parts.status.waiting();
        } else {
            parts.status.failing(&error, parts.clock.now());
        }
        lease.release().await;
        // It has worked for a while, so this failure is a new one.
        if parts.clock.monotonic().saturating_sub(began) > RETRY_AFTER.1 {
            pause = RETRY_AFTER.0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_AFTER.1);
    }
}

/// Copies until something fails or the role is lost.
async fn follow(parts: &CopierParts, lease: &Lease) -> Result<std::convert::Infallible, CopyError> {
    let mut target = Target::open(&parts.place).await?;
    let mut copied = copied_of_log(target.copied().await?, &parts.log).await?;
    let (mut source, mut changes) = (parts.views.copy_source(), parts.views.changes());
    loop {
        changes.mark_seen();
        source = copy(source, &mut target, &mut copied, lease).await?;
        let position = copied.iter().map(|view| view.position).min().unwrap_or(0);
        parts.copied.set(position);
        parts.status.working();
        parts.status.reached(position);
        tokio::select! {
            () = lease.lost() => return Err(CopyError::LeaseLost),
            () = wait(parts, &mut changes, position) => {}
        }
    }
}

/// Copies once what the views have and the copy lacks.
async fn copy(
    source: CopySource,
    target: &mut Target,
    copied: &mut [CopiedView],
    lease: &Lease,
) -> Result<CopySource, CopyError> {
    let mut reading = Reading::start(source, copied.to_vec());
    let steps = reading.steps().await.unwrap_or_default();
    if steps.is_empty() {
        return reading.finish().await;
    }
    target.begin(&steps, lease.token()).await?;
    while let Some(piece) = reading.next().await {
        if !lease.is_held() {
            return Err(CopyError::LeaseLost);
        }
        target.write(piece).await?;
    }
    let source = reading.finish().await?;
    if !lease.is_held() {
        return Err(CopyError::LeaseLost);
    }
    target.commit().await?;
    for step in steps {
        if let Some(view) = copied.iter_mut().find(|view| view.view == step.to.view) {
            *view = step.to;
        }
    }
    Ok(source)
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
    match parts.place {
        CopyPlace::Folder(_) => {
            tokio::time::sleep(FILE_INTERVAL).await;
            changes.next().await;
        }
        CopyPlace::Database(_) => wait_in_a_hurry(parts, changes, position).await,
    }
}

async fn wait_in_a_hurry(parts: &CopierParts, changes: &mut ViewChanges, position: u64) {
    let mut head = parts.log.watch_head();
    loop {
        let is_behind = head.borrow_and_update().position > position;
        tokio::select! {
            () = changes.next() => return,
            () = tokio::time::sleep(VIEWS_WAIT_MAX), if is_behind => changes.hurry(),
            moved = head.changed(), if !is_behind => if moved.is_err() {
                // The log is closed: only the role can be lost now.
                std::future::pending::<()>().await;
            },
        }
    }
}
