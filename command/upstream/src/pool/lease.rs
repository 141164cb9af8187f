//! One request on a connection, until its answer has ended. Dropped before that, it is cancelled upstream.

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

use super::{Http1Connection, Party, Pool};
use crate::{RequestBody, SendError};

/// A connection of HTTP/1.1 whose answer has ended is ready for another request by then, or not at all.
const READY_MAX: Duration = Duration::from_secs(5);

/// Where a provider is.
#[derive(Clone, Debug)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Origin {
    /// `None` where it is not an absolute address.
    pub fn of(address: &Uri) -> Option<Self> {
        let (scheme, authority) = (address.scheme()?.clone(), address.authority()?.clone());
        let is_default = matches!((scheme.as_str(), authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        let host = match authority.port_u16().filter(|_| !is_default) {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        Some(Self { host: HeaderValue::try_from(host).ok()?, scheme, authority })
    }

    /// Without a path.
    pub fn address(&self) -> Uri {
        self.absolute(PathAndQuery::from_static("/"))
    }

    fn absolute(&self, path: PathAndQuery) -> Uri {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        // Made of parts that are right.
        uri.build().unwrap_or_default()
    }
}

/// Room for one request.
pub enum Lease {
    Http1 { pool: Pool, connection: Http1Connection },
    Http2(Stream),
}

/// Why there is no answer.
pub enum NotAnswered {
    /// The upstream has not looked at the request: it may be sent again.
    Untouched(Box<Request<RequestBody>>),
    Failed(SendError),
}

impl Lease {
    /// Sends the request, and gives the answer as soon as its head is whole.
    pub async fn send(
        self,
        mut request: Request<RequestBody>,
        origin: &Origin,
    ) -> Result<Response<ResponseBody>, NotAnswered> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        match self {
            Self::Http1 { pool, mut connection } => {
                *request.uri_mut() = path.into();
                request.headers_mut().insert(HOST, origin.host.clone());
                let answer = connection.sender.try_send_request(request).await.map_err(|mut error| {
                    match error.take_message() {
                        Some(request) => NotAnswered::Untouched(Box::new(request)),
                        None => NotAnswered::Failed(SendError::of(&error.into_error())),
                    }
                })?;
                Ok(answer.map(|body| ResponseBody::new(body, Self::Http1 { pool, connection })))
            }
            Self::Http2(mut stream) => {
                *request.uri_mut() = origin.absolute(path);
                request.headers_mut().remove(HOST);
                let again = request.clone();
                match stream.sender.try_send_request(request).await {
                    Ok(answer) => Ok(answer.map(|body| ResponseBody::new(body, Self::Http2(stream)))),
                    Err(mut error) => Err(stream.not_answered(error.take_message(), &error.into_error(), again)),
                }
            }
        }
    }

    /// The answer has ended.
    fn end(self) {
        match self {
            Self::Http1 { pool, mut connection } => {
                match connection.sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(())) => pool.give_back(connection),
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => {
                        let tasks = pool.shared.tasks.clone();
                        tasks.spawn(async move {
                            if let Ok(Ok(())) = timeout(READY_MAX, connection.sender.ready()).await {
                                pool.give_back(connection);
                            }
                        });
                    }
                }
            }
            // Its room is free once it is dropped.
            Self::Http2(_) => {}
        }
    }
}

/// Room for one request on a connection of HTTP/2, until it is dropped.
pub struct Stream {
    pool: Pool,
    connection: u64,
    party: Party,
    sender: http2::SendRequest<RequestBody>,
}

impl Stream {
    pub(super) const fn new(
        pool: Pool,
        connection: u64,
        party: Party,
        sender: http2::SendRequest<RequestBody>,
    ) -> Self {
        Self { pool, connection, party, sender }
    }

    fn not_answered(
        &self,
        returned: Option<Request<RequestBody>>,
        error: &hyper::Error,
        again: Request<RequestBody>,
    ) -> NotAnswered {
        let request = match (returned, refusal(error)) {
            (_, Some(Refused::Stream)) => again,
            (Some(request), _) => {
                self.pool.forget(self.connection);
                request
            }
            (None, Some(Refused::Connection)) => {
                self.pool.forget(self.connection);
                again
            }
            (None, None) => return NotAnswered::Failed(SendError::of(error)),
        };
        NotAnswered::Untouched(Box::new(request))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pool.stream_ends(self.connection, self.party);
    }
}

/// What an upstream says of a request that it has not looked at.
enum Refused {
    /// It takes no other stream now.
    Stream,
    /// It takes no more requests on this connection, and has not looked at this one.
    Connection,
}

fn refusal(error: &hyper::Error) -> Option<Refused> {
    let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Some(Refused::Stream),
        // Streams that it has looked at are not ended by it.
        _ if error.is_go_away() && error.is_remote() => Some(Refused::Connection),
        _ => None,
    }
}

/// The body of an answer.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
}

impl ResponseBody {
    fn new(incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self { incoming, lease: Some(lease) };
        body.end_if_whole();
        body
    }

    fn end_if_whole(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.end();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        match &polled {
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.end();
                }
            }
            Poll::Ready(Some(Ok(_))) => self.end_if_whole(),
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
