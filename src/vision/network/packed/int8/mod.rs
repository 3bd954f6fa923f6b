//! The convolutions in eight bits: activations as codes 0 to 255 of one step a layer, weights as −127 to 127 of one step
//! an output channel, sums of whole numbers.
//!
//! ReLU leaves no negative activation, so code 0 is 0 and the border of a plane stays zero. Steps come from the largest
//! activation that each layer had on pictures of the training pool ([`Activations`]). All kernels give the same codes, so
//! an embedding does not depend on the processor by more than the first and last layers do, which stay in f32.

mod tile;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::{Error, Result};
use serde::Deserialize;

use super::conv::{PackedConv, tiles};
use super::lanes::Isa;
use super::plane::Plane;
use super::winograd::WinogradScratch;
use crate::types::ModelHash;
use crate::vision::VisionError;
use crate::vision::network::spec::{ConvSpec, Shape, unusable};
use crate::vision::network::weights::Layer;
use crate::vision::wide::{self, wide};
use tile::{Block, Kernel, QUAD, Tile, Window};

/// Largest code of an activation.
const TOP: f32 = 255.0;
/// Largest code of a weight.
const WEIGHT_TOP: f32 = 127.0;

/// How large the activations of each layer get, as `models/activations.py` writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activations {
    /// SHA-256 of the weights that were measured, in hexadecimal.
    pub model_sha256: String,
    /// Largest activation of each convolution, by its name.
    largest: BTreeMap<String, f32>,
}

impl Activations {
    /// Reads the JSON file.
    ///
    /// # Errors
    /// [`VisionError::Weights`] when it cannot be read or a value is not above zero.
    pub fn from_json(text: &str) -> std::result::Result<Self, VisionError> {
        let read: Self = serde_json::from_str(text).map_err(|e| unusable(format!("its activations: {e}")))?;
        match read
            .largest
            .iter()
            .find(|(_, top)| !(top.is_finite() && **top > 0.0))
        {
            Some((name, top)) => Err(unusable(format!("its activations: {name} is {top}"))),
            None => Ok(read),
        }
    }

    /// Identity of a network in eight bits: embeddings of it are never compared with those of f32.
    #[must_use]
    pub fn model_hash(&self, weights: ModelHash) -> ModelHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"doppel eight bits 1\n");
        hasher.update(weights.as_bytes());
        for (layer, top) in &self.largest {
            hasher.update(layer.as_bytes());
            hasher.update(&top.to_le_bytes());
        }
        ModelHash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// What one code of a layer's output stands for.
    fn step(&self, layer: &str) -> Result<f32> {
        match self.largest.get(layer) {
            Some(top) => Ok(top / TOP),
            None => Err(Error::Msg(format!(
                "nothing is said of the activations of {layer}"
            ))),
        }
    }
}

/// All convolutions of a network, the first in f32 and the others in eight bits.
#[derive(Debug)]
pub(super) struct Int8Body {
    stem: PackedConv,
    /// Of the first layer's output.
    first_step: f32,
    convolutions: Vec<Int8Conv>,
    /// Of the last layer's output.
    last_step: f32,
}

impl Int8Body {
    /// Rounds and packs convolutions that follow each other, each with ReLU.
    ///
    /// # Errors
    /// Tells a layer without activations or whose channels are no multiple of four.
    pub(super) fn new(
        isa: &'static Isa,
        convolutions: &[(ConvSpec, Layer)],
        activations: &Activations,
    ) -> Result<Self> {
        let Some(((stem, layer), others)) = convolutions.split_first() else {
            return Err(Error::Msg("a network without convolutions".to_owned()));
        };
        if !tile::is_fast(isa) {
            tracing::warn!("without AVX2 a network in eight bits is several times slower than in f32");
        }
        let first_step = activations.step(&stem.name)?;
        let mut step = first_step;
        let mut packed = Vec::with_capacity(others.len());
        for (spec, layer) in others {
            let next = activations.step(&spec.name)?;
            packed.push(Int8Conv::new(isa, spec, layer, [step, next])?);
            step = next;
        }
        Ok(Self {
            stem: PackedConv::new(isa, stem.shape, true, (&layer.weight, &layer.bias))?,
            first_step,
            convolutions: packed,
            last_step: step,
        })
    }

    /// From images in `from` to the last layer's activations in `to`.
    pub(super) fn run(
        &self,
        winograd: &mut WinogradScratch,
        [codes, next]: &mut [Plane<u8>; 2],
        from: &Plane,
        to: &mut Plane,
    ) {
        self.stem.run(winograd, from, to);
        wide(Encode {
            step: self.first_step,
            from: to,
            to: codes,
        });
        for convolution in &self.convolutions {
            convolution.run(codes, next);
            std::mem::swap(codes, next);
        }
        to.reshape(codes.count(), codes.shape());
        for image in 0..codes.count() {
            for (from, to) in codes.rows(image).zip(to.rows_mut(image)) {
                for (value, &code) in to.iter_mut().zip(from) {
                    *value = f32::from(code) * self.last_step;
                }
            }
        }
    }
}

/// Activations to the nearest codes.
struct Encode<'a> {
    step: f32,
    from: &'a Plane,
    to: &'a mut Plane<u8>,
}

impl wide::Kernel for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { step, from, to } = self;
        let inverse = 1.0 / step;
        to.reshape(from.count(), from.shape());
        for image in 0..from.count() {
            for (from, to) in from.rows(image).zip(to.rows_mut(image)) {
                for (code, &value) in to.iter_mut().zip(from) {
                    #[expect(clippy::manual_clamp, reason = "clamp hands on what is no number")]
                    let value = (value * inverse + 0.5).min(TOP).max(0.0);
                    // SAFETY: between 0 and 255, and a number: `min` gives its other side where one is none.
                    *code = unsafe { value.to_int_unchecked::<i32>() } as u8;
                }
            }
        }
    }
}

/// One convolution in eight bits: ReLU(conv(x) + bias (+ x)).
#[derive(Debug)]
struct Int8Conv {
    kernel: &'static Kernel,
    shape: Shape,
    input: usize,
    output: usize,
    /// `[blocks][k × k × in / QUAD][kernel.channels][QUAD]`.
    weights: Vec<i8>,
    /// `[blocks × kernel.channels]`, as [`Block`] has them.
    scales: Vec<f32>,
    bias: Vec<f32>,
    /// Output codes to an input code.
    ratio: f32,
}

impl Int8Conv {
    /// Rounds a layer for the steps of its input and of its output.
    fn new(isa: &'static Isa, spec: &ConvSpec, layer: &Layer, [step, next]: [f32; 2]) -> Result<Self> {
        let ConvSpec {
            input, output, shape, ..
        } = *spec;
        if !input.is_multiple_of(QUAD) {
            return Err(Error::Msg(format!(
                "{} has {input} channels, eight bits take multiples of {QUAD}",
                spec.name
            )));
        }
        let kernel = tile::kernels(isa)
            .iter()
            .min_by_key(|kernel| output.next_multiple_of(kernel.channels))
            .ok_or_else(|| Error::Msg(format!("{} has no kernels", isa.name())))?;
        // [out][row][column][in]
        let rows = layer
            .weight
            .permute((0, 2, 3, 1))?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let bias = layer.bias.to_vec1::<f32>()?;
        let depth = shape.kernel * shape.kernel * input;
        let padded = output.next_multiple_of(kernel.channels);
        let mut packed = Self {
            kernel,
            shape,
            input,
            output,
            weights: vec![0; padded * depth],
            scales: vec![0.0; padded],
            bias: vec![0.0; padded],
            ratio: step / next,
        };
        for (channel, (row, bias)) in rows.chunks_exact(depth).zip(bias).enumerate() {
            let largest = row.iter().fold(0.0_f32, |top, w| top.max(w.abs()));
            // a channel of zeros keeps its zeros
            let weight_step = if largest > 0.0 { largest / WEIGHT_TOP } else { 1.0 };
            packed.scales[channel] = weight_step * step / next;
            packed.bias[channel] = bias / next + 0.5;
            let (block, lane) = (channel / kernel.channels, channel % kernel.channels);
            for (k, weight) in row.iter().enumerate() {
                let quad = block * depth / QUAD + k / QUAD;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "at most 127 by the choice of the step"
                )]
                let code = (weight / weight_step).round() as i8;
                packed.weights[(quad * kernel.channels + lane) * QUAD + k % QUAD] = code;
            }
        }
        Ok(packed)
    }

    /// Computes all images of `input` into `output`, which takes its shape.
    fn run(&self, input: &Plane<u8>, output: &mut Plane<u8>) {
        let [height, width, channels] = input.shape();
        assert_eq!(channels, self.input, "a plane of another layer");
        let [height, width] = [height, width].map(|side| self.shape.output_side(side));
        output.reshape(input.count(), [height, width, self.output]);
        let (side, channels) = (self.shape.kernel, self.kernel.channels);
        let blocks = self
            .weights
            .chunks_exact(side * side * self.input * channels)
            .zip(self.scales.chunks_exact(channels))
            .zip(self.bias.chunks_exact(channels));
        for (index, ((weights, scales), bias)) in blocks.enumerate() {
            let first = index * channels;
            let block = Block {
                weights,
                scales,
                bias,
                valid: channels.min(self.output - first),
            };
            for image in 0..input.count() {
                let grids = [input.grid(), output.grid()];
                for places in tiles(self.shape, self.kernel.pixels, (image, first), grids) {
                    let window = Window {
                        input: input.data(),
                        places,
                        rows: side,
                        row_stride: input.row_stride(),
                        run: side * self.input,
                        residual: self.shape.residual.then_some(self.ratio),
                    };
                    Tile::compute(self.kernel, window, block, output.data_mut());
                }
            }
        }
    }
}
