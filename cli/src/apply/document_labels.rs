//! The labels of a document of a file: each of its resources has them, beside its own.

use super::yaml::{Member, Node, NodeValue};

/// The name of the field, in documents and in resources.
pub const LABELS: &str = "labels";

/// Gives a resource the labels of its document that it does not have itself. One whose `labels` are null keeps none.
pub fn put(resource: &mut Node, of_document: &Node) {
    let (NodeValue::Map(fields), NodeValue::Map(labels)) = (&mut resource.value, &of_document.value) else { return };
    match fields.iter_mut().find(|field| field.name == LABELS) {
        None => {
            fields.push(Member { line: of_document.line, name: LABELS.to_owned(), node: of_document.clone() });
        }
        Some(Member { node: Node { value: NodeValue::Map(own), .. }, .. }) => {
            let missing: Vec<Member> =
                labels.iter().filter(|label| own.iter().all(|one| one.name != label.name)).cloned().collect();
            own.extend(missing);
        }
        // Null, or a mistake, which the check of the resource finds.
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::yaml::documents;
    use super::*;

    fn labels_of(resource: &str) -> Vec<(String, String)> {
        let node = |text: &str| documents(text).expect("YAML").remove(0);
        let mut resource = node(resource);
        put(&mut resource, &node("team: core\nmanaged-by: git"));
        let labels = resource.get(LABELS).expect("labels");
        let NodeValue::Map(labels) = &labels.node.value else { return Vec::new() };
        labels.iter().map(|label| (label.name.clone(), label.node.text().unwrap_or_default().to_owned())).collect()
    }

    fn pairs(expected: &Value) -> Vec<(String, String)> {
        let pair = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap_or_default().to_owned());
        expected.as_object().expect("an object").iter().map(pair).collect()
    }

    #[test]
    fn a_resource_has_its_own_labels_and_those_of_its_document() {
        let sorted = |resource: &str| {
            let mut labels = labels_of(resource);
            labels.sort();
            labels
        };
        let of_document = pairs(&serde_json::json!({ "managed-by": "git", "team": "core" }));
        assert_eq!(sorted("name: a"), of_document);
        assert_eq!(sorted("name: a\nlabels: {}"), of_document);
        let own = pairs(&serde_json::json!({ "managed-by": "git", "team": "edge" }));
        assert_eq!(sorted("name: a\nlabels: {team: edge}"), own);
        assert_eq!(sorted("name: a\nlabels: null"), []);
    }
}
