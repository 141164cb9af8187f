//! Decimal numbers as the specifications write them: ASCII digits without leading zeros. `u64::from_str` also takes `+7` and `007`.

/// The number, if the text is its only form.
pub fn parse(text: &str) -> Option<u64> {
    let has_one_form = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if has_one_form { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_form() {
        for number in [0, 1, 10, 4096, u64::MAX] {
            assert_eq!(parse(&number.to_string()), Some(number));
        }
        for other in ["", "+1", "-1", "01", "00", " 1", "1 ", "1_000", "0x1", "١", "18446744073709551616"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
