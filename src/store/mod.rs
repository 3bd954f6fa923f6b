//! Floor 1, pillar `store`: where bytes and metadata live. No images, no vectors.

pub mod blob;
pub mod metadata;
#[cfg(test)]
pub(crate) mod servers;
