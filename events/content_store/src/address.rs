//! What the object of a prompt or an answer is called: `content/{tenant}/{day}/{request}.{part}`. The day of the admission, in UTC, is
//! there for retention.

use std::fmt;

use chrono::{DateTime, Utc};
use events::content::ContentPart;
use events::ids::{RequestId, TenantId};

/// The folder of the object store in which all content is.
pub const FOLDER: &str = "content";

/// The place of a prompt or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentAddress {
    pub tenant: TenantId,
    pub admitted_at: DateTime<Utc>,
    pub request: RequestId,
    pub part: ContentPart,
}

/// The name of the object.
impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, admitted_at, request, part } = self;
        write!(f, "{FOLDER}/{tenant}/{}/{request}.{part}", admitted_at.format("%Y-%m-%d"))
    }
}

#[cfg(test)]
mod tests {
    use events::time::parse_rfc3339;

    use super::*;

    #[test]
    fn an_object_is_called_by_its_tenant_its_day_and_its_request() {
        let address = ContentAddress {
            tenant: "ten_00000000000000000000000000000001".parse().expect("an id"),
            admitted_at: parse_rfc3339("2026-11-25T23:59:59.999999Z").expect("a time"),
            request: "req_00000000000000000000000000000002".parse().expect("an id"),
            part: ContentPart::Answer,
        };
        let name =
            "content/ten_00000000000000000000000000000001/2026-11-25/req_00000000000000000000000000000002.answer";
        assert_eq!(address.to_string(), name);
    }
}
