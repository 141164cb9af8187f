//! The block with which Claude Code begins its system prompt. It has the client's version and a checksum of the request, and
//! says nothing to a model. Anthropic takes it out of the prompt; for any other server it is text like any other, whose
//! checksum makes the beginning of each prompt another one, so that no prefix is ever found in a cache.

use intermediate::json;

const BEGINNING: &str = "x-anthropic-billing-header:";

/// True for the text of such a block, which is one line.
pub fn is_billing_line(text: &str) -> bool {
    text.starts_with(BEGINNING) && !text.trim_end().contains('\n')
}

/// True for such a text as it stands in a body. Others are not decoded.
pub fn is_billing_text(quoted: &str) -> bool {
    let may_be = quoted.get(1..).is_some_and(|text| text.starts_with(BEGINNING));
    may_be && json::string(quoted).is_some_and(|text| is_billing_line(&text))
}

/// True for such a block of a system prompt.
pub fn is_billing_block(block: &str) -> bool {
    let [text] = json::find(block, ["text"]);
    text.is_some_and(is_billing_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_more_than_the_line_is_kept() {
        let line = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;";
        for (text, wanted) in [
            (line.to_owned(), true),
            (format!("{line}\n"), true),
            ("x-anthropic-billing-header:".to_owned(), true),
            (format!("{line}\nYou are a poet."), false),
            (format!("You are {line}"), false),
            ("x-anthropic-billing-headers".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_billing_line(&text), wanted, "{text}");
            let block = serde_json::json!({ "type": "text", "text": text }).to_string();
            assert_eq!(is_billing_block(&block), wanted, "{text}");
        }
        assert!(!is_billing_block(r#"{"type":"text","text":7}"#) && !is_billing_block("{}"));
    }
}
