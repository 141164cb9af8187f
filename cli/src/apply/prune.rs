//! Deletions of resources that no file has any more: live ones with one label, and nothing else.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use command::admin::body_format::Body;
use serde_json::Value;

use super::conditions::tenant_ids;
use super::desired::{Desired, Identity, identity};
use super::document_labels::LABELS;
use super::kind::{Kind, effective_from};
use super::live::Live;
use super::mistake::Place;
use super::model_names::{ModelNames, named_models, owner};
use crate::settings::Label;

/// Whether a resource has the label.
pub fn has_label(body: &Body, label: &Label) -> bool {
    body.get(LABELS).and_then(|labels| labels.get(&label.name)).and_then(Value::as_str) == Some(&label.value)
}

/// A resource that is deleted.
#[derive(Debug)]
pub struct Deletion {
    pub kind: Kind,
    pub id: String,
    pub normal: Body,
}

/// The resources of the files.
pub struct InFiles<'a> {
    /// The ids of the live resources.
    pub ids: BTreeSet<&'a str>,
    /// The identities of all resources, live ones and others.
    pub identities: BTreeSet<Identity>,
}

/// The live resources with the label that no file has, in the order in which they are deleted: what names others comes before
/// these.
pub fn deletions(live: &[Live], label: &Label, files: &InFiles<'_>, now: DateTime<Utc>) -> Vec<Deletion> {
    let is_deleted = |one: &&Live| {
        has_label(&one.normal, label)
            && !one.is_made_by_gateway
            && !files.ids.contains(&*one.id)
            && !is_past_price(one, files, now)
    };
    let mut deleted: Vec<&Live> = live.iter().filter(is_deleted).collect();
    // The sort is stable: of one kind, the newest stays first.
    deleted.sort_by_key(|one| std::cmp::Reverse(one.kind));
    let deletion = |one: &Live| Deletion { kind: one.kind, id: one.id.clone(), normal: one.normal.clone() };
    deleted.into_iter().map(deletion).collect()
}

/// Something that would be deleted although what stays uses it.
#[derive(Debug, PartialEq, Eq)]
pub struct InUse {
    /// Where the files have what uses it; `None` for what is in no file.
    pub place: Option<Place>,
    pub user: (Kind, Body),
    pub used: (Kind, Body),
}

/// The users of something that is deleted: resources of the files, as the files have them, and other live ones that stay. A price is of no
/// use without its provider, and resources that the gateway made for a provider end with it.
pub fn in_use(deletions: &[Deletion], desired: &[Desired], live: &[Live], files: &InFiles<'_>) -> Vec<InUse> {
    let deleted: BTreeSet<&str> = deletions.iter().map(|one| &*one.id).collect();
    let stays = |one: &&Live| {
        let id = &*one.id;
        !deleted.contains(id) && !files.ids.contains(id) && !one.is_made_by_gateway && one.kind != Kind::Price
    };
    // Where files have what is live, as they have it.
    let named = live.iter().filter(|one| !one.is_made_by_gateway && !files.ids.contains(&*one.id));
    let named = named.map(|one| (one.kind, Some(&*one.id), &one.normal, &one.normal));
    let in_files = desired.iter().map(|one| (one.kind, one.id.as_deref(), &one.normal, &one.normal));
    let models = ModelNames::of(named.chain(in_files));
    let of_files = desired.iter().map(|one| (Some(one.source.place()), one.kind, &one.normal));
    let mut found = Vec::new();
    for (place, kind, body) in of_files.chain(live.iter().filter(stays).map(|one| (None, one.kind, &one.normal))) {
        let texts = texts_of(body);
        let of_model = Some(body).filter(|_| kind == Kind::Model);
        let meant =
            of_model.into_iter().flat_map(named_models).filter_map(|(_, name)| models.meant_by(owner(body), name));
        let meant: BTreeSet<Identity> = meant.map(|model| identity(Kind::Model, model)).collect();
        let is_used = |one: &&Deletion| texts.contains(&*one.id) || meant.contains(&identity(one.kind, &one.normal));
        found.extend(deletions.iter().filter(is_used).map(|one| InUse {
            place: place.clone(),
            user: (kind, body.clone()),
            used: (one.kind, one.normal.clone()),
        }));
    }
    found
}

/// The texts of a body, among which are the ids of all resources that it names.
pub fn texts_of(body: &Body) -> BTreeSet<&str> {
    let mut texts = BTreeSet::new();
    body.iter().filter(|(field, _)| *field != LABELS).for_each(|(_, value)| add_texts(value, &mut texts));
    texts.extend(conditions_of(body).flat_map(tenant_ids));
    texts
}

/// The conditions of a model's rules.
fn conditions_of(body: &Body) -> impl Iterator<Item = &str> {
    body.get("rules").and_then(Value::as_array).into_iter().flatten().filter_map(|rule| rule["when"].as_str())
}

fn add_texts<'a>(value: &'a Value, texts: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => drop(texts.insert(text)),
        Value::Array(items) => items.iter().for_each(|item| add_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|member| add_texts(member, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A price that has begun, of a model whose price is still in the files: requests were charged by it, and it stays in the history.
fn is_past_price(one: &Live, files: &InFiles<'_>, now: DateTime<Utc>) -> bool {
    one.kind == Kind::Price
        && files.identities.contains(&identity(one.kind, &one.normal))
        && effective_from(&one.normal).is_none_or(|begins| begins <= now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(kind: Kind, id: &str, normal: &Value) -> Live {
        let normal = normal.as_object().cloned().expect("an object");
        Live {
            kind,
            id: id.to_owned(),
            normal,
            is_made_by_gateway: false,
            has_api_key: false,
            secret_headers: BTreeSet::new(),
            is_in_force: false,
        }
    }

    fn now() -> DateTime<Utc> {
        events::time::parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")
    }

    fn deleted(live: &[Live], files: &InFiles<'_>) -> Vec<String> {
        let label = "managed-by=git".parse().expect("a label");
        deletions(live, &label, files, now()).into_iter().map(|one| one.id).collect()
    }

    #[test]
    fn only_what_has_the_label_and_no_file_is_deleted_and_what_names_others_first() {
        let labels = json!({ "managed-by": "git", "team": "a" });
        let mut made = live(Kind::Provider, "made", &json!({ "name": "m", "labels": labels }));
        made.is_made_by_gateway = true;
        let all = [
            live(Kind::Partner, "partner", &json!({ "slug": "p", "labels": labels })),
            live(Kind::Budget, "budget", &json!({ "labels": labels })),
            live(Kind::Provider, "kept", &json!({ "name": "k", "labels": labels })),
            live(Kind::Provider, "another", &json!({ "name": "a", "labels": { "managed-by": "hand" } })),
            live(Kind::Provider, "unlabelled", &json!({ "name": "u", "labels": {} })),
            made,
            live(Kind::Model, "model", &json!({ "name": "m", "labels": labels })),
        ];
        let files = InFiles { ids: ["kept"].into(), identities: BTreeSet::new() };
        assert_eq!(deleted(&all, &files), ["model", "budget", "partner"]);
    }

    #[test]
    fn what_stays_keeps_what_it_uses() {
        let labels = json!({ "managed-by": "git" });
        let routed = "ten_00000000000000000000000000000001";
        let target = |provider: &str| json!([{ "provider_id": provider, "model": "echo" }]);
        let all = [
            live(Kind::Tenant, "tenant", &json!({ "slug": "t", "labels": labels })),
            live(Kind::Tenant, routed, &json!({ "slug": "routed", "labels": labels })),
            live(Kind::Provider, "provider", &json!({ "name": "p", "labels": labels })),
            live(Kind::Model, "mdl_gone", &json!({ "name": "gone", "targets": target("provider"), "labels": labels })),
            live(
                Kind::Model,
                "changed",
                &json!({ "name": "changed", "targets": target("provider"), "labels": labels }),
            ),
            live(Kind::Model, "by-hand", &json!({ "name": "by-hand", "targets": target("provider") })),
            live(Kind::Model, "alias", &json!({ "name": "alias", "alias": [{ "model": "gone" }] })),
            // Another tenant's model of the same name, and one whose target is called like it, are no users of it.
            live(Kind::Model, "namesake", &json!({ "name": "gone", "tenant_id": "ten_2", "targets": target("other") })),
            live(Kind::Model, "own", &json!({ "name": "own", "tenant_id": "ten_2", "alias": [{ "model": "gone" }] })),
            live(Kind::Model, "other", &json!({ "name": "other", "tenant_id": "ten_3", "successor": "gone" })),
            live(
                Kind::Model,
                "target",
                &json!({ "name": "target", "targets": [{ "provider_id": "other", "model": "gone" }] }),
            ),
            live(Kind::Price, "price", &json!({ "provider_id": "provider", "model": "echo" })),
            live(Kind::Budget, "budget", &json!({ "scope": { "tenant_id": "tenant" } })),
            live(
                Kind::Model,
                "rules",
                &json!({ "name": "rules", "rules": [{ "when": format!("tenant == '{routed}'") }] }),
            ),
        ];
        // As the files have it now, it uses another provider.
        let files = InFiles { ids: ["changed"].into(), identities: BTreeSet::new() };
        let deletions = deletions(&all, &"managed-by=git".parse().expect("a label"), &files, now());
        let slug = |body: &Body, names: [&str; 3]| {
            names.iter().find_map(|name| body.get(*name)?.as_str()).unwrap_or("budget").to_owned()
        };
        let found = in_use(&deletions, &[], &all, &files);
        let pairs: Vec<(String, String)> = found
            .iter()
            .map(|one| (slug(&one.user.1, ["name", "slug", "x"]), slug(&one.used.1, ["name", "slug", "x"])))
            .collect();
        let pair = |user: &str, used: &str| (user.to_owned(), used.to_owned());
        let wanted = [("by-hand", "p"), ("alias", "gone"), ("other", "gone"), ("budget", "t"), ("rules", "routed")];
        assert_eq!(pairs, wanted.map(|(user, used)| pair(user, used)));
    }

    #[test]
    fn a_price_that_requests_were_charged_by_stays_while_files_have_another_one() {
        let price = |id: &str, from: &str| {
            let labels = json!({ "managed-by": "git" });
            live(
                Kind::Price,
                id,
                &json!({ "provider_id": "p", "model": "m", "effective_from": from, "labels": labels }),
            )
        };
        let all = [price("past", "2026-11-20T07:00:00.000000Z"), price("announced", "2026-11-20T09:00:00.000000Z")];
        let identities = BTreeSet::from([identity(Kind::Price, &all[0].normal)]);
        assert_eq!(deleted(&all, &InFiles { ids: BTreeSet::new(), identities }), ["announced"]);
        let none = InFiles { ids: BTreeSet::new(), identities: BTreeSet::new() };
        assert_eq!(deleted(&all, &none), ["past", "announced"]);
    }
}
