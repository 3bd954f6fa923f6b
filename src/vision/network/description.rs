//! Networks that people bring: a small TOML file beside a safetensors file.
//!
//! ```toml
//! weights = "resnet18.safetensors"   # beside this file
//! architecture = "resnet"            # resnet (18 to 152, as torchvision names it) or repvgg (official names)
//! input_size = 224                   # images are squashed to this square
//! mean = [0.485, 0.456, 0.406]       # of each channel after division by 255
//! std = [0.229, 0.224, 0.225]
//! pooling = "average"                # or "gem", with gem_p = 3.0
//! dim = 512                          # components of the embedding
//! linear = "fc"                      # a linear layer after pooling; without it the pooled features are the embedding
//! norm_eps = 1e-5                    # of batch normalisation
//! bank = "resnet18-bank.safetensors" # background bank for score normalisation, if there is one
//! ```

use serde::Deserialize;

use super::spec::unusable;
use crate::types::ModelHash;
use crate::vision::VisionError;

/// What the TOML file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// Name of the safetensors file, seen from the description's folder.
    pub weights: String,
    /// Names and shapes of the tensors.
    pub architecture: Architecture,
    /// Side of the square input in pixels.
    pub input_size: u32,
    /// Mean of each input channel after division by 255.
    pub mean: [f32; 3],
    /// Standard deviation of each input channel after division by 255.
    pub std: [f32; 3],
    /// From a plane to one value a channel.
    #[serde(default)]
    pub pooling: Pooling,
    /// Exponent of the generalised mean.
    #[serde(default = "default_gem_p")]
    pub gem_p: f32,
    /// Components of the embedding.
    pub dim: usize,
    /// Name of a linear layer after pooling.
    pub linear: Option<String>,
    /// Added to the variance of batch normalisation.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// Name of the background bank's file, seen from the description's folder.
    pub bank: Option<String>,
}

/// Families of networks that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// He et al. (2015): basic or bottleneck blocks, stride in the 3×3 convolution.
    Resnet,
    /// Ding et al. (2021): as trained (three branches) or as deployed (one convolution a block).
    Repvgg,
}

/// From a plane to one value a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean.
    #[default]
    Average,
    /// The generalised mean.
    Gem,
}

const fn default_gem_p() -> f32 {
    3.0
}

const fn default_norm_eps() -> f64 {
    1e-5
}

impl ModelDescription {
    /// Reads the TOML file.
    ///
    /// # Errors
    /// [`VisionError::Weights`] names the key that is missing, unknown or beyond reason.
    pub fn from_toml(text: &str) -> Result<Self, VisionError> {
        let description: Self = toml::from_str(text)
            .map_err(|error| unusable(format!("its description: {}", error.to_string().trim_end())))?;
        description.check()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), VisionError> {
        let refuse = |key: &str, value: String| Err(unusable(format!("its description: {key} is {value}")));
        if !(16..=1024).contains(&self.input_size) {
            return refuse("input_size", self.input_size.to_string());
        }
        if !(1..=65_536).contains(&self.dim) {
            return refuse("dim", self.dim.to_string());
        }
        if !self.mean.iter().all(|m| m.is_finite()) {
            return refuse("mean", format!("{:?}", self.mean));
        }
        if !self.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return refuse("std", format!("{:?}", self.std));
        }
        if !(1.0..=16.0).contains(&self.gem_p) {
            return refuse("gem_p", self.gem_p.to_string());
        }
        if !(0.0..=0.1).contains(&self.norm_eps) {
            return refuse("norm_eps", self.norm_eps.to_string());
        }
        Ok(())
    }

    /// Exponent of the pooling.
    pub(super) fn exponent(&self) -> f32 {
        match self.pooling {
            Pooling::Average => 1.0,
            Pooling::Gem => self.gem_p,
        }
    }

    /// Identity of the model: BLAKE3 over the weights and everything here that changes an embedding.
    #[must_use]
    pub fn model_hash(&self, weights: &[u8]) -> ModelHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"doppel model description 1\n");
        hasher.update(blake3::hash(weights).as_bytes());
        let Self {
            architecture,
            input_size,
            mean,
            std,
            dim,
            linear,
            norm_eps,
            ..
        } = self;
        let exponent = self.exponent();
        let said = format!(
            "{architecture:?} {input_size} {mean:?} {std:?} {exponent:?} {dim} {linear:?} {norm_eps:?}"
        );
        hasher.update(said.as_bytes());
        ModelHash::from_bytes(*hasher.finalize().as_bytes())
    }
}
