//! Numbers in base 62: digits, capital letters, lower-case letters.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
pub const DIGITS_OF_256_BITS: usize = 43;

/// 43 digits, the least significant one last. Computed by long division.
pub fn of_256_bits(mut number: [u8; 32]) -> String {
    let mut digits = [0; DIGITS_OF_256_BITS];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in &mut number {
            let value = remainder << 8 | u16::from(*byte);
            // The remainder is below 62, so the quotient fits into a byte.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        *digit = DIGITS[usize::from(remainder)];
    }
    text(&digits)
}

/// The `N` lowest digits of a number.
pub fn last_digits<const N: usize>(mut number: u64) -> String {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
        number /= 62;
    }
    text(&digits)
}

fn text(digits: &[u8]) -> String {
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_43_digits_whatever_their_size() {
        assert_eq!(of_256_bits([0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 61;
        assert_eq!(of_256_bits(one), format!("{}z", "0".repeat(42)));
        assert_eq!(of_256_bits([255; 32]).len(), 43);
        assert_ne!(of_256_bits([255; 32]), of_256_bits([254; 32]));
    }

    #[test]
    fn the_lowest_digits_of_a_number_are_kept() {
        assert_eq!([last_digits::<2>(0), last_digits::<2>(61), last_digits::<2>(62 * 62 + 63)], ["00", "0z", "11"]);
    }
}
