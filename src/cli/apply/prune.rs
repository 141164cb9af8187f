//! What is deleted because no file has it any more: live resources with one label, and nothing else.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use command::admin::body_format::Body;
use events::time::parse_rfc3339;
use serde_json::Value;

use super::document_labels::LABELS;
use super::kind::Kind;
use super::live::Live;
use super::plan::{EFFECTIVE_FROM, Identity, identity_of};
use crate::config::Label;

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

/// What the files have.
pub struct InFiles<'a> {
    /// The ids of the live resources.
    pub ids: BTreeSet<&'a str>,
    /// What tells each resource apart, the live ones and others.
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

/// A price that has begun, of a model whose price is still in the files: requests were charged by it, and it stays in the history.
fn is_past_price(one: &Live, files: &InFiles<'_>, now: DateTime<Utc>) -> bool {
    let begins = || parse_rfc3339(one.normal.get(EFFECTIVE_FROM)?.as_str()?);
    one.kind == Kind::Price
        && files.identities.contains(&identity_of(one.kind, &one.normal))
        && begins().is_none_or(|begins| begins <= now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(kind: Kind, id: &str, normal: &Value) -> Live {
        let normal = normal.as_object().cloned().expect("an object");
        Live { kind, id: id.to_owned(), normal, is_made_by_gateway: false, has_api_key: false, is_in_force: false }
    }

    fn now() -> DateTime<Utc> {
        parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")
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
        let identities = BTreeSet::from([identity_of(Kind::Price, &all[0].normal)]);
        assert_eq!(deleted(&all, &InFiles { ids: BTreeSet::new(), identities }), ["announced"]);
        let none = InFiles { ids: BTreeSet::new(), identities: BTreeSet::new() };
        assert_eq!(deleted(&all, &none), ["past", "announced"]);
    }
}
