//! Nobody sees or changes what is not theirs: every method of every path, as every kind of stranger, about everything
//! that is somebody else's.

mod house;
mod operations;

use bytes::Bytes;
use http::Method;
use memchr::memmem;
use serde_json::Value;

use crate::client::Reply;
use crate::gateway::{Gateway, type_of};
use crate::tenant::made;
use house::{House, Stranger};
use operations::Operation;

/// The houses that are not the stranger's, and what may not be seen of each.
struct Foreign<'a> {
    own: &'a House,
    house: &'a House,
    /// The marks of every house that is out of the stranger's reach.
    marks: Vec<&'a str>,
}

struct Sent<'a> {
    operation: &'a Operation,
    stranger: &'a Stranger,
    path: String,
    body: Value,
    chosen: Option<&'a str>,
}

impl Sent<'_> {
    fn names(&self, mark: &str) -> bool {
        let path = self.path.replace("%20", " ");
        path.contains(mark) || self.body.to_string().contains(mark)
    }

    async fn answered(&self) -> Reply {
        let client = self.stranger.client.clone();
        let client = match self.chosen {
            None => client,
            Some(tenant) => client.with("x-tenant-id", tenant),
        };
        let method: Method = self.operation.method.parse().expect("a method");
        let body = if self.body.is_null() { Bytes::new() } else { Bytes::from(self.body.to_string()) };
        client.send(method, &self.path, body).await.expect("an answer")
    }
}

impl std::fmt::Display for Sent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stranger, method) = (self.stranger.who, &self.operation.method);
        write!(f, "{stranger}: {method} {} {} for {:?}", self.path, self.body, self.chosen)
    }
}

/// Refused as the rules say, and nothing foreign in it.
fn must_keep_to_itself(sent: &Sent<'_>, foreign: &Foreign<'_>, reply: &Reply) {
    let text = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.body));
    for mark in &foreign.marks {
        let is_shown = memmem::find(text.as_bytes(), mark.as_bytes()).is_some();
        assert!(!is_shown || sent.names(mark), "{sent} shows {mark}: {text}");
    }
    let Sent { operation, stranger, .. } = sent;
    if operation.is_open {
        return;
    }
    let refused = matches!(reply.status, 401 | 403 | 404);
    let lacks = operation.permission().is_some_and(|permission| !stranger.may(permission));
    if stranger.permissions.is_none() {
        assert_eq!(reply.status, 401, "{sent}");
    } else if sent.chosen.is_some() || lacks {
        assert_eq!(reply.status, 403, "{sent}: {text}");
    } else if !operation.in_path.is_empty() {
        // What all share is the platform's, and no secret; what is another's does not exist.
        let wanted = if operation.path.contains("/views/") { 403 } else { 404 };
        assert_eq!(reply.status, wanted, "{sent}: {text}");
    } else if operation.method != "GET" && !sent.body.is_null() {
        // A role that does not contain the user's own tenant is no role: 400, whosever the other one is.
        let is_role = sent.body.get("roles").is_some() && reply.status == 400;
        assert!(refused || is_role, "{sent}: {text}");
    } else {
        assert!(refused || matches!(reply.status, 200 | 400), "{sent}: {text}");
    }
}

/// Every way in which one stranger can ask one operation for what is the house's.
async fn tries(operation: &Operation, stranger: &Stranger, foreign: &Foreign<'_>) -> usize {
    let path = operation.path_of(foreign.house);
    let mut ways = Vec::new();
    for query in operation.queries(foreign.house) {
        ways.push((format!("{path}{query}"), Value::Null, None));
    }
    for body in operation.bodies(foreign.own, foreign.house).into_iter().filter(|body| !body.is_null()) {
        ways.push((path.clone(), body, None));
    }
    let House { tenant, slug, partner_slug, .. } = foreign.house;
    let qualified = format!("{partner_slug}/{slug}");
    for chosen in [tenant, slug, &qualified] {
        ways.push((path.clone(), Value::Null, Some(chosen.as_str())));
    }
    let count = ways.len();
    for (path, body, chosen) in ways {
        let sent = Sent { operation, stranger, path, body, chosen };
        let reply = sent.answered().await;
        must_keep_to_itself(&sent, foreign, &reply);
    }
    count
}

/// That the ids are right, and that the marks would be noticed.
async fn must_be_there(gateway: &Gateway, operations: &[Operation], house: &House) {
    for operation in operations.iter().filter(|operation| operation.method == "GET" && !operation.in_path.is_empty()) {
        let mut path = operation.path_of(house);
        if operation.in_query.iter().any(|name| name == "min_position") {
            path = format!("{path}?min_position={}", gateway.head().await);
        }
        let reply = gateway.operator().clone().with("x-tenant-id", &house.tenant).get(&path).await.must(200);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let shown = house.marks.iter().chain([&house.partner]).any(|mark| text.contains(mark));
        assert!(shown, "{}: {text}", operation.path);
    }
}

/// The log says nothing new of a house that a stranger has looked at.
async fn must_be_untouched(gateway: &Gateway, since: u64, houses: &[&House]) {
    for event in gateway.events().await.iter().filter(|event| event["position"].as_u64() > Some(since)) {
        // What was refused is recorded as the stranger's own.
        if type_of(event).starts_with("access.") || type_of(event).starts_with("inference.refused") {
            continue;
        }
        let text = event.to_string();
        for house in houses {
            assert_ne!(event["tenant_id"], house.tenant.as_str(), "{event}");
            assert!(!house.marks.iter().any(|mark| text.contains(mark)), "{event}");
        }
    }
}

/// Holds: admin.foreign
#[tokio::test(flavor = "multi_thread")]
async fn no_path_shows_or_changes_what_is_another_tenants_or_another_partners() {
    let gateway = Gateway::start();
    let document = gateway.client(None).get("/openapi.json").await.must(200).json();
    let operations = operations::all_of(&document);
    assert!(operations.len() > 40, "{} operations", operations.len());
    let mut houses = Vec::new();
    for partner in ["north", "south"] {
        let body = serde_json::json!({ "name": format!("Partner {partner}"), "slug": partner });
        let owner = (made(gateway.operator(), "/partners", body).await, partner.to_owned());
        for tenant in ["east", "west"] {
            houses.push(House::build(&gateway, &owner, &format!("{partner}{tenant}")).await);
        }
    }
    for house in &houses {
        must_be_there(&gateway, &operations, house).await;
    }
    let (own, sister, far, farther) = (&houses[0], &houses[1], &houses[2], &houses[3]);
    let strangers = Stranger::all_of(&gateway, own).await;
    let since = gateway.head().await;
    // A name that a stranger has tried stands in its own log from then on: all look before anybody tries.
    let (looks, attempts): (Vec<_>, Vec<_>) = operations.iter().partition(|operation| operation.method == "GET");
    let mut count = 0;
    for operation in looks.into_iter().chain(attempts) {
        for stranger in &strangers {
            let out_of_reach = if stranger.reaches_partner { &houses[2..] } else { &houses[1..] };
            let mut marks: Vec<&str> = out_of_reach.iter().flat_map(|house| &house.marks).map(String::as_str).collect();
            marks.extend([far.partner.as_str(), "Partner south"]);
            for house in &out_of_reach[..2] {
                count += tries(operation, stranger, &Foreign { own, house, marks: marks.clone() }).await;
            }
        }
    }
    assert!(count > 2_000, "{count} requests");
    must_be_untouched(&gateway, since, &[sister, far, farther]).await;
}
