//! HTTP/1.1 requests as bytes.

/// Request line and headers of a JSON request, up to `content-length`.
pub fn head(method: &str, path: &str, secret: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n\
         content-type: application/json\r\n"
    )
}

/// The whole request.
pub fn with_body(method: &str, path: &str, secret: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{}content-length: {}\r\n\r\n", head(method, path, secret), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
