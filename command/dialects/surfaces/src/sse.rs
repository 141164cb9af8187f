//! Server-sent events, as all surfaces write them.

use bytes::{BufMut, BytesMut};
use intermediate::work;

/// Writes an event that has a name.
pub fn put_event(out: &mut BytesMut, name: &str, data: &[u8]) {
    out.reserve(data.len() + name.len() + 16);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_u8(b'\n');
    put_data(out, data);
}

/// Writes an event that has none.
pub fn put_data(out: &mut BytesMut, data: &[u8]) {
    put_data_parts(out, &[data]);
}

/// Like [`put_data`], for JSON in parts. Line ends are white space in JSON and become spaces, because they would end the
/// line of the event.
pub fn put_data_parts(out: &mut BytesMut, parts: &[&[u8]]) {
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    work::steps(bytes);
    out.reserve(bytes + 8);
    out.put_slice(b"data: ");
    let start = out.len();
    parts.iter().for_each(|part| out.put_slice(part));
    let data = out.get_mut(start..).unwrap_or_default();
    let mut from = 0;
    while let Some(end) = data.get(from..).and_then(|rest| memchr::memchr2(b'\n', b'\r', rest)) {
        from += end + 1;
        if let Some(byte) = data.get_mut(from - 1) {
            *byte = b' ';
        }
    }
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use intermediate::delta::{Delta, DeltaKind};

    use super::*;
    use crate::{AnyStreamWriter, StreamHead, Surface};

    /// Upstreams may write JSON on several lines: the data of one event, or the elements of a list.
    #[test]
    fn an_event_has_one_line_of_data_whatever_line_ends_the_upstream_wrote() {
        let logprobs = "{\"content\":[{\"token\":\"x\",\r\"logprob\":-0.5,\n\"bytes\":null}],\r\n\"refusal\":null}";
        let (mut out, echo) = (BytesMut::new(), bytes::Bytes::new());
        for surface in Surface::CHAT {
            let head = StreamHead {
                request_id: "",
                frontend_model: "m",
                created_unix_s: 0,
                include_usage: false,
                echo: &echo,
            };
            let mut writer = AnyStreamWriter::new(*surface, &head);
            for kind in [DeltaKind::Text("x"), DeltaKind::Logprobs(logprobs)] {
                writer.write(&Delta { choice: 0, block: 0, kind }, &mut out);
            }
            put_event(&mut out, "e", logprobs.as_bytes());
        }
        let text = std::str::from_utf8(&out).expect("text");
        for line in text.split('\n') {
            assert!(line.is_empty() || line.starts_with("data: ") || line.starts_with("event: "), "{line}");
            assert!(!line.contains('\r'), "{line}");
        }
    }
}
