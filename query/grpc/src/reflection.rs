//! `grpc.reflection`: what this address serves, for tools such as grpcurl. It needs no key, because the files are public. So
//! its calls are bounded in number, in time and in the size of their messages.

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tonic_reflection::server::{Builder, Error};

use crate::open_calls::{OpenCalls, bounded};
use crate::{REFLECTION, proto};

const CALLS_MAX: usize = 64;
const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// More than the name of any service or file takes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Both versions of the service: many tools know the older one alone.
pub fn routes() -> Result<Router, Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let [v1, v1alpha] = REFLECTION;
    let router = Router::new()
        .route_service(v1, builder().build_v1()?.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .route_service(v1alpha, builder().build_v1alpha()?.max_decoding_message_size(MESSAGE_BYTES_MAX));
    let calls = OpenCalls::new("calls of reflection", CALLS_MAX, CALL_TIME_MAX);
    Ok(router.layer(from_fn_with_state(calls, bounded)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::iter;
    use std::sync::Arc;

    use axum::body::Body;
    use axum::response::Response;
    use events::refusal::{ErrorCode, Refusal};
    use futures_util::{StreamExt, stream};
    use http::Request;
    use http_body_util::BodyExt;
    use tokio::time::{Instant, sleep};
    use tower::ServiceExt;

    use super::*;

    /// A call that sends these bytes, and then nothing. The guard is dropped with its body.
    async fn call(router: &Router, version: &str, begins: &'static [u8], guard: Arc<()>) -> Response {
        let begins = stream::iter([Ok::<_, Infallible>(begins)]);
        let body = begins.chain(stream::pending().map(move |never| {
            let _guard = &guard;
            never
        }));
        let request = Request::post(version).header("content-type", "application/grpc");
        let request = request.body(Body::from_stream(body)).expect("a request");
        router.clone().oneshot(request).await.expect("an answer")
    }

    fn refusal(response: &Response) -> Option<ErrorCode> {
        response.extensions().get::<Refusal>().map(|refusal| refusal.code)
    }

    /// Holds: grpc.open-calls
    #[tokio::test(start_paused = true)]
    async fn a_call_counts_and_its_request_is_read_until_its_time_is_over() {
        for version in REFLECTION {
            let (router, open) = (routes().expect("routes"), Arc::new(()));
            for _ in 0..CALLS_MAX {
                // The client has no interest in the answer, and goes on sending.
                drop(call(&router, version, b"\0", Arc::clone(&open)).await);
            }
            let many = call(&router, version, b"", Arc::new(())).await;
            assert_eq!(refusal(&many), Some(ErrorCode::Overloaded));
            sleep(CALL_TIME_MAX + Duration::from_secs(1)).await;
            assert_eq!(Arc::strong_count(&open), 1, "every request is gone");
            assert_eq!(refusal(&call(&router, version, b"", Arc::new(())).await), None);
        }
    }

    /// Holds: grpc.open-calls
    #[tokio::test(start_paused = true)]
    async fn a_response_that_nobody_reads_goes_with_its_time() {
        let (router, open) = (routes().expect("routes"), Arc::new(()));
        let mut unread: Vec<Response> = Vec::new();
        for _ in 0..CALLS_MAX {
            unread.push(call(&router, REFLECTION[0], b"", Arc::clone(&open)).await);
        }
        sleep(CALL_TIME_MAX + Duration::from_secs(1)).await;
        assert_eq!(refusal(&call(&router, REFLECTION[0], b"", Arc::new(())).await), None);
        let end = unread.remove(0).into_body().collect().await.expect("an end");
        assert_eq!(end.trailers().expect("trailers")["grpc-status"], "4");
    }

    /// Holds: grpc.open-calls
    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_too_long_is_not_waited_for() {
        let began = Instant::now();
        // Its head says that 64 KiB follow.
        for (version, guard) in REFLECTION.into_iter().zip(iter::repeat(Arc::new(()))) {
            let long = call(&routes().expect("routes"), version, b"\0\0\x01\0\0", guard).await;
            long.into_body().collect().await.expect("an end");
            assert!(began.elapsed() < CALL_TIME_MAX, "{version}");
        }
    }
}
