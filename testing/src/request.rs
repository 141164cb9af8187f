//! Requests as bytes.

/// Request line and headers of a request with JSON, up to what says how long its body is.
pub fn head(method: &str, path: &str, secret: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n\
         content-type: application/json\r\n"
    )
}

/// The whole of it.
pub fn with_body(method: &str, path: &str, secret: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{}content-length: {}\r\n\r\n", head(method, path, secret), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
