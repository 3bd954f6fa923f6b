//! A network as its description says.

#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor};

use super::description::{Architecture, ModelDescription};
use super::packed::{Isa, PackedNetwork};
use super::repvgg;
use super::resnet::Resnet;
use super::tensors::Tensors;
use crate::vision::VisionError;

/// A network that people brought.
#[derive(Debug)]
pub struct DescribedNetwork(Shape);

#[derive(Debug)]
enum Shape {
    Resnet(Resnet),
    Repvgg(Box<PackedNetwork>),
}

impl DescribedNetwork {
    /// Reads the weights and packs them for an instruction set.
    ///
    /// # Errors
    /// [`VisionError::Weights`] says which tensor is missing or of another shape.
    pub fn new(
        description: &ModelDescription,
        weights: &[u8],
        isa: &'static Isa,
    ) -> std::result::Result<Self, VisionError> {
        let tensors = Tensors::load(weights, description.norm_eps)?;
        Ok(Self(match description.architecture {
            Architecture::Resnet => Shape::Resnet(Resnet::load(&tensors, description, isa)?),
            Architecture::Repvgg => Shape::Repvgg(Box::new(repvgg::load(&tensors, description, isa)?)),
        }))
    }

    /// Embeds a batch: contiguous f32 `[n, height, width, 3]`, RGB, (x / 255 − mean) / std, to f32 `[n, dim]`. Rows may
    /// have any length.
    ///
    /// # Errors
    /// candle's, for a tensor of another shape or type.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Shape::Resnet(network) => network.forward(input),
            Shape::Repvgg(network) => network.forward(input),
        }
    }
}
