//! The name of the object of a prompt or an answer: `content/{tenant}/{day}/{request}.{part}`. The day of the admission, in UTC, is
//! there for retention.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use events::content::ContentPart;
use events::ids::{RequestId, TenantId};

/// The folder of the object store in which all content is.
pub const FOLDER: &str = "content";

/// How a day is written.
const DAY: &str = "%Y-%m-%d";

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
        write!(f, "{FOLDER}/{tenant}/{}/{request}.{part}", admitted_at.format(DAY))
    }
}

/// The day of an object's name; `None` for a name that is of no content.
pub(crate) fn day_of(name: &str) -> Option<NaiveDate> {
    let mut parts = name.split('/');
    let (folder, _tenant, day, _file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let day = NaiveDate::parse_from_str(day, DAY).ok()?;
    (folder == FOLDER && parts.next().is_none()).then_some(day)
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
        assert_eq!((address.to_string().as_str(), day_of(name)), (name, NaiveDate::from_ymd_opt(2026, 11, 25)));
        for foreign in [
            "", "content", "content/t/2026-11-25", "content/t/2026-13-25/f", "content/t/2026-11-25/f/g",
            "a/t/2026-11-25/f",
        ] {
            assert_eq!(day_of(foreign), None, "{foreign}");
        }
    }
}
