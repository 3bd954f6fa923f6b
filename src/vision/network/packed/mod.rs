//! The network as one custom operation: weights packed once, NHWC, every convolution fused with bias, residual and
//! ReLU, buffers reused.
//!
//! A convolution is computed in tiles of some pixels × some channels that stay in registers ([`tile`]). Because
//! activations are NHWC inside a border of zeros ([`plane`]), a pixel's window is three runs of consecutive floats:
//! nothing is copied before it is multiplied. 3×3 layers of
//! stride 1 go through [`winograd`] where it pays. [`StockNetwork`](super::StockNetwork) is the oracle. [`int8`] is a
//! faster body of codes of eight bits.
#![expect(unsafe_code, reason = "vector registers; every block states why it is sound")]

mod conv;
mod int8;
mod lanes;
mod plane;
mod tile;
mod winograd;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape as Dims, Tensor};
use parking_lot::Mutex;
use rayon::prelude::*;

pub use conv::PackedConv;
pub use int8::Activations;
pub use lanes::Isa;

use super::spec::{ConvSpec, Shape};
use super::stock::GEM_EPS;
use super::weights::{Layer, Weights};
use crate::vision::profile::Part;
use int8::Int8Body;
use plane::Plane;
use winograd::WinogradScratch;

/// Images that go through a layer together: its weights are then read once for all of them.
const GROUP: usize = 4;

/// The network with packed weights.
#[derive(Debug)]
pub struct PackedNetwork {
    body: Body,
    fc: PackedConv,
    gem_p: f32,
    dim: usize,
    /// Buffers of past runs, for the next ones.
    scratch: Mutex<Vec<Scratch>>,
}

/// The convolutions, each with ReLU.
#[derive(Debug)]
enum Body {
    Float(Vec<PackedConv>),
    Int8(Box<Int8Body>),
}

/// Input and output of a layer, in turns.
#[derive(Debug, Default)]
struct Scratch {
    from: Plane,
    to: Plane,
    winograd: WinogradScratch,
    codes: [Plane<u8>; 2],
}

impl PackedNetwork {
    /// Packs weights for an instruction set.
    ///
    /// # Errors
    /// candle's, never for checked weights.
    pub fn new(weights: &Weights, isa: &'static Isa) -> Result<Self> {
        Self::from_layers(isa, weights.convolutions(), weights.fc(), weights.spec().gem_p)
    }

    /// Rounds weights to eight bits and packs them, for activations of eight bits. The first and the last layer stay
    /// in f32.
    ///
    /// # Errors
    /// Tells a layer that `activations` do not know, or whose channels are no multiple of four.
    pub fn in_eight_bits(weights: &Weights, activations: &Activations, isa: &'static Isa) -> Result<Self> {
        let body = Body::Int8(Box::new(Int8Body::new(isa, weights.convolutions(), activations)?));
        Self::with_body(isa, body, weights.fc(), weights.spec().gem_p)
    }

    /// Packs convolutions that follow each other, each with ReLU, then the generalised mean and a linear layer.
    pub(super) fn from_layers(
        isa: &'static Isa,
        convolutions: &[(ConvSpec, Layer)],
        fc: &Layer,
        gem_p: f32,
    ) -> Result<Self> {
        let convolutions = convolutions
            .iter()
            .map(|(spec, layer)| PackedConv::new(isa, spec.shape, true, (&layer.weight, &layer.bias)))
            .collect::<Result<_>>()?;
        Self::with_body(isa, Body::Float(convolutions), fc, gem_p)
    }

    fn with_body(isa: &'static Isa, body: Body, fc: &Layer, gem_p: f32) -> Result<Self> {
        let (dim, input) = fc.weight.dims2()?;
        let as_convolution = fc.weight.reshape((dim, input, 1, 1))?;
        Ok(Self {
            body,
            fc: PackedConv::new(isa, Shape::ONE, false, (&as_convolution, &fc.bias))?,
            gem_p,
            dim,
            scratch: Mutex::default(),
        })
    }

    /// Embeds a batch, split over the rayon pool.
    ///
    /// `input`: contiguous f32 `[n, height, width, 3]`, RGB, (x / 255 − mean) / std. Answer: f32 `[n, dim]`, rows of
    /// unit length.
    ///
    /// # Errors
    /// candle's, for a tensor of another shape or type.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        input.apply_op1_no_bwd(self)
    }

    /// Embeds `count` images of `height` × `width` on the calling thread.
    fn run(&self, images: &[f32], [count, height, width]: [usize; 3], features: &mut [f32]) {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let Scratch {
            from,
            to,
            winograd,
            codes,
        } = &mut scratch;
        from.reshape(count, [height, width, 3]);
        from.fill(images);
        match &self.body {
            Body::Float(convolutions) => {
                for convolution in convolutions {
                    convolution.run(winograd, from, to);
                    std::mem::swap(from, to);
                }
            }
            Body::Int8(body) => {
                body.run(winograd, codes, from, to);
                std::mem::swap(from, to);
            }
        }
        self.pool(from, to);
        self.fc.run(winograd, to, from);
        for (row, features) in from
            .rows(0)
            .flat_map(|row| row.chunks_exact(self.dim))
            .zip(features.chunks_exact_mut(self.dim))
        {
            let norm = row.iter().map(|&x| x * x).sum::<f32>().sqrt();
            for (feature, &x) in features.iter_mut().zip(row) {
                *feature = x / norm;
            }
        }
        self.scratch.lock().push(scratch);
    }

    /// Generalised mean over space: each image of `from` becomes one pixel of `to`.
    fn pool(&self, from: &Plane, to: &mut Plane) {
        let [height, width, channels] = from.shape();
        to.reshape(1, [1, from.count(), channels]);
        let pixels = u32::try_from(height * width).map_or(f64::MAX, f64::from);
        for image in 0..from.count() {
            let start = to.offset(0, 1, image + 1);
            let sums = &mut to.data_mut()[start..start + channels];
            sums.fill(0.0);
            let pixels_of = from.rows(image).flat_map(|row| row.chunks_exact(channels));
            #[expect(clippy::float_cmp, reason = "the usual exponent, read from a text")]
            if self.gem_p == 3.0 {
                add_powers(pixels_of, sums, |x| x * x * x);
            } else {
                // a loop of its own: in one loop both powers would be computed and one thrown away
                add_powers(pixels_of, sums, |x| x.powf(self.gem_p));
            }
            for sum in sums {
                #[expect(clippy::cast_possible_truncation, reason = "a mean of f32")]
                let mean = (f64::from(*sum) / pixels).powf(1.0 / f64::from(self.gem_p)) as f32;
                *sum = mean;
            }
        }
    }
}

/// Adds a power of each channel of each pixel to the channel's sum.
fn add_powers<'a>(pixels: impl Iterator<Item = &'a [f32]>, sums: &mut [f32], power: impl Fn(f32) -> f32) {
    for pixel in pixels {
        for (sum, &x) in sums.iter_mut().zip(pixel) {
            *sum += power(x.max(GEM_EPS));
        }
    }
}

impl CustomOp1 for PackedNetwork {
    fn name(&self) -> &'static str {
        "packed-network"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Dims)> {
        let (count, height, width, channels) = layout.shape().dims4()?;
        if channels != 3 || height == 0 || width == 0 {
            candle_core::bail!(
                "images of shape {:?}, [n, height, width, 3] is expected",
                layout.shape()
            );
        }
        let images = conv::contiguous(storage, layout)?;
        let mut features = vec![0.0; count * self.dim];
        let group = count.clamp(1, GROUP);
        let image = height * width * channels;
        let run = |(images, features): (&[f32], &mut [f32])| {
            let shape = [images.len() / image, height, width];
            Part::Network.count(|| self.run(images, shape, features));
        };
        if group >= count {
            // on the calling thread: going through the pool would only add a wait
            images
                .chunks(image * group)
                .zip(features.chunks_mut(self.dim * group))
                .for_each(run);
        } else {
            images
                .par_chunks(image * group)
                .zip(features.par_chunks_mut(self.dim * group))
                .for_each(run);
        }
        Ok((CpuStorage::F32(features), (count, self.dim).into()))
    }
}
