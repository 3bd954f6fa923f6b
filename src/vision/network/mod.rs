//! The descriptor network: plain convolutions, generalised-mean pooling, one linear layer, unit length.
//!
//! `stem` (3×3, stride 2), three stages (`down`: 3×3, stride 2; then blocks ReLU(conv(x) + x)), `head` (1×1), GeM, `fc`,
//! L2. Batch normalisation is folded into the convolutions on export; the names are those of the weights file, whose
//! metadata gives widths and depths.

mod described;
mod description;
mod packed;
mod repvgg;
mod resnet;
mod spec;
mod stock;
mod tensors;
mod weights;

pub use described::DescribedNetwork;
pub use description::{Architecture, ModelDescription, Pooling};
pub use packed::{Activations, Isa, PackedConv, PackedNetwork};
pub use spec::NetworkSpec;
pub use stock::StockNetwork;
pub use weights::Weights;

#[cfg(test)]
mod tests;
