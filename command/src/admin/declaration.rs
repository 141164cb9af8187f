//! The fields of a resource, each declared once: name, type, default, description, and whether it can be created, changed
//! and removed.
//!
//! From the declaration follow the reader of the body that creates the resource, the reader of the body that changes it,
//! and the published schemas of both and of the reply. So a schema cannot promise a field, a bound or a default that the
//! reader does not have. The readers yield [`FieldValues`]: JSON in the form of the events, from which serde makes the
//! state, so that no code between the body and the event names the field again. Bodies are checked in the order of the
//! declaration, and the first wrong field is reported by its path.
//!
//! A declaration knows nothing about the caller or other resources, nor about rules that involve several fields: those are
//! in `create`, `change` and `validated` of the resource's file. Two designs were rejected. A derive macro on the
//! structs of the events would teach the crate of the events bounds and schemas; typed accessors would need a complete
//! state to start from, and so list the fields again. The cost of the table is that tests, not the compiler, check that a
//! declared type yields what the struct expects: a mismatch is an internal error. See ADR 0013.

use events::event::{ResourceState, StreamKind};
use events::ids::Prefixed;
use openapi::schema::{self, Shape, object};
use serde_json::Value;

use super::field_type::{FieldReader, FieldType};
use super::field_values::FieldValues;
use super::fields::{Field, FieldError, Fields};

/// The declaration of a resource.
pub struct Declaration {
    pub kind: StreamKind,
    /// The prefix of its ids.
    pub prefix: &'static str,
    pub members: Members,
    /// An example of a body that creates the resource.
    pub example: Value,
}

/// The fields of a resource or of a nested object, in the order in which they are read.
#[derive(Clone)]
pub struct Members(pub Vec<Member>);

/// One field.
#[derive(Clone)]
#[must_use]
pub struct Member {
    name: &'static str,
    /// The schema in bodies.
    accepted: Shape,
    /// The schema in replies; `None` for a field that no reply has.
    shown: Option<Shape>,
    /// `None` for a field that no body has.
    read: Option<FieldReader>,
    /// The value of a creation that omits the field; `null` for none.
    default: Value,
    on_create: OnCreate,
    on_change: OnChange,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnCreate {
    Required,
    /// The field always has a value.
    Defaults,
    /// The field may be absent or `null`.
    Optional,
    /// The field cannot be set: only replies have it.
    ReplyOnly,
    /// The field cannot be set, and not every reply has it.
    SomeReplies,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnChange {
    Fixed,
    /// `null` is refused.
    Set,
    /// `null` removes it.
    Removed,
}

/// A required field. It can be changed.
pub fn required(name: &'static str, FieldType { shape, read }: FieldType) -> Member {
    Member { read: Some(read), on_create: OnCreate::Required, on_change: OnChange::Set, ..replied(name, shape) }
}

/// A field with a default. It can be changed, but not removed. A default of `null` means that the resource computes it.
pub fn defaulting(name: &'static str, FieldType { shape, read }: FieldType, default: Value) -> Member {
    let shape = if default.is_null() { shape } else { schema::defaulting(shape, default.clone()) };
    Member { default, on_create: OnCreate::Defaults, ..required(name, FieldType { shape, read }) }
}

/// An optional field. It can be changed and removed.
pub fn optional(name: &'static str, field_type: FieldType) -> Member {
    Member { on_create: OnCreate::Optional, on_change: OnChange::Removed, ..required(name, field_type) }
}

/// A field that only replies have.
pub fn replied(name: &'static str, shape: Shape) -> Member {
    let (accepted, shown) = (shape.clone(), Some(shape));
    let (on_create, on_change) = (OnCreate::ReplyOnly, OnChange::Fixed);
    Member { name, accepted, shown, read: None, default: Value::Null, on_create, on_change }
}

/// A field that only some replies have: those to reads, or those to commands where it applies.
pub fn in_some_replies(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::SomeReplies, ..replied(name, shape) }
}

impl Member {
    /// Forbids changes.
    pub fn fixed(self) -> Self {
        Self { on_change: OnChange::Fixed, ..self }
    }

    /// Forbids removal.
    pub fn kept(self) -> Self {
        Self { on_change: OnChange::Set, ..self }
    }

    /// Makes `null` in a change restore the default.
    pub fn reset_by_null(self) -> Self {
        Self { on_change: OnChange::Removed, ..self }
    }

    /// Sets a different schema for replies.
    pub fn shown_as(self, shape: Shape) -> Self {
        Self { shown: Some(shape), ..self }
    }

    /// Omits the field from replies.
    pub fn hidden(self) -> Self {
        Self { shown: None, ..self }
    }

    /// Sets the description.
    pub fn meaning(self, text: &str) -> Self {
        let shown = self.shown.map(|shape| schema::described(shape, text));
        Self { accepted: schema::described(self.accepted, text), shown, ..self }
    }

    fn read_creation(&self, fields: &mut Fields, read: &FieldReader) -> Result<Option<Value>, FieldError> {
        if self.on_create == OnCreate::Required {
            return fields.required(self.name, |field| read(field)).map(Some);
        }
        let value = fields.optional(self.name, |field| read(field))?;
        Ok(value.or_else(|| Some(self.default.clone()).filter(|default| !default.is_null())))
    }

    /// Reads the field of a change; `null` removes the value.
    fn read_change(&self, fields: &mut Fields, read: &FieldReader) -> Result<Option<Value>, FieldError> {
        let removes = |field: &Field| self.on_change == OnChange::Removed && field.is_null();
        fields.changed(self.name, |field| if removes(&field) { Ok(Value::Null) } else { read(field) })
    }
}

impl Members {
    /// The fields that a body can have, with their readers.
    fn readable(&self) -> impl Iterator<Item = (&Member, &FieldReader)> {
        self.0.iter().filter_map(|member| Some((member, member.read.as_ref()?)))
    }

    /// The names of the fields that a creation may have.
    pub fn names(&self) -> Vec<&'static str> {
        self.readable().map(|(member, _)| member.name).collect()
    }

    /// The names of the fields that replies show as a creation sets them.
    pub fn shown_names(&self) -> Vec<&'static str> {
        self.readable().filter(|(member, _)| member.shown.is_some()).map(|(member, _)| member.name).collect()
    }

    /// The names of the fields that only a creation can set.
    pub fn fixed_names(&self) -> Vec<&'static str> {
        self.readable()
            .filter(|(member, _)| member.on_change == OnChange::Fixed)
            .map(|(member, _)| member.name)
            .collect()
    }

    /// Reads an object that has these fields and no others.
    pub fn read_object(&self, field: Field) -> Result<FieldValues, FieldError> {
        self.read_creation(field.object()?.refuse_unknown(&self.names())?)
    }

    /// The type of a field that is such an object.
    pub fn into_object(self) -> FieldType {
        let shape = self.creation().closed();
        FieldType::new(shape, move |field| self.read_object(field))
    }

    /// Reads the body of a creation.
    pub fn read_creation(&self, mut fields: Fields) -> Result<FieldValues, FieldError> {
        let mut values = FieldValues::default();
        for (member, read) in self.readable() {
            if let Some(value) = member.read_creation(&mut fields, read)? {
                values.put(member.name, value);
            }
        }
        fields.finish()?;
        Ok(values)
    }

    /// Reads the body of a change.
    pub fn read_change(&self, mut fields: Fields) -> Result<FieldValues, FieldError> {
        let (fixed, changing): (Vec<_>, Vec<_>) =
            self.readable().partition(|(member, _)| member.on_change == OnChange::Fixed);
        fields.fixed(&fixed.iter().map(|(member, _)| member.name).collect::<Vec<_>>())?;
        let mut values = FieldValues::default();
        for (member, read) in changing {
            if let Some(value) = member.read_change(&mut fields, read)? {
                values.put(member.name, value);
            }
        }
        fields.finish()?;
        Ok(values)
    }

    /// The fields of a creation's schema. Close the schema if it is for a request.
    pub fn creation(&self) -> schema::Fields {
        self.0.iter().cloned().fold(object(), |fields, member| match member.on_create {
            OnCreate::Required => fields.required(member.name, member.accepted),
            OnCreate::Defaults | OnCreate::Optional => fields.optional(member.name, schema::nullable(member.accepted)),
            OnCreate::ReplyOnly | OnCreate::SomeReplies => fields,
        })
    }
}

impl Declaration {
    pub fn of<R: ResourceState>(members: impl IntoIterator<Item = Member>, example: Value) -> Self {
        Self { kind: R::KIND, prefix: R::Id::PREFIX, members: Members(members.into_iter().collect()), example }
    }

    /// The name of the reply's schema: `RateLimit`.
    pub fn name(&self) -> String {
        schema::resource_name(self.kind.as_str())
    }

    /// The name of the resource in texts: `rate limit`.
    pub fn words(&self) -> String {
        self.kind.in_text()
    }

    /// The schema of the body that creates the resource.
    pub fn creation(&self) -> Shape {
        self.members.creation().closed()
    }

    /// The schema of the body that changes it.
    pub fn change(&self) -> Shape {
        let fields = self.members.0.iter().cloned().fold(object(), |fields, member| match member.on_change {
            OnChange::Fixed => fields,
            OnChange::Set => fields.optional(member.name, member.accepted),
            OnChange::Removed => fields.optional(member.name, schema::nullable(member.accepted)),
        });
        fields.closed()
    }

    /// The schema of the reply.
    pub fn reply(&self) -> Shape {
        let owner = schema::described(
            schema::string(),
            "The owner whose end also ended this resource; absent if the resource was ended directly",
        );
        self.reply_fields().optional("ended_by", owner).open()
    }

    /// The fields of the reply with the secret, which is shown once.
    pub fn reply_with_secret(&self) -> schema::Fields {
        let secret =
            schema::described(schema::string(), "Shown only in this response; the response to a retry omits it");
        self.reply_fields().optional("secret", secret)
    }

    fn reply_fields(&self) -> schema::Fields {
        let fields = object().required("id", schema::id(self.prefix));
        let members = self.members.0.iter().cloned();
        let fields = members.fold(fields, |fields, member| match (member.shown, member.on_create) {
            (None, _) => fields,
            (Some(shown), OnCreate::SomeReplies) => fields.optional(member.name, shown),
            (Some(shown), OnCreate::Optional) => fields.required(member.name, schema::nullable(shown)),
            (Some(shown), OnCreate::Required | OnCreate::Defaults | OnCreate::ReplyOnly) => {
                fields.required(member.name, shown)
            }
        });
        fields.required("created_at", schema::time()).required("ended_at", schema::nullable(schema::time()))
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Tenant;
    use serde_json::json;

    use super::*;
    use crate::admin::field_type::{text, whole};

    fn members() -> Members {
        Members(vec![
            required("name", text(3)),
            defaulting("weight", whole(0, 9), json!(1)),
            defaulting("rate", whole(0, 9), Value::Null).reset_by_null(),
            optional("note", text(9)),
            optional("address", text(9)).kept(),
            required("kind", text(9)).fixed(),
            replied("is_set", schema::boolean()),
        ])
    }

    fn fields(body: &Value) -> Fields {
        Fields::of_body(body.to_string().as_bytes()).unwrap()
    }

    fn created(body: &Value) -> Result<Value, String> {
        members().read_creation(fields(body)).map(|given| json!(given)).map_err(|error| error.to_string())
    }

    fn changed(body: &Value) -> Result<Value, String> {
        members().read_change(fields(body)).map(|given| json!(given)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_creation_has_the_required_fields_and_the_defaults() {
        let least = json!({ "name": "a", "kind": "k", "weight": null, "note": null });
        assert_eq!(created(&least), Ok(json!({ "name": "a", "kind": "k", "weight": 1 })));
        let all = json!({ "name": "a", "kind": "k", "weight": 2.0, "rate": 3, "note": "n", "address": "x" });
        let given = json!({ "name": "a", "kind": "k", "weight": 2, "rate": 3, "note": "n", "address": "x" });
        assert_eq!(created(&all), Ok(given));
        for (body, refused) in [
            (json!({}), "name: is required"),
            (json!({ "name": null }), "name: must be a string"),
            (json!({ "name": "long", "kind": 1 }), "name: must have at most 3 characters"),
            (json!({ "name": "a" }), "kind: is required"),
            (json!({ "name": "a", "kind": "k", "is_set": true }), "is_set: unknown field"),
        ] {
            assert_eq!(created(&body), Err(refused.to_owned()));
        }
    }

    #[test]
    fn a_change_has_the_named_fields_and_null_for_removed_ones() {
        assert_eq!(changed(&json!({})), Ok(json!({})));
        let removed = json!({ "note": null, "rate": null });
        assert_eq!(changed(&removed), Ok(removed));
        let set = json!({ "name": "b", "weight": 0, "address": "y" });
        assert_eq!(changed(&set), Ok(set));
        for (body, refused) in [
            (json!({ "kind": "other", "name": 1 }), "kind: cannot be changed"),
            (json!({ "name": null }), "name: must be a string"),
            (json!({ "weight": null }), "weight: must be a whole number from 0 to 9"),
            (json!({ "address": null }), "address: must be a string"),
            (json!({ "is_set": true }), "is_set: unknown field"),
        ] {
            assert_eq!(changed(&body), Err(refused.to_owned()));
        }
    }

    #[test]
    fn the_published_schema_has_the_fields_that_are_read() {
        let declared = Declaration::of::<Tenant>(members().0, json!({}));
        let names = |shape: Shape| -> Vec<String> {
            let properties = json!(shape)["properties"].take();
            properties.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(declared.creation()), ["address", "kind", "name", "note", "rate", "weight"]);
        assert_eq!(names(declared.change()), ["address", "name", "note", "rate", "weight"]);
        assert!(names(declared.reply()).contains(&"is_set".to_owned()));
    }
}
