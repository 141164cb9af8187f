//! The fields of a resource, declared once: the body that creates it, the body that changes it, and the reply follow.

use serde_json::Value;

use crate::schema::{self, Fields, Shape, object};

/// The declaration of a resource.
pub struct Form {
    /// `rate_limit`.
    pub kind: &'static str,
    /// Prefix of its ids.
    pub prefix: &'static str,
    pub members: Vec<Member>,
    /// An example of a body that creates one.
    pub example: Value,
}

/// One field.
#[derive(Clone)]
pub struct Member {
    name: &'static str,
    given: Shape,
    shown: Option<Shape>,
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
pub fn required(name: &'static str, shape: Shape) -> Member {
    let shown = Some(shape.clone());
    Member { name, given: shape, shown, on_create: OnCreate::Required, on_change: OnChange::Set }
}

/// A field with a default; it can be changed, not removed. `null` as the default means that it depends.
pub fn defaulting(name: &'static str, shape: Shape, default: Value) -> Member {
    let shape = if default.is_null() { shape } else { schema::defaulting(shape, default) };
    Member { on_create: OnCreate::Defaults, ..required(name, shape) }
}

/// An optional field, which can be changed and removed.
pub fn optional(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::Optional, on_change: OnChange::Removed, ..required(name, shape) }
}

/// A field of replies only: it cannot be given.
pub fn replied(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::Never, on_change: OnChange::Fixed, ..required(name, shape) }
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
}

impl Form {
    /// Name of the reply's schema: `RateLimit`.
    pub fn name(&self) -> String {
        schema_name(self.kind)
    }

    /// For people: `rate limit`.
    pub fn words(&self) -> String {
        self.kind.replace('_', " ")
    }

    /// Names of the fields that a body may have when it creates the resource.
    pub fn names_on_creation(&self) -> impl Iterator<Item = &'static str> {
        let given = self.members.iter().filter(|member| !matches!(member.on_create, OnCreate::Never | OnCreate::Read));
        given.map(|member| member.name)
    }

    /// The body that creates the resource.
    pub fn creation(&self) -> Shape {
        let fields = self.members.iter().cloned().fold(object(), |fields, member| match member.on_create {
            OnCreate::Required => fields.required(member.name, member.given),
            OnCreate::Defaults | OnCreate::Optional => fields.optional(member.name, schema::nullable(member.given)),
            OnCreate::Never | OnCreate::Read => fields,
        });
        fields.closed()
    }

    /// The body that changes it.
    pub fn change(&self) -> Shape {
        let fields = self.members.iter().cloned().fold(object(), |fields, member| match member.on_change {
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

    fn fields_with_secret(&self) -> Fields {
        let secret = schema::described(schema::string(), "Shown only once; a retried request does not have it");
        self.reply_fields().optional("secret", secret)
    }

    fn reply_fields(&self) -> Fields {
        let fields = object().required("id", schema::id(self.prefix));
        let fields =
            self.members.iter().cloned().fold(fields, |fields, member| match (member.shown, member.on_create) {
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

/// Name of the schema of a kind's replies: `RateLimit` for `rate_limit`.
pub fn schema_name(kind: &str) -> String {
    let words = kind.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}
