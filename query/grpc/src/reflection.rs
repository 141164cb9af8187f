//! `grpc.reflection`: what this address serves, for tools such as grpcurl. It needs no key, because the files are public. So
//! its calls are bounded in number and in time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use http::HeaderMap;
use http_body::Frame;
use openapi::refusals;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;
use tonic_reflection::server::{Builder, Error};

use crate::{REFLECTION, proto};

const CALLS_MAX: usize = 64;
const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// Both versions of the service: many tools know the older one alone.
pub fn routes() -> Result<Router, Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let [v1, v1alpha] = REFLECTION;
    let router =
        Router::new().route_service(v1, builder().build_v1()?).route_service(v1alpha, builder().build_v1alpha()?);
    Ok(router.layer(from_fn_with_state(Arc::new(Semaphore::new(CALLS_MAX)), bounded)))
}

async fn bounded(State(calls): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(permit) = calls.try_acquire_owned() else {
        let message = format!("there are {CALLS_MAX} calls of reflection already");
        return refusals::response(Refusal::new(ErrorCode::Overloaded, message).with("scope", "gateway").try_again());
    };
    let deadline = Box::pin(tokio::time::sleep(CALL_TIME_MAX));
    next.run(request).await.map(|body| Body::new(BoundedBody { body, deadline, is_over: false, _permit: permit }))
}

/// The body of a response, which ends at a deadline.
struct BoundedBody {
    body: Body,
    deadline: Pin<Box<Sleep>>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for BoundedBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(context));
        self.is_over = true;
        let mut trailers = HeaderMap::new();
        let status = Status::deadline_exceeded("a call of reflection takes at most a minute");
        Poll::Ready(status.add_header(&mut trailers).ok().map(|()| Ok(Frame::trailers(trailers))))
    }
}
