//! Conditions of rules in files: `tenant_id("PARTNER/TENANT")` stands for the id of a tenant, with which a condition compares
//! `tenant`. No condition of a gateway can call it, so it has no other meaning.

use events::ids::TenantId;

/// The function that takes the name of a tenant.
const CALL: &str = "tenant_id";
/// The id of the tenant whose request it is.
const TENANT: &str = "tenant";
const CALL_FORM: &str =
    "must have the name of a tenant in quotes after tenant_id, as in tenant == tenant_id(\"PARTNER/TENANT\")";
const ID_IN_FILE: &str = "files have names in place of ids: give tenant_id(\"PARTNER/TENANT\")";

/// A part of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Code(&'a str),
    /// A text in quotes. `plain` is what is between them, if it means itself: nothing in it is escaped.
    Literal {
        written: &'a str,
        plain: Option<&'a str>,
    },
}

/// A condition of a file as bodies have it. `id_of` has the id of a tenant's name. Errors: why the condition is refused.
pub fn with_ids(condition: &str, id_of: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut body = String::with_capacity(condition.len());
    let mut is_in_call = false;
    for part in parts(condition) {
        match part {
            Part::Code(code) => {
                let code = if is_in_call { code.trim_start().strip_prefix(')').ok_or(CALL_FORM)? } else { code };
                let before = before_call(code);
                is_in_call = before.is_some();
                body.push_str(before.unwrap_or(code));
            }
            Part::Literal { written, plain } if is_in_call => {
                body.push_str(&quoted_as(written, &id_of(plain.ok_or(CALL_FORM)?)?));
            }
            Part::Literal { plain: Some(plain), .. } if is_tenant_id(plain) => return Err(ID_IN_FILE.to_owned()),
            Part::Literal { written, .. } => body.push_str(written),
        }
    }
    if is_in_call { Err(CALL_FORM.to_owned()) } else { Ok(body) }
}

/// A condition of a body as files have it. `name_of` has the name of a tenant's id. Errors: an id without a name.
pub fn with_names(condition: &str, name_of: impl Fn(&str) -> Option<String>) -> Result<String, &str> {
    let mut named = String::with_capacity(condition.len());
    for part in parts(condition) {
        match part {
            Part::Literal { written, plain: Some(id) } if is_tenant_id(id) => {
                let name = name_of(id).ok_or(id)?;
                named.extend([CALL, "(", &quoted_as(written, &name), ")"]);
            }
            Part::Literal { written: same, .. } | Part::Code(same) => named.push_str(same),
        }
    }
    Ok(named)
}

/// The texts that a condition compares `tenant` with although they are no ids: by `==`, `!=`, or as items of a list that follows `in`. The empty
/// one means no tenant.
pub fn names_compared_with_tenant(condition: &str) -> Vec<&str> {
    let parts = parts(condition);
    let code_at = |at: usize| match parts.get(at) {
        Some(Part::Code(code)) => *code,
        Some(Part::Literal { .. }) | None => "",
    };
    let (mut names, mut is_in_list) = (Vec::new(), false);
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Code(code) => is_in_list = begins_list_of_tenants(code) || is_in_list && code.trim() == ",",
            Part::Literal { plain, .. } => {
                let before = at.checked_sub(1).map_or("", code_at);
                let is_compared =
                    is_in_list || ends_with_tenant_and_comparison(before) || begins_with_comparison(code_at(at + 1));
                names.extend(plain.filter(|text| is_compared && !text.is_empty() && !is_tenant_id(text)));
            }
        }
    }
    names
}

/// `tenant in [`
fn begins_list_of_tenants(code: &str) -> bool {
    let before = code.trim_end().strip_suffix('[').and_then(|before| before.trim_end().strip_suffix("in"));
    before.is_some_and(|before| before.ends_with(char::is_whitespace) && ends_with_tenant(before))
}

/// `tenant ==`
fn ends_with_tenant_and_comparison(code: &str) -> bool {
    let code = code.trim_end();
    code.strip_suffix("==").or_else(|| code.strip_suffix("!=")).is_some_and(ends_with_tenant)
}

/// `== tenant`
fn begins_with_comparison(code: &str) -> bool {
    let code = code.trim_start();
    let right = code.strip_prefix("==").or_else(|| code.strip_prefix("!="));
    let rest = right.and_then(|right| right.trim_start().strip_prefix(TENANT));
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_' || next == '.'))
}

fn ends_with_tenant(code: &str) -> bool {
    code.trim_end()
        .strip_suffix(TENANT)
        .is_some_and(|before| !ends_in_name(before) && !before.trim_end().ends_with('.'))
}

/// The ids of tenants that a condition of a body has.
pub fn tenant_ids(condition: &str) -> impl Iterator<Item = &str> {
    parts(condition).into_iter().filter_map(|part| match part {
        Part::Literal { plain, .. } => plain.filter(|text| is_tenant_id(text)),
        Part::Code(_) => None,
    })
}

/// The code before a call that begins at its end, if it ends with one.
fn before_call(code: &str) -> Option<&str> {
    let before = code.trim_end().strip_suffix('(')?.trim_end().strip_suffix(CALL)?;
    (!ends_in_name(before)).then_some(before)
}

/// Whether what follows a code directly is a part of a longer name.
fn ends_in_name(code: &str) -> bool {
    code.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_' || last == '.')
}

fn is_tenant_id(text: &str) -> bool {
    text.parse::<TenantId>().is_ok()
}

/// A text in the quotes of another one. Ids and names have nothing to escape.
fn quoted_as(written: &str, text: &str) -> String {
    let quote = &written[..1];
    format!("{quote}{text}{quote}")
}

/// The parts of a condition. Texts that do not end, and comments, are code.
fn parts(condition: &str) -> Vec<Part<'_>> {
    let (mut parts, mut code_from, mut at) = (Vec::new(), 0, 0);
    while let Some(next) = condition[at..].chars().next() {
        let rest = &condition[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let before = &condition[code_from..at];
        match literal_len(rest, before) {
            None => at += next.len_utf8(),
            Some(len) => {
                if !before.is_empty() {
                    parts.push(Part::Code(before));
                }
                let written = &rest[..len];
                parts.push(Part::Literal { written, plain: plain(written, before) });
                at += len;
                code_from = at;
            }
        }
    }
    if code_from < condition.len() {
        parts.push(Part::Code(&condition[code_from..]));
    }
    parts
}

/// The bytes of the literal that a text begins with, its quotes included.
fn literal_len(text: &str, before: &str) -> Option<usize> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| text.starts_with(quote))?;
    let is_raw = prefix(before).contains(['r', 'R']);
    let mut at = quote.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(quote) {
            return Some(at + quote.len());
        }
        let next = rest.chars().next()?;
        at += next.len_utf8();
        if next == '\\' && !is_raw {
            at += text[at..].chars().next()?.len_utf8();
        }
    }
}

/// The letters before a literal, which say how it is read: `r` for a raw text.
fn prefix(before: &str) -> &str {
    let word = before.trim_end_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
    &before[word.len()..]
}

fn plain<'a>(written: &'a str, before: &str) -> Option<&'a str> {
    let is_plain = prefix(before).is_empty() && !written.contains('\\') && written.len() >= 2;
    let within = is_plain.then(|| &written[1..written.len() - 1])?;
    (!within.contains(['"', '\''])).then_some(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: &str = "ten_00000000000000000000000000000001";
    const OTHER: &str = "ten_00000000000000000000000000000002";

    fn id_of(name: &str) -> Result<String, String> {
        match name {
            "a/acme" => Ok(ACME.to_owned()),
            "other" => Ok(OTHER.to_owned()),
            unknown => Err(format!("there is no {unknown}")),
        }
    }

    fn name_of(id: &str) -> Option<String> {
        [(ACME, "a/acme"), (OTHER, "other")].iter().find(|(one, _)| *one == id).map(|(_, name)| (*name).to_owned())
    }

    #[test]
    fn a_tenants_name_becomes_its_id_and_back() {
        for (file, body) in [
            ("tools", "tools".to_owned()),
            ("tenant == tenant_id(\"a/acme\")", format!("tenant == \"{ACME}\"")),
            (
                "tenant in [tenant_id(\"a/acme\"), tenant_id(\"other\")] && !tools",
                format!("tenant in [\"{ACME}\", \"{OTHER}\"] && !tools"),
            ),
            ("tenant == tenant_id('other')", format!("tenant == '{OTHER}'")),
            ("(tenant_id(\"other\") == tenant) || images > 0", format!("(\"{OTHER}\" == tenant) || images > 0")),
        ] {
            assert_eq!(with_ids(file, id_of).as_deref(), Ok(&*body), "{file}");
            assert_eq!(with_names(&body, name_of).as_deref(), Ok(file), "{body}");
        }
        let spaced = with_ids("tenant == tenant_id ( 'other' )", id_of);
        assert_eq!(spaced, Ok(format!("tenant == '{OTHER}'")));
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for same in [
            r#"metadata.x == "tenant_id(\"other\")""#,
            r#"metadata.x == 'tenant_id("other")' && metadata.y == "it's""#,
            r#"metadata.x == r"\" && language == "de""#,
            r#"metadata.x == """a "quoted" text""" && tools"#,
            "metadata.x == \"Größe\" // tenant_id(\"",
            "my_tenant_id(\"other\")",
            "metadata.tenant_id(\"other\")",
            "metadata.tenant_id == \"other\"",
            "metadata.x == \"unfinished",
            "",
        ] {
            assert_eq!(with_ids(same, id_of).as_deref(), Ok(same));
            assert_eq!(with_names(same, name_of).as_deref(), Ok(same));
        }
    }

    #[test]
    fn ids_calls_without_a_name_and_names_of_nothing_are_refused() {
        for (condition, reason) in [
            (format!("tenant == \"{ACME}\""), ID_IN_FILE),
            (format!("tenant == '{ACME}'"), ID_IN_FILE),
            ("tenant == tenant_id(\"nobody\")".to_owned(), "there is no nobody"),
            ("tenant == tenant_id(\"other\"".to_owned(), CALL_FORM),
            ("tenant == tenant_id(\"other\" && tools".to_owned(), CALL_FORM),
            ("tenant == tenant_id(".to_owned(), CALL_FORM),
            (r#"tenant == tenant_id("a\"b")"#.to_owned(), CALL_FORM),
        ] {
            assert_eq!(with_ids(&condition, id_of), Err(reason.to_owned()), "{condition}");
        }
        let unknown = "ten_00000000000000000000000000000003";
        assert_eq!(with_names(&format!("tenant == \"{unknown}\""), name_of), Err(unknown));
    }

    #[test]
    fn names_that_are_compared_with_an_id_are_found() {
        let with_id = format!("tenant == \"{ACME}\" || tenant in ['{OTHER}']");
        for (condition, found) in [
            ("tenant == \"acme\"", &["acme"][..]),
            ("tools && tenant!='a/acme' || \"b\" == tenant", &["a/acme", "b"]),
            ("tenant in [ \"acme\", 'other' ] && language in [\"de\"]", &["acme", "other"]),
            ("tenant == \"\" || metadata.tenant == \"acme\" || metadata . tenant == \"acme\"", &[]),
            ("my_tenant == \"acme\" || \"acme\" == tenant_of || \"acme\" != tenant.x", &[]),
            ("language == \"de\" && tenant in [] && request_type in [\"code\"]", &[]),
            (&with_id, &[]),
        ] {
            assert_eq!(names_compared_with_tenant(condition), found, "{condition}");
        }
    }

    #[test]
    fn the_ids_of_tenants_in_a_condition_are_found() {
        let condition = format!("tenant == \"{ACME}\" || tenant == '{OTHER}'");
        assert_eq!(tenant_ids(&condition).collect::<Vec<_>>(), [ACME, OTHER]);
    }
}
