//! The live resources of a gateway, as far as the key sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use command::admin::body_format::Body;

use super::super::gateway_client::{GatewayClient, GatewayError};
use super::kind::Kind;
use super::names::{Name, Names};

/// Small enough for pages of models with long prefixes.
const PAGE_ITEMS: usize = 100;
const RESOURCES_MAX: usize = 200_000;
/// Twice as many as these take.
const PAGES_MAX: usize = 2 * RESOURCES_MAX / PAGE_ITEMS;
const READ_TIMEOUT: Duration = Duration::from_mins(10);
/// The most bytes of all pages together, as JSON.
const BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A live resource.
#[derive(Clone, Debug)]
pub struct Live {
    pub kind: Kind,
    pub id: String,
    /// The body that would create it, in its normal form. What has no slug has the one that files name it by.
    pub normal: Body,
    /// The gateway made it itself, and keeps it as it is.
    pub is_made_by_gateway: bool,
    /// True if it has an API key of its own.
    pub has_api_key: bool,
    /// The names of its secret headers.
    pub secret_headers: BTreeSet<String>,
    /// Requests are charged at this price now.
    pub is_in_force: bool,
}

/// Everything that a gateway has.
#[derive(Debug)]
pub struct Reading {
    /// Everything that is live, of each kind the newest first.
    pub live: Vec<Live>,
    /// The log position that all of it reflects at least; `None` if the gateway does not say.
    pub as_of: Option<u64>,
}

/// Errors: a response that is not a list, more pages, resources or bytes than the limits above, or no end within [`READ_TIMEOUT`].
pub async fn read(gateway: &GatewayClient) -> Result<Reading, GatewayError> {
    let all = tokio::time::timeout(READ_TIMEOUT, read_pages(gateway)).await;
    all.unwrap_or_else(|_| Err(gateway.unexpected("it took more than ten minutes to send what it has")))
}

async fn read_pages(gateway: &GatewayClient) -> Result<Reading, GatewayError> {
    let (mut found, mut positions, mut pages, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    for &kind in Kind::ALL {
        let (path, mut cursor) = (kind.format().path, String::new());
        loop {
            let page = gateway.request(Method::GET, &format!("{path}?limit={PAGE_ITEMS}{cursor}")).await?;
            let items = page["items"].as_array().filter(|items| items.len() <= PAGE_ITEMS);
            let items = items.ok_or_else(|| gateway.unexpected("its response is no page of a list"))?;
            let all =
                items.iter().map(|item| live(kind, item).ok_or_else(|| gateway.unexpected("a resource has no id")));
            found.extend(all.collect::<Result<Vec<_>, _>>()?);
            positions.extend(page["as_of_position"].as_u64());
            pages += 1;
            bytes += page.to_string().len();
            if bytes > BYTES_MAX {
                return Err(gateway.unexpected(&format!("its lists have more than {BYTES_MAX} bytes")));
            }
            if pages > PAGES_MAX {
                return Err(gateway.unexpected(&format!("its lists have more than {PAGES_MAX} pages")));
            }
            if found.len() > RESOURCES_MAX {
                return Err(gateway.unexpected(&format!("it has more than {RESOURCES_MAX} resources")));
            }
            match page["next_cursor"].as_str() {
                Some(next) if !items.is_empty() => {
                    // Those of gateways need no encoding.
                    if !next.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                        return Err(gateway.unexpected("its cursor is none"));
                    }
                    cursor = format!("&cursor={next}");
                }
                _ => break,
            }
        }
    }
    leave_out_ended_users(&mut found);
    Ok(Reading { live: found, as_of: positions.into_iter().min() })
}

/// Leaves users who have ended out of teams: they have no name, and no requests any more.
fn leave_out_ended_users(found: &mut [Live]) {
    let users: BTreeSet<String> = found.iter().filter(|one| one.kind == Kind::User).map(|one| one.id.clone()).collect();
    for team in found.iter_mut().filter(|one| one.kind == Kind::Team) {
        if let Some(Value::Array(ids)) = team.normal.get_mut("user_ids") {
            ids.retain(|id| id.as_str().is_some_and(|id| users.contains(id)));
        }
    }
}

/// A resource as replies show it; `None` without an id.
pub fn live(kind: Kind, item: &Value) -> Option<Live> {
    let (format, id) = (kind.format(), item["id"].as_str()?.to_owned());
    let text = |name: &Value| name.as_str().map(str::to_owned);
    let body = format.body_of(item);
    // One that another version made may break a rule of this version, and is compared as it is.
    let mut normal = format.normal(&body).unwrap_or(body);
    if let Some(field) = kind.required_name() {
        normal.entry(field).or_insert_with(|| slug_of(&id).into());
    }
    Some(Live {
        kind,
        id,
        normal,
        is_made_by_gateway: item["origin"].is_string(),
        has_api_key: item["api_key_set"] == true,
        secret_headers: item["secret_header_names"].as_array().into_iter().flatten().filter_map(text).collect(),
        is_in_force: item["in_force"] == true,
    })
}

/// The slug that files have for a resource without one: its id. A gateway to which the file is applied gives it to the resource that
/// it makes, so that the file means the same resource the next time.
fn slug_of(id: &str) -> String {
    id.replace('_', "-")
}

/// The names of what has one.
pub fn names(live: &[Live]) -> Names {
    let mut names = Names::default();
    for kind in [Kind::Partner, Kind::Tenant, Kind::User, Kind::Team, Kind::Provider] {
        for one in live.iter().filter(|one| one.kind == kind) {
            if let Some(name) = name(one, &names) {
                names.insert(name, &*one.id);
            }
        }
    }
    names
}

/// The name of a partner, tenant, user, team or provider; `None` for one whose owner's name is shared. A partner that the key does not
/// see is left out of it.
fn name(one: &Live, names: &Names) -> Option<Name> {
    let text = |field: &str| one.normal.get(field).and_then(Value::as_str);
    let (own, owner) = match one.kind {
        Kind::Partner => ("slug", None),
        Kind::Tenant => ("slug", Some("partner_id")),
        Kind::User | Kind::Team => ("slug", Some("tenant_id")),
        Kind::Provider => ("name", text("tenant_id").map(|_| "tenant_id")),
        Kind::Budget | Kind::RateLimit | Kind::Price | Kind::Model => return None,
    };
    let owner = match owner.and_then(text) {
        None => &[][..],
        Some(id) => match names.name_of(id) {
            Some(name) => &name.path[..],
            None if one.kind == Kind::Tenant => &[],
            None => return None,
        },
    };
    Some(Name::new(one.kind, owner, text(own)?))
}
