//! Cursors of pages of groups: the values of the last group, so that the next page begins after it whatever was counted
//! meanwhile. JSON in hexadecimal digits, with the grouping: a cursor of another query is refused.

use events::refusal::Refusal;
use projections::views::usage_by_hour::GroupKey;
use serde::{Deserialize, Serialize};

use crate::page::{cursor_of, foreign, last_of};

const LIST: &str = "usage";

#[derive(Serialize, Deserialize)]
struct Cursor {
    by: Vec<String>,
    after: GroupKey,
}

pub fn write(by: &[String], after: &GroupKey) -> Result<String, serde_json::Error> {
    cursor_of(LIST, &Cursor { by: by.to_vec(), after: after.clone() })
}

pub fn read(by: &[String], text: &str) -> Result<GroupKey, Refusal> {
    let cursor: Cursor = last_of(LIST, text)?;
    if cursor.by == by { Ok(cursor.after) } else { Err(foreign()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_belongs_to_its_question() {
        let by = vec!["tenant".to_owned(), "metadata.team".to_owned()];
        let mut after = GroupKey { metadata: vec![Some("réd\"".to_owned())], ..GroupKey::default() };
        after.dimensions[4] = "ten_1".to_owned();
        let text = write(&by, &after).expect("a cursor");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{text}");
        assert_eq!(read(&by, &text), Ok(after));
        let upper = format!("usage-{}", text["usage-".len()..].to_uppercase());
        for (by, text) in
            [(&by[..1], &*text), (&by, &upper), (&by, "usage-zz"), (&by, "usage-7b7"), (&by, "audit-5"), (&by, "")]
        {
            let refusal = read(by, text).expect_err(text);
            assert_eq!(refusal.details["field"], "cursor", "{text}");
        }
    }
}
