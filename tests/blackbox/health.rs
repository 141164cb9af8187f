//! `ledgerway health`: what supervisors learn of a gateway.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::gateway::{Gateway, ledgerway};

/// Exit code, and what it says on either stream.
fn health(arguments: &[&str], data: &Path) -> (Option<i32>, String) {
    let ended = ledgerway().arg("health").args(arguments).arg("--data").arg(data).output().expect("the binary starts");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(said).expect("text"))
}

/// Holds: bin.health
#[tokio::test(flavor = "multi_thread")]
async fn health_says_by_its_exit_code_whether_a_gateway_is_ready() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_DELAY_SECONDS", "60")]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let url = format!("http://127.0.0.1:{}/", gateway.port());
    for (arguments, data) in [(&[][..], gateway.data()), (&["--url", &url][..], elsewhere.path().to_owned())] {
        let (code, said) = health(arguments, &data);
        assert!(code == Some(0) && said.starts_with("ok: ") && said.contains("ledger ok"), "{code:?} {said}");
    }
    gateway.terminate();
    let began = Instant::now();
    loop {
        let (code, said) = health(&[], &gateway.data());
        if code == Some(1) {
            assert!(said.starts_with("ledgerway: draining: "), "{said}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{code:?} {said}");
    }
    gateway.kill();
    let (code, said) = health(&["--url", &url], elsewhere.path());
    assert!(code == Some(1) && said.contains("cannot reach the gateway"), "{code:?} {said}");
    let (code, said) = health(&[], elsewhere.path());
    assert!(code == Some(1) && said.contains("no gateway serves"), "{code:?} {said}");
    let (code, said) = health(&["--url", "gateway"], elsewhere.path());
    assert!(code == Some(2) && said.contains("--url"), "{code:?} {said}");
}

/// Holds: bin.health
#[test]
fn health_does_not_wait_for_a_gateway_that_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let folder = tempfile::tempdir().expect("a folder");
    let (code, said) = health(&["--url", &url], folder.path());
    assert!(code == Some(1) && said.contains("did not respond in time"), "{code:?} {said}");
}
