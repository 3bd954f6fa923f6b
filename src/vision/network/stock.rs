//! The network in candle's own operations: slow, plain, and the oracle of the packed one.

use candle_core::{Result, Tensor};

use super::spec::ConvSpec;
use super::weights::{Layer, Weights};

/// Activations are clamped from below before the power of the generalised mean.
pub(super) const GEM_EPS: f32 = 1e-6;

/// The network as candle's stock operations compute it.
#[derive(Debug, Clone)]
pub struct StockNetwork {
    weights: Weights,
}

impl StockNetwork {
    /// Takes weights as they are.
    #[must_use]
    pub fn new(weights: Weights) -> Self {
        Self { weights }
    }

    /// Embeds a batch.
    ///
    /// `input`: f32 `[n, 3, height, width]`, RGB, (x / 255 − mean) / std. Answer: f32 `[n, dim]`, rows of unit length.
    ///
    /// # Errors
    /// candle's, for a tensor of another shape or type.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let mut x = input.clone();
        for (spec, layer) in self.weights.convolutions() {
            x = convolution(spec, layer, &x)?;
        }
        let pooled = self.gem(&x)?;
        let fc = self.weights.fc();
        let features = pooled.matmul(&fc.weight.t()?)?.broadcast_add(&fc.bias)?;
        features.broadcast_div(&features.sqr()?.sum_keepdim(1)?.sqrt()?)
    }

    /// Generalised mean over space: `[n, c, h, w]` to `[n, c]`.
    fn gem(&self, x: &Tensor) -> Result<Tensor> {
        let p = f64::from(self.weights.spec().gem_p);
        x.clamp(GEM_EPS, f32::MAX)?.powf(p)?.mean((2, 3))?.powf(1.0 / p)
    }
}

/// ReLU(conv(x) + bias (+ x)) in stock operations.
pub(super) fn convolution(spec: &ConvSpec, layer: &Layer, x: &Tensor) -> Result<Tensor> {
    let shape = spec.shape;
    let y = x
        .conv2d(&layer.weight, shape.kernel / 2, shape.stride, 1, 1)?
        .broadcast_add(&layer.bias.reshape((1, spec.output, 1, 1))?)?;
    if shape.residual { (y + x)?.relu() } else { y.relu() }
}
