//! The HTTP door.

pub mod assets;
