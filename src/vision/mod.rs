//! Floor 1, pillar `vision`: bytes to pixels, hashes, thumbnail and embedding. No storage, no index.
//!
//! [`Analyser`] joins the parts: [`decode`] (any file to oriented RGB), [`fingerprint`] (BLAKE3 and PDQ),
//! [`thumbnail`], and an [`Embedder`] ([`builtin`]: the network shipped inside the binary).

mod analyser;
pub mod attack;
mod background;
mod decode;
mod embedder;
mod error;
mod exif;
pub mod fingerprint;
pub mod lineage;
pub mod network;
pub mod palette;
mod parts;
mod polygon;
pub mod profile;
mod resize;
pub mod sketch;
pub mod thumbnail;
pub mod verify;
mod wide;

pub use analyser::{Analyser, Analysis};
pub use background::{Bank, Score};
pub use decode::{Coded, DecodeLimits, Decoded, Demand, coded, decode, decode_to, sniff};
pub use embedder::{Builtin, CnnEmbedder, Embedder, builtin, builtin_spec};
pub use error::VisionError;
/// 8-bit RGB pixels, row-major: the only pixel type that other modules see.
pub use image::RgbImage;
pub use network::{ModelDescription, NetworkSpec};
pub use palette::Palette;
pub use parts::parts;
