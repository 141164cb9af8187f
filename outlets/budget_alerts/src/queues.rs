//! The queues of alerts: whose alert is sent next. Each tenant has a queue, and they take turns, so that the many alerts of one do not
//! stand in front of another's. The alerts of one tenant are sent in the order of the log, one after the other.
//!
//! A queue has the positions of alerts. What it has no room for is left out, and read again when the others of the queue are sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events_log::role::RoleMemory;
use tokio::time::Instant;

use crate::memory::OwnerMemories;
use crate::owner::Owner;
use crate::refusals::Refusals;

/// The alerts in the queue of one owner, and in all of them.
const QUEUE_MAX: usize = 4_096;
const QUEUES_MAX: usize = 262_144;
/// How long an owner's alerts rest after one was not taken: twice as long each time, up to the longest.
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(60);

pub struct AlertQueues {
    /// Up to where the log was read.
    read: u64,
    /// Owners with alerts whose turn it is not, the next one first.
    order: VecDeque<Owner>,
    queues: BTreeMap<Owner, Queue>,
    /// The number of alerts in all queues.
    queued: usize,
    /// The owners whose step has begun.
    begun: BTreeSet<Owner>,
    /// Those whose alerts rest, or did until now and were not sent again.
    resting: BTreeMap<Owner, Rest>,
    memories: OwnerMemories,
}

/// A rest of an owner's alerts.
#[derive(Clone, Copy)]
struct Rest {
    lasts: Duration,
    until: Instant,
}

/// The alerts of an owner that are left.
#[derive(Default)]
struct Queue {
    /// In order.
    positions: VecDeque<u64>,
    /// If some are left out: they are all after this position.
    left_out_after: Option<u64>,
}

/// The next step for the owner whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its first alert is sent.
    Send { owner: Owner, position: u64 },
    /// Its next alerts are read, after this position.
    Read { owner: Owner, after: u64 },
}

/// The alerts of an owner in a part of the log.
pub struct AlertsRead {
    pub positions: Vec<u64>,
    /// Up to where the log was examined for them.
    pub until: u64,
}

impl AlertQueues {
    /// Those after what was remembered.
    pub fn after(remembered: &RoleMemory) -> Self {
        let memories = OwnerMemories::read(&remembered.detail);
        Self {
            read: remembered.position,
            order: VecDeque::new(),
            queues: BTreeMap::new(),
            queued: 0,
            begun: BTreeSet::new(),
            resting: BTreeMap::new(),
            memories,
        }
    }

    /// An alert was read in the log.
    pub fn add(&mut self, owner: Owner, position: u64) {
        if self.memories.done.get(&owner).is_some_and(|done| *done >= position) {
            return;
        }
        let is_full = self.queued >= QUEUES_MAX;
        let queue = self.queues.entry(owner).or_insert_with(|| {
            self.order.push_back(owner);
            Queue::default()
        });
        if queue.left_out_after.is_some() {
            return;
        }
        if is_full || queue.positions.len() >= QUEUE_MAX {
            queue.left_out_after = Some(queue.positions.back().copied().unwrap_or(position - 1));
        } else {
            queue.positions.push_back(position);
            self.queued += 1;
        }
    }

    /// The log was read up to this position.
    pub const fn read_until(&mut self, position: u64) {
        self.read = position;
    }

    /// True if every alert that was read is dealt with.
    pub fn are_over(&self) -> bool {
        self.queues.is_empty()
    }

    /// True if the alerts of an owner rest, or did until now and were not sent again.
    pub fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// When the first rest ends.
    pub fn rest_ends(&self) -> Option<Instant> {
        let resting = self.resting.iter().filter(|(owner, _)| !self.begun.contains(owner));
        resting.map(|(_, rest)| rest.until).min()
    }

    /// Begins the next step, which ends with [`Self::dealt_with`], [`Self::rest`] or [`Self::add_read`]. `None` if there are no alerts, or
    /// all of them rest, or are of owners whose step has begun.
    pub fn begin(&mut self, now: Instant) -> Option<Step> {
        let is_ready = |owner: &Owner| self.resting.get(owner).is_none_or(|rest| rest.until <= now);
        let owner = self.order.iter().position(is_ready).and_then(|at| self.order.remove(at))?;
        self.begun.insert(owner);
        let queue = self.queues.get(&owner)?;
        match (queue.positions.front(), queue.left_out_after) {
            (Some(position), _) => Some(Step::Send { owner, position: *position }),
            (None, after) => Some(Step::Read { owner, after: after? }),
        }
    }

    /// The first alert of an owner was accepted or given up.
    pub fn dealt_with(&mut self, owner: Owner, position: u64) {
        self.memories.done.insert(owner, position);
        if let Some(queue) = self.queues.get_mut(&owner) {
            self.queued -= usize::from(queue.positions.pop_front().is_some());
        }
        self.resting.remove(&owner);
        self.end_step(owner);
    }

    /// The alerts of an owner were accepted again.
    pub fn forget_refusals(&mut self, owner: Owner) {
        self.memories.refusals.remove(&owner);
    }

    /// An alert was refused. Returns for how long they were.
    pub fn note_refusal(&mut self, owner: Owner, position: u64, now: DateTime<Utc>) -> Refusals {
        let refusals = Refusals::after(self.memories.refusals.get(&owner).copied(), position, now);
        self.memories.refusals.insert(owner, refusals);
        refusals
    }

    /// The first alert of an owner was not taken: its alerts rest.
    pub fn rest(&mut self, owner: Owner, now: Instant) {
        let last = self.resting.get(&owner).map_or(Duration::ZERO, |rest| rest.lasts);
        let lasts = (last * 2).clamp(REST, REST_MAX);
        self.resting.insert(owner, Rest { lasts, until: now + lasts });
        self.end_step(owner);
    }

    /// Adds alerts that were left out. Later ones than the log was read up to come with the log.
    pub fn add_read(&mut self, owner: Owner, AlertsRead { positions, until }: AlertsRead) {
        if let Some(queue) = self.queues.get_mut(&owner) {
            let read = self.read;
            let before = queue.positions.len();
            queue.positions.extend(positions.into_iter().filter(|position| *position <= read));
            self.queued += queue.positions.len() - before;
            queue.left_out_after = Some(until).filter(|until| *until < read);
        }
        self.end_step(owner);
    }

    fn end_step(&mut self, owner: Owner) {
        self.begun.remove(&owner);
        match self.queues.get(&owner) {
            Some(queue) if queue.positions.is_empty() && queue.left_out_after.is_none() => {
                self.queues.remove(&owner);
            }
            Some(_) => self.order.push_back(owner),
            None => {}
        }
    }

    /// The position up to which every alert is dealt with.
    pub fn done_until(&self) -> u64 {
        let before_first = |queue: &Queue| queue.positions.front().map(|first| first - 1).or(queue.left_out_after);
        self.queues.values().filter_map(before_first).min().unwrap_or(self.read)
    }

    /// The memory to be written. Refusals that count for nothing any more are forgotten.
    pub fn memory(&mut self, now: DateTime<Utc>) -> RoleMemory {
        let position = self.done_until();
        self.memories.done.retain(|_, done| *done > position);
        let (queues, read) = (&self.queues, self.read);
        let may_count = |owner: &Owner, refusals: &Refusals| {
            // The refused alert itself may be still to come.
            queues.contains_key(owner) || refusals.alert() > read || !refusals.are_over(now)
        };
        self.memories.refusals.retain(|owner, refusals| may_count(owner, refusals));
        self.memories.at(position)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn tenant(number: u8) -> Owner {
        Owner::read(&format!("ten_{number:032x}")).expect("a tenant")
    }

    fn queues(alerts: impl IntoIterator<Item = (Owner, u64)>) -> AlertQueues {
        let mut queues = AlertQueues::after(&RoleMemory::default());
        add(&mut queues, alerts);
        queues
    }

    fn add(queues: &mut AlertQueues, alerts: impl IntoIterator<Item = (Owner, u64)>) {
        for (owner, position) in alerts {
            queues.add(owner, position);
            queues.read_until(position);
        }
    }

    /// The next step sends this alert, which is accepted.
    fn send(queues: &mut AlertQueues) -> (Owner, u64) {
        let Some(Step::Send { owner, position }) = queues.begin(Instant::now()) else { panic!("none is ready") };
        queues.dealt_with(owner, position);
        (owner, position)
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_take_turns_and_each_in_the_order_of_the_log() {
        let [one, two, platform] = [tenant(1), tenant(2), Owner(None)];
        let mut queues = queues([(one, 1), (one, 2), (one, 3), (two, 4)]);
        assert_eq!(send(&mut queues), (one, 1));
        add(&mut queues, [(platform, 5), (two, 6)]);
        let sent: Vec<_> = (0..5).map(|_| send(&mut queues)).collect();
        assert_eq!(sent, [(two, 4), (one, 2), (platform, 5), (two, 6), (one, 3)]);
        assert!(queues.are_over() && queues.begin(Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn alerts_of_several_tenants_are_sent_at_a_time_and_one_of_each() {
        let ([one, two], now) = ([tenant(1), tenant(2)], Instant::now());
        let mut queues = queues([(one, 1), (one, 2), (two, 3)]);
        let both = [queues.begin(now), queues.begin(now), queues.begin(now)];
        let [first, second] = [(one, 1), (two, 3)].map(|(owner, position)| Some(Step::Send { owner, position }));
        assert_eq!(both, [first, second, None]);
        queues.rest(two, now);
        tokio::time::advance(REST).await;
        let again = queues.begin(Instant::now());
        assert_eq!((again, queues.rest_ends()), (second, None), "it is under way, and rests no more");
        queues.dealt_with(two, 3);
        assert_eq!(queues.done_until(), 0, "the first is not sent yet");
        queues.dealt_with(one, 1);
        assert_eq!((send(&mut queues), queues.are_over()), ((one, 2), true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_sends_the_rest_and_nothing_else() {
        let [one, two] = [tenant(1), tenant(2)];
        let alerts = [(one, 1), (one, 2), (two, 3), (two, 4), (one, 5)];
        let mut first = queues(alerts);
        assert_eq!([send(&mut first), send(&mut first), send(&mut first)], [(one, 1), (two, 3), (one, 2)]);
        let memory = first.memory(DateTime::UNIX_EPOCH);
        assert_eq!(memory, RoleMemory { position: 3, detail: String::new() }, "all before four is sent");
        assert_eq!(send(&mut first), (two, 4));
        assert_eq!(first.memory(DateTime::UNIX_EPOCH).position, 4);

        let mut second = queues(alerts);
        assert_eq!([send(&mut second), send(&mut second)], [(one, 1), (two, 3)]);
        let memory = second.memory(DateTime::UNIX_EPOCH);
        assert_eq!(memory, RoleMemory { position: 1, detail: format!("{two} 3") });
        let mut after = AlertQueues::after(&memory);
        add(&mut after, alerts.into_iter().skip(1));
        let sent: Vec<_> = (0..3).map(|_| send(&mut after)).collect();
        assert_eq!(sent, [(one, 2), (two, 4), (one, 5)]);
        assert_eq!(after.memory(DateTime::UNIX_EPOCH), RoleMemory { position: 5, detail: String::new() });
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_tenant_whose_alert_is_not_taken_rests_each_time_for_twice_as_long() {
        let [one, two] = [tenant(1), tenant(2)];
        let mut queues = queues([(one, 1), (two, 2), (one, 3)]);
        let mut rests = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            assert_eq!(queues.begin(began), Some(Step::Send { owner: one, position: 1 }));
            queues.rest(one, began);
            if rests.is_empty() {
                assert_eq!(send(&mut queues), (two, 2));
            }
            assert_eq!(queues.begin(began), None);
            tokio::time::sleep_until(queues.rest_ends().expect("it rests")).await;
            rests.push(began.elapsed().as_millis());
        }
        assert_eq!(rests, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert!(queues.has_resting());
        assert_eq!([send(&mut queues), send(&mut queues)], [(one, 1), (one, 3)]);
        assert!(!queues.has_resting());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_queue_has_no_room_for_is_read_again_and_nothing_twice() {
        let [one, two] = [tenant(1), tenant(2)];
        let many = QUEUE_MAX as u64 + 10;
        let mut queues = queues((1..=many).map(|position| (one, position)));
        add(&mut queues, [(two, many + 1)]);
        assert_eq!([send(&mut queues), send(&mut queues)], [(one, 1), (two, many + 1)]);
        (2..=QUEUE_MAX as u64).for_each(|position| assert_eq!(send(&mut queues), (one, position)));
        assert_eq!(queues.done_until(), QUEUE_MAX as u64);
        let wanted = Step::Read { owner: one, after: QUEUE_MAX as u64 };
        assert_eq!(queues.begin(Instant::now()), Some(wanted));
        // Meanwhile the log goes on. It is examined in parts, of which one has alerts that the log has not brought yet.
        add(&mut queues, [(one, many + 2)]);
        queues.add_read(one, AlertsRead { positions: vec![many - 9], until: many - 9 });
        assert_eq!(send(&mut queues), (one, many - 9));
        assert_eq!(queues.begin(Instant::now()), Some(Step::Read { owner: one, after: many - 9 }));
        let rest = (many - 8..=many).chain([many + 2, many + 3]).collect();
        queues.add_read(one, AlertsRead { positions: rest, until: many + 3 });
        add(&mut queues, [(one, many + 3)]);
        for position in (many - 8..=many).chain([many + 2, many + 3]) {
            assert_eq!(send(&mut queues), (one, position));
        }
        assert!(queues.are_over() && queues.queued == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_forgotten_after_an_hour_unless_their_alert_is_left_or_not_read_yet() {
        let [one, two, three] = [tenant(1), tenant(2), tenant(3)];
        let mut queues = queues([(one, 1), (two, 2)]);
        for (owner, position) in [(one, 1), (two, 2), (three, 9)] {
            queues.note_refusal(owner, position, DateTime::UNIX_EPOCH);
        }
        assert_eq!(send(&mut queues), (one, 1));
        let mut remembered = |after: TimeDelta| {
            let memory = queues.memory(DateTime::UNIX_EPOCH + after);
            OwnerMemories::read(&memory.detail).refusals.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(remembered(TimeDelta::minutes(60)), [one, two, three]);
        assert_eq!(remembered(TimeDelta::minutes(61)), [two, three]);
    }
}
