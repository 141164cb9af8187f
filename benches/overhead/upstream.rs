//! An upstream that answers every chat request at once, with the same bytes. On a thread of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"fast","choices":[{"index":0,"message":"#,
    r#"{"role":"assistant","content":"The quick brown fox jumps over the lazy dog"},"finish_reason":"stop"}],"usage":"#,
    r#"{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}"#
);

pub struct Upstream {
    pub address: SocketAddr,
}

impl Upstream {
    /// Serves until the process ends.
    pub fn start() -> Self {
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                ready.send(listener.local_addr().expect("its address")).expect("somebody waits");
                serve(listener).await;
            });
        });
        Self { address: is_ready.recv().expect("an upstream") }
    }
}

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("an option of TCP");
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A request that breaks off is answered to nobody.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    Ok(response)
}
