use super::*;

/// The size of what a function returns, which is not called.
const fn returned_bytes<A, B, C, D, E, R>(_: &impl Fn(A, B, C, D, E) -> R) -> usize {
    size_of::<R>()
}

/// docs/benchmarks.md says what larger copies count as.
#[test]
fn the_future_of_a_request_is_not_above_8_kib() {
    let bytes = returned_bytes(&infer);
    assert!(bytes <= 8 * 1024, "{bytes} bytes");
}
