//! Images to unit vectors.

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::network::{
    Activations, DescribedNetwork, Isa, ModelDescription, NetworkSpec, PackedNetwork, Weights,
};
use super::{Bank, VisionError, resize};
use crate::types::{Embedding, ModelHash};

/// Turns images into embeddings of one model.
///
/// Contract: pure (the same image gives the same embedding, alone or in a batch, within 1e-5 a component); one answer
/// for each image in the same order; any image with pixels is accepted; safe to call from many threads at once.
pub trait Embedder: Send + Sync {
    /// Embeds oriented RGB images of any size. They are squashed to the input size by area; an image that has the
    /// input size already is taken as it is.
    ///
    /// # Errors
    /// [`VisionError::Embedding`].
    fn embed(&self, images: &[RgbImage]) -> Result<Vec<Embedding>, VisionError>;

    /// Components of an embedding.
    fn dim(&self) -> usize;

    /// Identity of the model: embeddings of two models are never compared.
    fn model_hash(&self) -> ModelHash;

    /// Side of the square that images are squashed to, in pixels.
    fn input_size(&self) -> u32;

    /// The background bank of the model, where it has one.
    fn bank(&self) -> Option<&Bank> {
        None
    }
}

/// A convolutional network: the project's own, or one that people brought.
#[derive(Debug)]
pub struct CnnEmbedder {
    input: Input,
    dim: usize,
    hash: ModelHash,
    multiplications: Option<u64>,
    network: Network,
    bank: Option<Bank>,
}

#[derive(Debug)]
enum Network {
    Own(Box<PackedNetwork>),
    Described(DescribedNetwork),
}

/// What the network wants to be given.
#[derive(Debug)]
struct Input {
    size: u32,
    mean: [f32; 3],
    std: [f32; 3],
}

impl CnnEmbedder {
    /// Loads the project's network from the content of a safetensors file, which describes itself.
    ///
    /// # Errors
    /// [`VisionError::Weights`].
    pub fn from_safetensors(file: &[u8]) -> Result<Self, VisionError> {
        Self::new(&Weights::from_safetensors(file)?)
    }

    /// The project's network in eight bits, where its activations are known: another model than the same one in f32.
    ///
    /// # Errors
    /// [`VisionError::Weights`].
    pub fn in_eight_bits(file: &[u8], activations: &Activations) -> Result<Self, VisionError> {
        let weights = Weights::from_safetensors(file)?;
        let network = PackedNetwork::in_eight_bits(&weights, activations, Isa::active());
        let hash = activations.model_hash(weights.hash());
        Self::own(weights.spec(), hash, network)
    }

    /// Loads a network that people brought from its description and the content of its safetensors file.
    ///
    /// # Errors
    /// [`VisionError::Weights`].
    pub fn described(description: &ModelDescription, weights: &[u8]) -> Result<Self, VisionError> {
        let network = DescribedNetwork::new(description, weights, Isa::active())?;
        Ok(Self {
            input: Input {
                size: description.input_size,
                mean: description.mean,
                std: description.std,
            },
            dim: description.dim,
            hash: description.model_hash(weights),
            multiplications: None,
            network: Network::Described(network),
            bank: None,
        })
    }

    /// The project's network with random weights (uniform, variance 2 over the inputs of a layer): what the shape alone
    /// is worth, to measure trained weights against.
    ///
    /// # Errors
    /// [`VisionError::Weights`], never for the spec of a network that was loaded.
    pub fn random(spec: &NetworkSpec, seed: u64) -> Result<Self, VisionError> {
        Self::new(&Weights::random(spec, seed)?)
    }

    /// The same network with a background bank.
    ///
    /// # Errors
    /// [`VisionError::Weights`] when the bank is of another dimension.
    pub fn with_bank(self, bank: Bank) -> Result<Self, VisionError> {
        if bank.dim != self.dim {
            return Err(VisionError::Weights {
                detail: format!(
                    "background bank: {} components a row, the network gives {}",
                    bank.dim, self.dim
                ),
            });
        }
        Ok(Self {
            bank: Some(bank),
            ..self
        })
    }

    fn new(weights: &Weights) -> Result<Self, VisionError> {
        let network = PackedNetwork::new(weights, Isa::active());
        Self::own(weights.spec(), weights.hash(), network)
    }

    fn own(
        spec: &NetworkSpec,
        hash: ModelHash,
        network: candle_core::Result<PackedNetwork>,
    ) -> Result<Self, VisionError> {
        let network = network.map_err(|e| VisionError::Weights {
            detail: e.to_string(),
        })?;
        Ok(Self {
            input: Input {
                size: spec.input_size,
                mean: spec.mean,
                std: spec.std,
            },
            dim: spec.dim,
            hash,
            multiplications: Some(spec.multiplications()),
            network: Network::Own(Box::new(network)),
            bank: None,
        })
    }

    /// Multiplications that one image takes by the layers' count, for the project's own networks.
    #[must_use]
    pub fn multiplications(&self) -> Option<u64> {
        self.multiplications
    }

    /// Pixels of the input size to `[n, size, size, 3]`, (x / 255 − mean) / std.
    fn tensor(&self, images: &[RgbImage]) -> candle_core::Result<Tensor> {
        let side = self.input.size as usize;
        let normalised = [0, 1, 2].map(|c| {
            // 256 possible values a channel: a table spares the arithmetic
            std::array::from_fn::<f32, 256, _>(|value| {
                let value = u8::try_from(value).map_or(0.0, f32::from);
                (value / 255.0 - self.input.mean[c]) / self.input.std[c]
            })
        });
        let mut data = Vec::with_capacity(images.len() * side * side * 3);
        for image in images {
            for pixel in image.as_raw().as_chunks::<3>().0 {
                data.extend(
                    pixel
                        .iter()
                        .zip(&normalised)
                        .map(|(&value, table)| table[usize::from(value)]),
                );
            }
        }
        Tensor::from_vec(data, (images.len(), side, side, 3), &Device::Cpu)
    }
}

impl Embedder for CnnEmbedder {
    fn embed(&self, images: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let side = self.input.size;
        let squashed: Vec<RgbImage> = images
            .iter()
            .map(|image| resize::squash(image, side, side))
            .collect();
        let rows: Vec<Vec<f32>> = self
            .tensor(&squashed)
            .and_then(|input| match &self.network {
                Network::Own(network) => network.forward(&input),
                Network::Described(network) => network.forward(&input),
            })
            .and_then(|output| output.to_vec2())
            .map_err(|e| VisionError::Embedding {
                detail: e.to_string(),
            })?;
        rows.iter()
            .map(|row| {
                Embedding::normalised(row).map_err(|e| VisionError::Embedding {
                    detail: e.to_string(),
                })
            })
            .collect()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn model_hash(&self) -> ModelHash {
        self.hash
    }

    fn input_size(&self) -> u32 {
        self.input.size
    }

    fn bank(&self) -> Option<&Bank> {
        self.bank.as_ref()
    }
}

/// A network inside the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// `doppel-t`, the default.
    T,
    /// `doppel-t-int8`: T in eight bits.
    TInt8,
    /// `doppel-s`: finds more, and takes nearly twice as long.
    S,
    /// `doppel-s-int8`: S in eight bits.
    SInt8,
}

/// What a network is made of: weights, background bank, and how large its activations get.
struct Files {
    weights: &'static [u8],
    bank: &'static [u8],
    activations: &'static str,
}

const T: Files = Files {
    weights: include_bytes!("../../models/doppel-t.safetensors"),
    bank: include_bytes!("../../models/bank.safetensors"),
    activations: include_str!("../../models/activations.json"),
};
const S: Files = Files {
    weights: include_bytes!("../../models/doppel-s/doppel-s.safetensors"),
    bank: include_bytes!("../../models/doppel-s/bank.safetensors"),
    activations: include_str!("../../models/doppel-s/activations.json"),
};

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::T, Self::TInt8, Self::S, Self::SInt8];

    /// Its name, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::T => "doppel-t",
            Self::TInt8 => "doppel-t-int8",
            Self::S => "doppel-s",
            Self::SInt8 => "doppel-s-int8",
        }
    }

    const fn files(self) -> &'static Files {
        match self {
            Self::T | Self::TInt8 => &T,
            Self::S | Self::SInt8 => &S,
        }
    }

    /// Its shape.
    ///
    /// # Errors
    /// [`VisionError::Weights`], never for a binary whose tests passed.
    pub fn spec(self) -> Result<NetworkSpec, VisionError> {
        Ok(Weights::from_safetensors(self.files().weights)?.spec().clone())
    }

    /// The network with its bank; loaded once, shared afterwards.
    ///
    /// # Errors
    /// [`VisionError::Weights`], never for a binary whose tests passed.
    pub fn load(self) -> Result<Arc<CnnEmbedder>, VisionError> {
        static LOADED: [OnceLock<Result<Arc<CnnEmbedder>, VisionError>>; Builtin::ALL.len()] =
            [const { OnceLock::new() }; Builtin::ALL.len()];
        LOADED[self as usize]
            .get_or_init(|| {
                let files = self.files();
                let network = match self {
                    Self::T | Self::S => CnnEmbedder::from_safetensors(files.weights)?,
                    Self::TInt8 | Self::SInt8 => {
                        let activations = Activations::from_json(files.activations)?;
                        CnnEmbedder::in_eight_bits(files.weights, &activations)?
                    }
                };
                Ok(Arc::new(network.with_bank(Bank::from_safetensors(files.bank)?)?))
            })
            .clone()
    }
}

/// Shape of the network that is used when none is named.
///
/// # Errors
/// As [`Builtin::spec`].
pub fn builtin_spec() -> Result<NetworkSpec, VisionError> {
    Builtin::T.spec()
}

/// The network that is used when none is named.
///
/// # Errors
/// As [`Builtin::load`].
pub fn builtin() -> Result<Arc<CnnEmbedder>, VisionError> {
    Builtin::T.load()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let tone = |f: f32| {
                let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
                ((u * f).sin() * 60.0 + (v * f * 1.7).cos() * 60.0 + 128.0) as u8
            };
            image::Rgb([tone(5.0), tone(9.0), tone(14.0)])
        })
    }

    /// Both were measured with the weights that are shipped.
    #[test]
    fn bank_and_activations_belong_together() {
        for files in [T, S] {
            let bank = Bank::from_safetensors(files.bank).expect("the shipped bank");
            let activations = Activations::from_json(files.activations).expect("the shipped activations");
            assert_eq!(bank.model_sha256, activations.model_sha256);
        }
    }

    #[test]
    fn eight_bits_are_another_model_with_like_embeddings() {
        let (exact, rounded) = (builtin().expect("loads"), Builtin::TInt8.load().expect("loads"));
        assert_ne!(exact.model_hash(), rounded.model_hash());
        let images = [picture(160, 160), picture(700, 90)];
        let pairs = exact.embed(&images).expect("embeds").into_iter();
        for (a, b) in pairs.zip(rounded.embed(&images).expect("embeds")) {
            assert!(a.similarity(&b).get() > 0.99);
        }
    }

    #[test]
    fn batch_equals_single_and_any_size_is_accepted() {
        let embedder = builtin().expect("the shipped weights load");
        assert_eq!((embedder.dim(), embedder.input_size()), (256, 160));
        let images = [
            picture(160, 160),
            picture(1, 1),
            picture(700, 90),
            picture(33, 1000),
        ];
        let batch = embedder.embed(&images).expect("embeds");
        for (image, embedding) in images.iter().zip(&batch) {
            let alone = embedder.embed(std::slice::from_ref(image)).expect("embeds");
            let gap = alone[0]
                .as_slice()
                .iter()
                .zip(embedding.as_slice())
                .map(|(a, b)| (a - b).abs());
            assert!(gap.fold(0.0, f32::max) < 1e-5);
        }
        assert!(embedder.embed(&[]).expect("embeds nothing").is_empty());
    }

    #[test]
    fn the_size_of_a_picture_hardly_matters() {
        let embedder = builtin().expect("the shipped weights load");
        let of = |w, h| embedder.embed(&[picture(w, h)]).expect("embeds").remove(0);
        assert!(of(1600, 1200).similarity(&of(400, 300)).get() > 0.98);
    }

    #[test]
    fn unusable_weights_are_refused_with_a_reason() {
        let refused = |file: &[u8]| {
            CnnEmbedder::from_safetensors(file)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(refused(b"").is_err_and(|r| r.starts_with("unusable weights: ")));
        let whole = include_bytes!("../../models/doppel-t.safetensors");
        assert!(refused(&whole[..whole.len() / 2]).is_err());
        assert!(
            refused(include_bytes!("../../models/parity.safetensors"))
                .is_err_and(|r| r.contains("its metadata has no arch"))
        );
    }
}
