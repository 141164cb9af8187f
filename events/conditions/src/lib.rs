//! The conditions of routing rules, in the Common Expression Language (<https://cel.dev>), without what could take long: loops, regular
//! expressions, additions, which could make texts and lists longer and longer, and metadata as a whole, which would be copied. So the
//! work of one is at most a small multiple of its length.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Program, Value};
use events::routing::{ConditionSubject, Conditions, RequestFeatures, RequestType, RoutingRule};

/// The longest condition.
pub const CONDITION_BYTES_MAX: usize = 1024;

/// The functions and methods that a condition may call, besides operators.
const FUNCTIONS: [&str; 4] = ["contains", "startsWith", "endsWith", "size"];
/// CEL's names of `+`, `in` and `[]`.
const ADDITION: &str = "_+_";
const MEMBERSHIP: &str = "@in";
const INDEX: &str = "_[_]";
const METADATA: &str = "metadata";
/// The longest message of the parser that is shown.
const MESSAGE_CHARS_MAX: usize = 200;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition that can be asked of requests.
#[derive(Clone, Debug)]
pub struct Condition(Arc<Program>);

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    #[error("must have at most {CONDITION_BYTES_MAX} bytes")]
    TooLong,
    /// The place in the text, from line 1 and column 1, and what is wrong there.
    #[error("is no expression of CEL: line {line}, column {column}: {message}")]
    Syntax { line: usize, column: usize, message: String },
    /// The condition names a variable that no request has.
    #[error("names {0}, which no request has: use {names}", names = NAMES.join(", "))]
    UnknownName(String),
    #[error(
        "calls {0}, which conditions cannot: use operators, has(), {functions}()",
        functions = FUNCTIONS.join("(), ")
    )]
    UnknownFunction(String),
    /// `all`, `exists`, `map` or the like.
    #[error("has a loop, such as exists() or map(), which conditions cannot have")]
    Loop,
    #[error("has an addition, which conditions cannot have: compare instead")]
    Addition,
    /// A list that is not to the right of `in`, a map, or a message.
    #[error("has a list that is not to the right of in, a map or a message, which conditions cannot have")]
    Collection,
    /// Metadata otherwise than by name.
    #[error("must ask for metadata by name, as in metadata.team or has(metadata.team)")]
    WholeMetadata,
    /// The result for a request that has all features is no truth value.
    #[error("must be true or false, as input_tokens > 4000 is")]
    NotABool,
    /// The condition compares or calls values of types that it cannot.
    #[error("cannot be computed for a request of 1,000 tokens without images, documents or tools: {0}")]
    TypeMismatch(String),
}

/// The names that a condition can use, in the order of the documentation.
const NAMES: [&str; 12] = [
    "input_tokens", "language", "request_type", "complexity", "images", "documents", "tools", "structured_output",
    "streaming", "hour", METADATA, "tenant",
];

/// A request as conditions see it: its metadata is converted once for all of them.
struct Variables<'a> {
    subject: &'a ConditionSubject<'a>,
    tenant: String,
    metadata: Option<Box<dyn Val>>,
}

impl<'a> Variables<'a> {
    fn of(subject: &'a ConditionSubject<'a>) -> Self {
        let texts = subject.metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let metadata = Box::<dyn Val>::try_from(Value::from(texts.collect::<HashMap<String, Value>>()));
        let tenant = subject.tenant.map_or_else(String::new, |tenant| tenant.to_string());
        Self { subject, tenant, metadata: metadata.ok() }
    }
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let features = self.subject.features;
        let whole = |number: u64| CowVal::owned(CelInt::from(i64::try_from(number).unwrap_or(i64::MAX)));
        let truth = |value: bool| CowVal::owned(CelBool::from(value));
        Some(match name {
            "input_tokens" => whole(features.input_tokens),
            "language" => CowVal::owned(CelString::from(features.language.as_str())),
            "request_type" => CowVal::owned(CelString::from(features.request_type.as_str())),
            "complexity" => whole(features.complexity),
            "images" => whole(features.images),
            "documents" => whole(features.documents),
            "tools" => truth(features.tools),
            "structured_output" => truth(features.structured_output),
            "streaming" => truth(features.streaming),
            "hour" => whole(features.hour),
            METADATA => CowVal::Borrowed(self.metadata.as_deref()?),
            "tenant" => CowVal::owned(CelString::from(self.tenant.as_str())),
            _ => return None,
        })
    }
}

/// The conditions of a model's rules.
#[derive(Debug)]
struct Compiled {
    /// `None` for one that this version cannot read: it never holds.
    conditions: Vec<Option<Condition>>,
}

/// Compiles the conditions of rules.
pub fn compile(rules: &[RoutingRule]) -> Arc<dyn Conditions> {
    Arc::new(Compiled { conditions: rules.iter().map(|rule| Condition::compile(&rule.when).ok()).collect() })
}

impl Conditions for Compiled {
    fn first_that_holds(&self, subject: &ConditionSubject<'_>) -> Option<usize> {
        let variables = Variables::of(subject);
        let holds =
            |condition: &Option<Condition>| condition.as_ref().is_some_and(|condition| condition.holds(&variables));
        self.conditions.iter().position(holds)
    }
}

impl Condition {
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(ConditionError::TooLong);
        }
        let program = Program::compile(text).map_err(|errors| syntax(&errors))?;
        let mut metadata = BTreeMap::new();
        must_be_bounded(program.expression(), &mut metadata)?;
        let condition = Self(Arc::new(program));
        // Without metadata, and with all that it asks for: each of the two finds what the other one does not reach.
        condition.must_be_a_bool(&BTreeMap::new())?;
        condition.must_be_a_bool(&metadata)?;
        Ok(condition)
    }

    /// Whether it is true of a request. What cannot be computed is not: metadata that the request does not have, above all.
    fn holds(&self, variables: &Variables<'_>) -> bool {
        self.value(variables) == Ok(Value::Bool(true))
    }

    fn value(&self, variables: &Variables<'_>) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(variables);
        self.0.execute(&context)
    }

    /// Tries it with a request, which finds most mistakes before a request meets them.
    fn must_be_a_bool(&self, metadata: &BTreeMap<String, String>) -> Result<(), ConditionError> {
        let features = RequestFeatures {
            input_tokens: 1000,
            language: "en".to_owned(),
            request_type: RequestType::Chat,
            complexity: 50,
            images: 0,
            documents: 0,
            tools: false,
            structured_output: false,
            streaming: false,
            hour: 12,
        };
        let subject = ConditionSubject { features: &features, metadata, tenant: None };
        match self.value(&Variables::of(&subject)) {
            Ok(Value::Bool(_)) | Err(ExecutionError::NoSuchKey(_)) => Ok(()),
            Ok(_) => Err(ConditionError::NotABool),
            Err(error) => Err(ConditionError::TypeMismatch(bounded(&error.to_string()))),
        }
    }
}

fn syntax(errors: &cel::ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.first() else {
        return ConditionError::Syntax { line: 1, column: 1, message: "it is empty".to_owned() };
    };
    let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
    // What the parser says of nesting is the text of its own types.
    let is_of_its_types = first.msg.contains("ParseError {");
    let message = if is_of_its_types { "it is nested too deeply".to_owned() } else { bounded(&first.msg) };
    ConditionError::Syntax { line: place(first.pos.0), column: place(first.pos.1), message }
}

fn bounded(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Refuses what could take long, and names that no request has. Notes the metadata that is asked for. The parser has bounded how deep
/// an expression is.
fn must_be_bounded(expression: &IdedExpr, metadata: &mut BTreeMap<String, String>) -> Result<(), ConditionError> {
    match &expression.expr {
        Expr::Comprehension(_) => Err(ConditionError::Loop),
        Expr::Call(call) => {
            let is_operator = !call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
            if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(ConditionError::UnknownFunction(call.func_name.clone()));
            }
            match (call.func_name.as_str(), &*call.args) {
                (ADDITION, _) => return Err(ConditionError::Addition),
                (MEMBERSHIP, [item, of]) => {
                    must_be_bounded(item, metadata)?;
                    return match &of.expr {
                        Expr::List(list) => all_must_be_bounded(&list.elements, metadata),
                        _ if is_metadata(of) => Ok(()),
                        _ => must_be_bounded(of, metadata),
                    };
                }
                (INDEX, [of, name]) if is_metadata(of) => {
                    if let Expr::Literal(LiteralValue::String(name)) = &name.expr {
                        metadata.insert(name.inner().to_owned(), "x".to_owned());
                    }
                    return must_be_bounded(name, metadata);
                }
                _ => {}
            }
            call.target.as_deref().map_or(Ok(()), |target| must_be_bounded(target, metadata))?;
            all_must_be_bounded(&call.args, metadata)
        }
        Expr::Select(select) if is_metadata(&select.operand) => {
            metadata.insert(select.field.clone(), "x".to_owned());
            Ok(())
        }
        Expr::Select(select) => must_be_bounded(&select.operand, metadata),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => Err(ConditionError::Collection),
        Expr::Ident(name) if name == METADATA => Err(ConditionError::WholeMetadata),
        Expr::Ident(name) if !NAMES.contains(&name.as_str()) => Err(ConditionError::UnknownName(name.clone())),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
    }
}

fn all_must_be_bounded(
    expressions: &[IdedExpr],
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), ConditionError> {
    expressions.iter().try_for_each(|expression| must_be_bounded(expression, metadata))
}

fn is_metadata(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == METADATA)
}

#[cfg(test)]
mod tests;
