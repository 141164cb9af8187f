//! Re-values requests by prices that were corrected: a price that was entered with a date in the past, or changed while it was
//! in force, also concerns the requests that were admitted since it began. In the background, beside their first value, and once.
//!
//! The log is all that it needs. A change that concerns earlier requests is pending until `price.revalued` is recorded for it, so
//! that it is taken up again at every start. Then the log is read from the time that the change concerns: each request that it
//! finds is valued by the price list as of the newest change that concerns it, and the writer corrects what it was charged,
//! unless it has that value already: it decides on the history of the request's hold, so that no version of a price corrects it
//! twice. Requests that were open at the change are corrected when they end, which the change waits for.
//!
//! Corrections must not delay requests: a batch of a few is in the writer's queue at a time, and after each one this task
//! sleeps for as long as the batch took. While a page of the log is valued, this task gives way to requests on its thread.
//!
//! `price_history` keeps every change of every price (`price_event`), and `concerned` decides whether a change concerns
//! earlier requests, for the reply to it too. `prices_at` has what was in force at one time as of every version, `admissions`
//! narrows down which requests a change may concern, and `scan` reads them and says what they cost.

mod admissions;
pub(crate) mod concerned;
mod price_event;
mod price_history;
mod prices_at;
mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use events::event::price_revalued::PriceRevalued;
use events::event::{Context, Event, Resource, Stream, StreamKind};
use events::ledger::Revaluation;
use events::money::NanoUsd;
use events::time::Clock;
use events_log::backoff::Backoff;
use events_log::{Append, AppendError, EventFilter, Log, LogError, Revalued};
use futures_util::future::BoxFuture;

use price_history::{PastChange, PriceHistory};
use scan::{ACTOR, Scan};

/// Maximum number of corrections in the writer's queue.
const BATCH_MAX: usize = 32;
/// The longest pause after a batch.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Events per page of the log.
const PAGE: usize = 512;
/// After so long, requests that run on the same thread have their turn.
const SLICE: Duration = Duration::from_micros(250);
/// The pauses between attempts.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// No batch of the log is recorded later than this after its time, or its callers are told that it failed.
const WRITE_MAX: TimeDelta = TimeDelta::seconds(11);
/// How often it is checked whether a change is over.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Follows the changes of prices until the log is closed. Dropping it at any time loses nothing.
pub fn follow(log: Log, clock: Arc<dyn Clock>) -> BoxFuture<'static, ()> {
    Box::pin(follow_until_closed(log, clock))
}

async fn follow_until_closed(log: Log, clock: Arc<dyn Clock>) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        match Revaluer::new(&log, &clock, CHECK_EVERY).run().await {
            Err(LogError::Closed) => return,
            Err(error) => tracing::warn!(%error, "requests cannot be re-valued: trying again"),
            Ok(()) => return,
        }
        backoff.wait().await;
    }
}

struct Revaluer<'a> {
    log: &'a Log,
    clock: &'a Arc<dyn Clock>,
    check_every: Duration,
    prices: PriceHistory,
}

impl<'a> Revaluer<'a> {
    fn new(log: &'a Log, clock: &'a Arc<dyn Clock>, check_every: Duration) -> Self {
        Self { log, clock, check_every, prices: PriceHistory::new(0) }
    }

    /// Errors: the log cannot be read or written. What was done is in the log.
    async fn run(&mut self) -> Result<(), LogError> {
        let mut administration = self.log.watch_administration();
        self.prices = PriceHistory::new(self.log.read(|reader| reader.revaluation_begins_after()).await?);
        loop {
            self.read_prices().await?;
            while self.prices.pending().next().is_some() {
                self.revalue_pending().await?;
            }
            if administration.wait_for(|position| *position > self.prices.position).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Folds the events of prices that are not known yet, without reading others.
    async fn read_prices(&mut self) -> Result<(), LogError> {
        loop {
            let after = self.prices.position;
            let part = self.log.read(move |reader| reader.filtered(&of_prices(), after, PAGE)).await?;
            part.events.iter().for_each(|recorded| self.prices.fold(recorded));
            self.prices.position = self.prices.position.max(part.until);
            if !part.has_more() {
                return Ok(());
            }
        }
    }

    /// Reads the log since the earliest pending change, and follows it until all of them are over, or another one comes.
    async fn revalue_pending(&mut self) -> Result<(), LogError> {
        let mut scan = Scan::of(self.prices.pending());
        let begin = self.begin_of(&scan).await?;
        tracing::info!(
            changes = scan.changes().count(),
            position = begin,
            "requests are re-valued by corrected prices"
        );
        let mut follower = self.log.follow(begin.saturating_sub(1), PAGE);
        let (mut corrected_until, mut read_until, mut checked_at) = (0, DateTime::UNIX_EPOCH, None::<Instant>);
        loop {
            if let Ok(followed) = tokio::time::timeout(self.check_every, follower.next()).await {
                let mut slice = Instant::now();
                for recorded in followed?.ok_or(LogError::Closed)?.events() {
                    self.prices.fold(recorded);
                    scan.take(recorded, &self.prices);
                    read_until = recorded.recorded_at;
                    if slice.elapsed() >= SLICE {
                        tokio::task::yield_now().await;
                        slice = Instant::now();
                    }
                }
                corrected_until = corrected_until.max(self.correct(&mut scan).await?);
            } else {
                // Nothing was published, so that only what is still being written can be missing.
                read_until = read_until.max(self.clock.now() - WRITE_MAX);
            }
            let has_read_all = !follower.is_behind() && follower.position() >= corrected_until;
            if has_read_all && checked_at.is_none_or(|checked_at| checked_at.elapsed() >= self.check_every) {
                checked_at = Some(Instant::now());
                self.complete(&scan, read_until).await?;
                let mut pending = self.prices.pending().peekable();
                if pending.peek().is_none() || pending.any(|change| !scan.is_of(change.version)) {
                    return Ok(());
                }
            }
        }
    }

    /// The first position at which a request can be that one of the changes concerns.
    async fn begin_of(&self, scan: &Scan) -> Result<u64, LogError> {
        // Of the changes of one backend, the one that concerns the earliest time begins first.
        let mut begins = BTreeMap::<u64, DateTime<Utc>>::new();
        for PastChange { first_price, from, .. } in scan.changes() {
            begins.entry(*first_price).and_modify(|earliest| *earliest = (*earliest).min(*from)).or_insert(*from);
        }
        let first = self.log.read(move |reader| {
            let first = |(first_price, from): (&u64, &_)| Ok(reader.first_since(*from)?.max(*first_price));
            begins.iter().map(first).collect::<Result<Vec<_>, LogError>>()
        });
        Ok(first.await?.into_iter().min().unwrap_or(0))
    }

    /// Has the writer make the corrections that are due, and returns a position by which all of them are recorded.
    async fn correct(&self, scan: &mut Scan) -> Result<u64, LogError> {
        let (mut due, mut last) = (std::mem::take(&mut scan.due), 0);
        while !due.is_empty() {
            let batch: Vec<Revaluation> = due.drain(..due.len().min(BATCH_MAX)).collect();
            let started = Instant::now();
            let revalued = self.submit(batch).await?;
            if let Some(first) = revalued.uncountable.first() {
                let count = revalued.uncountable.len();
                tracing::error!(count, %first, "requests keep their charge: their correction is too large to be counted");
            }
            // What has its value already may have got it from a run that was stopped, in events that are not read yet.
            last = revalued.last.unwrap_or_else(|| self.log.head().position);
            tokio::time::sleep(started.elapsed().min(PAUSE_MAX)).await;
        }
        Ok(last)
    }

    /// Repeats the corrections until they are recorded: one that is recorded already changes nothing.
    async fn submit(&self, batch: Vec<Revaluation>) -> Result<Revalued, LogError> {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            match self.log.revalue(batch.clone()).await {
                Err(error) if !matches!(error, LogError::Closed) => {
                    tracing::warn!(%error, "corrections cannot be recorded: trying again");
                }
                answer => return answer,
            }
            backoff.wait().await;
        }
    }

    /// Records the changes that are over. All of their corrections have been read.
    async fn complete(&mut self, scan: &Scan, read_until: DateTime<Utc>) -> Result<(), LogError> {
        let is_pending = |change: &&PastChange| self.prices.is_pending(change.version);
        let over: Vec<PastChange> = scan.over(read_until).filter(is_pending).cloned().collect();
        for change in over {
            let (requests, delta_usd) = scan.corrected(change.version);
            match self.log.append(self.completion(&change, requests, delta_usd)).await {
                // If it was recorded before, its answer was lost: it is read with the next events.
                Ok(_) | Err(AppendError::OptimisticLock) => self.prices.complete(change.price_id, change.version),
                Err(AppendError::Unavailable(LogError::Closed)) => return Err(LogError::Closed),
                Err(error) => {
                    tracing::warn!(%error, "it cannot be recorded that requests were re-valued: trying again");
                    return Ok(());
                }
            }
            let delta_usd = delta_usd.map(tracing::field::display);
            tracing::info!(
                price_id = %change.price_id,
                version = change.version,
                requests,
                delta_usd,
                "requests were re-valued by a corrected price"
            );
        }
        Ok(())
    }

    fn completion(&self, change: &PastChange, requests: u64, delta_usd: Option<NanoUsd>) -> Append {
        let PastChange { price_id, version, chain, .. } = *change;
        let revalued = PriceRevalued { price_id, version, requests, delta_usd };
        let stream = Stream::new(StreamKind::Revaluation, price_id);
        let events = vec![Event::Resource(Resource::PriceRevalued(Box::new(revalued)))];
        Append::new(stream, self.prices.completed(price_id), events, Context::about(ACTOR, chain))
    }
}

/// The events of prices, and those that complete their changes.
fn of_prices() -> EventFilter {
    let is_of_prices = |(name, _): &(&str, u32)| name.starts_with("price.");
    let types = Event::types().filter(is_of_prices).map(|(name, version)| (name.to_owned(), version)).collect();
    EventFilter { types: Some(types), ..EventFilter::default() }
}

#[cfg(test)]
mod tests;
