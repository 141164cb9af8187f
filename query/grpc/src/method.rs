//! A method of a service as a route.

use axum::extract::Request;
use axum::routing::{MethodRouter, any};
use futures_util::Stream;
use prost::Message;
use tonic::server::Grpc;
use tonic::{Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// A method that answers a message with a stream of them.
pub fn streaming<M, A, S, F>(method: impl Fn(tonic::Request<M>) -> F + Clone + Send + Sync + 'static) -> MethodRouter
where
    M: Message + Default + 'static,
    A: Message + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    F: Future<Output = Result<Response<S>, Status>> + Send + 'static,
{
    any(move |request: Request| async move {
        let codec = ProstCodec::<A, M>::default();
        Grpc::new(codec).server_streaming(service_fn(method), request).await
    })
}
