//! Names of collections.

use std::fmt;
use std::str::FromStr;

/// Name of a collection: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`, starting with a letter or a digit.
///
/// The alphabet is that of one path segment in object names and metadata keys, so a name never needs escaping.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionName(String);

/// Longest accepted name, in bytes.
const MAX_LEN: usize = 64;

/// Why a collection name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "collection name {name:?} is not 1 to 64 characters of a-z, 0-9, '-' and '_', starting with a letter or a digit"
)]
pub struct InvalidCollectionName {
    name: String,
}

impl CollectionName {
    /// The collection that exists from the start: `default`.
    #[must_use]
    pub fn default_collection() -> Self {
        Self("default".to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = InvalidCollectionName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let starts_well = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let spelled_well = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if starts_well && spelled_well && name.len() <= MAX_LEN {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidCollectionName {
                name: name.chars().take(MAX_LEN + 1).collect(),
            })
        }
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_path_safe_names_only() {
        for good in ["default", "a", "0", "holiday-2024_raw", &"x".repeat(64)] {
            assert_eq!(
                good.parse::<CollectionName>().map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in ["", "-a", "_a", "A", "a/b", "..", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<CollectionName>().is_err(), "{bad:?} was accepted");
        }
    }
}
