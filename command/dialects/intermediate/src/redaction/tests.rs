use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;
use crate::work;

const SECRET: &str = "gw-7Hq2xVt9LmBz4KpWs8Rn";

fn shown(text: &str) -> Option<String> {
    Redactor::new([SECRET]).text(text)
}

#[test]
fn what_clients_need_to_mend_their_requests_is_shown_as_it_was_said() {
    for text in [
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130512 tokens. Please \
         reduce the length of the messages.",
        "messages.1.content: Input should be a valid list; max_tokens: 200000 > 64000, which is the maximum allowed \
         number of output tokens for claude-3-5-sonnet-20241022",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Invalid 'messages[0].content[1].image_url.url': unsupported image (https://docs.example.com/images#formats)",
        "The model `deepseek-ai/DeepSeek-R1-Distill-Qwen-32B` does not support tools; see Qwen/Qwen2.5-Coder-32B-Instruct \
         or meta-llama/Llama-3.3-70B-Instruct-Turbo-q4_K_M, gemini-2.5-flash-preview-05-20 or gpt-4o-mini-2024-07-18",
        "Unrecognized key: 'temprature'; unexpected token: foo (request timed out on a basic plan, without a bearer token)",
        "Your password must not be empty, and an api_key is needed.",
        "Invalid value: 'systm'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool'.",
        "Ihre Anfrage überschreitet die Länge. リクエストが長すぎます。 🙂",
        "InvalidRequestMessageContentError: AdditionalPropertiesAreNotAllowedHere",
    ] {
        let wanted = text.replace("#formats", "#[redacted]");
        assert_eq!(shown(text).as_deref(), Some(&*wanted));
    }
}

#[test]
fn a_text_has_a_credential_by_its_form_or_by_its_name() {
    for text in [
        "sk-live",
        "team sk-proj-1",
        "Bearer abc",
        "Basic dXNlcjpwdw==",
        "AKIAIOSFODNN7EXAMPLE",
        "password=hunter2",
        "x-api-key: k",
        "https://user:pw@example.com",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
    ] {
        assert!(has_credential(text), "{text}");
    }
    for text in ["", "platform", "org-1", "max_tokens=5", "assistants=v2", "https://example.com/a:b", "a bearer token"]
    {
        assert!(!has_credential(text) && !looks_random(text), "{text}");
    }
    for id in ["org-AbCdEf0123456789abcdefgh", "12345678-1234-1234-1234-123456789012"] {
        assert!(looks_random(id) && !has_credential(id), "{id}");
    }
}

#[test]
fn an_encoded_secret_is_hidden_from_its_first_digit_to_its_last() {
    let redactor = Redactor::new(["hunter"]);
    let shown = redactor.text(&format!("the field n, {}, is wrong", STANDARD.encode("hunter")));
    assert_eq!(shown.as_deref(), Some("the field n, [redacted], is wrong"));
}

#[test]
fn an_id_of_digits_alone_is_hidden_as_any_uuid_is() {
    for uuid in ["12345678-1234-1234-1234-123456789012", "abcdefab-abcd-abcd-abcd-abcdefabcdef"] {
        let shown = shown(&format!("the field {uuid} is wrong"));
        assert_eq!(shown.as_deref(), Some("the field [redacted] is wrong"), "{uuid}");
    }
}

#[test]
fn a_mark_in_a_secret_is_known_by_its_name_in_html() {
    for (mark, name) in [('&', "amp"), ('<', "lt"), ('>', "gt"), ('"', "quot"), ('\'', "apos")] {
        // Without letters and digits, which would be found anyway.
        let redactor = Redactor::new([&*format!("{mark}-").repeat(5)]);
        let shown = redactor.text(&format!("the field n, {}, is wrong", format!("&{name};-").repeat(5)));
        assert_eq!(shown.as_deref(), Some("the field n, [redacted], is wrong"), "{name}");
    }
}

#[test]
fn what_is_hidden_makes_room_for_what_stands_behind_it() {
    let text = format!("{}the field n is wrong", format!("{SECRET} ").repeat(60));
    let shown = shown(&text).expect("there is more than the secret");
    assert!(shown.ends_with("the field n is wrong"), "{shown}");
}

#[test]
fn a_secret_that_was_sent_is_hidden_however_it_comes_back() {
    let everything = [
        SECRET.to_owned(),
        SECRET.to_lowercase(),
        SECRET.to_uppercase(),
        SECRET[3..].to_owned(),
        format!("x{}y", &SECRET[5..13]),
        SECRET.chars().map(|letter| format!("{letter} ")).collect(),
        SECRET.chars().map(|letter| format!("{letter}\u{200b}")).collect(),
        SECRET.replace('t', "t\r\n"),
        SECRET.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect(),
        SECRET.chars().map(|letter| format!("\\x{:02x}", u32::from(letter))).collect(),
        SECRET.chars().map(|letter| format!("%{:02X}", u32::from(letter))).collect(),
        SECRET.chars().map(|letter| format!("%25{:02X}", u32::from(letter))).collect(),
        SECRET.chars().map(|letter| format!("&#{};", u32::from(letter))).collect(),
        SECRET.chars().map(|letter| format!("&#x{:X};", u32::from(letter))).collect(),
        SECRET.chars().filter_map(|letter| char::from_u32(u32::from(letter) + 0xFEE0)).collect(),
        format!("{:?}", SECRET.as_bytes()),
        SECRET.bytes().map(|byte| format!("{byte} ")).collect(),
        SECRET.bytes().enumerate().map(|(at, byte)| format!("\"{at}\":{byte},")).collect(),
        SECRET.bytes().map(|byte| format!("0x{byte:x}, ")).collect(),
        SECRET.bytes().map(|byte| format!("0X{byte:02X}")).collect(),
        SECRET.bytes().map(|byte| format!("\\u{{{byte:x}}}")).collect(),
        SECRET.bytes().map(|byte| format!("\\u{{{byte:06X}}}")).collect(),
        SECRET.bytes().map(|byte| format!("U+{byte:04X} ")).collect(),
        SECRET.bytes().map(|byte| format!("%u{byte:04x}")).collect(),
        SECRET.bytes().map(|byte| format!("\\{byte:o}")).collect(),
        SECRET.bytes().map(|byte| format!("{byte:08b} ")).collect(),
        SECRET.bytes().map(|byte| format!("&#x{byte:08x};")).collect(),
        SECRET.bytes().map(|byte| format!("&#{byte:08};")).collect(),
        hex::lower(SECRET.as_bytes()),
        STANDARD.encode(SECRET),
        STANDARD.encode(format!("Bearer {SECRET}")),
        URL_SAFE.encode(format!("user:{SECRET}@")),
    ];
    for form in everything {
        let message = shown(&format!("the field n, {form}, is wrong")).expect("there is more than the secret");
        assert!(message.starts_with("the field n, ") && message.ends_with(", is wrong"), "{form}: {message}");
        assert!(message.contains(HIDDEN), "{form}: {message}");
    }
}

#[test]
fn the_values_of_headers_are_secrets_where_they_may_be_and_so_are_credentials_in_base64() {
    let basic = STANDARD.encode("gateway:correct horse");
    let redactor = Redactor::new([&*format!("Basic {basic}")]);
    assert_eq!(redactor.text("no user with correct horse").as_deref(), Some("no user with [redacted]"));
    assert_eq!(redactor.text(&format!("got '{basic}'")).as_deref(), Some("got '[redacted]'"));
    assert!(may_be_secret("x-api-key", "12345678") && may_be_secret("X-Team", "platform"));
    assert!(!may_be_secret("Anthropic-Beta", "output-128k-2025-02-19") && !may_be_secret("x-team", "a"));
}

#[test]
fn what_looks_like_anybodys_key_is_hidden() {
    for key in [
        "sk-abc",
        "sk-proj-AbCdEf",
        "sgk_0199a1b2",
        "gsk_x",
        "xai-Zz9",
        "hf_abcdEFGH",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "3f9d2c7b1a8e4f60",
        "550e8400-e29b-41d4-a716-446655440000",
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "kdJeUwPqLmXcVbRt",
        "a8Xk93jf_x0Qz81mm_A4xx7",
        "12345678901234567890123456789012",
        "https://user:hunter2@example.com/v1",
    ] {
        assert_eq!(shown(&format!("bad '{key}'.")).as_deref(), Some("bad '[redacted]'."), "{key}");
    }
    for (text, wanted) in [
        ("authorization: Bearer hunter2", "authorization: [redacted] [redacted]"),
        ("got Bearer hunter2 here", "got Bearer [redacted] here"),
        ("got basic aHVudGVy", "got basic [redacted]"),
        ("password=hunter2 is wrong", "password=[redacted] is wrong"),
        ("x-api-key: 'hunter2'", "x-api-key: '[redacted]'"),
        ("see https://example.com/v1?sig=hunter2", "see https://example.com/v1?[redacted]"),
        ("a\u{1b}[31mred\u{7}\u{202e} line\n\nand\tmore", "a [31mred line and more"),
    ] {
        assert_eq!(shown(text).as_deref(), Some(wanted));
    }
}

#[test]
fn texts_are_bounded_and_nothing_is_said_rather_than_nothing_but_marks() {
    let long = shown(&"word ".repeat(2000)).expect("a text");
    assert_eq!((long.chars().count(), long.ends_with('…')), (TEXT_CHARS_MAX, true));
    for nothing in ["", " \n\t", "...", SECRET, &format!("'{SECRET}' '{SECRET}'")] {
        assert_eq!(shown(nothing), None, "{nothing}");
    }
    // The mark itself is part of the secret.
    assert_eq!(Redactor::new(["so-redacted-a-key"]).text("bad so-redacted-a-key"), None);
}

#[test]
fn codes_and_paths_are_whole_or_absent() {
    let redactor = Redactor::new([SECRET]);
    for code in ["context_length_exceeded", "INVALID_ARGUMENT", "string_above_max_length"] {
        assert_eq!(redactor.code(code).as_deref(), Some(code));
    }
    for code in ["", "1500", "no spaces", "sk-abc", "ümlaut", SECRET, &SECRET[3..14], &"c".repeat(65), "a\n"] {
        assert_eq!(redactor.code(code), None, "{code}");
    }
    for param in ["messages[0].content", "tools.0.function", "$.n", "max_tokens"] {
        assert_eq!(redactor.param(param).as_deref(), Some(param));
    }
    for param in ["", "a b", "<script>", SECRET, &"p".repeat(129)] {
        assert_eq!(redactor.param(param), None, "{param}");
    }
}

#[test]
fn a_short_value_of_a_header_is_a_secret_and_so_is_what_stands_behind_a_scheme() {
    assert!(may_be_secret("x-team", "s3cr3t7") && may_be_secret("x-team", "s3cr") && !may_be_secret("x-team", "s3c"));
    assert!(!may_be_secret("x-title", "s3cr3t7"));
    for secret in ["s3cr3t7", "s3cr", "Token s3cr3t7", "Bearer s3cr", "Basic dTpzM2NyM3Q3"] {
        let redactor = Redactor::new([secret]);
        let password = if secret.starts_with("Basic") { "s3cr3t7" } else { secret.rsplit(' ').next().unwrap() };
        for form in [password.to_owned(), password.to_uppercase(), format!("{:?}", password.as_bytes())] {
            let shown = redactor.text(&format!("the value {form} of x-team is wrong")).expect("there is more");
            assert!(shown.starts_with("the value") && shown.ends_with(" of x-team is wrong"), "{secret}: {shown}");
            assert!(shown.contains(HIDDEN), "{secret}: {shown}");
        }
    }
}

#[test]
fn numbers_that_are_no_secret_are_shown() {
    for text in [
        "rows 1, 2, 3 and 103 have 119 of 45 at 0x1f",
        "expected one of [200, 201, 204, 206, 301, 302, 304, 400, 401, 403]",
    ] {
        assert_eq!(shown(text).as_deref(), Some(text));
    }
}

#[test]
fn a_secret_too_short_for_eight_characters_is_hidden_whole_and_one_of_three_is_not_looked_for() {
    assert_eq!(Redactor::new(["k3y!"]).text("the key K3Y! is bad").as_deref(), Some("the key [redacted] is bad"));
    assert_eq!(Redactor::new(["k"]).text("the key is bad").as_deref(), Some("the key is bad"));
}

/// A run of eight characters that secret and text share, ignoring case and marks: a second implementation.
fn shared<'s>(secret: &'s str, text: &str) -> Option<&'s str> {
    let bare = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let (lower, bare_text) = (text.to_lowercase(), bare(text));
    let starts = secret.char_indices().map(|(at, _)| at);
    starts
        .filter_map(|at| secret.get(at..at + 8))
        .find(|run| lower.contains(&run.to_lowercase()) || (bare(run).len() == 8 && bare_text.contains(&bare(run))))
}

/// A secret as an upstream may repeat it.
fn form(secret: &str, way: u8, mark: &str) -> String {
    let each = |say: &dyn Fn(char) -> String| secret.chars().map(say).collect::<String>();
    match way % 14 {
        0 => secret.to_owned(),
        1 => secret.to_uppercase(),
        2 => each(&|letter| format!("{letter}{mark}")),
        3 => each(&|letter| format!("\\u{:04x}", u32::from(letter))),
        4 => each(&|letter| format!("%{:02x}", u32::from(letter))),
        5 => STANDARD.encode(secret),
        6 => URL_SAFE.encode(format!("{mark}{secret}{mark}")),
        7 => hex::lower(secret.as_bytes()),
        8 => format!("{:?}", secret.as_bytes()),
        9 => each(&|letter| format!("0x{:x}{mark} ", u32::from(letter))),
        10 => each(&|letter| format!("\\u{{{:x}}}{mark}", u32::from(letter))),
        11 => each(&|letter| format!("{} {mark}", u32::from(letter))),
        12 => serde_json::to_string(&format!("{mark}{secret}")).expect("JSON"),
        _ => url::form_urlencoded::byte_serialize(format!("{mark}{secret}").as_bytes()).collect(),
    }
}

proptest! {
    /// Holds: http.upstream-words
    #[test]
    fn no_run_of_a_secret_gets_through(
        secret in "[!-~]{8,48}",
        said in prop::collection::vec((any::<u8>(), "[^a-zA-Z0-9]{0,2}", 0usize..48, 0usize..48, "\\PC{0,24}"), 0..6),
    ) {
        let mut text = String::new();
        for (way, mark, from, to, other) in &said {
            let (from, to) = (*from.min(to).min(&secret.len()), *from.max(to).min(&secret.len()));
            text.push_str(other);
            text.push_str(&form(&secret[from..to], *way, mark));
        }
        let redactor = Redactor::new([&*secret]);
        if let Some(shown) = redactor.text(&text) {
            prop_assert!(shown.chars().count() <= TEXT_CHARS_MAX);
            prop_assert!(!shown.chars().any(|letter| letter.is_control() || is_invisible(letter)), "{shown:?}");
            prop_assert_eq!(shared(&secret, &shown), None, "{:?} of {:?}", shown, text);
            let query = format!("x={}", shown.replace('&', "%26").replace('=', "%3D").replace('+', "%2B"));
            let decoded: String = url::form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value).collect();
            prop_assert_eq!(shared(&secret, &decoded), None, "{:?} of {:?}", shown, text);
            // Base64 and hexadecimal: a run of the secret's eight bytes is at least ten digits of the one, 16 of the
            // other.
            let digits = STANDARD.encode(&secret);
            let told = digits.as_bytes().windows(10).filter_map(|run| std::str::from_utf8(run).ok()).find(|run| {
                run.bytes().all(|digit| digit.is_ascii_alphanumeric()) && shown.contains(run)
            });
            prop_assert_eq!(told, None, "{:?} of {:?}", shown, text);
            let digits = hex::lower(secret.as_bytes());
            prop_assert!(!digits.as_bytes().windows(16).any(|run| shown.as_bytes().windows(16).any(|s| s == run)));
            // Lists of byte numbers.
            for radix in [10, 16] {
                let words = shown.split(|letter: char| !letter.is_ascii_alphanumeric());
                let words = words.map(|word| word.strip_prefix("0x").filter(|_| radix == 16).unwrap_or(word));
                let numbers = words.filter_map(|word| u32::from_str_radix(word, radix).ok().and_then(char::from_u32));
                prop_assert_eq!(shared(&secret, &numbers.collect::<String>()), None, "{:?} of {:?}", shown, text);
            }
            // Redaction is idempotent.
            prop_assert_eq!(redactor.text(&shown), Some(shown.clone()));
        }
        for name in [redactor.code(&text), redactor.param(&text)].into_iter().flatten() {
            prop_assert_eq!(shared(&secret, &name), None);
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_looked_at(text in "(?s).{0,400}", secrets in prop::collection::vec(".{0,12}", 0..3)) {
        let redactor = Redactor::new(secrets.iter().map(String::as_str));
        if let Some(shown) = redactor.text(&text) {
            prop_assert!(shown.chars().count() <= TEXT_CHARS_MAX);
        }
    }
}

/// Tenants choose their provider's headers, and the provider chooses its response.
#[test]
fn what_is_known_of_secrets_takes_room_and_work_in_proportion_to_their_length() {
    // As many as a provider's row and key may have, of characters with the most possible escapes.
    let escaped = |number: u32| {
        let (letter, digit) = (0x41 + number * 7 % 57, 0x30 + number * 3 % 10);
        [format!("%25{letter:x}"), format!("&#x{letter:x};"), format!("\\u{letter:04x}"), format!("{digit:x}{number}")]
    };
    let secrets: Vec<String> = (0..36)
        .map(|row| (row * 300..row * 300 + 50).flat_map(escaped).collect::<String>()[..1024].to_owned())
        .collect();
    let bytes: usize = secrets.iter().map(String::len).sum();
    let (redactor, steps) = work::within(u64::MAX, || Redactor::new(secrets.iter().map(String::as_str)));
    let held = redactor.plain.held_bytes() + redactor.folded.held_bytes();
    assert!(held <= 96 * bytes, "{held} bytes are kept of {bytes}");
    assert!(steps <= 192 * bytes as u64, "{steps} steps for {bytes} bytes");
    let message = secrets.concat();
    let (_, steps) = work::within(u64::MAX, || redactor.text(&message));
    assert!(steps <= 192 * READ_CHARS_MAX as u64, "{steps} steps for a text");
}
