//! OCSF 1.3.0: an entry is an event of the class that fits it. What the class has no field for is in `unmapped`.

mod class;

use events::time::rfc3339;
use projections::views::audit::Severity;
use serde_json::{Map, Value, json};

use crate::record::{AuditRecord, OPERATOR, PRODUCT};

use class::{Activity, Class};

const SCHEMA_VERSION: &str = "1.3.0";
/// The longest line. What an entry changed can be longer, and is left out then: its position says where it is.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Characters that JSON has as they are, and that some readers take for the end of a line, with the form that all read.
const LINE_SEPARATORS: [(char, &str); 3] = [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

pub fn line(record: &AuditRecord<'_>) -> String {
    let whole = on_one_line(&event(record, record.entry.changes.clone()));
    if whole.len() <= LINE_BYTES_MAX { whole } else { short_line(record) }
}

/// The same without what was changed, which it says.
pub fn short_line(record: &AuditRecord<'_>) -> String {
    on_one_line(&event(record, Value::Null))
}

fn on_one_line(event: &Value) -> String {
    let mut line = event.to_string();
    for (separator, escaped) in LINE_SEPARATORS {
        // They are only in texts.
        if line.contains(separator) {
            line = line.replace(separator, escaped);
        }
    }
    line
}

/// The event of an entry. Without its changes, it says that they were left out.
fn event(record: &AuditRecord<'_>, changes: Value) -> Value {
    let entry = record.entry;
    let class = Class::of(record);
    let activity = Activity::of(class, record);
    let (category_id, category_name) = class.category();
    let (severity_id, severity) = severity(&entry.severity);
    let (status_id, status) = if record.is_denied() { (2, "Failure") } else { (1, "Success") };
    let mut event = object([
        ("activity_id", activity.id.into()),
        ("activity_name", activity.name.into()),
        ("category_name", category_name.into()),
        ("category_uid", category_id.into()),
        ("class_name", class.name().into()),
        ("class_uid", class.uid().into()),
        ("message", format!("{} of {} by {}", entry.action, entry.resource, entry.actor).into()),
        ("metadata", metadata(record).into()),
        ("severity", severity.into()),
        ("severity_id", severity_id.into()),
        ("src_endpoint", source(record, class)),
        ("status", status.into()),
        ("status_id", status_id.into()),
        ("time", entry.recorded_at.timestamp_millis().into()),
        ("type_name", format!("{}: {}", class.name(), activity.name).into()),
        ("type_uid", (class.uid() * 100 + activity.id).into()),
    ]);
    put(&mut event, "count", record.count());
    put(&mut event, "status_code", record.code());
    put(&mut event, "http_request", record.user_agent().map(|agent| json!({ "user_agent": agent })));
    let mut unmapped = unmapped(record, changes);
    match class {
        Class::ApiActivity => {
            put(&mut event, "actor", Some(json!({ "user": actor(record) })));
            put(&mut event, "api", Some(api(record)));
            put(&mut event, "resources", Some(json!([resource(record)])));
        }
        Class::AccountChange => {
            put(&mut event, "actor", Some(json!({ "user": actor(record) })));
            put(&mut event, "user", Some(changed_user(record)));
            put(&mut unmapped, "request_id", record.entry.request_id.map(|id| id.to_string()));
        }
        Class::Authentication => {
            put(&mut event, "is_remote", Some(true));
            put(&mut event, "service", Some(json!({ "name": PRODUCT })));
            put(&mut event, "user", Some(client_of(record)));
        }
    }
    put(&mut event, "unmapped", Some(unmapped));
    event.into()
}

fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

fn severity(severity: &str) -> (u32, &'static str) {
    match Severity::parse(severity) {
        Some(Severity::Info) => (1, "Informational"),
        Some(Severity::Notice) => (2, "Low"),
        Some(Severity::Warning) => (3, "Medium"),
        None => (0, "Unknown"),
    }
}

fn actor(record: &AuditRecord<'_>) -> Map<String, Value> {
    let actor = record.entry.actor.as_str();
    let (type_id, kind) = match actor {
        OPERATOR => (2, "Admin"),
        _ if record.is_by_system() => (3, "System"),
        _ if actor.starts_with("key_") => (99, "API key"),
        _ => (0, "Unknown"),
    };
    let mut user = object([("uid", actor.into()), ("type_id", type_id.into()), ("type", kind.into())]);
    put(&mut user, "name", record.actor_name);
    user
}

/// Whose key was refused: one that has ended, if the gateway knows it.
fn client_of(record: &AuditRecord<'_>) -> Map<String, Value> {
    match record.entry.actor.starts_with("key_") {
        true => actor(record),
        false => object([("name", "unknown".into()), ("type_id", 0.into()), ("type", "Unknown".into())]),
    }
}

fn changed_user(record: &AuditRecord<'_>) -> Map<String, Value> {
    let (_, id) = record.resource();
    let mut user = object([("uid", id.into()), ("type_id", 1.into()), ("type", "User".into())]);
    put(&mut user, "name", record.resource_name);
    user
}

fn api(record: &AuditRecord<'_>) -> Map<String, Value> {
    let mut api = object([("operation", record.entry.action.as_str().into()), ("service", json!({ "name": PRODUCT }))]);
    put(&mut api, "request", record.entry.request_id.map(|id| json!({ "uid": id.to_string() })));
    api
}

fn metadata(record: &AuditRecord<'_>) -> Map<String, Value> {
    let entry = record.entry;
    let product = json!({ "name": PRODUCT, "vendor_name": PRODUCT, "version": env!("CARGO_PKG_VERSION") });
    let mut metadata = object([
        ("event_code", entry.action.as_str().into()),
        ("log_name", "audit".into()),
        ("original_time", rfc3339(entry.recorded_at).into()),
        ("product", product),
        ("sequence", entry.position.into()),
        ("uid", entry.position.to_string().into()),
        ("version", SCHEMA_VERSION.into()),
    ]);
    put(&mut metadata, "tenant_uid", entry.tenant_id.as_deref());
    metadata
}

fn resource(record: &AuditRecord<'_>) -> Map<String, Value> {
    let (kind, id) = record.resource();
    let mut resource = object([("type", kind.into()), ("uid", id.into())]);
    put(&mut resource, "name", record.resource_name);
    resource
}

/// API Activity requires it, also where no client is known.
fn source(record: &AuditRecord<'_>, class: Class) -> Value {
    match record.client {
        Some(client) => json!({ "ip": client.ip }),
        None if record.is_by_system() && class != Class::Authentication => json!({ "svc_name": PRODUCT }),
        None => json!({ "name": "unknown" }),
    }
}

fn unmapped(record: &AuditRecord<'_>, changes: Value) -> Map<String, Value> {
    let entry = record.entry;
    let mut unmapped = object([
        ("category", entry.category.as_str().into()),
        ("severity", entry.severity.as_str().into()),
        ("outcome", entry.outcome.as_str().into()),
    ]);
    match changes {
        Value::Null if !entry.changes.is_null() => put(&mut unmapped, "changes_omitted", Some(true)),
        changes => put(&mut unmapped, "changes", Some(changes)),
    }
    put(&mut unmapped, "partner_id", entry.partner_id.as_deref());
    unmapped
}

#[cfg(test)]
mod tests {
    use projections::views::audit::AuditEntry;

    use super::*;
    use crate::record::tests::{audited, bare, sample};

    fn of(entry: &AuditEntry) -> Value {
        serde_json::from_str(&line(&bare(entry))).expect("JSON")
    }

    #[test]
    fn a_change_by_a_key_has_its_actor_its_resource_and_its_position() {
        let (entry, client) = sample();
        let record =
            AuditRecord { client: Some(&client), actor_name: Some("ops"), resource_name: Some("app"), ..bare(&entry) };
        let event: Value = serde_json::from_str(&line(&record)).expect("JSON");
        assert_eq!(
            (&event["class_uid"], &event["type_uid"], &event["activity_name"]),
            (&json!(6003), &json!(600_301), &json!("Create"))
        );
        assert_eq!(event["time"], json!(1_763_625_600_123_i64));
        assert_eq!(event["metadata"]["uid"], "44");
        assert_eq!(event["metadata"]["original_time"], "2025-11-20T08:00:00.123456Z");
        assert_eq!(
            event["actor"]["user"],
            json!({ "uid": entry.actor, "name": "ops", "type_id": 99, "type": "API key" })
        );
        assert_eq!(event["resources"], json!([{ "uid": "key_1", "type": "key", "name": "app" }]));
        assert_eq!(event["src_endpoint"], json!({ "ip": "203.0.113.9" }));
        assert_eq!(event["http_request"], json!({ "user_agent": "curl/8" }));
        assert_eq!((&event["status_id"], &event["severity_id"]), (&json!(1), &json!(2)));
        assert_eq!(event["unmapped"]["changes"], entry.changes);
    }

    #[test]
    fn a_refusal_fails_with_its_code_and_its_count() {
        let mut entry = audited("access.denied", 1).expect("it is audited");
        entry.actor = "system:gateway".to_owned();
        let event = of(&entry);
        assert_eq!((&event["status_id"], &event["severity_id"]), (&json!(2), &json!(3)));
        assert_eq!((&event["status_code"], &event["count"]), (&entry.changes["code"], &entry.changes["count"]));
        assert_eq!((&event["type_uid"], &event["type_name"]), (&json!(300_201), &json!("Authentication: Logon")));
        assert_eq!((&event["user"]["name"], event.get("actor")), (&json!("unknown"), None));
        assert_eq!(event["src_endpoint"], json!({ "name": "unknown" }), "the gateway is not who asks");
    }

    #[test]
    fn a_key_that_has_ended_and_is_used_is_named() {
        let entry = AuditEntry {
            actor: "key_00000000000000000000000000000005".to_owned(),
            ..audited("access.denied", 1).expect("one")
        };
        let record = AuditRecord { actor_name: Some("leaked"), ..bare(&entry) };
        let event: Value = serde_json::from_str(&line(&record)).expect("JSON");
        assert_eq!(event["class_uid"], 3002);
        assert_eq!(event["user"], json!({ "uid": entry.actor, "name": "leaked", "type_id": 99, "type": "API key" }));
    }

    #[test]
    fn a_change_of_a_user_has_the_user_and_who_made_it() {
        let mut entry = audited("user.erased", 1).expect("it is audited");
        entry.resource = "user/usr_1".to_owned();
        entry.request_id = Some("req_00000000000000000000000000000001".parse().expect("an id"));
        let event = of(&entry);
        assert_eq!((&event["type_uid"], &event["type_name"]), (&json!(300_106), &json!("Account Change: Delete")));
        assert_eq!(event["user"], json!({ "uid": "usr_1", "type_id": 1, "type": "User" }));
        assert_eq!(event["actor"]["user"]["uid"], "operator");
        assert_eq!(event["unmapped"]["request_id"], "req_00000000000000000000000000000001");
        assert_eq!((event.get("api"), event.get("resources")), (None, None));
    }

    #[test]
    fn no_text_ends_a_line() {
        let (mut entry, _) = sample();
        let name = "a\nb\rc\u{85}d\u{2028}e\u{2029}f\u{0}g";
        entry.changes = json!({ "name": name });
        let record = AuditRecord { resource_name: Some(name), ..bare(&entry) };
        let line = line(&record);
        assert!(!line.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{0}']), "{line:?}");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&event["unmapped"]["changes"]["name"], &event["resources"][0]["name"]),
            (&json!(name), &json!(name))
        );
    }

    #[test]
    fn a_change_that_is_too_long_for_a_line_is_left_out_and_the_line_says_so() {
        let (mut entry, _) = sample();
        entry.changes = json!({ "name": "x".repeat(LINE_BYTES_MAX) });
        let line = line(&bare(&entry));
        assert!(line.len() < 2_000);
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&event["unmapped"]["changes_omitted"], event["unmapped"].get("changes")), (&json!(true), None));
        entry.changes = json!({ "name": "x".repeat(LINE_BYTES_MAX / 2) });
        assert_eq!(of(&entry)["unmapped"]["changes"], entry.changes);
    }
}
