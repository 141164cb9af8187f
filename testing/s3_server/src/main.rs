//! An S3 server in a folder, for tests and for `compose/local`. It runs until it is killed.
//!
//! The service is `s3s-fs`, whose own program takes the same arguments. As a crate of the workspace, this one shares compiled
//! dependencies with the gateway.

use std::env;
use std::error::Error;
use std::io;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["--host", host, "--port", port, "--access-key", access_key, "--secret-key", secret_key, folder] =
        arguments[..]
    else {
        return Err("s3_server --host HOST --port PORT --access-key KEY --secret-key SECRET FOLDER".into());
    };
    let storage = FileSystem::new(folder).map_err(|error| io::Error::other(format!("{folder}: {error:?}")))?;
    let mut service = S3ServiceBuilder::new(storage);
    service.set_auth(SimpleAuth::from_single(access_key, secret_key));
    let service = service.build();
    let listener = TcpListener::bind((host, port.parse()?)).await?;
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let service = service.clone();
        connections.spawn(async move {
            // A client that breaks its connection hears of it itself.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
