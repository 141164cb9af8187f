//! The fields of an administered resource: said once, they make the body that creates it, the one that changes it, and
//! the reply.

use serde_json::Value;

use crate::schema::{self, Fields, Shape, object};

/// What there is to say of a resource.
pub struct Form {
    /// `rate_limit`.
    pub kind: &'static str,
    /// Of its id.
    pub prefix: &'static str,
    pub members: Vec<Member>,
    /// A body that creates one.
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

/// A field that has to be there, and may be changed.
pub fn required(name: &'static str, shape: Shape) -> Member {
    let shown = Some(shape.clone());
    Member { name, given: shape, shown, on_create: OnCreate::Required, on_change: OnChange::Set }
}

/// One that something stands in for; it may be changed, not removed. `null` as a default: it depends.
pub fn defaulting(name: &'static str, shape: Shape, default: Value) -> Member {
    let shape = if default.is_null() { shape } else { schema::defaulting(shape, default) };
    Member { on_create: OnCreate::Defaults, ..required(name, shape) }
}

/// One that may be absent, and may be changed and removed.
pub fn optional(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::Optional, on_change: OnChange::Removed, ..required(name, shape) }
}

/// One that only replies have: it cannot be given.
pub fn replied(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::Never, on_change: OnChange::Fixed, ..required(name, shape) }
}

/// One that is there where the resource is read, and can neither be given nor is answered to a change.
pub fn read(name: &'static str, shape: Shape) -> Member {
    Member { on_create: OnCreate::Read, ..replied(name, shape) }
}

impl Member {
    /// Set once.
    #[must_use]
    pub fn fixed(self) -> Self {
        Self { on_change: OnChange::Fixed, ..self }
    }

    /// Cannot be removed.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { on_change: OnChange::Set, ..self }
    }

    /// `null` in a change puts back what stands in for it.
    #[must_use]
    pub fn reset_by_null(self) -> Self {
        Self { on_change: OnChange::Removed, ..self }
    }

    /// Replies have it in another form.
    #[must_use]
    pub fn shown_as(self, shape: Shape) -> Self {
        Self { shown: Some(shape), ..self }
    }

    /// No reply has it.
    #[must_use]
    pub fn hidden(self) -> Self {
        Self { shown: None, ..self }
    }

    /// What it means.
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

    /// Names of the fields that a body which creates the resource can have.
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
        let owner = schema::described(schema::string(), "Whose end has ended it; absent where it ended by itself");
        self.reply_fields().optional("ended_by", owner).open()
    }

    /// The reply that has, once, the secret.
    pub fn reply_with_secret(&self) -> Shape {
        self.fields_with_secret().open()
    }

    /// The same with one more field, which it always has.
    pub fn reply_with_secret_and(&self, name: &str, shape: Shape) -> Shape {
        self.fields_with_secret().required(name, shape).open()
    }

    fn fields_with_secret(&self) -> Fields {
        let secret = schema::described(schema::string(), "Shown this once; a retried request has none");
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
