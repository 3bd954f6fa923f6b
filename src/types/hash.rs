//! 256-bit hashes: of a file's bytes, of its pixels, of its looks (PDQ), and of a model.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a 256-bit hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct InvalidHash;

macro_rules! hash_256 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidHash;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                parse_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

hash_256! {
    /// BLAKE3 of a file's bytes: equal hashes mean identical files.
    ContentHash
}
hash_256! {
    /// BLAKE3 of the decoded pixels after orientation, RGB8, with width and height in front; of JPEG files above two
    /// megapixels, of what decides their pixels (the compressed data and the orientation). Equal hashes mean equal
    /// pixels.
    PixelHash
}
hash_256! {
    /// PDQ, a 256-bit perceptual hash (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
    /// Image-Hashing Algorithm", 2019). Compared by Hamming distance; byte 0 holds bits 255 to 248.
    PdqHash
}
hash_256! {
    /// BLAKE3 of a network's weights file: embeddings of two models are never compared.
    ModelHash
}

impl PdqHash {
    /// Number of differing bits, 0 to 256.
    #[must_use]
    pub fn hamming(&self, other: &Self) -> u32 {
        self.0
            .as_chunks::<8>()
            .0
            .iter()
            .zip(other.0.as_chunks::<8>().0)
            .map(|(a, b)| (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)).count_ones())
            .sum()
    }
}

/// Fills `out` from exactly twice as many hexadecimal digits.
pub(super) fn parse_hex(text: &str, out: &mut [u8]) -> Result<(), InvalidHash> {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return Err(InvalidHash);
    }
    for (byte, pair) in out.iter_mut().zip(digits.as_chunks::<2>().0) {
        let high = char::from(pair[0]).to_digit(16).ok_or(InvalidHash)?;
        let low = char::from(pair[1]).to_digit(16).ok_or(InvalidHash)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "two hexadecimal digits fit a byte"
        )]
        {
            *byte = (high << 4 | low) as u8;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let bytes: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7).expect("below 256"));
        let hash = ContentHash::from_bytes(bytes);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("12".parse::<ContentHash>(), Err(InvalidHash));
        assert_eq!("g".repeat(64).parse::<ContentHash>(), Err(InvalidHash));
    }

    #[test]
    fn hamming_counts_bits() {
        let zero = PdqHash::from_bytes([0; 32]);
        assert_eq!(zero.hamming(&zero), 0);
        assert_eq!(zero.hamming(&PdqHash::from_bytes([0xff; 32])), 256);
        let mut one = [0; 32];
        one[17] = 0b101;
        assert_eq!(zero.hamming(&PdqHash::from_bytes(one)), 2);
    }
}
