//! `ledgerway health`: asks a running gateway whether it is ready, for supervisors and containers that have no other program to
//! ask with. Exit 0 ready, 1 not ready or not reached. It needs no key.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::gateway_access::connect_without_key;
use super::gateway_client::{GatewayClient, GatewayError};
use super::runtime::CommandRuntime;
use super::{Failure, print_line, printable};
use crate::arguments::HealthArgs;
use crate::settings::Flags;

const READY: &str = "/health/ready";
/// Longer than the gateway waits for its tables before it answers.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub fn run(args: &HealthArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let gateway = connect_without_key(&args.data.dir, args.url.as_deref(), flags).map_err(as_failed)?;
    let (status, health) = runtime.block_on(read(&gateway)).map_err(Failure::failed)?;
    let answer = describe(&health)
        .ok_or_else(|| Failure::Failed(format!("{} has no answer of a gateway: status {status}", gateway.url())))?;
    if status != StatusCode::OK {
        return Err(Failure::Failed(answer));
    }
    print_line(&answer);
    Ok(())
}

/// There is no third exit code: a gateway that is not there is not ready.
fn as_failed(failure: Failure) -> Failure {
    match failure {
        Failure::NotBegun(why) => Failure::Failed(why),
        other => other,
    }
}

async fn read(gateway: &GatewayClient) -> Result<(StatusCode, Value), GatewayError> {
    let answer = async {
        let response = gateway.send(Method::GET, READY, None).await?;
        let status = response.status();
        let body = gateway.body(response).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    };
    tokio::time::timeout(ANSWER_MAX, answer).await.map_err(|_| gateway.timed_out())?
}

/// `ok: ledger ok, tables ok, views ok`; `None` if it is not from a gateway.
fn describe(health: &Value) -> Option<String> {
    let word = |value: &Value| value.as_str().map(printable);
    let status = word(&health["status"])?;
    let parts = health["parts"].as_object()?.iter();
    let parts = parts.filter_map(|(part, state)| Some(format!("{} {}", printable(part), word(state)?)));
    Some(format!("{status}: {}", parts.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_one_line_and_what_is_no_answer_is_none() {
        let health = json!({ "status": "unavailable", "parts": { "ledger": "unavailable", "tables": "ok" } });
        assert_eq!(describe(&health).as_deref(), Some("unavailable: ledger unavailable, tables ok"));
        for other in [json!(null), json!({ "status": "ok" }), json!({ "status": 200, "parts": {} })] {
            assert_eq!(describe(&other), None, "{other}");
        }
        let hostile = json!({ "status": "ok\u{1b}[2J\n", "parts": {} });
        assert!(describe(&hostile).is_some_and(|line| !line.contains(char::is_control)));
    }
}
