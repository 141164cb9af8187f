//! A local server that a variable named, and that it names no longer.

use std::net::TcpStream;

use super::local_server::LocalServer;
use super::{ON, automatic, chat, shown, start_in};
use crate::gateway::Gateway;
use crate::tenant::OPENAI;

/// Where nothing listens.
const CLOSED: &str = "http://127.0.0.1:9";
/// A name that no other server of this machine has.
const MODEL: &str = "moved-away-4f1c:4b";
const LIST: &str = r#"{"models":[{"name":"moved-away-4f1c:4b"}]}"#;

async fn assert_has_no_model(gateway: &Gateway) {
    for name in [MODEL.to_owned(), format!("ollama/{MODEL}")] {
        gateway.operator().post(OPENAI, &chat(&name)).await.must(404);
    }
    let prices = automatic(gateway, "prices").await;
    assert!(prices.iter().all(|price| price["model"] != MODEL), "{prices:?}");
}

/// Its row in the start's table of providers, with one space between the cells.
fn row_of_ollama(start: &str) -> Option<String> {
    let row = start.lines().find(|line| line.starts_with("ollama "))?;
    Some(row.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Holds: environment.local-models, environment.gone
#[tokio::test(flavor = "multi_thread")]
async fn a_local_servers_models_do_not_move_to_an_address_where_nothing_answers() {
    let (folder, server) = (tempfile::tempdir().expect("a folder"), LocalServer::start(LIST));
    let gateway = start_in(folder.path(), &[("OLLAMA_URL", &server.address())]);
    gateway.operator().post(OPENAI, &chat(MODEL)).await.must(200);
    drop(gateway);

    let moved = start_in(folder.path(), &[("OLLAMA_URL", CLOSED)]);
    assert_has_no_model(&moved).await;
    let providers = automatic(&moved, "providers").await;
    assert!(providers.len() == 1 && providers[0]["base_url"] == CLOSED, "{providers:?}");
    assert_eq!(
        row_of_ollama(&shown(&moved).await),
        Some(format!("ollama local server 0 {CLOSED}")),
        "{}",
        moved.stdout()
    );
    moved.books().await;
}

/// Holds: environment.local-models, environment.gone
#[tokio::test(flavor = "multi_thread")]
async fn a_local_server_ends_when_its_variable_is_gone() {
    let (folder, server) = (tempfile::tempdir().expect("a folder"), LocalServer::start(LIST));
    let gateway = start_in(folder.path(), &[("OLLAMA_URL", &server.address())]);
    gateway.operator().post(OPENAI, &chat(MODEL)).await.must(200);
    drop(gateway);

    let gone = Gateway::start_in(folder.path(), &[ON]);
    assert_has_no_model(&gone).await;
    // This machine may have an Ollama at the usual address, which needs no variable.
    if TcpStream::connect("127.0.0.1:11434").is_err() {
        assert!(automatic(&gone, "providers").await.is_empty());
        assert_eq!(row_of_ollama(&shown(&gone).await), None, "{}", gone.stdout());
    }
    gone.books().await;
}
