//! Checks whether a setting that events record looks like a credential: events are published, archived and kept for ever.

use dialects::{has_credential, looks_random};

/// Words in the names of headers that carry credentials.
const WORDS: &[&str] =
    &["api-key", "apikey", "authorization", "cookie", "credential", "password", "proxy-", "secret", "token"];
/// Whole parts of such names.
const PARTS: &[&str] = &[
    "accesskey", "accesskeyid", "appkey", "auth", "authentication", "authkey", "bearer", "jwt", "key", "oauth", "pass",
    "passcode", "passphrase", "passwd", "pat", "pin", "pwd", "sas", "session", "sig", "signature",
];
/// Headers with ids and versions, which may look random.
const OF_IDS: &[&str] = &[
    "anthropic-beta", "anthropic-version", "http-referer", "openai-beta", "openai-organization", "openai-project",
    "referer", "x-goog-user-project", "x-title",
];

/// True if a header's name, in lower case, says that its value is a credential.
pub fn is_credential_name(name: &str) -> bool {
    WORDS.iter().any(|word| name.contains(word)) || name.split(['-', '_']).any(|part| PARTS.contains(&part))
}

/// True if the value of a header looks like a credential. The name is in lower case.
pub fn is_credential_value(name: &str, value: &str) -> bool {
    has_credential(value) || (looks_random(value) && !OF_IDS.contains(&name))
}

/// True if a text has the form of a key and looks random. For what has no sealed form, where a mistake leaves no other way.
pub fn is_key(text: &str) -> bool {
    has_credential(text) && looks_random(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-proj-4b1f7a90c2d38e65";

    /// Holds: admin.headers
    #[test]
    fn credentials_are_known_by_the_name_or_the_value_of_their_header() {
        for name in [
            "authorization",
            "cookie",
            "ocp-apim-subscription-key",
            "x-amz-accesskeyid",
            "x-amz-signature",
            "x-apikey-2",
            "x-auth",
            "x_auth",
            "x-authtoken",
            "x-functions-key",
            "x-pass",
            "x-passcode",
            "x-pin",
            "x-pwd",
            "x-session-id",
            "x-sig",
        ] {
            assert!(is_credential_name(name), "{name}");
        }
        for name in [
            "openai-organization", "x-author", "x-monkey", "x-passthrough", "x-path", "x-signal", "x-team",
            "x-portkey-provider",
        ] {
            assert!(!is_credential_name(name), "{name}");
        }
        for value in [KEY, "Bearer abc", "Basic dXNlcjpwdw==", "password=x", "12345678-1234-1234-1234-123456789012"] {
            assert!(is_credential_value("x-team", value), "{value}");
        }
        let organization = "org-AbCdEf0123456789abcdefgh";
        for (name, value) in [
            ("openai-organization", organization),
            ("openai-beta", "assistants=v2"),
            ("anthropic-beta", "context-1m-2025-08-07,token-efficient-tools-2025-02-19"),
            ("http-referer", "https://example.com/a"),
            ("x-team", "platform 4"),
        ] {
            assert!(!is_credential_value(name, value), "{name}: {value}");
        }
        assert!(is_credential_value("x-team", organization) && is_credential_value("openai-organization", KEY));
    }

    #[test]
    fn a_key_has_a_known_form_and_looks_random() {
        assert!(is_key(KEY) && is_key("Bearer 7Hq2xVt9LmBz4KpWs8Rn"));
        for text in ["sk-telecom-ai", "hf_inference", "3f786850e387550fdab836ed7e6dc881de23001b", "projects"] {
            assert!(!is_key(text), "{text}");
        }
    }
}
