//! The fields of a resource, each declared once. Of the declaration are made the reader of the body that creates the resource,
//! the reader of the body that changes it, and what is published of both and of the reply. What a body gives stands in a
//! [`Given`], in the form that events have it, so that serde makes the state of it: no field is named again on the way from
//! the body to the event.

use events::event::StreamKind;
use openapi::schema::{self, Shape, object};
use serde_json::Value;

use super::field_type::{FieldType, Reader};
use super::fields::{Field, FieldError, Fields};
use super::given::Given;

/// The declaration of a resource.
pub struct Declaration {
    pub kind: StreamKind,
    /// Prefix of its ids.
    pub prefix: &'static str,
    pub members: Members,
    /// An example of a body that creates one.
    pub example: Value,
}

/// The fields of a resource, or of an object inside of one, in the order in which they are read.
#[derive(Clone)]
pub struct Members(pub Vec<Member>);

/// One field.
#[derive(Clone)]
pub struct Member {
    name: &'static str,
    given: Shape,
    /// `None`: no reply has it.
    shown: Option<Shape>,
    /// `None`: no body has it.
    read: Option<Reader>,
    /// What a creation gives that does not name it; `null` for nothing.
    default: Value,
    on_create: OnCreate,
    on_change: OnChange,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnCreate {
    Required,
    /// Something always stands there.
    Defaults,
    /// `null` or absent is nothing.
    Optional,
    /// It cannot be given: replies alone have it.
    Never,
    /// Nor have replies to a change: it is there where the resource is read.
    Read,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnChange {
    Fixed,
    /// `null` is refused.
    Set,
    /// `null` removes it.
    Removed,
}

/// A required field, which can be changed.
pub fn required(name: &'static str, FieldType { shape, read }: FieldType) -> Member {
    Member { read: Some(read), on_create: OnCreate::Required, on_change: OnChange::Set, ..replied(name, shape) }
}

/// A field with a default; it can be changed, not removed. `null` as the default means that it depends.
pub fn defaulting(name: &'static str, FieldType { shape, read }: FieldType, default: Value) -> Member {
    let shape = if default.is_null() { shape } else { schema::defaulting(shape, default.clone()) };
    Member { default, on_create: OnCreate::Defaults, ..required(name, FieldType { shape, read }) }
}

/// An optional field, which can be changed and removed.
pub fn optional(name: &'static str, field_type: FieldType) -> Member {
    Member { on_create: OnCreate::Optional, on_change: OnChange::Removed, ..required(name, field_type) }
}

/// A field of replies only: it cannot be given.
pub fn replied(name: &'static str, shape: Shape) -> Member {
    let (given, shown) = (shape.clone(), Some(shape));
    let (on_create, on_change) = (OnCreate::Never, OnChange::Fixed);
    Member { name, given, shown, read: None, default: Value::Null, on_create, on_change }
}

/// A field of reads only: it cannot be given, and replies to changes do not have it.
pub fn read(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::Read, ..replied(name, shape) }
}

impl Member {
    /// Makes it impossible to change.
    #[must_use]
    pub fn fixed(self) -> Self {
        Self { on_change: OnChange::Fixed, ..self }
    }

    /// Makes it impossible to remove.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { on_change: OnChange::Set, ..self }
    }

    /// Lets `null` in a change restore the default.
    #[must_use]
    pub fn reset_by_null(self) -> Self {
        Self { on_change: OnChange::Removed, ..self }
    }

    /// Sets another schema for replies.
    #[must_use]
    pub fn shown_as(self, shape: Shape) -> Self {
        Self { shown: Some(shape), ..self }
    }

    /// Hides it from replies.
    #[must_use]
    pub fn hidden(self) -> Self {
        Self { shown: None, ..self }
    }

    /// Sets the description.
    #[must_use]
    pub fn meaning(self, text: &str) -> Self {
        let shown = self.shown.map(|shape| schema::described(shape, text));
        Self { given: schema::described(self.given, text), shown, ..self }
    }

    fn created(&self, fields: &mut Fields, read: &Reader) -> Result<Option<Value>, FieldError> {
        if self.on_create == OnCreate::Required {
            return fields.required(self.name, |field| read(field)).map(Some);
        }
        let given = fields.optional(self.name, |field| read(field))?;
        Ok(given.or_else(|| Some(self.default.clone()).filter(|default| !default.is_null())))
    }

    /// `null` where it is to be removed.
    fn changed(&self, fields: &mut Fields, read: &Reader) -> Result<Option<Value>, FieldError> {
        let removes = |field: &Field| self.on_change == OnChange::Removed && field.is_null();
        fields.changed(self.name, |field| if removes(&field) { Ok(Value::Null) } else { read(field) })
    }
}

impl Members {
    /// Those that a body can have, and how they are read.
    fn read(&self) -> impl Iterator<Item = (&Member, &Reader)> {
        self.0.iter().filter_map(|member| Some((member, member.read.as_ref()?)))
    }

    /// Names of the fields that a body may have when it creates the resource.
    pub fn names(&self) -> Vec<&'static str> {
        self.read().map(|(member, _)| member.name).collect()
    }

    /// What a creation gives.
    pub fn created(&self, mut fields: Fields) -> Result<Given, FieldError> {
        let mut given = Given::default();
        for (member, read) in self.read() {
            if let Some(value) = member.created(&mut fields, read)? {
                given.put(member.name, value);
            }
        }
        fields.finish()?;
        Ok(given)
    }

    /// What a change gives.
    pub fn changed(&self, mut fields: Fields) -> Result<Given, FieldError> {
        let (fixed, changing): (Vec<_>, Vec<_>) =
            self.read().partition(|(member, _)| member.on_change == OnChange::Fixed);
        fields.fixed(&fixed.iter().map(|(member, _)| member.name).collect::<Vec<_>>())?;
        let mut given = Given::default();
        for (member, read) in changing {
            if let Some(value) = member.changed(&mut fields, read)? {
                given.put(member.name, value);
            }
        }
        fields.finish()?;
        Ok(given)
    }

    /// The body that creates the resource: to be closed where it is a request.
    pub fn creation(&self) -> schema::Fields {
        self.0.iter().cloned().fold(object(), |fields, member| match member.on_create {
            OnCreate::Required => fields.required(member.name, member.given),
            OnCreate::Defaults | OnCreate::Optional => fields.optional(member.name, schema::nullable(member.given)),
            OnCreate::Never | OnCreate::Read => fields,
        })
    }
}

impl Declaration {
    /// Name of the reply's schema: `RateLimit`.
    pub fn name(&self) -> String {
        schema::resource_name(self.kind.as_str())
    }

    /// For people: `rate limit`.
    pub fn words(&self) -> String {
        self.kind.as_str().replace('_', " ")
    }

    /// The body that creates the resource.
    pub fn creation(&self) -> Shape {
        self.members.creation().closed()
    }

    /// The body that changes it.
    pub fn change(&self) -> Shape {
        let fields = self.members.0.iter().cloned().fold(object(), |fields, member| match member.on_change {
            OnChange::Fixed => fields,
            OnChange::Set => fields.optional(member.name, member.given),
            OnChange::Removed => fields.optional(member.name, schema::nullable(member.given)),
        });
        fields.closed()
    }

    /// The reply.
    pub fn reply(&self) -> Shape {
        let owner =
            schema::described(schema::string(), "The owner whose end has ended it; absent if it was ended itself");
        self.reply_fields().optional("ended_by", owner).open()
    }

    /// The reply with the secret, which is shown once.
    pub fn reply_with_secret(&self) -> Shape {
        self.fields_with_secret().open()
    }

    /// The reply with the secret and one more field.
    pub fn reply_with_secret_and(&self, name: &str, shape: Shape) -> Shape {
        self.fields_with_secret().required(name, shape).open()
    }

    fn fields_with_secret(&self) -> schema::Fields {
        let secret = schema::described(schema::string(), "Shown only once; a retried request does not have it");
        self.reply_fields().optional("secret", secret)
    }

    fn reply_fields(&self) -> schema::Fields {
        let fields = object().required("id", schema::id(self.prefix));
        let members = self.members.0.iter().cloned();
        let fields = members.fold(fields, |fields, member| match (member.shown, member.on_create) {
            (None, _) => fields,
            (Some(shown), OnCreate::Read) => fields.optional(member.name, shown),
            (Some(shown), OnCreate::Optional) => fields.required(member.name, schema::nullable(shown)),
            (Some(shown), OnCreate::Required | OnCreate::Defaults | OnCreate::Never) => {
                fields.required(member.name, shown)
            }
        });
        fields.required("created_at", schema::time()).required("ended_at", schema::nullable(schema::time()))
    }
}

#[cfg(test)]
mod tests {
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
        members().created(fields(body)).map(|given| json!(given)).map_err(|error| error.to_string())
    }

    fn changed(body: &Value) -> Result<Value, String> {
        members().changed(fields(body)).map(|given| json!(given)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_creation_has_what_is_required_and_what_stands_in_for_the_rest() {
        let least = json!({ "name": "a", "kind": "k", "weight": null, "note": null });
        assert_eq!(created(&least), Ok(json!({ "name": "a", "kind": "k", "weight": 1 })));
        let all = json!({ "name": "a", "kind": "k", "weight": 2.0, "rate": 3, "note": "n", "address": "x" });
        let given = json!({ "name": "a", "kind": "k", "weight": 2, "rate": 3, "note": "n", "address": "x" });
        assert_eq!(created(&all), Ok(given));
        for (body, refused) in [
            (json!({}), "name: is missing"),
            (json!({ "name": null }), "name: must be a string"),
            (json!({ "name": "long", "kind": 1 }), "name: must have at most 3 characters"),
            (json!({ "name": "a" }), "kind: is missing"),
            (json!({ "name": "a", "kind": "k", "is_set": true }), "is_set: is not a field of this"),
        ] {
            assert_eq!(created(&body), Err(refused.to_owned()));
        }
    }

    #[test]
    fn a_change_has_what_is_named_and_null_for_what_may_be_removed() {
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
            (json!({ "is_set": true }), "is_set: is not a field of this"),
        ] {
            assert_eq!(changed(&body), Err(refused.to_owned()));
        }
    }

    #[test]
    fn what_is_published_of_a_body_is_what_is_read_of_it() {
        let declared = Declaration { kind: StreamKind::Tenant, prefix: "ten_", members: members(), example: json!({}) };
        let names = |shape: Shape| -> Vec<String> {
            let properties = json!(shape)["properties"].take();
            properties.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(declared.creation()), ["address", "kind", "name", "note", "rate", "weight"]);
        assert_eq!(names(declared.change()), ["address", "name", "note", "rate", "weight"]);
        assert!(names(declared.reply()).contains(&"is_set".to_owned()));
    }
}
