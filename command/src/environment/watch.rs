//! Observations of local servers since the start, so that a server that lists other models at each look, or that comes and
//! goes, fills no log. Pure: times come in.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::offer::Offer;

/// The most models of a server that appear or change at one look, and in an hour.
const CHANGES_A_LOOK_MAX: usize = 256;
const CHANGES_AN_HOUR_MAX: usize = 1024;
/// A model ends when so many lists in a row are without it. The first list after a start counts alone.
const LISTS_WITHOUT_MAX: u32 = 3;
/// After so many looks without an answer, a server that nobody has named is gone if it has never answered since the start.
const UNANSWERED_MAX: u32 = 10;

/// How long a server that has answered since the start may be silent before it is gone.
const SILENCE_MAX: TimeDelta = TimeDelta::days(1);

/// The observations of each server, by a name that it keeps.
#[derive(Debug, Default)]
pub struct Watch {
    servers: HashMap<String, SeenServer>,
}

#[derive(Debug, Default)]
struct SeenServer {
    /// When the hour began in which changes are counted, and how many there were.
    hour: Option<(DateTime<Utc>, usize)>,
    /// The models that were let through last.
    offered: HashSet<String>,
    /// In how many lists in a row a model was missing.
    missing: HashMap<String, u32>,
    last_answer: Option<DateTime<Utc>>,
    unanswered: u32,
}

impl Watch {
    /// Returns the offers of a server once it has listed this, where it offered `before` until now; and how many
    /// changes have to wait.
    pub fn listed(
        &mut self,
        server: &str,
        listed: Vec<Offer>,
        before: Vec<Offer>,
        now: DateTime<Utc>,
    ) -> (Vec<Offer>, usize) {
        let seen = self.servers.entry(server.to_owned()).or_default();
        let is_first = seen.last_answer.replace(now).is_none();
        seen.unanswered = 0;
        let mut before: HashMap<String, Offer> =
            before.into_iter().map(|offer| (offer.backend.clone(), offer)).collect();
        let (mut offers, mut waiting) = (Vec::new(), 0);
        let mut left = seen.changes_left(now);
        for offer in listed {
            seen.missing.remove(&offer.backend);
            let known = before.remove(&offer.backend);
            let is_as_before = match &known {
                Some(known) => *known == offer,
                // It was let through, and left to the operator.
                None => seen.offered.contains(&offer.backend),
            };
            if is_as_before {
                offers.push(offer);
            } else if left > 0 {
                left -= 1;
                seen.count_change();
                offers.push(offer);
            } else {
                waiting += 1;
                offers.extend(known);
            }
        }
        for (backend, offer) in before {
            let lists = seen.missing.entry(backend).or_default();
            *lists += 1;
            if !is_first && *lists < LISTS_WITHOUT_MAX {
                offers.push(offer);
            }
        }
        seen.offered = offers.iter().map(|offer| offer.backend.clone()).collect();
        let offered = &seen.offered;
        seen.missing.retain(|backend, _| offered.contains(backend));
        (offers, waiting)
    }

    /// A server has not answered. True if it is gone, unless somebody has named it.
    pub fn is_gone(&mut self, server: &str, now: DateTime<Utc>) -> bool {
        let seen = self.servers.entry(server.to_owned()).or_default();
        seen.unanswered = seen.unanswered.saturating_add(1);
        match seen.last_answer {
            Some(at) => seen.unanswered >= UNANSWERED_MAX && now - at >= SILENCE_MAX,
            None => seen.unanswered >= UNANSWERED_MAX,
        }
    }
}

impl SeenServer {
    /// How many changes there may be at this look.
    fn changes_left(&mut self, now: DateTime<Utc>) -> usize {
        let (began, changes) = self.hour.get_or_insert((now, 0));
        if now - *began >= TimeDelta::hours(1) {
            (*began, *changes) = (now, 0);
        }
        CHANGES_AN_HOUR_MAX.saturating_sub(*changes).min(CHANGES_A_LOOK_MAX)
    }

    fn count_change(&mut self) {
        if let Some((_, changes)) = &mut self.hour {
            *changes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::super::offer::local_offer;
    use super::*;

    fn minute(number: i64) -> DateTime<Utc> {
        from_micros(number * 60_000_000)
    }

    fn offers(names: impl IntoIterator<Item = String>) -> Vec<Offer> {
        names.into_iter().map(|name| local_offer(name, None)).collect()
    }

    fn names(offers: &[Offer]) -> Vec<&str> {
        let mut names: Vec<_> = offers.iter().map(|offer| offer.backend.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Holds: environment.bounded
    #[test]
    fn a_server_that_lists_other_models_each_time_changes_only_so_much() {
        let (mut watch, mut before, mut changes) = (Watch::default(), Vec::new(), 0);
        for look in 0..60 {
            let listed = offers((0..500).map(|number| format!("m{look}-{number}")));
            let known: HashSet<_> = before.iter().map(|offer: &Offer| offer.backend.clone()).collect();
            let (after, waiting) = watch.listed("s", listed, before, minute(look));
            let new = after.iter().filter(|offer| !known.contains(&offer.backend)).count();
            assert!(new <= CHANGES_A_LOOK_MAX && waiting == 500 - new, "{look}: {new}");
            changes += new;
            before = after;
        }
        assert_eq!(changes, CHANGES_AN_HOUR_MAX);
        let (after, _) = watch.listed("s", offers((0..9).map(|number| format!("n{number}"))), before, minute(60));
        assert!(names(&after).contains(&"n8"), "the next hour has room again");
    }

    /// Holds: environment.bounded
    #[test]
    fn other_windows_are_changes_too_and_what_has_to_wait_stays_as_it_was() {
        let mut watch = Watch::default();
        let with = |window| (0..300).map(|number| local_offer(format!("m{number}"), Some(window))).collect::<Vec<_>>();
        let (first, _) = watch.listed("s", with(1), Vec::new(), minute(0));
        let (first, waiting) = watch.listed("s", with(1), first, minute(1));
        assert_eq!((first.len(), waiting), (300, 0));
        let (second, waiting) = watch.listed("s", with(2), first, minute(2));
        let changed = second.iter().filter(|offer| offer.window.tokens == Some(2)).count();
        assert_eq!((second.len(), changed, waiting), (300, CHANGES_A_LOOK_MAX, 44));
    }

    /// Holds: environment.local-models
    #[test]
    fn a_model_ends_after_three_lists_without_it_and_after_one_at_the_start() {
        let mut watch = Watch::default();
        let both = || offers(["a", "b"].map(str::to_owned));
        let a = || offers(["a".to_owned()]);
        let mut offered = watch.listed("s", both(), Vec::new(), minute(0)).0;
        for (look, listed, wanted) in [
            (1, a(), vec!["a", "b"]),
            (2, both(), vec!["a", "b"]),
            (3, a(), vec!["a", "b"]),
            (4, a(), vec!["a", "b"]),
            (5, a(), vec!["a"]),
        ] {
            offered = watch.listed("s", listed, offered, minute(look)).0;
            assert_eq!(names(&offered), wanted, "{look}");
        }
        assert_eq!(names(&Watch::default().listed("s", a(), both(), minute(0)).0), ["a"]);
    }

    /// Holds: environment.bounded
    #[test]
    fn a_model_that_is_left_to_the_operator_is_no_change_at_each_look() {
        let mut watch = Watch::default();
        for look in 0..100 {
            let (offered, waiting) =
                watch.listed("s", offers((0..100).map(|number| number.to_string())), Vec::new(), minute(look));
            assert_eq!((offered.len(), waiting), (100, 0), "{look}");
        }
    }

    #[test]
    fn a_silent_server_is_gone_after_ten_looks_or_after_a_day_if_it_has_answered() {
        let mut watch = Watch::default();
        let gone: Vec<bool> = (0..11).map(|look| watch.is_gone("never", minute(look))).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 2);
        watch.listed("once", Vec::new(), Vec::new(), minute(0));
        let first = (1..2_000).find(|look| watch.is_gone("once", minute(*look)));
        assert_eq!(first, Some(24 * 60));
        let mut rare = Watch::default();
        rare.listed("s", Vec::new(), Vec::new(), minute(0));
        assert!(!rare.is_gone("s", minute(3 * 24 * 60)), "one missed look says nothing");
    }
}
