//! Decimal digits, written by hand: formatters take several times as long, and each event has amounts or times.

/// Writes the last digits of a number, as many as there is room for, with leading zeros.
pub fn fill(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = last_of(number);
        number /= 10;
    }
}

/// The last digit of a number.
pub fn last_of(number: u64) -> u8 {
    b'0' + (number % 10).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn the_last_digits_are_written_with_leading_zeros() {
        for (number, expected) in [(0, "0000"), (7, "0007"), (1234, "1234"), (98_765, "8765"), (u64::MAX, "1615")] {
            let mut digits = [b'x'; 4];
            fill(&mut digits, number);
            assert_eq!(std::str::from_utf8(&digits), Ok(expected), "{number}");
        }
    }
}
