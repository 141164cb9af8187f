//! Environment variables that set the length and the size of a run.

use std::time::Duration;

/// A whole number.
pub fn count(variable: &str, default: u64) -> Result<u64, String> {
    match std::env::var(variable) {
        Err(_) => Ok(default),
        Ok(text) => {
            text.parse().map_err(|_| format!("{variable} is {text:?}, and must be a whole number like {default}"))
        }
    }
}

pub fn seconds(variable: &str, default: u64) -> Result<Duration, String> {
    count(variable, default).map(Duration::from_secs)
}

/// Whole numbers, separated by commas.
pub fn counts(variable: &str, default: &[u64]) -> Result<Vec<u64>, String> {
    let Ok(text) = std::env::var(variable) else { return Ok(default.to_vec()) };
    let numbers: Result<_, _> = text.split(',').map(|number| number.trim().parse()).collect();
    numbers.map_err(|_| format!("{variable} is {text:?}, and must be whole numbers like 1,64"))
}

/// One of these words; `None` if the variable is not set.
pub fn word(variable: &str, words: &[&'static str]) -> Result<Option<&'static str>, String> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    match words.iter().find(|word| **word == text) {
        Some(word) => Ok(Some(word)),
        None => Err(format!("{variable} is {text:?}, and must be one of: {}", words.join(", "))),
    }
}

/// The program to measure: the one in `BENCH_BINARY`, or the one that was built with the benchmark.
pub fn binary(built: &str) -> String {
    std::env::var("BENCH_BINARY").unwrap_or_else(|_| built.to_owned())
}
