//! Reads the members of one object by name, and words what is wrong with them as a refusal that names the JSON path.

use std::borrow::Cow;
use std::fmt;

use events::nearest_name::did_you_mean;
use events::refusal::Refusal;

use super::json::{self, JsonFault, Kind, Member};
use super::work;

const NOT_A_FIELD: &str = "is not a field of this";

/// Where a value stands: `messages[0].content[2].type`.
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

    /// 400 that names this place.
    pub fn refuse(&self, reason: impl Into<String>) -> Refusal {
        match self {
            Self::Root => Refusal::invalid("", format!("the body {}", reason.into())),
            Self::Field(..) | Self::Element(..) => Refusal::invalid(self.to_string(), reason),
        }
    }

    /// 400 for a text that is no JSON, too deep, or contains U+0000.
    pub fn fault(&self, fault: JsonFault) -> Refusal {
        self.refuse(fault.to_string())
    }
}

/// A name of the client's own making could be of any length: its first 100 characters are shown.
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

/// The members of one object, each until somebody asks for it. Null counts as absent.
pub struct Fields<'a, 'p> {
    path: &'p Path<'p>,
    left: Vec<Option<Member<'a>>>,
}

impl<'a, 'p> Fields<'a, 'p> {
    /// Errors: no object, a name that comes twice, more than 256 members.
    pub fn read(text: &'a str, path: &'p Path<'p>) -> Result<Self, Refusal> {
        let left = members(text, path)?.into_iter().map(Some).collect();
        Ok(Self { path, left })
    }

    pub const fn path(&self) -> &'p Path<'p> {
        self.path
    }

    /// Takes a member's value as it stands; `None` where it is absent or null.
    pub fn raw(&mut self, name: &str) -> Option<&'a str> {
        #[cfg(test)]
        asked::note(&self.path.field(name));
        let is_it = |slot: &&mut Option<Member<'a>>| slot.as_ref().is_some_and(|member| member.name() == name);
        let member = self.left.iter_mut().find(is_it)?.take()?;
        (json::kind(member.value) != Kind::Null).then_some(member.value)
    }

    pub fn string(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.raw(name).map(|value| string(value, &self.path.field(name))).transpose()
    }

    pub fn required_string(&mut self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        self.string(name)?.ok_or_else(|| self.path.field(name).refuse("is required"))
    }

    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        match json::boolean(value) {
            None => Err(self.path.field(name).refuse("must be true or false")),
            found => Ok(found),
        }
    }

    /// A number as it is written.
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

    /// Those that nobody has asked for yet.
    pub fn left(&self) -> impl Iterator<Item = &Member<'a>> {
        self.left.iter().flatten()
    }

    /// Errors: as [`must_be_spelled`], for what nobody has asked for yet.
    pub fn must_be_spelled<'k>(
        &self,
        known: impl IntoIterator<Item = &'k str, IntoIter: Clone>,
    ) -> Result<(), Refusal> {
        let known = known.into_iter();
        self.left().try_for_each(|member| must_be_spelled(member.name(), known.clone(), self.path))
    }

    /// The first member that nobody has asked for is refused by name.
    pub fn finish(self) -> Result<(), Refusal> {
        match self.left().next() {
            Some(member) => Err(self.path.field(member.name()).refuse(NOT_A_FIELD)),
            None => Ok(()),
        }
    }

    /// The first member that has none of these names is refused. Before one is said to be missing: it may stand there
    /// under a mistaken name. `elsewhere`: what other APIs call some of them.
    pub fn known(self, names: &[&str], elsewhere: &[(&str, &str)]) -> Result<Self, Refusal> {
        let Some(member) = self.left().find(|member| !names.contains(&member.name())) else { return Ok(self) };
        let name = member.name();
        let reason = match elsewhere.iter().find(|(other, _)| *other == name) {
            Some((_, here)) => format!("is called {here} here"),
            None => format!("{NOT_A_FIELD}{}", did_you_mean(name, names.iter().copied())),
        };
        Err(self.path.field(name).refuse(reason))
    }
}

/// The members of an object that is read by their names. Errors: no object, a name that comes twice or is not ASCII,
/// more than 256 members.
pub fn members<'a>(text: &'a str, path: &Path<'_>) -> Result<Vec<Member<'a>>, Refusal> {
    // A whole body may have white space in front.
    if json::kind(text.trim_ascii_start()) != Kind::Object {
        return Err(path.refuse("must be an object"));
    }
    let mut members = Vec::with_capacity(8);
    for member in json::known_members(text) {
        let member = member.map_err(|fault| path.fault(fault))?;
        must_be_ascii(member.name(), path)?;
        members.push(member);
    }
    match repeated(&members) {
        Some(name) => Err(path.field(name).refuse("is there twice")),
        None => Ok(members),
    }
}

/// No field of any API has another name, and some letters are ASCII's to servers that ignore case: the long s, the Kelvin
/// sign.
fn must_be_ascii(name: &str, path: &Path<'_>) -> Result<(), Refusal> {
    match name.is_ascii() {
        true => Ok(()),
        false => Err(path.field(name).refuse("has a name that is not ASCII")),
    }
}

/// Errors: the name is one of the known, but for case, underscores and hyphens. Servers that do not mind those would take
/// it for the same.
pub fn must_be_spelled<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str, IntoIter: Clone>,
    path: &Path<'_>,
) -> Result<(), Refusal> {
    let mut known = known.into_iter();
    // As most are: comparing letter by letter is for the others.
    if known.clone().any(|known| known == name) {
        return Ok(());
    }
    let Some(spelling) = Spelling::of(name) else { return Ok(()) };
    match known.find(|known| spelling.reads_like(known)) {
        Some(known) => Err(path.field(name).refuse(format!("is spelled {known}"))),
        None => Ok(()),
    }
}

/// A name as a server reads it that minds neither case nor underscores and hyphens. It is read once, however many names
/// it is held against.
pub struct Spelling {
    letters: [u8; Self::LETTERS_MAX],
    len: usize,
}

impl Spelling {
    /// No known name has more.
    const LETTERS_MAX: usize = 64;

    /// `None` for a name that is longer than all that are known.
    pub fn of(name: &str) -> Option<Self> {
        work::steps(name.len());
        let mut spelling = Self { letters: [0; Self::LETTERS_MAX], len: 0 };
        for letter in letters(name) {
            *spelling.letters.get_mut(spelling.len)? = letter;
            spelling.len += 1;
        }
        Some(spelling)
    }

    pub fn reads_like(&self, known: &str) -> bool {
        letters(known).eq(self.letters.iter().take(self.len).copied())
    }
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase())
}

fn repeated<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    /// As most are: comparing each with each is quicker than sorting.
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

pub fn string<'a>(value: &'a str, path: &Path<'_>) -> Result<Cow<'a, str>, Refusal> {
    if json::kind(value) != Kind::String {
        return Err(path.refuse("must be a string"));
    }
    json::string(value).ok_or_else(|| path.refuse("contains half a surrogate pair"))
}

/// As [`elements`], at most so many.
pub fn bounded_elements<'a>(
    value: &'a str,
    path: &Path<'_>,
    max: usize,
    mut each: impl FnMut(usize, &'a str) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    elements(value, path, |index, element| match index < max {
        true => each(index, element),
        false => Err(path.refuse(format!("has more than {max} elements"))),
    })
}

/// The elements of an array, each with its path's index.
pub fn elements<'a>(
    value: &'a str,
    path: &Path<'_>,
    mut each: impl FnMut(usize, &'a str) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if json::kind(value) != Kind::Array {
        return Err(path.refuse("must be an array"));
    }
    for (index, element) in json::elements(value).enumerate() {
        each(index, element.map_err(|fault| path.fault(fault))?)?;
    }
    Ok(())
}

/// Which members were asked for: what is published of a body is held against it.
#[cfg(test)]
pub mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static PATHS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub fn note(path: &super::Path<'_>) {
        PATHS.with_borrow_mut(|paths| paths.insert(path.to_string()));
    }

    /// Since the last time.
    pub fn taken() -> BTreeSet<String> {
        PATHS.take()
    }
}
