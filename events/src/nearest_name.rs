//! The known name that an unknown one was probably meant to be.

/// The number of characters of the typed name that are compared: no known name is longer.
const CHARS_MAX: usize = 64;
/// The shortest typed text that is searched for inside names: shorter ones occur in too many.
const PART_LEN_MIN: usize = 3;
/// The most typing errors (a letter too many, missing, wrong, or two swapped) in a typed name; also never more than a third
/// of its letters.
const TYPOS_MAX: usize = 3;

/// The nearest name: one that begins with or contains what was typed, otherwise one with few typing errors, otherwise one
/// that what was typed continues (`data_dir` for `data`). `None` if nothing is near: an unrelated name helps nobody.
pub fn nearest_name<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: String = typed.chars().take(CHARS_MAX).collect::<String>().to_lowercase();
    let letters = typed.chars().count();
    let typos_max = TYPOS_MAX.min(letters / 3);
    let near = names.into_iter().filter_map(|name| {
        let lower = name.to_lowercase();
        let typos = || Some(strsim::osa_distance(&typed, &lower)).filter(|typos| *typos <= typos_max);
        let is_part = letters >= PART_LEN_MIN;
        let nearness = if is_part && lower.starts_with(&typed) {
            Nearness::Beginning { rest: lower.len() - typed.len() }
        } else if is_part && lower.contains(&typed) {
            Nearness::Part { rest: lower.len() - typed.len() }
        } else if let Some(typos) = typos() {
            Nearness::Typos(typos)
        } else if typed.strip_prefix(&lower).is_some_and(|rest| rest.starts_with('_')) {
            Nearness::Continued { rest: typed.len() - lower.len() }
        } else {
            return None;
        };
        Some((nearness, name))
    });
    near.min_by_key(|(nearness, _)| *nearness).map(|(_, name)| name)
}

/// The nearest name as a question to append to a message: `; did you mean name?`. Empty if nothing is near.
pub fn did_you_mean<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest_name(typed, names).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// How near a typed text is to a name, the nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Beginning { rest: usize },
    Part { rest: usize },
    Typos(usize),
    Continued { rest: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = ["name", "HOLD_TTL_SECONDS", "listen", "data", "base_url", "dev", "metrics_listen"];

    #[test]
    fn a_part_or_a_typing_error_finds_its_name() {
        for (typed, name) in [
            ("hold_ttl", "HOLD_TTL_SECONDS"),
            ("HOLD_TTL_SECOND", "HOLD_TTL_SECONDS"),
            ("ttl", "HOLD_TTL_SECONDS"),
            ("nmae", "name"),
            ("names", "name"),
            ("LISTN", "listen"),
            ("lis", "listen"),
            ("metric_listen", "metrics_listen"),
            ("url", "base_url"),
            ("DATA_DIR", "data"),
            ("dve", "dev"),
        ] {
            assert_eq!(nearest_name(typed, NAMES), Some(name), "{typed}");
        }
    }

    #[test]
    fn a_text_that_is_near_no_name_finds_none() {
        for typed in ["", "x", "de", "log", "HOLD", "database", "xyzzy", "nnaammee", "né", &"x".repeat(100_000)] {
            let found = nearest_name(typed, NAMES.into_iter().filter(|name| *name != "HOLD_TTL_SECONDS"));
            assert_eq!(found, None, "{}", typed.len());
        }
    }
}
