//! Frames of AWS's event streams, from text that people can read. Each line is one frame: its name, a space, its payload. A name with
//! `!` before it is an exception's. A line `~N` drops the last N bytes of the stream so far. Empty lines and lines that
//! begin with `#` are skipped.

/// The type of a header's value: a string.
const STRING: u8 = 7;

/// One frame, with the headers that Bedrock sends.
pub fn frame(name: &[u8], payload: &[u8]) -> Vec<u8> {
    let (kind, named, name) = match name.strip_prefix(b"!") {
        Some(name) => (&b"exception"[..], &b":exception-type"[..], name),
        None => (&b"event"[..], &b":event-type"[..], name),
    };
    let fields: [(&[u8], &[u8]); 3] =
        [(named, name), (b":content-type", b"application/json"), (b":message-type", kind)];
    let mut headers = Vec::new();
    for (name, value) in fields {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        headers.push(u8::try_from(name.len()).expect("a short name"));
        headers.extend_from_slice(name);
        headers.push(STRING);
        headers.extend_from_slice(&u16::try_from(value.len()).expect("it is cut").to_be_bytes());
        headers.extend_from_slice(value);
    }
    framed(&headers, payload)
}

/// A frame of any headers.
pub fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("a short frame").to_be_bytes();
    let mut frame = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// The stream that the lines describe.
pub fn stream(lines: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        match line.trim_ascii_end() {
            [] | [b'#', ..] => {}
            [b'~', count @ ..] => {
                let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()).unwrap_or(1);
                stream.truncate(stream.len().saturating_sub(count));
            }
            line => {
                let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
                let (name, payload) = line.split_at(space);
                stream.extend_from_slice(&frame(name, payload.trim_ascii_start()));
            }
        }
    }
    stream
}
