//! One convolution with its weights packed for the tiles.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape as Dims, Tensor};

use super::lanes::Isa;
use super::plane::{Grid, Plane};
use super::tile::{Block, Finish, Kernel, MAX_PIXELS, Tile, Window};
use super::winograd::{Winograd, WinogradScratch};
use crate::memory::Floats;
use crate::vision::network::spec::Shape;

/// Matrices of weights, all of one shape, in blocks of as many output channels as a tile has.
#[derive(Debug, Clone)]
pub(super) struct Packing {
    kernel: &'static Kernel,
    output: usize,
    depth: usize,
    /// `[matrices][blocks][depth][kernel.channels]`.
    weights: Floats,
    /// `[blocks × kernel.channels]`.
    bias: Vec<f32>,
}

impl Packing {
    /// Packs matrices of `output` rows of `depth` weights, one for each output channel; what `bias` lacks is zero.
    pub(super) fn new(
        kernel: &'static Kernel,
        matrices: &[f32],
        bias: &[f32],
        [output, depth]: [usize; 2],
    ) -> Self {
        let padded = output.next_multiple_of(kernel.channels);
        let mut weights = vec![0.0; matrices.len() / output * padded];
        let packed = weights.chunks_exact_mut(padded * depth);
        for (matrix, packed) in matrices.chunks_exact(output * depth).zip(packed) {
            for (o, row) in matrix.chunks_exact(depth).enumerate() {
                let (block, lane) = (o / kernel.channels, o % kernel.channels);
                let lanes = packed[block * depth * kernel.channels + lane..].iter_mut();
                for (to, &from) in lanes.step_by(kernel.channels).zip(row) {
                    *to = from;
                }
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Self {
            kernel,
            output,
            depth,
            weights: weights.into(),
            bias,
        }
    }

    /// Output channels and weights of each.
    pub(super) fn dims(&self) -> [usize; 2] {
        [self.output, self.depth]
    }

    pub(super) fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// The blocks of one matrix, each with its first channel.
    pub(super) fn blocks(&self, matrix: usize) -> impl Iterator<Item = (usize, Block<'_>)> {
        let channels = self.kernel.channels;
        let size = self.bias.len() * self.depth;
        self.weights[matrix * size..][..size]
            .chunks_exact(self.depth * channels)
            .zip(self.bias.chunks_exact(channels))
            .enumerate()
            .map(move |(index, (weights, bias))| {
                let first = index * channels;
                let valid = channels.min(self.output - first);
                (first, Block { weights, bias, valid })
            })
    }
}

/// A convolution of NHWC images: conv(x) + bias, optionally + x, optionally ReLU. 3×3 pads by one zero.
#[derive(Debug, Clone)]
pub struct PackedConv {
    shape: Shape,
    relu: bool,
    input: usize,
    packing: Packing,
    winograd: Option<Winograd>,
}

impl PackedConv {
    /// Packs `weight` `[out, in, k, k]` and `bias` `[out]`.
    ///
    /// # Errors
    /// candle's, for tensors of another rank or type.
    pub(in crate::vision::network) fn new(
        isa: &'static Isa,
        shape: Shape,
        relu: bool,
        (weight, bias): (&Tensor, &Tensor),
    ) -> Result<Self> {
        let (output, input, rows, columns) = weight.dims4()?;
        let kernel = isa
            .kernels
            .iter()
            .min_by_key(|kernel| output.next_multiple_of(kernel.channels))
            .ok_or_else(|| candle_core::Error::Msg(format!("{} has no kernels", isa.name())))?;
        // [out][row][column][in]
        let weights = weight.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        let bias = bias.to_vec1::<f32>()?;
        let winograd = if shape.kernel == 3 && shape.stride == 1 {
            Winograd::new(isa, kernel, &weights, [output, input])
        } else {
            None
        };
        Ok(Self {
            shape,
            relu,
            input,
            packing: Packing::new(kernel, &weights, &bias, [output, rows * columns * input]),
            winograd,
        })
    }

    /// Computes all images of `input` into `output`, which takes its shape.
    pub(super) fn run(&self, scratch: &mut WinogradScratch, input: &Plane, output: &mut Plane) {
        let [height, width, channels] = input.shape();
        assert_eq!(channels, self.input, "a plane of another layer");
        let [height, width] = [height, width].map(|side| self.shape.output_side(side));
        let [channels, _] = self.packing.dims();
        output.reshape(input.count(), [height, width, channels]);
        match &self.winograd {
            Some(winograd) if Winograd::pays(input.count(), [height, width]) => {
                winograd.run(
                    scratch,
                    input,
                    (output, &self.packing.bias),
                    (self.shape.residual, self.relu),
                );
            }
            _ => {
                for (first, block) in self.packing.blocks(0) {
                    for image in 0..input.count() {
                        self.run_block(block, first, image, input, output);
                    }
                }
            }
        }
    }

    /// Computes one block of channels, `first` and following, of one image.
    fn run_block(&self, block: Block<'_>, first: usize, image: usize, input: &Plane, output: &mut Plane) {
        let kernel = self.packing.kernel();
        let side = self.shape.kernel;
        let grids = [input.grid(), output.grid()];
        for places in tiles(self.shape, kernel.shapes[0].pixels, (image, first), grids) {
            let window = Window {
                input: input.data(),
                starts: places.windows,
                rows: side,
                row_stride: input.row_stride(),
                run: side * self.input,
            };
            let finish = Finish {
                residual: self.shape.residual.then_some((input.data(), places.residual)),
                relu: self.relu,
            };
            let shape = kernel.shape_for(places.pixels);
            Tile::compute(
                kernel,
                shape,
                window,
                block,
                finish,
                (output.data_mut(), places.targets),
            );
        }
    }
}

/// Where the pixels of one tile stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Pixels before they repeat.
    pub(super) pixels: usize,
    /// First value of each pixel's window in the input.
    pub(super) windows: [usize; MAX_PIXELS],
    /// Each pixel's first channel of the block in the output.
    pub(super) targets: [usize; MAX_PIXELS],
    /// The same pixel and channel in the input.
    pub(super) residual: [usize; MAX_PIXELS],
}

/// Tiles of `pixels` output pixels of one image, in their order, for channels from `first` on. Past the end, the last
/// pixel is repeated.
pub(super) fn tiles(
    shape: Shape,
    pixels: usize,
    (image, first): (usize, usize),
    [input, output]: [Grid; 2],
) -> impl Iterator<Item = Places> {
    // a 3×3 window starts in the border, a 1×1 window inside it
    let shift = 1 - shape.kernel / 2;
    let stride = shape.stride;
    let [height, width, _] = output.shape();
    let (mut y, mut x) = (0, 0);
    std::iter::from_fn(move || {
        if y >= height {
            return None;
        }
        let mut places = Places {
            pixels: 0,
            windows: [0; MAX_PIXELS],
            targets: [0; MAX_PIXELS],
            residual: [0; MAX_PIXELS],
        };
        for pixel in 0..pixels {
            if y < height {
                places.pixels += 1;
                places.windows[pixel] = input.offset(image, y * stride + shift, x * stride + shift);
                places.targets[pixel] = output.offset(image, y + 1, x + 1) + first;
                places.residual[pixel] = input.offset(image, y + 1, x + 1) + first;
                x += 1;
                if x == width {
                    (y, x) = (y + 1, 0);
                }
            } else {
                places.windows[pixel] = places.windows[pixel - 1];
                places.targets[pixel] = places.targets[pixel - 1];
                places.residual[pixel] = places.residual[pixel - 1];
            }
        }
        Some(places)
    })
}

impl CustomOp1 for PackedConv {
    fn name(&self) -> &'static str {
        "packed-conv"
    }

    /// f32 `[n, height, width, in]` to `[n, height', width', out]`.
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Dims)> {
        let (count, height, width, channels) = layout.shape().dims4()?;
        if channels != self.input {
            candle_core::bail!("{channels} channels, {} are expected", self.input);
        }
        let images = contiguous(storage, layout)?;
        let (mut input, mut output) = (Plane::default(), Plane::default());
        input.reshape(count, [height, width, channels]);
        input.fill(images);
        self.run(&mut WinogradScratch::default(), &input, &mut output);
        let [height, width, channels] = output.shape();
        let mut data = Vec::with_capacity(count * height * width * channels);
        for row in (0..count).flat_map(|image| output.rows(image)) {
            data.extend_from_slice(row);
        }
        Ok((CpuStorage::F32(data), (count, height, width, channels).into()))
    }
}

/// The floats of a contiguous tensor.
pub(super) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("a contiguous tensor is expected"),
    }
}
