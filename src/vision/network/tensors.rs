//! Tensors of a network that people bring, with batch normalisation folded into the convolutions.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::spec::unusable;
use super::weights::Layer;
use crate::vision::VisionError;

/// The content of a safetensors file.
pub(super) struct Tensors {
    tensors: HashMap<String, Tensor>,
    eps: f64,
}

impl Tensors {
    /// Reads a file; `eps` is that of its batch normalisations.
    pub(super) fn load(file: &[u8], eps: f64) -> Result<Self, VisionError> {
        let tensors =
            candle_core::safetensors::load_buffer(file, &Device::Cpu).map_err(|e| unusable(e.to_string()))?;
        Ok(Self { tensors, eps })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor as f32, with finite values.
    pub(super) fn get(&self, name: &str) -> Result<Tensor, VisionError> {
        let found = self.tensors.get(name);
        let found = found.ok_or_else(|| unusable(format!("it has no tensor {name}")))?;
        let tensor = found.to_dtype(DType::F32).and_then(|t| t.contiguous());
        let tensor = tensor.map_err(|e| unusable(format!("{name}: {e}")))?;
        let values: Vec<f32> = tensor
            .flatten_all()
            .and_then(|t| t.to_vec1())
            .map_err(|e| unusable(format!("{name}: {e}")))?;
        if values.iter().all(|v| v.is_finite()) {
            Ok(tensor)
        } else {
            Err(unusable(format!("{name} holds values that are not finite")))
        }
    }

    /// A convolution `{conv}.weight` (and `.bias`, if any) with the normalisation `{norm}.*` folded in.
    pub(super) fn normalised(&self, conv: &str, norm: &str) -> Result<Layer, VisionError> {
        let weight = self.get(&format!("{conv}.weight"))?;
        let (output, ..) = weight
            .dims4()
            .map_err(|_| unusable(format!("{conv}.weight has the shape {:?}", weight.dims())))?;
        let bias = if self.has(&format!("{conv}.bias")) {
            self.vector(&format!("{conv}.bias"), output)?
        } else {
            vec![0.0; output]
        };
        self.folded(norm, &weight, &bias)
    }

    /// A convolution without normalisation.
    pub(super) fn plain(&self, conv: &str) -> Result<Layer, VisionError> {
        let weight = self.get(&format!("{conv}.weight"))?;
        let output = weight.dims()[0];
        let bias = self.vector(&format!("{conv}.bias"), output)?;
        layer(&weight, bias)
    }

    /// `weight` `[out, in, k, k]` and `bias` followed by the normalisation.
    pub(super) fn folded(&self, norm: &str, weight: &Tensor, bias: &[f32]) -> Result<Layer, VisionError> {
        let output = weight.dims()[0];
        let part = |part: &str| self.vector(&format!("{norm}.{part}"), output);
        let (gain, shift) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        let scale: Vec<f32> = gain
            .iter()
            .zip(&variance)
            .map(|(&g, &v)| (f64::from(g) / (f64::from(v) + self.eps).sqrt()) as f32)
            .collect();
        if !scale.iter().all(|s| s.is_finite()) {
            return Err(unusable(format!("{norm} has a variance below zero")));
        }
        let bias = (0..output)
            .map(|o| shift[o] + (bias[o] - mean[o]) * scale[o])
            .collect();
        let scaled = Tensor::from_vec(scale, (output, 1, 1, 1), &Device::Cpu)
            .and_then(|scale| weight.broadcast_mul(&scale))
            .map_err(|e| unusable(format!("{norm}: {e}")))?;
        layer(&scaled, bias)
    }

    /// A linear layer `[out, in]`; its bias may be missing.
    pub(super) fn linear(&self, name: &str, [output, input]: [usize; 2]) -> Result<Layer, VisionError> {
        let weight = self.get(&format!("{name}.weight"))?;
        if weight.dims() != [output, input] {
            return Err(unusable(format!(
                "{name}.weight has the shape {:?}, {:?} is expected",
                weight.dims(),
                [output, input]
            )));
        }
        let bias = if self.has(&format!("{name}.bias")) {
            self.vector(&format!("{name}.bias"), output)?
        } else {
            vec![0.0; output]
        };
        layer(&weight, bias)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, VisionError> {
        let tensor = self.get(name)?;
        match tensor.to_vec1::<f32>() {
            Ok(values) if values.len() == len => Ok(values),
            _ => Err(unusable(format!(
                "{name} has the shape {:?}, [{len}] is expected",
                tensor.dims()
            ))),
        }
    }
}

/// A layer that passes its input through: pooled features as they are.
pub(super) fn identity(dim: usize) -> Result<Layer, VisionError> {
    let weight = Tensor::eye(dim, DType::F32, &Device::Cpu).map_err(|e| unusable(e.to_string()))?;
    layer(&weight, vec![0.0; dim])
}

pub(super) fn layer(weight: &Tensor, bias: Vec<f32>) -> Result<Layer, VisionError> {
    let bias = Tensor::new(bias, &Device::Cpu).map_err(|e| unusable(e.to_string()))?;
    Ok(Layer {
        weight: weight.clone(),
        bias,
    })
}
