//! Alerts: posts each event that a budget is spent up to a fraction of its limit to a webhook, in turns by tenant and of each tenant
//! in the order of the log, at least once, unless the receiver refuses a tenant's alerts for a day. The log has them in any case;
//! nothing waits for a webhook, and no money rests on one.
//!
//! - `webhook`: the address of the webhook and the secret that signs what is sent to it.
//! - `delivery`: one post to a webhook, of alerts and of what others send.
//! - `queues`: whose alert is next. `owner` says whose an alert is.
//! - `pauses`: when no alert is sent for a moment.
//! - `refusals`: for how long the receiver has refused an owner's alerts.
//! - `memory`: what the next process with the role needs to know of all that.
//!
//! Of two processes that do the work for a moment, both may send the same alert, with the same id.

mod delivery;
mod memory;
mod owner;
mod pauses;
mod queues;
mod refusals;
mod webhook;

use std::pin::Pin;
use std::time::Duration;

use events::canonical::{self, CanonicalError};
use events::event::{Alert, Event, Recorded};
use events::time::Clock;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use events_log::{EventFilter, Followed, Log, LogError, PAGE_EVENTS};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outlets::{AnyOutlet, LeasedRole, Outlet, until};
use reqwest::Client;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use delivery::{Delivery, DeliveryError};
pub use webhook::{Webhook, WebhookSecret, WrongWebhook};

use owner::Owner;
use pauses::{Pauses, RoleChoice};
use queues::{AlertQueues, AlertsRead, Step};

/// The alerts that are sent at a time, each of another owner.
const STEPS_MAX: usize = 8;
/// How often it is remembered at least what was sent, if that has changed.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(1);
/// How often at most, while there is more to be sent: what many owners have left is long.
const REMEMBER_PAUSE: Duration = Duration::from_millis(250);

/// The outlet that posts alerts.
pub struct BudgetAlerts {
    pub webhook: Webhook,
    /// Follows no redirects.
    pub client: Client,
}

#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    #[error("position {position} was not taken: {error}")]
    Undelivered { position: u64, error: DeliveryError },
    #[error("position {position} cannot be written as JSON: {why}")]
    Unwritable { position: u64, why: CanonicalError },
    #[error("cannot read the log, or remember how far it was read: {0}")]
    Log(#[from] LogError),
}

impl From<BudgetAlerts> for AnyOutlet {
    fn from(outlet: BudgetAlerts) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for BudgetAlerts {
    const ROLE: Role = Role::Alerts;
    /// They begin anew when an alert is accepted, or none is left.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    type Error = AlertsError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), AlertsError> {
        let (outlet, log, clock) = (&*self, role.log, role.clock);
        let remembered = role.memory_or_head().await?;
        role.status.reached(remembered.position);
        let mut follower = log.follow(remembered.position, PAGE_EVENTS);
        let queues = AlertQueues::after(&remembered);
        let mut work = Work { queues, remembered, remembered_at: Instant::now(), pauses: Pauses::new() };
        let mut reminder = interval(REMEMBER_INTERVAL);
        reminder.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut steps = FuturesUnordered::<RunningStep<'_>>::new();
        loop {
            let now = Instant::now();
            let pause_ends = work.pauses.end_after(now);
            while pause_ends.is_none()
                && steps.len() < STEPS_MAX
                && let Some(next) = work.queues.begin(now)
            {
                steps.push(Box::pin(outlet.run(log, clock, next)));
            }
            let next_begins = pause_ends.or_else(|| work.queues.rest_ends());
            tokio::select! {
                followed = follower.next() => match followed? {
                    Some(followed) => work.follow(role, &followed, follower.position()),
                    None => return Ok(()),
                },
                Some(ended) = steps.next() => work.end_step(role, ended).await?,
                () = until(next_begins), if steps.len() < STEPS_MAX => {}
                _ = reminder.tick() => work.remember(role).await?,
            }
        }
    }
}

/// A step that is under way.
type RunningStep<'a> = Pin<Box<dyn Future<Output = EndedStep> + Send + 'a>>;

/// The outcome of a step.
enum EndedStep {
    Sent { owner: Owner, position: u64, sent: Result<(), AlertsError> },
    Read { owner: Owner, read: Result<AlertsRead, LogError> },
}

impl BudgetAlerts {
    async fn run(&self, log: &Log, clock: &dyn Clock, step: Step) -> EndedStep {
        match step {
            Step::Send { owner, position } => {
                EndedStep::Sent { owner, position, sent: self.send(log, clock, position).await }
            }
            Step::Read { owner, after } => EndedStep::Read { owner, read: read_alerts(log, owner, after).await },
        }
    }

    /// Sends the alert at a position once.
    async fn send(&self, log: &Log, clock: &dyn Clock, position: u64) -> Result<(), AlertsError> {
        let found = log.read(move |reader| reader.after(position - 1, 1)).await?;
        let Some(recorded) = found.first().filter(|recorded| is_alert(recorded)) else { return Ok(()) };
        let body = canonical::envelope(recorded).map_err(|why| AlertsError::Unwritable { position, why })?;
        let delivery = Delivery { id: format!("alert_{position}"), content_type: "application/json", body };
        let delivered = self.webhook.deliver(&self.client, clock.now(), delivery).await;
        delivered.map_err(|error| AlertsError::Undelivered { position, error })
    }
}

/// The next alerts of an owner after a position, in a bounded part of the log.
async fn read_alerts(log: &Log, owner: Owner, after: u64) -> Result<AlertsRead, LogError> {
    let types = Alert::TYPES.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
    let filter = EventFilter { types: Some(types), tenant: owner.0, ..EventFilter::default() };
    let part = log.read(move |reader| reader.filtered(&filter, after, PAGE_EVENTS)).await?;
    let of_owner = part.events.iter().filter(|recorded| Owner::of(recorded) == owner);
    Ok(AlertsRead { positions: of_owner.map(|recorded| recorded.position).collect(), until: part.until })
}

/// The work of a process while it has the role.
struct Work {
    queues: AlertQueues,
    remembered: RoleMemory,
    remembered_at: Instant,
    pauses: Pauses,
}

impl Work {
    /// Takes in events of the log, which has been read up to `position`.
    fn follow(&mut self, role: &mut LeasedRole<'_>, followed: &Followed, position: u64) {
        for recorded in followed.events().iter().filter(|recorded| is_alert(recorded)) {
            self.queues.add(Owner::of(recorded), recorded.position);
        }
        self.queues.read_until(position);
        if self.queues.are_over() {
            role.succeeded(position);
        }
    }

    /// Errors: the log cannot be read, nothing can be remembered, or another process should try to send.
    async fn end_step(&mut self, role: &mut LeasedRole<'_>, ended: EndedStep) -> Result<(), AlertsError> {
        match ended {
            EndedStep::Read { owner, read } => {
                self.queues.add_read(owner, read?);
                Ok(())
            }
            EndedStep::Sent { owner, position, sent: Ok(()) } => {
                self.pauses.accepted();
                self.queues.forget_refusals(owner);
                self.queues.dealt_with(owner, position);
                role.backoff.reset();
                if !self.queues.has_resting() {
                    role.status.working();
                }
                self.remember_soon(role).await
            }
            EndedStep::Sent { sent: Err(error @ AlertsError::Log(_)), .. } => Err(error),
            EndedStep::Sent { owner, position, sent: Err(error) } => {
                self.fail(role, owner, position, &error);
                let choice = match &error {
                    AlertsError::Undelivered { error, .. } => self.pauses.failed(owner, error, Instant::now()),
                    AlertsError::Unwritable { .. } | AlertsError::Log(_) => RoleChoice::Keep,
                };
                match choice {
                    RoleChoice::Keep => self.remember_soon(role).await,
                    RoleChoice::HandOver => {
                        self.remember(role).await?;
                        Err(error)
                    }
                }
            }
        }
    }

    /// Handles a failed attempt. The owner's alerts rest, unless the receiver has refused them for a day: then this one is given up, and
    /// that is logged.
    fn fail(&mut self, role: &LeasedRole<'_>, owner: Owner, position: u64, error: &AlertsError) {
        if let AlertsError::Undelivered { error: DeliveryError::Refused { .. }, .. } = error
            && self.queues.note_refusal(owner, position, role.clock.now()).are_final()
        {
            tracing::error!(%error, "alerts were refused for a day: this one is not sent any more");
            self.queues.dealt_with(owner, position);
            if !self.queues.has_resting() {
                role.status.working();
            }
        } else {
            role.status.failing(error, role.clock.now());
            self.queues.rest(owner, Instant::now());
        }
    }

    /// Remembers it now, or with what is sent next.
    async fn remember_soon(&mut self, role: &LeasedRole<'_>) -> Result<(), AlertsError> {
        let is_time = self.queues.are_over() || self.remembered_at.elapsed() >= REMEMBER_PAUSE;
        if is_time { self.remember(role).await } else { Ok(()) }
    }

    async fn remember(&mut self, role: &LeasedRole<'_>) -> Result<(), AlertsError> {
        let memory = self.queues.memory(role.clock.now());
        role.status.reached(memory.position);
        self.remembered_at = Instant::now();
        if memory != self.remembered {
            role.remember(memory.clone()).await?;
            self.remembered = memory;
        }
        Ok(())
    }
}

const fn is_alert(recorded: &Recorded) -> bool {
    matches!(recorded.event, Event::Alert(_))
}
