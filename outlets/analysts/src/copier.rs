//! The process with the role copies what its views have, again and again, until it loses the role. It asks for the role once its
//! views can be copied, and gives it up when they stand still while the log goes on: those of another process may not.

use std::time::Duration;

use blocking_work::OUTLETS;
use events_log::backoff::Backoff;
use events_log::role::Role;
use events_log::{DatabaseAddress, Lease, Log};
use outlets::{AnyOutlet, LeasedRole, Outlet};
use projections::views::{CopiedPosition, CopySource, View, ViewChanges, ViewsHandle};

use crate::copied::CopiedView;
use crate::copy_writer::CopyWriter;
use crate::error::CopyError;
use crate::reading::Reading;

/// The longest pause between attempts.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The copy is meant to follow within a moment: if the log has more than the views have written, they write it after this long.
/// Otherwise they wait for up to 100 ms, to write rows that several events change only once.
const VIEWS_WAIT_MAX: Duration = Duration::from_millis(25);

/// How long the copy may stand still while the log goes on. Views write at least every 100 ms, unless their file fails them.
const STANDSTILL_MAX: Duration = Duration::from_secs(5);
/// How often that is looked at.
const STANDSTILL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The outlet that copies the views. A transaction is rolled back when it is dropped.
pub struct Copier {
    /// Views that were started with [`projections::views::start_copied`].
    pub views: ViewsHandle,
    /// The position that those views were started with.
    pub copied: CopiedPosition,
    /// The database that has the ledger.
    pub database: DatabaseAddress,
}

impl From<Copier> for AnyOutlet {
    fn from(outlet: Copier) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for Copier {
    const ROLE: Role = Role::Analysts;
    /// They begin anew once the copier has worked for longer than the longest of them.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), RETRY_MAX);
    type Error = CopyError;

    async fn open(&mut self) -> Result<(), CopyError> {
        wait_for_views(&self.views).await
    }

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), CopyError> {
        let began = role.clock.monotonic();
        let ended = follow(self, role).await;
        // It has worked for a while, so this failure is a new one.
        if role.clock.monotonic().saturating_sub(began) > RETRY_MAX {
            role.backoff.reset();
        }
        if matches!(ended, Err(CopyError::StandsStill { .. })) {
            // Long enough for another process, which asks for the role every second.
            role.backoff.lengthen();
        }
        ended
    }
}

/// Waits until this process has views that can be copied. One whose views are being built from the beginning leaves the role to
/// others. A view that another version wrote may take long to rebuild: the others are copied meanwhile.
async fn wait_for_views(views: &ViewsHandle) -> Result<(), CopyError> {
    let (mut source, mut changes) = (views.copy_source(), views.changes());
    loop {
        changes.mark_seen();
        match OUTLETS.run(None, move || (source.has_views(), source)).await {
            Ok((Ok(true), _)) => return Ok(()),
            Ok((Ok(false), returned)) => source = returned,
            Ok((Err(error), _)) => return Err(error.into()),
            // The process is ending.
            Err(_) => source = views.copy_source(),
        }
        let _ = tokio::time::timeout(STANDSTILL_CHECK_INTERVAL, changes.next()).await;
    }
}

/// Copies until something fails, the views stand still or the log is closed and copied.
async fn follow(
    Copier { views, copied: position_copied, database }: &Copier,
    role: &LeasedRole<'_>,
) -> Result<(), CopyError> {
    let mut writer = CopyWriter::open(database).await?;
    let mut copied = copied_of_log(writer.copied().await?, role.log).await?;
    let (mut source, mut changes) = (views.copy_source(), views.changes());
    let (mut before, mut still_since) = (slowest(&copied).1, None);
    loop {
        changes.mark_seen();
        source = copy(source, &mut writer, &mut copied, role.lease).await?;
        let (view, position) = slowest(&copied);
        position_copied.set(position);
        role.status.reached(position);
        let (head, now) = (role.log.head().position, role.clock.monotonic());
        if position >= head || position != before {
            role.status.working();
            (before, still_since) = (position, None);
        } else if now.saturating_sub(*still_since.get_or_insert(now)) >= STANDSTILL_MAX {
            return Err(CopyError::StandsStill { view, position, head });
        }
        tokio::select! {
            () = wait(role.log, &mut changes, position) => {}
            is_open = stay_behind(role.log, position) => if !is_open {
                return Ok(());
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

/// Copies once what the views have and the copy lacks. Without the lease it copies nothing, and waits to be dropped.
async fn copy(
    source: CopySource,
    writer: &mut CopyWriter,
    copied: &mut [CopiedView],
    lease: &Lease,
) -> Result<CopySource, CopyError> {
    let mut reading = Reading::start(source, copied.to_vec()).await;
    let steps = reading.steps().await.unwrap_or_default();
    if steps.is_empty() {
        return reading.finish().await;
    }
    writer.begin(&steps, lease.token()).await?;
    while let Some(piece) = reading.next().await {
        must_be_held(lease).await;
        writer.write(&piece).await?;
    }
    let source = reading.finish().await?;
    must_be_held(lease).await;
    writer.commit().await?;
    for step in steps {
        if let Some(view) = copied.iter_mut().find(|view| view.view == step.to.view) {
            *view = step.to;
        }
    }
    Ok(source)
}

async fn must_be_held(lease: &Lease) {
    if !lease.is_held() {
        std::future::pending().await
    }
}

/// The copied views; those of another ledger, or of this one before a restore, count as not copied.
async fn copied_of_log(mut copied: Vec<CopiedView>, log: &Log) -> Result<Vec<CopiedView>, CopyError> {
    let log = log.clone();
    let checked = OUTLETS.run(None, move || {
        let reader = log.reader()?;
        for view in &mut copied {
            if !view.checkpoint().is_of(&*reader)? {
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

/// Waits until there is something to copy.
async fn wait(log: &Log, changes: &mut ViewChanges, position: u64) {
    let mut head = log.watch_head();
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
