//! The vocabulary of schemas: money, ids and times look the same everywhere.

use events::abilities::Ability;
use events::named::NamedValue;
use serde_json::Value;
use utoipa::Number;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};

/// A schema, or a reference to one.
pub type Shape = RefOr<Schema>;

/// The largest integer that is exact for parsers that read every number as a double.
const WHOLE_MAX: u64 = 9_007_199_254_740_991;

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// A text that is not empty, has no control character and at most `len_max` characters.
pub fn text(len_max: usize) -> Shape {
    let visible = r"[^\u0000-\u001f\u007f-\u009f]";
    let pattern = format!(r"^{visible}*[^\s\u0000-\u001f\u007f-\u009f]{visible}*$");
    of(Type::String).min_length(Some(1)).max_length(Some(len_max)).pattern(Some(pattern)).into()
}

/// A text of at most `len_max` characters, which may be empty and have several lines.
pub fn prose(len_max: usize) -> Shape {
    of(Type::String).max_length(Some(len_max)).into()
}

/// A text of `len_min` to `len_max` characters.
pub fn sized(len_min: usize, len_max: usize) -> Shape {
    of(Type::String).min_length(Some(len_min)).max_length(Some(len_max)).into()
}

/// A query parameter: at most 6 KiB, without U+0000.
pub fn parameter() -> Shape {
    of(Type::String).max_length(Some(6144)).pattern(Some(r"^[^\u0000]*$")).into()
}

pub fn string() -> Shape {
    of(Type::String).into()
}

/// A string that matches a regular expression.
pub fn formed(pattern: &str) -> Shape {
    of(Type::String).pattern(Some(pattern)).into()
}

/// A string of at most `len_max` characters that matches a regular expression.
pub fn formed_within(len_max: usize, pattern: &str) -> Shape {
    of(Type::String).max_length(Some(len_max)).pattern(Some(pattern)).into()
}

/// An id, by its prefix: `key_` and 32 hexadecimal digits.
pub fn id(prefix: &str) -> Shape {
    formed(&format!("^{prefix}[0-9a-f]{{32}}$"))
}

/// The format of a model at a provider.
pub const BACKEND_FORMAT: &str = "backend";
/// The format of a condition in the Common Expression Language.
pub const CONDITION_FORMAT: &str = "cel";

/// A model at a provider, as `provider_id/model`: the id by its prefix.
pub fn backend(prefix: &str, len_max: usize) -> Shape {
    let pattern = format!(r"^{prefix}[0-9a-f]{{32}}/[^\u0000-\u001f\u007f-\u009f]+$");
    of_format(BACKEND_FORMAT, formed_within(len_max, &pattern))
}

/// A condition of at most `len_max` characters.
pub fn condition(len_max: usize) -> Shape {
    of_format(CONDITION_FORMAT, text(len_max))
}

fn of_format(format: &str, shape: Shape) -> Shape {
    match shape {
        RefOr::T(Schema::Object(mut object)) => {
            object.format = Some(SchemaFormat::Custom(format.to_owned()));
            object.into()
        }
        other => other,
    }
}

/// Money in requests: US dollars with up to nine fractional digits.
pub fn amount() -> Shape {
    described(formed(r"^[0-9]{1,10}(\.[0-9]{1,9})?$"), "US dollars as a decimal string, at most 9223372036.854775807")
}

/// Money in responses: US dollars with exactly nine fractional digits, negative only as a correction.
pub fn money() -> Shape {
    described(formed(r"^-?[0-9]+\.[0-9]{9}$"), "US dollars with nine fractional digits")
}

/// An http or https address.
pub fn url(len_max: usize) -> Shape {
    formed_within(len_max, r"^[hH][tT][tT][pP][sS]?://[^\s\u0000-\u001f\u007f-\u009f?#@]+$")
}

/// An RFC 3339 time; in responses in UTC with microseconds.
pub fn time() -> Shape {
    of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
}

/// A calendar day, `2026-11-20`.
pub fn date() -> Shape {
    of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))).into()
}

/// A whole number within the range.
pub fn whole(min: u64, max: u64) -> Shape {
    of(Type::Integer).minimum(Some(Number::UInt(to_usize(min)))).maximum(Some(Number::UInt(to_usize(max)))).into()
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A number of things, or a position of the log.
pub fn count() -> Shape {
    whole(0, WHOLE_MAX)
}

/// A sum of counts: a whole number of any size.
pub fn sum() -> Shape {
    of(Type::Integer).minimum(Some(Number::UInt(0))).into()
}

/// Any JSON number, negative ones and fractions included.
pub fn number() -> Shape {
    of(Type::Number).into()
}

pub fn boolean() -> Shape {
    of(Type::Boolean).into()
}

/// One of these strings.
pub fn one_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Shape {
    of(Type::String).enum_values(Some(values)).into()
}

/// One of the names in a table of names and values.
pub fn one_of_names<T>(values: &[NamedValue<T>]) -> Shape {
    one_of(values.iter().map(|named| named.name))
}

/// Any JSON.
pub fn any() -> Shape {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).into()
}

pub fn list(item: Shape, len_max: Option<usize>) -> Shape {
    ArrayBuilder::new().items(item).max_items(len_max).into()
}

/// A list that has at least one item.
pub fn filled_list(item: Shape, len_max: Option<usize>) -> Shape {
    ArrayBuilder::new().items(item).min_items(Some(1)).max_items(len_max).into()
}

/// An object with any field names.
pub fn map(value: Shape, len_max: Option<usize>) -> Shape {
    of(Type::Object).additional_properties(Some(value)).max_properties(len_max).into()
}

/// An object with any field names of at most `name_len_max` characters.
pub fn map_named(name_len_max: usize, value: Shape, len_max: Option<usize>) -> Shape {
    let names = of(Type::String).max_length(Some(name_len_max));
    of(Type::Object).additional_properties(Some(value)).property_names(Some(names)).max_properties(len_max).into()
}

/// One server-sent event.
pub fn event() -> Shape {
    let named = object().required("data", string()).optional("event", string());
    named.optional("id", string()).optional("retry", count()).open()
}

/// One of several schemas.
pub fn either(forms: impl IntoIterator<Item = Shape>) -> Shape {
    forms.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item).into()
}

/// One of several schemas, or more than one at once.
pub fn any_of(forms: impl IntoIterator<Item = Shape>) -> Shape {
    forms.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
}

/// Why a target was left out, or `null`: a word, or the abilities that it lacks.
pub fn left_out() -> Shape {
    let lacked = object().optional("ability", list(one_of(Ability::words()), None)).open();
    either([nullable(string()), lacked])
}

/// A reference to a schema of the document.
pub fn reference(name: &str) -> Shape {
    Ref::from_schema_name(name).into()
}

/// The schema, or `null`.
pub fn nullable(shape: Shape) -> Shape {
    match shape {
        RefOr::T(Schema::Object(mut object)) => match object.schema_type {
            SchemaType::Type(kind) => {
                object.schema_type = SchemaType::Array(vec![kind, Type::Null]);
                object.enum_values = object.enum_values.map(|mut values| {
                    values.push(Value::Null);
                    values
                });
                object.into()
            }
            SchemaType::Array(_) | SchemaType::AnyValue => object.into(),
        },
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = SchemaType::Array(vec![Type::Array, Type::Null]);
            array.into()
        }
        other => either([other, of(Type::Null).into()]),
    }
}

/// The schema with a description.
pub fn described(shape: Shape, description: &str) -> Shape {
    match shape {
        RefOr::Ref(mut reference) => {
            description.clone_into(&mut reference.description);
            RefOr::Ref(reference)
        }
        RefOr::T(mut schema) => {
            let said = Some(description.to_owned());
            match &mut schema {
                Schema::Object(object) => object.description = said,
                Schema::Array(array) => array.description = said,
                Schema::OneOf(one_of) => one_of.description = said,
                Schema::AllOf(all_of) => all_of.description = said,
                Schema::AnyOf(any_of) => any_of.description = said,
                _ => {}
            }
            RefOr::T(schema)
        }
    }
}

/// The schema with a default.
pub fn defaulting(shape: Shape, default: Value) -> Shape {
    match shape {
        RefOr::T(Schema::Object(mut object)) => {
            object.default = Some(default);
            object.into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.default = Some(default);
            array.into()
        }
        other => other,
    }
}

/// An object with known fields. Those of requests are closed: other fields are refused. Those of responses are open, so that
/// fields can be added.
#[must_use]
pub struct Fields {
    object: ObjectBuilder,
}

pub fn object() -> Fields {
    Fields { object: of(Type::Object) }
}

impl Fields {
    pub fn required(self, name: &str, shape: Shape) -> Self {
        Self { object: self.object.property(name, shape).required(name) }
    }

    /// Required fields of one shape.
    pub fn required_each<const N: usize>(self, names: [&str; N], shape: Shape) -> Self {
        names.into_iter().fold(self, |fields, name| fields.required(name, shape.clone()))
    }

    pub fn optional(self, name: &str, shape: Shape) -> Self {
        Self { object: self.object.property(name, shape) }
    }

    /// A required field with a description.
    pub fn required_as(self, name: &str, shape: Shape, description: &str) -> Self {
        self.required(name, described(shape, description))
    }

    pub fn optional_as(self, name: &str, shape: Shape, description: &str) -> Self {
        self.optional(name, described(shape, description))
    }

    /// The object without other fields.
    pub fn closed(self) -> Shape {
        self.object.additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
    }

    /// The object with exactly one of the fields.
    pub fn exactly_one(self) -> Shape {
        let object = self.object.additional_properties(Some(AdditionalProperties::FreeForm(false)));
        object.min_properties(Some(1)).max_properties(Some(1)).into()
    }

    /// The object, which has one to `len_max` fields, and whose other fields are all of this form.
    pub fn filled_with_others(self, value: Shape, len_max: usize) -> Shape {
        self.object.additional_properties(Some(value)).min_properties(Some(1)).max_properties(Some(len_max)).into()
    }

    /// The object, which may have other fields.
    pub fn open(self) -> Shape {
        self.object.additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
    }
}

/// Name of the schema of a kind's replies: `RateLimit` for `rate_limit`.
pub fn resource_name(kind: &str) -> String {
    let words = kind.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}
