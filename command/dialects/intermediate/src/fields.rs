//! Reads the members of a JSON object by name. Refusals name the JSON path of the value that is wrong.

use std::borrow::Cow;
use std::fmt;

use events::nearest_name::did_you_mean;
use events::refusal::Refusal;

use super::json::{self, JsonFault, Kind, Member};
use super::{other_gateways, work};

const UNKNOWN_FIELD: &str = "unknown field";

/// The path of a value: `messages[0].content[2].type`.
#[derive(Clone, Copy)]
pub enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Element(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub const fn field(&'p self, name: &'p str) -> Self {
        Self::Field(self, name)
    }

    pub const fn element(&'p self, index: usize) -> Self {
        Self::Element(self, index)
    }

    /// A 400 that names this path.
    pub fn refuse(&self, reason: impl Into<String>) -> Refusal {
        match self {
            Self::Root => Refusal::invalid("", format!("the body {}", reason.into())),
            Self::Field(..) | Self::Element(..) => Refusal::invalid(self.to_string(), reason),
        }
    }

    /// A 400 for text that is not JSON, is nested too deep, or contains U+0000.
    pub fn fault(&self, fault: JsonFault) -> Refusal {
        self.refuse(fault.to_string())
    }
}

/// Shows at most 100 characters of a name, because clients choose names of any length.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => write!(f, "{name:.100}"),
            Self::Field(parent, name) => write!(f, "{parent}.{name:.100}"),
            Self::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The members of one object that have not been read yet. Null counts as absent.
pub struct Fields<'a, 'p> {
    path: &'p Path<'p>,
    unread: Vec<Option<Member<'a>>>,
}

impl<'a, 'p> Fields<'a, 'p> {
    /// Errors: not an object, a name twice or not ASCII, more than 256 members.
    pub fn read(text: &'a str, path: &'p Path<'p>) -> Result<Self, Refusal> {
        let unread = members(text, path)?.into_iter().map(Some).collect();
        Ok(Self { path, unread })
    }

    pub const fn path(&self) -> &'p Path<'p> {
        self.path
    }

    /// Takes a member's value as JSON text; `None` if absent or null.
    pub fn raw(&mut self, name: &str) -> Option<&'a str> {
        #[cfg(debug_assertions)]
        reads::record(&self.path.field(name));
        let has_name = |slot: &&mut Option<Member<'a>>| slot.as_ref().is_some_and(|member| member.name() == name);
        let member = self.unread.iter_mut().find(has_name)?.take()?;
        (json::kind(member.value) != Kind::Null).then_some(member.value)
    }

    pub fn string(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.raw(name).map(|value| string(value, &self.path.field(name))).transpose()
    }

    pub fn required_string(&mut self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        self.string(name)?.ok_or_else(|| self.path.field(name).refuse("is required"))
    }

    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        self.raw(name).map(|value| boolean(value, &self.path.field(name))).transpose()
    }

    /// A number as JSON text.
    pub fn number(&mut self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.raw(name) {
            Some(value) if json::kind(value) != Kind::Number => Err(self.path.field(name).refuse("must be a number")),
            value => Ok(value),
        }
    }

    /// A whole number from 1 to `max`.
    pub fn count(&mut self, name: &str, max: u64) -> Result<Option<u64>, Refusal> {
        self.raw(name).map(|value| count(value, max, &self.path.field(name))).transpose()
    }

    /// Reads the elements of an array as [`list`] does; none if it is absent.
    pub fn list<T>(
        &mut self,
        name: &str,
        max: LengthMax,
        each: impl FnMut(&'a str, &Path<'_>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        self.raw(name).map_or_else(|| Ok(Vec::new()), |value| list(value, &self.path.field(name), max, each))
    }

    /// The members that have not been read.
    pub fn unread(&self) -> impl Iterator<Item = &Member<'a>> {
        self.unread.iter().flatten()
    }

    /// Refuses misspelled names of unread members; see [`refuse_misspelled`].
    pub fn refuse_misspelled<'k>(
        &self,
        known: impl IntoIterator<Item = &'k str, IntoIter: Clone>,
    ) -> Result<(), Refusal> {
        let known = known.into_iter();
        self.unread().try_for_each(|member| refuse_misspelled(member.name(), known.clone(), self.path))
    }

    /// Refuses the first unread member by name.
    pub fn finish(self) -> Result<(), Refusal> {
        match self.unread().next() {
            Some(member) => {
                let reason = self.instead_of(member.name()).map(|advice| format!("{UNKNOWN_FIELD}: {advice}"));
                Err(self.path.field(member.name()).refuse(reason.unwrap_or_else(|| UNKNOWN_FIELD.to_owned())))
            }
            None => Ok(()),
        }
    }

    /// Refuses the first unread member that is neither among `names` nor empty, with its reason if `refused` has one.
    pub fn refuse_lost(&self, names: &[&str], refused: &[RefusedField]) -> Result<(), Refusal> {
        let is_lost = |name: &str, value: &str| !names.contains(&name) && !is_empty(value);
        let Some(lost) = self.unread().find(|member| is_lost(member.name(), member.value)) else { return Ok(()) };
        let name = lost.name();
        let reason = refused.iter().find(|known| known.name == name).map(|known| known.reason.to_owned());
        let unknown = || match self.instead_of(name) {
            Some(advice) => format!("{UNKNOWN_FIELD}: {advice}"),
            None => format!("{UNKNOWN_FIELD}{}", did_you_mean(name, names.iter().copied())),
        };
        Err(self.path.field(name).refuse(reason.unwrap_or_else(unknown)))
    }

    /// Returns advice for a field of the body that other gateways have.
    fn instead_of(&self, name: &str) -> Option<&'static str> {
        other_gateways::in_place_of(name).filter(|_| matches!(self.path, Path::Root))
    }

    /// Refuses the first member whose name is not among `names`, all of which the caller then reads. Call it before
    /// required members are read: one that seems missing may be there under a wrong name. `other_apis`: other APIs'
    /// names for some of them. A field of the body that other gateways have gets advice in place of a spelling
    /// suggestion.
    pub fn refuse_unknown(self, names: &[&str], other_apis: &[ForeignField]) -> Result<Self, Refusal> {
        let Some(member) = self.unread().find(|member| !names.contains(&member.name())) else { return Ok(self) };
        let name = member.name();
        let here = other_apis.iter().find(|other| other.name == name).map(|other| format!("use {}", other.here));
        let instead = || self.instead_of(name).map(str::to_owned);
        let reason = match here.or_else(instead) {
            Some(advice) => format!("{UNKNOWN_FIELD}: {advice}"),
            None => format!("{UNKNOWN_FIELD}{}", did_you_mean(name, names.iter().copied())),
        };
        Err(self.path.field(name).refuse(reason))
    }
}

/// Empty values, besides null and false.
pub const EMPTY: &[&str] = &["[]", "{}", r#""""#];

/// True for null, false and empty values, with which a field says nothing.
pub fn is_empty(value: &str) -> bool {
    json::kind(value) == Kind::Null || value == "false" || EMPTY.contains(&value)
}

/// The members of a body. Errors: those of [`members`], and a body that is not JSON.
pub fn top_level(text: &str) -> Result<Vec<Member<'_>>, Refusal> {
    let start = text.trim_ascii_start();
    if !start.is_empty() && json::kind(start) != Kind::Object {
        json::check(text).map_err(|fault| Path::Root.fault(fault))?;
    }
    members(text, &Path::Root)
}

/// The members of an object that is read by name. Errors: not an object, a name twice or not ASCII, more than 256
/// members.
pub fn members<'a>(text: &'a str, path: &Path<'_>) -> Result<Vec<Member<'a>>, Refusal> {
    // A request body may begin with white space.
    if json::kind(text.trim_ascii_start()) != Kind::Object {
        return Err(path.refuse("must be an object"));
    }
    let mut members = Vec::with_capacity(8);
    for member in json::known_members(text) {
        let member = member.map_err(|fault| path.fault(fault))?;
        // No API has a field whose name is not ASCII. Servers that ignore case take some letters for ASCII: the long s,
        // the Kelvin sign.
        if !member.name().is_ascii() {
            return Err(path.field(member.name()).refuse("has a name that is not ASCII"));
        }
        members.push(member);
    }
    match repeated_name(&members) {
        Some(name) => Err(path.field(name).refuse("is given twice")),
        None => Ok(members),
    }
}

/// Refuses a name that differs from a known one only in case, underscores or hyphens. A server that ignores those would
/// take it for the known field.
pub fn refuse_misspelled<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str, IntoIter: Clone>,
    path: &Path<'_>,
) -> Result<(), Refusal> {
    let mut known = known.into_iter();
    // Fast path: most names are spelled correctly.
    if known.clone().any(|known| known == name) {
        return Ok(());
    }
    let Some(spelling) = Spelling::of(name) else { return Ok(()) };
    match known.find(|known| spelling.matches(known)) {
        Some(known) => Err(path.field(name).refuse(format!("unknown field; did you mean {known}?"))),
        None => Ok(()),
    }
}

/// A name without case, underscores and hyphens, as lenient servers read it. It is normalised once, however many names
/// it is compared with.
pub struct Spelling {
    letters: [u8; Self::LETTERS_MAX],
    len: usize,
}

impl Spelling {
    /// Letters of the longest known name, at least.
    const LETTERS_MAX: usize = 64;

    /// `None` for a name that is longer than every known one.
    pub fn of(name: &str) -> Option<Self> {
        work::steps(name.len());
        let mut spelling = Self { letters: [0; Self::LETTERS_MAX], len: 0 };
        for letter in letters(name) {
            *spelling.letters.get_mut(spelling.len)? = letter;
            spelling.len += 1;
        }
        Some(spelling)
    }

    pub fn matches(&self, known: &str) -> bool {
        letters(known).eq(self.letters.iter().take(self.len).copied())
    }
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase())
}

fn repeated_name<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    /// Most objects have few members: comparing each pair is faster than sorting.
    const FEW: usize = 12;
    if members.len() <= FEW {
        let is_repeated = |(at, member): &(usize, &Member<'_>)| {
            members.iter().take(*at).any(|earlier| earlier.name() == member.name())
        };
        return members.iter().enumerate().find(is_repeated).map(|(_, member)| member.name());
    }
    let mut names: Vec<&str> = members.iter().map(Member::name).collect();
    names.sort_unstable();
    names.array_windows().find(|[one, next]| one == next).map(|[one, _]| *one)
}

/// A whole number from 1 to `max`; fractions, exponents and strings are refused.
pub fn count(value: &str, max: u64, path: &Path<'_>) -> Result<u64, Refusal> {
    json::integer(value)
        .filter(|count| (1..=max).contains(count))
        .ok_or_else(|| path.refuse(format!("must be a whole number from 1 to {max}")))
}

pub fn boolean(value: &str, path: &Path<'_>) -> Result<bool, Refusal> {
    json::boolean(value).ok_or_else(|| path.refuse("must be true or false"))
}

pub fn string<'a>(value: &'a str, path: &Path<'_>) -> Result<Cow<'a, str>, Refusal> {
    if json::kind(value) != Kind::String {
        return Err(path.refuse("must be a string"));
    }
    json::string(value).ok_or_else(|| path.refuse("contains an unpaired surrogate"))
}

/// A field of an API that the gateway refuses, and why.
pub struct RefusedField {
    pub name: &'static str,
    pub reason: &'static str,
}

/// A field of another API, and the name that it has here.
pub struct ForeignField {
    pub name: &'static str,
    pub here: &'static str,
}

/// How long an array may be, and what a refusal of a longer one calls its elements.
#[derive(Clone, Copy)]
pub struct LengthMax {
    pub max: usize,
    pub things: &'static str,
}

/// Reads the elements of an array, at most `max` of them.
pub fn list<'a, T>(
    value: &'a str,
    path: &Path<'_>,
    LengthMax { max, things }: LengthMax,
    mut each: impl FnMut(&'a str, &Path<'_>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let mut list = Vec::new();
    elements(value, path, |element, element_path| {
        if list.len() == max {
            return Err(path.refuse(format!("has more than {max} {things}")));
        }
        list.push(each(element, element_path)?);
        Ok(())
    })?;
    Ok(list)
}

/// Calls `each` for the elements of an array, with their paths.
pub fn elements<'a>(
    value: &'a str,
    path: &Path<'_>,
    mut each: impl FnMut(&'a str, &Path<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if json::kind(value) != Kind::Array {
        return Err(path.refuse("must be an array"));
    }
    for (index, element) in json::elements(value).enumerate() {
        each(element.map_err(|fault| path.fault(fault))?, &path.element(index))?;
    }
    Ok(())
}

/// Records the members that are read, for tests that compare them with the published schema of a body. Builds without debug
/// assertions do not have it.
#[cfg(debug_assertions)]
pub mod reads {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        /// `None` while nothing is recorded.
        static PATHS: RefCell<Option<BTreeSet<String>>> = const { RefCell::new(None) };
    }

    pub(super) fn record(path: &super::Path<'_>) {
        PATHS.with_borrow_mut(|paths| paths.as_mut().map(|paths| paths.insert(path.to_string())));
    }

    /// The paths that `work` reads.
    pub fn during(work: impl FnOnce()) -> BTreeSet<String> {
        PATHS.set(Some(BTreeSet::new()));
        work();
        PATHS.take().unwrap_or_default()
    }
}
