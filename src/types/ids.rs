//! Identifiers. Each prints and parses to the same value.

use std::fmt;
use std::str::FromStr;

use super::hash::{ContentHash, parse_hex};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

/// Identity of an image within a collection: the first 128 bits of its [`ContentHash`], 32 hexadecimal digits.
///
/// Content-addressed, so an upload repeated after a lost reply meets itself, and an id tells its shard
/// (docs/adr/0003).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId([u8; 16]);

impl ImageId {
    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Wraps 16 bytes that were stored before.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The shard that owns the image, of `shard_count` shards: a function of the content alone.
    ///
    /// # Panics
    /// When `shard_count` is zero.
    #[must_use]
    pub fn shard(&self, shard_count: u16) -> ShardId {
        let [a, b, c, d, ..] = self.0;
        let slot = u32::from_le_bytes([a, b, c, d]) % u32::from(shard_count);
        ShardId(u16::try_from(slot).expect("a remainder below a u16 fits one"))
    }
}

impl From<ContentHash> for ImageId {
    fn from(hash: ContentHash) -> Self {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&hash.as_bytes()[..16]);
        Self(prefix)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({self})")
    }
}

impl FromStr for ImageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        parse_hex(text, &mut bytes)
            .map_err(|_| InvalidId::new(text, "an image id (32 hexadecimal digits)"))?;
        Ok(Self(bytes))
    }
}

/// Name of a sealed segment: a random UUID, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(uuid::Uuid);

impl SegmentId {
    /// A fresh id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Wraps 16 bytes that were stored before.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for SegmentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::parse_str(text)
            .map(Self)
            .map_err(|_| InvalidId::new(text, "a segment id (a UUID)"))
    }
}

/// Name of a node: 1 to 63 characters of `a-z`, `0-9`, `-`, `.`; a host name fits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(String);

impl NodeId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let spelled_well = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if (1..=63).contains(&text.len()) && spelled_well {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                text,
                "a node name (1 to 63 of a-z, 0-9, '-', '.')",
            ))
        }
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a number.
            #[must_use]
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self).map_err(|_| InvalidId::new(text, $expected))
            }
        }
    };
}

number_id! {
    /// Number of a shard within its collection, from 0.
    ShardId, u16, "a shard number"
}
number_id! {
    /// Fencing number of a shard's writer; each new owner has a greater one.
    Epoch, u64, "an epoch"
}
number_id! {
    /// Position of a WAL object within its epoch, from 0.
    Seq, u64, "a sequence number"
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Seq {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_text() {
        let image = ImageId::from(ContentHash::from_bytes([0xab; 32]));
        assert_eq!(image.to_string(), "ab".repeat(16));
        assert_eq!(image.to_string().parse(), Ok(image));
        let segment = SegmentId::random();
        assert_eq!(segment.to_string().parse(), Ok(segment));
        assert_eq!("12".parse(), Ok(Epoch::new(12)));
        assert!("x".parse::<ShardId>().is_err());
        assert!("Bad Name".parse::<NodeId>().is_err());
    }

    #[test]
    fn shard_depends_on_content_and_stays_in_range() {
        for byte in 0..=255 {
            let id = ImageId::from(ContentHash::from_bytes([byte; 32]));
            assert_eq!(id.shard(1), ShardId::new(0));
            assert!(id.shard(7).get() < 7);
        }
    }
}
