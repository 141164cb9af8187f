//! Which of the names that there are was probably meant by one that there is not.

/// Of a name that is looked at: no name that there is has more.
const CHARS_MAX: usize = 64;
/// A shorter part of a name is a part of too many.
const PART_LEN_MIN: usize = 3;
/// Slips of the pen (a letter too many, too few, another, or two in the wrong order) that a name may have, and never more
/// than a third of its letters.
const SLIPS_MAX: usize = 3;

/// One that begins with or has in it what was typed, else one that was typed with few slips, else one that what was typed
/// goes on from (`data_dir` for `data`). `None` where nothing is near: a name that has little to do with it helps nobody.
pub fn nearest_name<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: String = typed.chars().take(CHARS_MAX).collect::<String>().to_lowercase();
    let letters = typed.chars().count();
    let slips_max = SLIPS_MAX.min(letters / 3);
    let near = names.into_iter().filter_map(|name| {
        let lower = name.to_lowercase();
        let slips = || Some(strsim::osa_distance(&typed, &lower)).filter(|slips| *slips <= slips_max);
        let is_part = letters >= PART_LEN_MIN;
        let nearness = if is_part && lower.starts_with(&typed) {
            Nearness::Beginning { rest: lower.len() - typed.len() }
        } else if is_part && lower.contains(&typed) {
            Nearness::Part { rest: lower.len() - typed.len() }
        } else if let Some(slips) = slips() {
            Nearness::Slips(slips)
        } else if typed.strip_prefix(&lower).is_some_and(|rest| rest.starts_with('_')) {
            Nearness::Longer { rest: typed.len() - lower.len() }
        } else {
            return None;
        };
        Some((nearness, name))
    });
    near.min_by_key(|(nearness, _)| *nearness).map(|(_, name)| name)
}

/// The same as a question behind a sentence: `; did you mean name?`. Empty where nothing is near.
pub fn did_you_mean<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest_name(typed, names).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// How what was typed is near a name, the nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Beginning { rest: usize },
    Part { rest: usize },
    Slips(usize),
    Longer { rest: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = ["name", "HOLD_TTL_SECONDS", "listen", "data", "base_url", "dev", "metrics_listen"];

    #[test]
    fn a_part_or_a_slip_finds_its_name() {
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
    fn what_is_near_to_nothing_has_no_name() {
        for typed in ["", "x", "de", "log", "HOLD", "database", "xyzzy", "nnaammee", "né", &"x".repeat(100_000)] {
            let found = nearest_name(typed, NAMES.into_iter().filter(|name| *name != "HOLD_TTL_SECONDS"));
            assert_eq!(found, None, "{}", typed.len());
        }
    }
}
