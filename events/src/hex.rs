//! Hexadecimal digits of digests, keys and ids.

/// The digits of each byte. Every request writes several digests.
const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Two lower-case digits per byte.
pub fn lower(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len() * 2];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = PAIRS[usize::from(*byte)];
    }
    // Digits are always text.
    String::from_utf8(digits).unwrap_or_default()
}

/// Exactly `N` bytes, from digits of either case.
pub fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = [char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?];
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// The bytes of digits of either case, of which there are two for each.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_nibble_is_one_digit() {
        assert_eq!(super::lower(&[0x00, 0x1a, 0xf9, 0xff]), "001af9ff");
        assert_eq!(super::parse("001aF9ff"), Some([0x00, 0x1a, 0xf9, 0xff]));
        for wrong in ["", "001af9f", "001af9ff0", "001af9fg", "001af9é"] {
            assert_eq!(super::parse::<4>(wrong), None, "{wrong}");
        }
        assert_eq!(super::bytes("001aF9ff"), Some(vec![0x00, 0x1a, 0xf9, 0xff]));
        assert_eq!(["0", "0g", "+1"].map(super::bytes), [None, None, None]);
    }
}
