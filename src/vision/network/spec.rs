//! What a weights file says about its network.

use std::collections::HashMap;
use std::str::FromStr;

use crate::vision::VisionError;

/// Version of the file's metadata that is read here.
const FORMAT_VERSION: &str = "1";

/// Shape of a network and its input, read from the metadata of the weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    /// Name of the architecture: "doppel-t".
    pub arch: String,
    /// Side of the square input in pixels.
    pub input_size: u32,
    /// Mean of each input channel after division by 255.
    pub mean: [f32; 3],
    /// Standard deviation of each input channel after division by 255.
    pub std: [f32; 3],
    /// Exponent of the generalised mean.
    pub gem_p: f32,
    /// Components of the embedding.
    pub dim: usize,
    /// Channels of `stem`, `stage1`, `stage2`, `stage3`, `head`.
    pub channels: [usize; 5],
    /// Residual blocks after `down` in each stage.
    pub blocks: [usize; 3],
}

impl NetworkSpec {
    /// Reads the metadata of a safetensors file.
    ///
    /// # Errors
    /// [`VisionError::Weights`] when an entry is missing, unreadable or beyond reason.
    pub fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self, VisionError> {
        let entry = |key: &str| {
            metadata
                .get(key)
                .map(String::as_str)
                .ok_or_else(|| unusable(format!("its metadata has no {key}")))
        };
        let version = entry("format_version")?;
        if version != FORMAT_VERSION {
            return Err(unusable(format!(
                "format version {version:?}, {FORMAT_VERSION:?} is read here"
            )));
        }
        let spec = Self {
            arch: entry("arch")?.to_owned(),
            input_size: number("input_size", entry("input_size")?)?,
            mean: list("mean", entry("mean")?)?,
            std: list("std", entry("std")?)?,
            gem_p: number("gem_p", entry("gem_p")?)?,
            dim: number("dim", entry("dim")?)?,
            channels: list("channels", entry("channels")?)?,
            blocks: list("blocks", entry("blocks")?)?,
        };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), VisionError> {
        let sizes = (16..=1024).contains(&self.input_size)
            && (1..=65_536).contains(&self.dim)
            && self.channels.iter().all(|c| (1..=8192).contains(c))
            && self.blocks.iter().all(|b| *b <= 256);
        let numbers = self.std.iter().all(|s| *s > 0.0 && s.is_finite())
            && self.mean.iter().all(|m| m.is_finite())
            && (1.0..=16.0).contains(&self.gem_p);
        if sizes && numbers {
            Ok(())
        } else {
            Err(unusable(format!("its metadata is beyond reason: {self:?}")))
        }
    }

    /// Multiplications (each with its addition) that one image takes, the linear layer included.
    #[must_use]
    pub fn multiplications(&self) -> u64 {
        let mut side = self.input_size as usize;
        let mut sum = 0;
        for ConvSpec {
            input, output, shape, ..
        } in self.convolutions()
        {
            side = shape.output_side(side);
            sum += side * side * shape.kernel * shape.kernel * input * output;
        }
        (sum + self.channels[4] * self.dim) as u64
    }

    /// The convolutions in the order of their use.
    pub(super) fn convolutions(&self) -> Vec<ConvSpec> {
        let [stem, stages @ .., head] = self.channels;
        let mut list = vec![ConvSpec::new("stem", [3, stem], Shape::THREE_STRIDE_TWO)];
        let mut input = stem;
        for (stage, (channels, blocks)) in stages.into_iter().zip(self.blocks).enumerate() {
            let name = format!("stage{}", stage + 1);
            list.push(ConvSpec::new(
                &format!("{name}.down"),
                [input, channels],
                Shape::THREE_STRIDE_TWO,
            ));
            for block in 0..blocks {
                list.push(ConvSpec::new(
                    &format!("{name}.block{block}"),
                    [channels, channels],
                    Shape::THREE_RESIDUAL,
                ));
            }
            input = channels;
        }
        list.push(ConvSpec::new("head", [input, head], Shape::ONE));
        list
    }
}

/// Kernel, stride and residual of a convolution; 3×3 pads by one zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Side of the kernel: 3 or 1.
    pub(super) kernel: usize,
    /// 1 or 2.
    pub(super) stride: usize,
    /// Whether the input is added before the ReLU.
    pub(super) residual: bool,
}

impl Shape {
    const THREE_STRIDE_TWO: Self = Self {
        kernel: 3,
        stride: 2,
        residual: false,
    };
    const THREE_RESIDUAL: Self = Self {
        kernel: 3,
        stride: 1,
        residual: true,
    };
    pub(super) const ONE: Self = Self {
        kernel: 1,
        stride: 1,
        residual: false,
    };

    /// Side of the output for an input side.
    pub(super) const fn output_side(self, input: usize) -> usize {
        (input + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }
}

/// One convolution of the network: ReLU(conv(x) + bias (+ x)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConvSpec {
    /// Tensors `{name}.weight` (out, in, k, k) and `{name}.bias` (out).
    pub(super) name: String,
    /// Input channels.
    pub(super) input: usize,
    /// Output channels.
    pub(super) output: usize,
    /// Geometry.
    pub(super) shape: Shape,
}

impl ConvSpec {
    fn new(name: &str, [input, output]: [usize; 2], shape: Shape) -> Self {
        Self {
            name: name.to_owned(),
            input,
            output,
            shape,
        }
    }
}

fn number<T: FromStr>(key: &str, text: &str) -> Result<T, VisionError> {
    text.trim()
        .parse()
        .map_err(|_| unusable(format!("{key} is {text:?} in its metadata")))
}

fn list<T: serde::de::DeserializeOwned, const N: usize>(
    key: &str,
    text: &str,
) -> Result<[T; N], VisionError> {
    serde_json::from_str::<Vec<T>>(text)
        .ok()
        .and_then(|values| values.try_into().ok())
        .ok_or_else(|| {
            unusable(format!(
                "{key} is {text:?} in its metadata, {N} numbers are expected"
            ))
        })
}

pub(super) fn unusable(detail: String) -> VisionError {
    VisionError::Weights { detail }
}
