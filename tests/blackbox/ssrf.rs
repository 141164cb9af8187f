//! Addresses and redirects that would lead the gateway into its operator's network.

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::scripted::ScriptedServer;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

/// Every way to write the loopback address and the address for all of this machine, as far as the parser of URLs takes it.
const THIS_MACHINE: [&str; 18] = [
    "127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0177.0.0.1", "017700000001", "0x7f.0.0.1", "0x7f000001",
    "0.0.0.0", "0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]", "localhost", "localhost.",
];
/// The same of the address at which clouds give credentials to whoever asks from inside.
const METADATA: [&str; 9] = [
    "169.254.169.254",
    "2852039166",
    "0251.0376.0251.0376",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
];

fn anything_goes() -> ScriptedServer {
    ScriptedServer::start(|_| "200 OK\r\n\r\n{}".to_owned())
}

/// A provider at this address. Errors: the reply that refuses it.
async fn provider(gateway: &Gateway, base_url: &str, allow_private_network: bool) -> Result<String, Value> {
    let name = gateway.next_name();
    let provider = json!({ "name": name, "kind": "openai", "base_url": base_url, "api_key": "k",
                           "allow_private_network": allow_private_network, "timeout_ms": 3000 });
    let reply = gateway.operator().post("/v1/admin/providers", &provider).await;
    match reply.status {
        201 => Ok(reply.json()["id"].as_str().expect("an id").to_owned()),
        _ => Err(reply.must_be(400, "INVALID_REQUEST").json()),
    }
}

/// A priced model of this provider.
async fn add_model(gateway: &Gateway, tenant: &Tenant, provider: &str, name: &str) {
    let price = json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(gateway.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": "m", "default_max_output_tokens": 64 }]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
}

async fn tenant(gateway: &Gateway) -> Tenant {
    let unused = testing::upstream::MockUpstream::start().await;
    Tenant::with(gateway, &unused, &[], Setup::default()).await
}

/// Holds: admin.private-network
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_this_machine_or_of_a_metadata_address_is_called() {
    let (gateway, server) = (Gateway::start(), anything_goes());
    let tenant = tenant(&gateway).await;
    let at = |host: &str| format!("http://{host}:{}/v1", server.port());
    let spellings = THIS_MACHINE.map(|host| (host, false)).into_iter().chain(METADATA.map(|host| (host, true)));
    for (number, (host, allow_private_network)) in spellings.enumerate() {
        match provider(&gateway, &at(host), allow_private_network).await {
            // Refused before it could be called, by the field that is wrong.
            Err(refusal) => assert_eq!(refusal["error"]["details"]["field"], "base_url", "{host}: {refusal}"),
            Ok(provider) => {
                let name = format!("m{number}");
                add_model(&gateway, &tenant, &provider, &name).await;
                tenant.chat(&name).await.must_be(502, "UPSTREAM_ERROR");
            }
        }
    }
    assert_eq!(server.heard(), Vec::<String>::new(), "a private address was called");
}

/// Names that this machine's own table of hosts has for it, apart from those that administration refuses as they are.
fn names_of_this_machine() -> Vec<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter(|line| line.starts_with("127.") || line.starts_with("::1"));
    let names = lines.flat_map(|line| line.split_whitespace().skip(1)).filter(|name| !name.starts_with('#'));
    names.filter(|name| *name != "localhost" && !name.ends_with(".localhost")).map(str::to_owned).collect()
}

/// A name says nothing about its address: what counts is what it resolves to when the connection is made.
///
/// Holds: admin.private-network
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_this_machine_is_not_called_and_the_opt_in_is_of_one_provider() {
    let (gateway, server) = (Gateway::start(), anything_goes());
    let tenant = tenant(&gateway).await;
    for (number, name) in names_of_this_machine().iter().enumerate() {
        let base_url = format!("http://{name}:{}/v1", server.port());
        let closed = provider(&gateway, &base_url, false).await.expect("a name is not looked up when it is set");
        add_model(&gateway, &tenant, &closed, &format!("closed{number}")).await;
        let refused = tenant.chat(&format!("closed{number}")).await.must_be(502, "UPSTREAM_ERROR");
        assert_eq!(refused.json()["error"]["details"]["reason"], "forbidden", "{name}");
    }
    assert_eq!(server.heard(), Vec::<String>::new(), "a private address was called");
    // Two providers at one address: what is allowed to one is not allowed to the other.
    let base_url = format!("http://127.0.0.1:{}/v1", server.port());
    let open = provider(&gateway, &base_url, true).await.expect("the opt-in");
    add_model(&gateway, &tenant, &open, "open").await;
    tenant.chat("open").await.must(502);
    let heard = server.heard().len();
    assert!(heard > 0, "the opt-in opens nothing");
    provider(&gateway, &base_url, false).await.expect_err("a private address without the opt-in");
    // Taken away again, it is closed again, also for connections that are open.
    let path = format!("/v1/admin/providers/{open}");
    let closed = gateway.operator().patch(&path, &json!({ "allow_private_network": false })).await;
    if closed.status == 200 {
        tenant.chat("open").await.must_be(502, "UPSTREAM_ERROR");
    }
    assert_eq!(server.heard().len(), heard);
}

/// Holds: admin.no-redirects
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_never_followed_wherever_it_leads() {
    let (gateway, inside) = (Gateway::start(), anything_goes());
    let tenant = tenant(&gateway).await;
    let targets = [
        format!("{}/secret", inside.origin()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "/else".to_owned(),
    ];
    for (number, location) in targets.iter().enumerate() {
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let response = format!("{status}\r\nlocation: {location}\r\n\r\n");
            let redirecting = ScriptedServer::start(move |_| response.clone());
            let base_url = format!("{}/v1", redirecting.origin());
            let provider = provider(&gateway, &base_url, true).await.expect("a provider");
            let name = format!("r{number}-{}", &status[..3]);
            add_model(&gateway, &tenant, &provider, &name).await;
            let reply = tenant.chat(&name).await.must_be(502, "UPSTREAM_ERROR");
            let error = &reply.json()["error"];
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains(&status[..3]), "{message}");
            assert_eq!(error["details"]["upstream_status"], status[..3].parse::<u16>().expect("a status"), "{error}");
            for path in [NATIVE, OPENAI] {
                assert_eq!(tenant.stream(path, &name).await.status, 502, "{name}");
            }
            let heard = redirecting.heard();
            assert!(
                !heard.is_empty() && heard.iter().all(|head| head.starts_with("POST /v1/chat/completions ")),
                "{heard:?}"
            );
        }
    }
    assert_eq!(inside.heard(), Vec::<String>::new(), "a redirect was followed");
    assert!(gateway.books().await.open_holds().is_empty());
}
