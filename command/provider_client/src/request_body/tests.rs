//! Bodies on connections of both versions of HTTP.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

fn request(path: &str, transmission: &Transmission) -> Request<RequestBody> {
    let body = RequestBody::new(Bytes::from_static(b"{}"), transmission.clone());
    Request::post(format!("http://upstream.example/{path}")).body(body).expect("a request")
}

#[tokio::test]
async fn a_cancelled_body_is_not_handed_out_and_a_body_that_was_handed_out_is_not_cancelled() {
    let transmission = Transmission::default();
    let mut body = RequestBody::new(Bytes::from_static(b"{}"), transmission.clone());
    assert_eq!((body.size_hint().exact(), transmission.has_started()), (Some(2), false));
    let frame = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
    assert_eq!((&frame[..], transmission.has_started()), (&b"{}"[..], true));
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert!(!transmission.cancel() && transmission.start());

    let transmission = Transmission::default();
    let mut body = RequestBody::new(Bytes::from_static(b"{}"), transmission.clone());
    assert!(transmission.cancel() && transmission.cancel());
    assert_eq!(body.frame().await.expect("a frame").err(), Some(Cancelled));
    assert!(!transmission.start() && !transmission.has_started());
}

/// Holds: inf.unsent-is-released
#[tokio::test]
async fn over_http1_nothing_leaves_before_the_transmission_starts_nor_after_it_was_cancelled() {
    for is_cancelled in [false, true] {
        let (ours, mut theirs) = duplex(4096);
        let (mut sender, mut connection) = http1::handshake(TokioIo::new(ours)).await.expect("a connection");
        let transmission = Transmission::default();
        let mut answer = Box::pin(sender.send_request(request("", &transmission)));
        // The request waits for the connection, which nothing polls yet.
        assert!(timeout(Duration::ZERO, answer.as_mut()).await.is_err());
        assert!(!transmission.has_started());
        assert_eq!(is_cancelled && transmission.cancel(), is_cancelled);
        let _ = timeout(Duration::ZERO, &mut connection).await;
        assert_eq!(transmission.has_started(), !is_cancelled);
        drop((answer, sender, connection));
        let mut seen = Vec::new();
        theirs.read_to_end(&mut seen).await.expect("what was sent");
        assert_eq!(seen.is_empty(), is_cancelled, "{}", String::from_utf8_lossy(&seen));
    }
}

/// Answers `second` at once, and `first` after `may_answer`; records the paths in `seen`.
async fn serve(stream: DuplexStream, seen: Arc<Mutex<Vec<String>>>, may_answer: Arc<Notify>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, may_answer) = (Arc::clone(&seen), Arc::clone(&may_answer));
        async move {
            let path = request.uri().path().to_owned();
            if request.into_body().collect().await.is_ok() {
                seen.lock().expect("what was seen").push(path.clone());
            }
            if path == "/first" {
                may_answer.notified().await;
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(1);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// Holds: inf.unsent-is-released
#[tokio::test]
async fn over_http2_a_request_that_waits_for_a_stream_has_not_started() {
    for is_cancelled in [false, true] {
        let (ours, theirs) = duplex(64 * 1024);
        let (seen, may_answer) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(theirs, Arc::clone(&seen), Arc::clone(&may_answer)));
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await;
        let (mut sender, connection) = handshake.expect("a connection");
        tasks.spawn(async move {
            let _ = connection.await;
        });
        let first = Transmission::default();
        let answer = sender.send_request(request("first", &first));
        let second = Transmission::default();
        let mut other = sender.clone();
        let arrives = async {
            while seen.lock().expect("what was seen").is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), arrives).await.expect("the first arrives");
        let mut waiting = Box::pin(other.send_request(request("second", &second)));
        // More polls than both sides need to send what can be sent.
        for _ in 0..100 {
            assert!(timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
            tokio::task::yield_now().await;
        }
        assert!(!second.has_started());
        if is_cancelled {
            assert!(second.cancel());
        }
        may_answer.notify_one();
        assert!(answer.await.is_ok());
        let ended = timeout(Duration::from_secs(5), waiting).await.expect("an end");
        assert_eq!((ended.is_ok(), second.has_started()), (!is_cancelled, !is_cancelled));
        let seen = seen.lock().expect("what was seen").clone();
        assert_eq!(seen.contains(&"/second".to_owned()), !is_cancelled, "{seen:?}");
    }
}
