//! A lease is room for one request until its response has ended. Dropping it before that cancels the request upstream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use tokio::time::timeout;

use super::{Http1Connection, Owner, Pool};
use crate::provider_calls::ProviderCall;
use crate::{RequestBody, SendError};

/// How long an HTTP/1.1 connection may take to become ready after a response. A slower one is closed.
pub const READY_MAX: Duration = Duration::from_secs(5);

/// The origin of a provider's address.
#[derive(Clone, Debug)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Origin {
    /// `None` if the address is not absolute.
    pub fn of(address: &Uri) -> Option<Self> {
        let (scheme, authority) = (address.scheme()?.clone(), address.authority()?.clone());
        let is_default = matches!((scheme.as_str(), authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        let host = match authority.port_u16().filter(|_| !is_default) {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        Some(Self { host: HeaderValue::try_from(host).ok()?, scheme, authority })
    }

    /// The address without a path.
    pub fn address(&self) -> Uri {
        self.absolute(PathAndQuery::from_static("/"))
    }

    fn absolute(&self, path: PathAndQuery) -> Uri {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        // Cannot fail: all parts are valid.
        uri.build().unwrap_or_default()
    }
}

/// Room for one request.
pub enum Lease {
    Http1 { pool: Pool, connection: Http1Connection },
    Http2(StreamLease),
}

/// Why there is no response.
pub enum NoResponse {
    /// The upstream has not processed the request, so it may be sent again.
    Unprocessed(Box<Request<RequestBody>>),
    Failed(SendError),
}

impl Lease {
    /// Sends the request and returns the response as soon as its head is complete.
    pub async fn send(
        self,
        mut request: Request<RequestBody>,
        origin: &Origin,
    ) -> Result<Response<ResponseBody>, NoResponse> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        match self {
            Self::Http1 { pool, mut connection } => {
                *request.uri_mut() = path.into();
                request.headers_mut().insert(HOST, origin.host.clone());
                let response = connection.send(request).await.map_err(|mut error| match error.take_message() {
                    Some(request) => NoResponse::Unprocessed(Box::new(request)),
                    None => NoResponse::Failed(SendError::of(&error.into_error())),
                })?;
                Ok(response.map(|body| ResponseBody::new(body, Self::Http1 { pool, connection })))
            }
            Self::Http2(mut stream) => {
                *request.uri_mut() = origin.absolute(path);
                request.headers_mut().remove(HOST);
                let copy = request.clone();
                match stream.sender.try_send_request(request).await {
                    Ok(response) => Ok(response.map(|body| ResponseBody::new(body, Self::Http2(stream)))),
                    Err(mut error) => Err(stream.no_response(error.take_message(), &error.into_error(), copy)),
                }
            }
        }
    }

    /// Checks whether it can take a request: an idle connection may have been closed by its peer.
    pub(super) async fn check_open(&mut self) -> bool {
        match self {
            Self::Http1 { connection, .. } => connection.check_open().await,
            Self::Http2(_) => true,
        }
    }

    /// Returns the room after the end of the response.
    fn end(self) {
        match self {
            Self::Http1 { pool, mut connection } => {
                match connection.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(())) => pool.give_back(connection),
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => {
                        let tasks = pool.inner.tasks.clone();
                        tasks.spawn(async move {
                            let ready = poll_fn(|context| connection.poll_ready(context));
                            if let Ok(Ok(())) = timeout(READY_MAX, ready).await {
                                pool.give_back(connection);
                            }
                        });
                    }
                }
            }
            // Dropping it frees its room.
            Self::Http2(_) => {}
        }
    }
}

/// Room for one stream of an HTTP/2 connection, until it is dropped.
pub struct StreamLease {
    pub(super) pool: Pool,
    pub(super) connection: u64,
    pub(super) owner: Owner,
    pub(super) sender: http2::SendRequest<RequestBody>,
}

impl StreamLease {
    fn no_response(
        &self,
        returned: Option<Request<RequestBody>>,
        error: &hyper::Error,
        copy: Request<RequestBody>,
    ) -> NoResponse {
        let request = match (returned, Unprocessed::by(error)) {
            (_, Some(Unprocessed::RefusedStream)) => copy,
            (Some(request), _) => {
                self.pool.retire(self.connection);
                request
            }
            (None, Some(Unprocessed::GoAway)) => {
                self.pool.retire(self.connection);
                copy
            }
            (None, None) => return NoResponse::Failed(SendError::of(error)),
        };
        NoResponse::Unprocessed(Box::new(request))
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.pool.end_stream(self.connection, self.owner);
    }
}

/// How an upstream says that it has not processed a request.
enum Unprocessed {
    /// The upstream refused the stream; the connection stays in use.
    RefusedStream,
    /// The upstream takes no more requests on this connection.
    GoAway,
}

impl Unprocessed {
    fn by(error: &hyper::Error) -> Option<Self> {
        let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
        match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Some(Self::RefusedStream),
            // A GOAWAY does not end streams that the peer has processed.
            _ if error.is_go_away() && error.is_remote() => Some(Self::GoAway),
            _ => None,
        }
    }
}

/// The body of a response.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    /// `None` until the response is handed out.
    call: Option<ProviderCall>,
}

impl ResponseBody {
    fn new(incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self { incoming, lease: Some(lease), call: None };
        body.end_if_complete();
        body
    }

    /// The body of a response to this call, which is under way until the body has ended or is dropped.
    pub fn counted_as(mut self, call: ProviderCall) -> Self {
        self.call = self.lease.is_some().then_some(call);
        self
    }

    fn end_if_complete(&mut self) {
        if self.incoming.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.end();
        }
        drop(self.call.take());
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, lease, .. } = &mut *self;
        let polled = match lease {
            Some(Lease::Http1 { connection, .. }) => connection.poll_frame(incoming, context),
            Some(Lease::Http2(_)) | None => Pin::new(incoming).poll_frame(context),
        };
        match &polled {
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Ok(_))) => self.end_if_complete(),
            Poll::Ready(Some(Err(_))) => self.lease = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
