//! Hexadecimal digits of digests and keys.

/// Two lower-case digits per byte.
pub fn lower(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_nibble_is_one_digit() {
        assert_eq!(super::lower(&[0x00, 0x1a, 0xf9, 0xff]), "001af9ff");
    }
}
