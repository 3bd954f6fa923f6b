//! Tensors of a weights file, checked against its own description.

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use super::spec::{ConvSpec, NetworkSpec, unusable};
use crate::types::ModelHash;
use crate::vision::VisionError;

/// Weight and bias of a convolution or of the linear layer, f32 on the CPU.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// `[out, in, k, k]`, or `[out, in]` for the linear layer.
    pub(super) weight: Tensor,
    /// `[out]`.
    pub(super) bias: Tensor,
}

/// All weights of one network.
#[derive(Debug, Clone)]
pub struct Weights {
    spec: NetworkSpec,
    hash: ModelHash,
    convolutions: Vec<(ConvSpec, Layer)>,
    fc: Layer,
}

impl Weights {
    /// Reads a safetensors file (f16 or f32) and checks every tensor's shape and that all values are finite.
    ///
    /// # Errors
    /// [`VisionError::Weights`].
    pub fn from_safetensors(file: &[u8]) -> Result<Self, VisionError> {
        let (_, header) = SafeTensors::read_metadata(file).map_err(|e| unusable(e.to_string()))?;
        let metadata = header
            .metadata()
            .as_ref()
            .ok_or_else(|| unusable("it has no metadata".to_owned()))?;
        let spec = NetworkSpec::from_metadata(metadata)?;
        let tensors =
            candle_core::safetensors::load_buffer(file, &Device::Cpu).map_err(|e| unusable(e.to_string()))?;
        let layer = |name: &str, weight: &[usize]| {
            let tensor = |part: &str, dims: &[usize]| {
                let full = format!("{name}.{part}");
                let found = tensors
                    .get(&full)
                    .ok_or_else(|| unusable(format!("it has no tensor {full}")))?;
                checked(&full, found, dims)
            };
            Ok(Layer {
                weight: tensor("weight", weight)?,
                bias: tensor("bias", &weight[..1])?,
            })
        };
        let convolutions = spec
            .convolutions()
            .into_iter()
            .map(|conv| {
                let side = conv.shape.kernel;
                let layer = layer(&conv.name, &[conv.output, conv.input, side, side])?;
                Ok((conv, layer))
            })
            .collect::<Result<_, VisionError>>()?;
        let [.., head] = spec.channels;
        let fc = layer("fc", &[spec.dim, head])?;
        Ok(Self {
            hash: ModelHash::from_bytes(*blake3::hash(file).as_bytes()),
            spec,
            convolutions,
            fc,
        })
    }

    /// Random weights for a shape: uniform, of variance 2 / inputs, without bias.
    ///
    /// # Errors
    /// [`VisionError::Weights`], never for a checked spec.
    pub fn random(spec: &NetworkSpec, seed: u64) -> Result<Self, VisionError> {
        let mut state = seed;
        let mut layer = |dims: &[usize]| {
            let inputs: usize = dims[1..].iter().product();
            let reach = (6.0 / inputs as f32).sqrt();
            let values: Vec<f32> = (0..dims.iter().product())
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    ((state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * reach
                })
                .collect();
            let weight = Tensor::from_vec(values, dims, &Device::Cpu);
            let bias = Tensor::zeros(dims[0], DType::F32, &Device::Cpu);
            weight
                .and_then(|weight| Ok(Layer { weight, bias: bias? }))
                .map_err(|e| unusable(e.to_string()))
        };
        let convolutions = spec
            .convolutions()
            .into_iter()
            .map(|conv| {
                let side = conv.shape.kernel;
                let layer = layer(&[conv.output, conv.input, side, side])?;
                Ok((conv, layer))
            })
            .collect::<Result<_, VisionError>>()?;
        let [.., head] = spec.channels;
        let fc = layer(&[spec.dim, head])?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"random weights");
        hasher.update(&seed.to_le_bytes());
        hasher.update(format!("{spec:?}").as_bytes());
        Ok(Self {
            hash: ModelHash::from_bytes(*hasher.finalize().as_bytes()),
            spec: spec.clone(),
            convolutions,
            fc,
        })
    }

    /// Shape of the network and of its input.
    #[must_use]
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn hash(&self) -> ModelHash {
        self.hash
    }

    /// The convolutions in the order of their use.
    pub(super) fn convolutions(&self) -> &[(ConvSpec, Layer)] {
        &self.convolutions
    }

    /// The last, linear layer.
    pub(super) fn fc(&self) -> &Layer {
        &self.fc
    }
}

fn checked(name: &str, tensor: &Tensor, dims: &[usize]) -> Result<Tensor, VisionError> {
    if tensor.dims() != dims {
        return Err(unusable(format!(
            "{name} has the shape {:?}, {dims:?} is expected",
            tensor.dims()
        )));
    }
    let tensor = tensor.to_dtype(DType::F32).map_err(|e| unusable(e.to_string()))?;
    let values: Vec<f32> = tensor
        .flatten_all()
        .and_then(|t| t.to_vec1())
        .map_err(|e| unusable(e.to_string()))?;
    if values.iter().all(|v| v.is_finite()) {
        Ok(tensor)
    } else {
        Err(unusable(format!("{name} holds values that are not finite")))
    }
}
