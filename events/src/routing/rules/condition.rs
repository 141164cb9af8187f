//! The condition of a rule, in the Common Expression Language (<https://cel.dev>), without what could take long: loops and regular
//! expressions. So the work of one is at most a small multiple of its length.

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::common::types::{CelBool, CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Program, Value};

use super::ConditionSubject;
use crate::routing::{RequestFeatures, RequestType};

/// The longest condition.
pub const CONDITION_BYTES_MAX: usize = 1024;

/// The functions and methods that a condition may call, besides operators.
const FUNCTIONS: [&str; 4] = ["contains", "startsWith", "endsWith", "size"];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition that can be asked of requests.
#[derive(Clone, Debug)]
pub struct Condition(Arc<Program>);

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionError {
    TooLong,
    /// The place in the text, from line 1 and column 1, and what is wrong there.
    Syntax {
        line: usize,
        column: usize,
        message: String,
    },
    /// It asks for what no request has.
    UnknownName(String),
    UnknownFunction(String),
    /// `all`, `exists`, `map` or the like.
    Loop,
    /// What it computes from a request that has all features is no truth value.
    NotABool,
    /// It compares or adds what cannot be.
    TypeMismatch(String),
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "must have at most {CONDITION_BYTES_MAX} bytes"),
            Self::Syntax { line, column, message } => {
                write!(f, "is no expression of CEL: line {line}, column {column}: {message}")
            }
            Self::UnknownName(name) => {
                write!(f, "names {name}, which no request has: use {}", NAMES.join(", "))
            }
            Self::UnknownFunction(name) => {
                write!(
                    f,
                    "calls {name}, which conditions cannot: use operators, has(), {}",
                    FUNCTIONS.join("(), ") + "()"
                )
            }
            Self::Loop => f.write_str("has a loop, such as exists() or map(), which conditions cannot have"),
            Self::NotABool => f.write_str("must be true or false"),
            Self::TypeMismatch(message) => write!(f, "cannot be computed: {message}"),
        }
    }
}

/// What a condition can name, in the order of the documentation.
const NAMES: [&str; 12] = [
    "input_tokens", "language", "request_type", "complexity", "images", "documents", "tools", "structured_output",
    "streaming", "hour", "metadata", "tenant",
];

impl VariableResolver for ConditionSubject<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let features = self.features;
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
            "metadata" => return self.metadata_map(),
            "tenant" => {
                CowVal::owned(CelString::from(self.tenant.map_or_else(String::new, |tenant| tenant.to_string())))
            }
            _ => return None,
        })
    }
}

impl ConditionSubject<'_> {
    fn metadata_map(&self) -> Option<CowVal<'static, 'static>> {
        let map: std::collections::HashMap<String, Value> =
            self.metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        Box::<dyn Val>::try_from(Value::from(map)).ok().map(CowVal::Owned)
    }
}

impl Condition {
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(ConditionError::TooLong);
        }
        let program = Program::compile(text).map_err(|errors| syntax(&errors))?;
        must_be_bounded(program.expression())?;
        let references = program.references();
        let mut unknown: Vec<&str> = references.variables().into_iter().filter(|name| !NAMES.contains(name)).collect();
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            return Err(ConditionError::UnknownName((*name).to_owned()));
        }
        let condition = Self(Arc::new(program));
        condition.must_be_a_bool()?;
        Ok(condition)
    }

    /// Whether it is true of a request. What cannot be computed is not: metadata that the request does not have, above all.
    pub fn holds(&self, subject: &ConditionSubject<'_>) -> bool {
        self.value(subject) == Ok(Value::Bool(true))
    }

    fn value(&self, subject: &ConditionSubject<'_>) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(subject);
        self.0.execute(&context)
    }

    /// Tries it with a request, which finds most mistakes before a request meets them.
    fn must_be_a_bool(&self) -> Result<(), ConditionError> {
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
        let subject =
            ConditionSubject { features: &features, metadata: &std::collections::BTreeMap::new(), tenant: None };
        match self.value(&subject) {
            Ok(Value::Bool(_)) | Err(ExecutionError::NoSuchKey(_)) => Ok(()),
            Ok(_) => Err(ConditionError::NotABool),
            Err(error) => Err(ConditionError::TypeMismatch(error.to_string())),
        }
    }
}

fn syntax(errors: &cel::ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.first() else {
        return ConditionError::Syntax { line: 1, column: 1, message: "it is empty".to_owned() };
    };
    let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
    let message = first.msg.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect();
    ConditionError::Syntax { line: place(first.pos.0), column: place(first.pos.1), message }
}

/// The longest message of the parser that is shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// Refuses loops, and functions that are not known to be fast. The parser has bounded how deep an expression is.
fn must_be_bounded(expression: &IdedExpr) -> Result<(), ConditionError> {
    let all = |expressions: &[IdedExpr]| expressions.iter().try_for_each(must_be_bounded);
    match &expression.expr {
        Expr::Comprehension(_) => Err(ConditionError::Loop),
        Expr::Call(call) => {
            let is_operator = !call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
            if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(ConditionError::UnknownFunction(call.func_name.clone()));
            }
            call.target.as_deref().map_or(Ok(()), must_be_bounded)?;
            all(&call.args)
        }
        Expr::List(list) => all(&list.elements),
        Expr::Select(select) => must_be_bounded(&select.operand),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| entry_must_be_bounded(&entry.expr)),
        Expr::Struct(_) => Err(ConditionError::UnknownFunction("a message".to_owned())),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
    }
}

fn entry_must_be_bounded(entry: &EntryExpr) -> Result<(), ConditionError> {
    match entry {
        EntryExpr::MapEntry(entry) => must_be_bounded(&entry.key).and_then(|()| must_be_bounded(&entry.value)),
        EntryExpr::StructField(field) => must_be_bounded(&field.value),
    }
}
