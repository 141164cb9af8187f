//! A label of resources as arguments name it: `NAME=VALUE`.

use std::fmt;
use std::str::FromStr;

use events::event::admin::Labels;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub value: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a label as NAME=VALUE, such as managed-by=git")]
pub struct NoLabel;

impl FromStr for Label {
    type Err = NoLabel;

    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let pair = text.split_once('=').filter(|(name, value)| Labels::is_name(name) && !value.is_empty());
        let (name, value) = pair.ok_or(NoLabel)?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_and_a_value() {
        assert_eq!("managed-by=git".parse::<Label>().map(|label| label.to_string()), Ok("managed-by=git".to_owned()));
        assert_eq!("a=b=c".parse::<Label>().map(|label| label.value), Ok("b=c".to_owned()));
        for wrong in ["", "managed-by", "=git", "managed-by=", "Managed=git"] {
            assert_eq!(wrong.parse::<Label>(), Err(NoLabel), "{wrong}");
        }
    }
}
