//! engine

pub mod scan;
