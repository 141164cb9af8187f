//! The places for the connections of one listener: who gets one, and who loses one when all are taken.
//!
//! Every connection is accepted. Waiting in front of a full gateway was rejected: clients that send nothing would keep out
//! everybody else, health checks and the operator included. When no ordinary place is free,
//!
//! - silent connections are ended: those without a request in progress, or with one that no key has let in and that does not end, or
//!   whose client leaves responses unread. First come those that sent no request, then those of strangers, then those that have just
//!   come, last those that rest between requests of a key. Among equals, the address that has most of them loses its oldest ones first.
//! - if all are busy, the newcomer gets one of the reserved places, where the door serves health, metrics and the operator alone.
//!   When they are all taken, the address that has most of them loses its oldest one, but never a request of the operator.
//!
//! One address has at most seven eighths of the ordinary places, and then ends its own silent ones. A trusted proxy has no such
//! bound; its clients have it, in requests instead of connections.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::by_address::{AddressCounts, ProxiedRequests, SourceAddress};
use super::connection_requests::{ConnectionRequests, PlaceKind, Standing, read_clock};

/// One place of so many is reserved, within these bounds.
const PLACES_PER_RESERVED: usize = 32;
const RESERVED_MIN: usize = 8;
const RESERVED_MAX: usize = 256;
/// One ordinary place of so many is for other addresses than any one.
const PLACES_PER_OTHERS: usize = 8;
/// One ordinary place of so many is freed at a time, so that a flood does not make each newcomer search all of them.
const PLACES_PER_BATCH: usize = 64;
/// The pause after a search that has found too few.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);

/// The numbers of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlaceBounds {
    ordinary: usize,
    reserved: usize,
    of_address: usize,
    /// The number of connections that are ended at a time; as many may be on their way out beside all places.
    batch: usize,
}

impl PlaceBounds {
    fn of(connections_max: usize) -> Self {
        let reserved =
            (connections_max / PLACES_PER_RESERVED).clamp(RESERVED_MIN, RESERVED_MAX).min(connections_max / 2);
        let ordinary = connections_max - reserved;
        let of_address = ordinary - ordinary / PLACES_PER_OTHERS;
        Self { ordinary, reserved, of_address, batch: (ordinary / PLACES_PER_BATCH).max(1) }
    }
}

/// The places of a listener. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionPlaces(Arc<ListenerPlaces>);

struct ListenerPlaces {
    bounds: PlaceBounds,
    taken: Mutex<TakenPlaces>,
    /// Wakes who waits for connections that were asked to end.
    ended: Notify,
    proxied: Arc<ProxiedRequests>,
}

/// The place of one connection, until it is dropped.
pub struct ConnectionPlace {
    id: u64,
    places: ConnectionPlaces,
    requests: Arc<ConnectionRequests>,
}

impl ConnectionPlaces {
    pub fn new(connections_max: usize) -> Self {
        let bounds = PlaceBounds::of(connections_max);
        Self(Arc::new(ListenerPlaces {
            bounds,
            taken: Mutex::default(),
            ended: Notify::new(),
            proxied: Arc::new(ProxiedRequests::new(bounds.of_address)),
        }))
    }

    /// Waits until few connections are on their way out: they have files as well.
    pub async fn room(&self) {
        while self.are_many_ending() {
            self.0.ended.notified().await;
        }
    }

    /// A place for a connection of `peer`, whose other connections have no bound if it is a trusted proxy. `None` if
    /// even the reserved places are taken by requests that may not be ended.
    pub fn take(&self, peer: IpAddr, is_trusted_proxy: bool) -> Option<ConnectionPlace> {
        let now = read_clock();
        let address = SourceAddress::of(peer);
        let bounds = &self.0.bounds;
        let mut taken = self.lock();
        let mut asked = Vec::new();
        let kind = taken.kind_for(address, !is_trusted_proxy, bounds, now, &mut asked);
        let has_room = kind == PlaceKind::Ordinary
            || taken.reserved.count() < bounds.reserved
            || taken.end_reserved(now, &mut asked);
        let place = has_room.then(|| {
            let proxied = is_trusted_proxy.then(|| Arc::clone(&self.0.proxied));
            let requests = Arc::new(ConnectionRequests::new(peer, kind, proxied));
            let id = taken.add(Arc::clone(&requests), address);
            ConnectionPlace { id, places: self.clone(), requests }
        });
        // Not under the lock: a task that ends takes it.
        drop(taken);
        asked.iter().for_each(|requests| requests.ask_to_end());
        place
    }

    fn are_many_ending(&self) -> bool {
        let taken = self.lock();
        taken.ordinary.ending + taken.reserved.ending >= self.0.bounds.batch
    }

    fn lock(&self) -> MutexGuard<'_, TakenPlaces> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPlace {
    pub const fn requests(&self) -> &Arc<ConnectionRequests> {
        &self.requests
    }

    /// True if the connection was asked to end and is still silent. Otherwise it keeps the place, beside all others.
    pub fn is_to_end(&self) -> bool {
        self.requests.takes_end() && !self.is_kept()
    }

    /// True if the connection is busy. One that was asked to end then keeps the place.
    pub fn is_kept(&self) -> bool {
        let is_busy = self.requests.standing(read_clock()).is_none();
        if is_busy && self.places.lock().keep(self.id, self.requests.place()) {
            self.places.0.ended.notify_one();
        }
        is_busy
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.places.lock().remove(self.id, self.requests.place());
        self.places.0.ended.notify_one();
    }
}

/// The connections of a listener.
#[derive(Default)]
struct TakenPlaces {
    ordinary: OpenConnections,
    reserved: OpenConnections,
    /// The ordinary ones that are not ending.
    by_address: AddressCounts,
    last_id: u64,
    /// The time of the last search that found too few, among all.
    found_few: Option<Instant>,
    /// The same for a search among those of one address.
    found_few_of_address: Option<Instant>,
}

/// The connections that have places of one kind, by number: the oldest is first.
#[derive(Default)]
struct OpenConnections {
    by_id: BTreeMap<u64, OpenConnection>,
    ending: usize,
}

struct OpenConnection {
    requests: Arc<ConnectionRequests>,
    address: SourceAddress,
    is_ending: bool,
}

impl OpenConnections {
    /// The number of those that are not ending.
    fn count(&self) -> usize {
        self.by_id.len() - self.ending
    }

    /// Returns one that is asked to end from now on.
    fn end(&mut self, id: u64) -> Option<&OpenConnection> {
        let open = self.by_id.get_mut(&id).filter(|open| !open.is_ending)?;
        open.is_ending = true;
        self.ending += 1;
        Some(open)
    }
}

impl TakenPlaces {
    /// The kind of place that a newcomer gets, once others have been asked to end for it.
    fn kind_for(
        &mut self,
        address: SourceAddress,
        is_bounded: bool,
        bounds: &PlaceBounds,
        now: u32,
        asked: &mut Vec<Arc<ConnectionRequests>>,
    ) -> PlaceKind {
        let has_all = is_bounded && self.by_address.of(address) >= bounds.of_address;
        if has_all && !self.end_silent(Some(address), bounds.batch, now, asked) {
            return PlaceKind::ReservedByAddress;
        }
        let is_full = self.ordinary.count() >= bounds.ordinary;
        if is_full && !self.end_silent(None, bounds.batch, now, asked) {
            return PlaceKind::Reserved;
        }
        PlaceKind::Ordinary
    }

    /// Ends some silent connections, of one address or of all; false if there are none.
    fn end_silent(
        &mut self,
        of: Option<SourceAddress>,
        count: usize,
        now: u32,
        asked: &mut Vec<Arc<ConnectionRequests>>,
    ) -> bool {
        let found_few = if of.is_some() { &mut self.found_few_of_address } else { &mut self.found_few };
        if found_few.is_some_and(|at| at.elapsed() < SEARCH_PAUSE) {
            return false;
        }
        let open = self.ordinary.by_id.iter().filter(|(_, open)| of.is_none_or(|address| open.address == address));
        let silent = open.filter_map(|(id, open)| SilentConnection::of(*id, open, now)).collect();
        let chosen = first_to_end(silent, count);
        *found_few = (chosen.len() < count).then(Instant::now);
        for id in &chosen {
            if let Some(open) = self.ordinary.end(*id) {
                self.by_address.remove(open.address);
                asked.push(Arc::clone(&open.requests));
            }
        }
        !chosen.is_empty()
    }

    /// Ends one of the reserved connections that may be ended, the oldest one of the address that has most; false if there is none.
    fn end_reserved(&mut self, now: u32, asked: &mut Vec<Arc<ConnectionRequests>>) -> bool {
        let may_end = self.reserved.by_id.iter().filter_map(|(id, open)| SilentConnection::of(*id, open, now));
        // Each serves requests that came together: none stands above another.
        let alike = may_end.map(|one| SilentConnection { standing: Standing::Silent, since: 0, ..one }).collect();
        let first = first_to_end(alike, 1).pop();
        let ended = first.and_then(|id| self.reserved.end(id));
        asked.extend(ended.map(|open| Arc::clone(&open.requests)));
        first.is_some()
    }

    fn add(&mut self, requests: Arc<ConnectionRequests>, address: SourceAddress) -> u64 {
        self.last_id += 1;
        let (id, kind) = (self.last_id, requests.place());
        if kind == PlaceKind::Ordinary {
            self.by_address.add(address);
        }
        self.of_kind(kind).by_id.insert(id, OpenConnection { requests, address, is_ending: false });
        id
    }

    /// Counts a connection again that was asked to end; false if it counts already.
    fn keep(&mut self, id: u64, kind: PlaceKind) -> bool {
        let connections = self.of_kind(kind);
        let Some(open) = connections.by_id.get_mut(&id).filter(|open| open.is_ending) else { return false };
        open.is_ending = false;
        let address = open.address;
        connections.ending -= 1;
        if kind == PlaceKind::Ordinary {
            self.by_address.add(address);
        }
        true
    }

    fn remove(&mut self, id: u64, kind: PlaceKind) {
        let connections = self.of_kind(kind);
        let Some(open) = connections.by_id.remove(&id) else { return };
        if open.is_ending {
            connections.ending -= 1;
        } else if kind == PlaceKind::Ordinary {
            self.by_address.remove(open.address);
        }
    }

    fn of_kind(&mut self, kind: PlaceKind) -> &mut OpenConnections {
        if kind.is_reserved() { &mut self.reserved } else { &mut self.ordinary }
    }
}

/// A connection that may be ended.
struct SilentConnection {
    id: u64,
    standing: Standing,
    address: SourceAddress,
    since: u32,
    /// The number of connections of the same standing and address that have been silent for a shorter time.
    newer: usize,
}

impl SilentConnection {
    fn of(id: u64, open: &OpenConnection, now: u32) -> Option<Self> {
        let standing = open.requests.standing(now).filter(|_| !open.is_ending)?;
        Some(Self { id, standing, address: open.address, since: open.requests.changed_at(), newer: 0 })
    }
}

/// The numbers of the connections to end. Addresses are left with equally many of a standing, the newest ones.
fn first_to_end(mut silent: Vec<SilentConnection>, count: usize) -> Vec<u64> {
    silent.sort_unstable_by_key(|one| (one.standing, one.address, Reverse(one.since), Reverse(one.id)));
    let are_alike = |one: &SilentConnection, other: &SilentConnection| {
        one.standing == other.standing && one.address == other.address
    };
    for alike in silent.chunk_by_mut(are_alike) {
        for (newer, one) in alike.iter_mut().enumerate() {
            one.newer = newer;
        }
    }
    silent.sort_unstable_by_key(|one| (one.standing, Reverse(one.newer), one.since, one.id));
    silent.into_iter().take(count).map(|one| one.id).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;
    use http::Version;

    use super::*;
    use crate::http::connection_requests::RequestInProgress;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// Places of connections with a request in progress by a key.
    fn busy(places: &ConnectionPlaces, peer: IpAddr, count: usize) -> Vec<(ConnectionPlace, RequestInProgress)> {
        let one = |_| {
            let place = places.take(peer, false).expect("a place");
            place.requests().mark_known();
            let request = place.requests().begin(Version::HTTP_11);
            (place, request)
        };
        (0..count).map(one).collect()
    }

    fn kind(place: Option<&ConnectionPlace>) -> Option<PlaceKind> {
        place.map(|place| place.requests().place())
    }

    #[test]
    fn few_places_are_reserved_and_never_all() {
        for (all, ordinary, reserved, of_address, batch) in [
            (4, 2, 2, 2, 1),
            (16, 8, 8, 7, 1),
            (64, 56, 8, 49, 1),
            (768, 744, 24, 651, 11),
            (16_384, 16_128, 256, 14_112, 252),
        ] {
            assert_eq!(PlaceBounds::of(all), PlaceBounds { ordinary, reserved, of_address, batch });
        }
    }

    #[test]
    fn a_silent_connection_loses_its_place_to_a_newcomer_and_a_busy_one_does_not() {
        let places = ConnectionPlaces::new(64);
        let _busy: Vec<_> = (0..6).flat_map(|last| busy(&places, ip(last), 9)).collect();
        let silent = [(); 2].map(|()| places.take(ip(100), false).expect("a place"));
        let newcomer = places.take(ip(100), false);
        assert_eq!(kind(newcomer.as_ref()), Some(PlaceKind::Ordinary));
        assert!(silent[0].is_to_end() && !silent[1].is_to_end(), "the older one");
        // One that has just begun is kept, beside all places.
        let next = places.take(ip(100), false);
        assert_eq!(kind(next.as_ref()), Some(PlaceKind::Ordinary));
        let _request = silent[1].requests().begin(Version::HTTP_11);
        silent[1].requests().mark_known();
        assert!(!silent[1].is_to_end());
        drop(silent);
        assert_eq!(places.lock().ordinary.ending, 0);
        assert_eq!(places.lock().by_address.of(SourceAddress::of(ip(100))), 2);
    }

    #[test]
    fn a_connection_that_is_kept_wakes_the_acceptor_once() {
        let places = ConnectionPlaces::new(64);
        let _busy: Vec<_> = (0..6).flat_map(|last| busy(&places, ip(last), 9)).collect();
        let silent = [(); 2].map(|()| places.take(ip(100), false).expect("a place"));
        let _newcomer = places.take(ip(100), false);
        let _request = silent[0].requests().begin(Version::HTTP_11);
        silent[0].requests().mark_known();
        let is_woken = || places.0.ended.notified().now_or_never().is_some();
        assert!(silent[0].is_kept() && is_woken());
        assert!(silent[0].is_kept() && !is_woken());
    }

    #[test]
    fn where_all_are_busy_newcomers_get_reserved_places_and_the_oldest_of_these_loses_its() {
        let places = ConnectionPlaces::new(64);
        let mut ordinary: Vec<_> = (0..8).flat_map(|last| busy(&places, ip(last), 7)).collect();
        let mut reserved: Vec<_> = (0..8).map(|_| places.take(ip(100), false).expect("a place")).collect();
        assert!(reserved.iter().all(|place| kind(Some(place)) == Some(PlaceKind::Reserved)));
        reserved[0].requests().mark_known();
        let operators = reserved[0].requests().begin(Version::HTTP_11);
        reserved.extend(places.take(ip(100), false));
        assert_eq!(reserved.iter().position(ConnectionPlace::is_to_end), Some(1), "the first is the operator's");
        reserved.truncate(1);
        drop(operators);
        // The oldest is of an address that has one.
        let crowd: Vec<_> = (0..7).map(|_| places.take(ip(101), false).expect("a place")).collect();
        let newcomer = places.take(ip(102), false);
        assert_eq!(kind(newcomer.as_ref()), Some(PlaceKind::Reserved));
        assert_eq!(crowd.iter().chain(&reserved).position(ConnectionPlace::is_to_end), Some(0));
        ordinary.pop();
        assert_eq!(kind(places.take(ip(100), false).as_ref()), Some(PlaceKind::Ordinary));
    }

    #[test]
    fn one_address_leaves_places_for_others_unless_it_is_a_trusted_proxy() {
        let places = ConnectionPlaces::new(64);
        let _busy = busy(&places, ip(1), 49);
        assert_eq!(kind(places.take(ip(1), false).as_ref()), Some(PlaceKind::ReservedByAddress));
        assert_eq!(kind(places.take(ip(1), true).as_ref()), Some(PlaceKind::Ordinary));
        assert_eq!(kind(places.take(ip(2), false).as_ref()), Some(PlaceKind::Ordinary));
    }

    #[test]
    fn the_address_with_most_silent_connections_loses_its_oldest_ones_first() {
        let one = |id: u64, standing: Standing, last: u8| {
            let since = u32::try_from(id).expect("few");
            SilentConnection { id, standing, address: SourceAddress::of(ip(last)), since, newer: 0 }
        };
        let silent = || {
            let mut silent: Vec<_> = (0..6).map(|id| one(id, Standing::New, 1)).collect();
            silent.extend([one(6, Standing::New, 2), one(7, Standing::New, 2)]);
            silent.extend([one(8, Standing::Known, 3), one(9, Standing::Stranger, 3), one(10, Standing::Silent, 3)]);
            silent
        };
        assert_eq!(first_to_end(silent(), 5), [10, 9, 0, 1, 2]);
        assert_eq!(first_to_end(silent(), 20), [10, 9, 0, 1, 2, 3, 4, 6, 5, 7, 8]);
    }
}
