//! Known objects of requests and their known names. A misspelled name is refused, because a lenient server would take it
//! for the known one and act on a value that the gateway has not read. Objects with names of the client's choice
//! (schemas, `metadata`, `logit_bias`, arguments) and unknown objects may have any names.

use events::refusal::Refusal;
use intermediate::fields::{self, Fields, Path, refuse_misspelled};
use intermediate::json::{self, Kind, Member};

/// A known object, or a list of such.
pub struct KnownObject {
    names: &'static [&'static str],
    children: &'static [KnownMember],
}

/// A member of a known object, or of the top level, that is a known object or a list of such.
pub struct KnownMember {
    name: &'static str,
    object: &'static KnownObject,
}

pub const fn member(name: &'static str, object: &'static KnownObject) -> KnownMember {
    KnownMember { name, object }
}

pub const fn object(names: &'static [&'static str], children: &'static [KnownMember]) -> KnownObject {
    KnownObject { names, children }
}

/// A function in OpenAI's form, its definition or a call of it, which servers of several dialects take.
pub const FUNCTION: KnownObject =
    object(&["arguments", "cache_control", "description", "name", "parameters", "strict"], &[]);
const CUSTOM: KnownObject = object(&["cache_control", "description", "format", "input", "name"], &[]);
pub const FUNCTIONS: &[KnownMember] = &[member("function", &FUNCTION), member("custom", &CUSTOM)];
/// A tool in OpenAI's form, or a call of it.
pub const TOOL: KnownObject =
    object(&["cache_control", "custom", "extra_content", "function", "id", "index", "type"], FUNCTIONS);

/// Members of `cache_control`.
pub const CACHE_CONTROL: [&str; 3] = ["scope", "ttl", "type"];

/// Checks the names in a known object, or in each of a list, and in the known objects in it. Other kinds of values are
/// not refused here.
pub fn check(name: &str, value: &str, known: &[KnownMember], path: &Path<'_>) -> Result<(), Refusal> {
    let Some(KnownMember { object: known, .. }) = known.iter().find(|known| known.name == name) else { return Ok(()) };
    let path = path.field(name);
    match json::kind(value) {
        Kind::Object => known.check(value, &path),
        Kind::Array => fields::elements(value, &path, |element, path| match json::kind(element) {
            Kind::Object => known.check(element, path),
            _ => Ok(()),
        }),
        _ => Ok(()),
    }
}

/// Checks a tool whose members are already read, because definitions are long, and calls `each` for its members and
/// those of its definition, with the path of the object that has them.
pub fn check_tool(
    tool: &Fields<'_, '_>,
    each: &mut impl FnMut(&Member<'_>, &Path<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    for member in tool.unread() {
        let definition = TOOL.children.iter().find(|known| known.name == member.name());
        match definition.filter(|_| json::kind(member.value) == Kind::Object) {
            Some(KnownMember { object: definition, .. }) => {
                let path = tool.path().field(member.name());
                for member in fields::members(member.value, &path)? {
                    definition.check_member(&member, &path)?;
                    each(&member, &path)?;
                }
            }
            None => {
                TOOL.check_member(member, tool.path())?;
                each(member, tool.path())?;
            }
        }
    }
    Ok(())
}

impl KnownObject {
    fn check(&self, text: &str, path: &Path<'_>) -> Result<(), Refusal> {
        fields::members(text, path)?.iter().try_for_each(|member| self.check_member(member, path))
    }

    fn check_member(&self, member: &Member<'_>, path: &Path<'_>) -> Result<(), Refusal> {
        refuse_misspelled(member.name(), self.names.iter().copied(), path)?;
        check(member.name(), member.value, self.children, path)
    }
}
