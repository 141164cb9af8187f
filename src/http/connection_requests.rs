//! The requests of one connection, shared by its socket, its service, the door and the places of its listener.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use super::by_address::ProxiedRequests;

/// A connection without a request is new for so long, in tenths of a second.
const NEW_FOR: u32 = 10;
/// How long requests of a stranger can be in progress, in tenths of a second: a key is checked by then. The rest is a
/// response that its client does not read.
const STRANGER_MAX: u32 = 150;
/// How long a client can leave a response unread, in tenths of a second, whatever its key.
const UNREAD_MAX: u32 = 150;

static STARTED: OnceLock<Instant> = OnceLock::new();
/// The time when the newest connection came, in tenths of a second. Requests read it instead of the clock: how long a
/// connection has been silent matters only when others come.
static NOW: AtomicU32 = AtomicU32::new(0);

/// Reads the clock for all connections, and returns the time in tenths of a second.
pub fn read_clock() -> u32 {
    let now = tenths();
    NOW.store(now, Ordering::Relaxed);
    now
}

fn tenths() -> u32 {
    let tenths = STARTED.get_or_init(Instant::now).elapsed().as_millis() / 100;
    u32::try_from(tenths).unwrap_or(u32::MAX)
}

/// The kind of place that a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    Ordinary,
    /// One that is kept for health, metrics and the operator: all ordinary ones are busy.
    Reserved,
    /// The same, because busy connections of its address have as many ordinary ones as they may.
    ReservedByAddress,
}

impl PlaceKind {
    pub fn is_reserved(self) -> bool {
        self != Self::Ordinary
    }

    /// The bound that keeps tenants out: the `scope` of their refusal.
    pub const fn reached(self) -> Option<&'static str> {
        match self {
            Self::Ordinary => None,
            Self::Reserved => Some("gateway"),
            Self::ReservedByAddress => Some("address"),
        }
    }
}

/// The standing of a connection that may be ended for another one. Those that come first are ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Sent no request.
    Silent,
    /// Sent requests, none with a valid key, or leaves responses unread.
    Stranger,
    /// Sent no request so far, and had little time.
    New,
    /// Sent requests with a valid key, and rests.
    Known,
}

pub struct ConnectionRequests {
    peer: IpAddr,
    place: PlaceKind,
    /// Those of the clients of its peer, if that is a trusted proxy.
    proxied: Option<Arc<ProxiedRequests>>,
    heads: AtomicUsize,
    in_progress: AtomicUsize,
    /// Those in progress of which something waits to be read by the client.
    unread: AtomicUsize,
    /// The time when the client was last given something to read, of any response.
    given_at: AtomicU32,
    /// True while nothing of a response has been written and the client understands an interim one.
    interim_allowed: AtomicBool,
    /// True while the response in progress has no end of its own.
    is_endless: AtomicBool,
    /// True once a caller has been let in by its key, until one is not.
    is_known: AtomicBool,
    /// The time when it last began or ceased to be silent.
    changed_at: AtomicU32,
    end_asked: AtomicBool,
    /// Wakes the task of the connection.
    waker: Mutex<Option<Waker>>,
}

impl ConnectionRequests {
    pub fn new(peer: IpAddr, place: PlaceKind, proxied: Option<Arc<ProxiedRequests>>) -> Self {
        Self {
            peer,
            place,
            proxied,
            heads: AtomicUsize::default(),
            in_progress: AtomicUsize::default(),
            unread: AtomicUsize::default(),
            given_at: AtomicU32::default(),
            interim_allowed: AtomicBool::default(),
            is_endless: AtomicBool::default(),
            is_known: AtomicBool::default(),
            changed_at: AtomicU32::new(NOW.load(Ordering::Relaxed)),
            end_asked: AtomicBool::default(),
            waker: Mutex::default(),
        }
    }

    /// The requests of this process itself, which has no connection for them.
    pub fn of_this_process() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), PlaceKind::Ordinary, None)
    }

    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    pub const fn place(&self) -> PlaceKind {
        self.place
    }

    pub const fn proxied(&self) -> Option<&Arc<ProxiedRequests>> {
        self.proxied.as_ref()
    }

    /// Records that the head of a request is complete.
    pub fn begin(self: &Arc<Self>, version: http::Version) -> RequestInProgress {
        self.heads.fetch_add(1, Ordering::Relaxed);
        if self.in_progress.fetch_add(1, Ordering::Relaxed) == 0 {
            self.note_change();
        }
        self.interim_allowed.store(version == http::Version::HTTP_11, Ordering::Relaxed);
        RequestInProgress { connection: Arc::clone(self), is_unread: false }
    }

    /// Records that a caller was let in by its key.
    pub fn mark_known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// Records that a caller was not let in. A connection of several clients stays as it is: one whose requests come together, or of a
    /// trusted proxy.
    pub fn mark_stranger(&self) {
        if self.proxied.is_none() && self.in_progress.load(Ordering::Relaxed) == 1 {
            self.is_known.store(false, Ordering::Relaxed);
        }
    }

    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Number of heads that were complete.
    pub fn heads(&self) -> usize {
        self.heads.load(Ordering::Relaxed)
    }

    pub fn any_in_progress(&self) -> bool {
        self.in_progress.load(Ordering::Relaxed) > 0
    }

    /// True while a peer that has closed its sending side may be waiting for the end of a response.
    pub fn any_finite_in_progress(&self) -> bool {
        self.any_in_progress() && !self.is_endless.load(Ordering::Relaxed)
    }

    /// True once for a response of which nothing has been written, if its client understands an interim one.
    pub fn takes_interim(&self) -> bool {
        self.interim_allowed.swap(false, Ordering::Relaxed)
    }

    /// Records that something of a response is written.
    pub fn forbid_interim(&self) {
        self.interim_allowed.store(false, Ordering::Relaxed);
    }

    /// The time since which it has been silent, or has had requests in progress.
    pub fn changed_at(&self) -> u32 {
        self.changed_at.load(Ordering::Relaxed)
    }

    /// Its standing, `None` if it is busy and may not be ended. Bytes of a head that is not complete do not count.
    pub fn standing(&self, now: u32) -> Option<Standing> {
        let is_known = self.is_known();
        let unchanged_for = now.saturating_sub(self.changed_at());
        if self.any_in_progress() {
            let is_late = !is_known && (self.place.is_reserved() || unchanged_for >= STRANGER_MAX);
            return (is_late || self.waits_for_its_client(now)).then_some(Standing::Stranger);
        }
        Some(match self.heads() {
            0 if unchanged_for < NEW_FOR => Standing::New,
            0 => Standing::Silent,
            _ if is_known => Standing::Known,
            _ => Standing::Stranger,
        })
    }

    /// True if the client leaves all responses unread that are in progress, and has done so for long.
    fn waits_for_its_client(&self, now: u32) -> bool {
        let unread = self.unread.load(Ordering::Relaxed);
        unread >= self.in_progress.load(Ordering::Relaxed)
            && now.saturating_sub(self.given_at.load(Ordering::Relaxed)) >= UNREAD_MAX
    }

    /// Sets what wakes the task of the connection, which then looks for [`Self::takes_end`].
    pub fn set_waker(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Asks the task of the connection to end it.
    pub fn ask_to_end(&self) {
        // Before the lock: a task that has no waker yet looks once it has one.
        self.end_asked.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True once after each [`Self::ask_to_end`].
    pub fn takes_end(&self) -> bool {
        self.end_asked.load(Ordering::Relaxed) && self.end_asked.swap(false, Ordering::AcqRel)
    }

    fn note_change(&self) {
        self.changed_at.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// One request, until all of its response has been handed over.
pub struct RequestInProgress {
    connection: Arc<ConnectionRequests>,
    /// True while something of its response waits to be read by the client.
    is_unread: bool,
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.was_read();
        self.connection.is_endless.store(false, Ordering::Relaxed);
        if self.connection.in_progress.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.connection.note_change();
        }
    }
}

impl RequestInProgress {
    /// Marks the response as endless: a peer that then stops sending counts as gone, since nothing else would ever show it.
    pub fn mark_endless(&self) {
        self.connection.is_endless.store(true, Ordering::Relaxed);
    }

    /// Records that there is something to read. A client that has read a part of any response begins anew, and not one that only asks for
    /// further ones.
    fn waits_for_reader(&mut self, has_read: bool) {
        if std::mem::replace(&mut self.is_unread, true) {
            return;
        }
        if self.connection.unread.fetch_add(1, Ordering::Relaxed) == 0 || has_read {
            self.connection.given_at.store(tenths(), Ordering::Relaxed);
        }
    }

    /// Records that the client has room for what comes next.
    fn was_read(&mut self) {
        if std::mem::take(&mut self.is_unread) {
            self.connection.unread.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The body of a response. It is asked for more when its client has room, and the request waits for the client from when a part is there
/// until then.
pub struct ResponseInProgress {
    body: Body,
    request: RequestInProgress,
    /// True once a part was handed over.
    has_begun: bool,
}

impl ResponseInProgress {
    pub fn new(body: Body, mut request: RequestInProgress) -> Self {
        request.waits_for_reader(false);
        Self { body, request, has_begun: false }
    }
}

impl HttpBody for ResponseInProgress {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.request.was_read();
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            let has_read = std::mem::replace(&mut self.has_begun, true);
            self.request.waits_for_reader(has_read);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use futures_util::stream::pending;
    use http::Version;

    use super::*;

    fn connection(place: PlaceKind) -> Arc<ConnectionRequests> {
        Arc::new(ConnectionRequests::new(Ipv4Addr::LOCALHOST.into(), place, None))
    }

    #[test]
    fn who_sent_a_request_stands_above_who_did_not_and_a_key_above_both() {
        let connection = connection(PlaceKind::Ordinary);
        let since = connection.changed_at();
        assert_eq!(connection.standing(since + NEW_FOR - 1), Some(Standing::New));
        assert_eq!(connection.standing(since + NEW_FOR), Some(Standing::Silent));
        drop(connection.begin(Version::HTTP_11));
        assert_eq!(connection.standing(since + NEW_FOR), Some(Standing::Stranger));
        connection.mark_known();
        assert_eq!(connection.standing(since), Some(Standing::Known));
        assert!(
            Standing::Silent < Standing::Stranger
                && Standing::Stranger < Standing::New
                && Standing::New < Standing::Known
        );
    }

    #[test]
    fn a_request_in_progress_keeps_its_connection_and_a_strangers_for_a_while() {
        let ordinary = connection(PlaceKind::Ordinary);
        let request = ordinary.begin(Version::HTTP_2);
        let since = ordinary.changed_at();
        assert_eq!(ordinary.standing(since + STRANGER_MAX - 1), None);
        assert_eq!(ordinary.standing(since + STRANGER_MAX), Some(Standing::Stranger));
        ordinary.mark_known();
        assert_eq!(ordinary.standing(u32::MAX), None);
        drop(request);
        assert_eq!(ordinary.standing(since), Some(Standing::Known));
        let reserved = connection(PlaceKind::Reserved);
        let _request = reserved.begin(Version::HTTP_11);
        assert_eq!(reserved.standing(reserved.changed_at()), Some(Standing::Stranger));
        reserved.mark_known();
        assert_eq!(reserved.standing(u32::MAX), None);
    }

    #[tokio::test]
    async fn a_response_that_its_client_does_not_read_keeps_no_place_whatever_its_key() {
        let connection = connection(PlaceKind::Ordinary);
        let begin = || ResponseInProgress::new(Body::from("answer"), connection.begin(Version::HTTP_2));
        let working = connection.begin(Version::HTTP_2);
        connection.mark_known();
        let mut unread = begin();
        let since = connection.given_at.load(Ordering::Relaxed);
        assert_eq!(connection.standing(since + UNREAD_MAX), None, "the other one is being answered");
        drop(working);
        assert_eq!(connection.standing(since + UNREAD_MAX - 1), None);
        assert_eq!(connection.standing(since + UNREAD_MAX), Some(Standing::Stranger));
        connection.given_at.store(7_000, Ordering::Relaxed);
        let mut other = begin();
        assert_eq!(
            connection.standing(7_000 + UNREAD_MAX),
            Some(Standing::Stranger),
            "a further one is not read either"
        );
        // A client that reads begins anew with each part but the first, whatever else it leaves unread.
        for read in [&mut unread, &mut other] {
            connection.given_at.store(7_000, Ordering::Relaxed);
            poll_fn(|context| Pin::new(&mut *read).poll_frame(context)).await.expect("a part").expect("all of it");
            assert_eq!(connection.standing(7_000 + UNREAD_MAX), Some(Standing::Stranger));
            assert!(poll_fn(|context| Pin::new(&mut *read).poll_frame(context)).await.is_none());
            assert_ne!(connection.given_at.load(Ordering::Relaxed), 7_000);
        }
        drop((unread, other));
        assert_eq!((connection.unread.load(Ordering::Relaxed), connection.any_in_progress()), (0, false));
        // Nothing to read so far.
        let nothing = Body::from_stream(pending::<Result<Bytes, Infallible>>());
        let mut silent = ResponseInProgress::new(nothing, connection.begin(Version::HTTP_11));
        assert!(poll_fn(|context| Poll::Ready(Pin::new(&mut silent).poll_frame(context).is_pending())).await);
        assert_eq!(connection.standing(u32::MAX), None);
    }

    #[test]
    fn a_key_that_is_not_valid_makes_a_stranger_again_unless_others_share_the_connection() {
        let connection = connection(PlaceKind::Ordinary);
        connection.mark_known();
        let requests = [connection.begin(Version::HTTP_2), connection.begin(Version::HTTP_2)];
        connection.mark_stranger();
        assert!(connection.is_known());
        let [_one, other] = requests;
        drop(other);
        connection.mark_stranger();
        assert!(!connection.is_known());
    }

    #[test]
    fn an_end_is_asked_for_once_and_taken_once() {
        let connection = connection(PlaceKind::Ordinary);
        assert!(!connection.takes_end());
        connection.ask_to_end();
        assert!(connection.takes_end() && !connection.takes_end());
    }
}
