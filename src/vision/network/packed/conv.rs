//! One convolution with its weights packed for the tiles.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape as Dims, Tensor};

use super::lanes::Isa;
use super::plane::Plane;
use super::tile::{Block, Finish, Kernel, MAX_PIXELS, Tile, Window};
use crate::vision::network::spec::Shape;

/// A convolution of NHWC images: conv(x) + bias, optionally + x, optionally ReLU. 3×3 pads by one zero.
#[derive(Debug, Clone)]
pub struct PackedConv {
    shape: Shape,
    relu: bool,
    input: usize,
    output: usize,
    kernel: &'static Kernel,
    /// `[blocks][kernel rows × kernel columns × input][kernel.channels]`.
    weights: Vec<f32>,
    /// `[blocks × kernel.channels]`.
    bias: Vec<f32>,
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
        let depth = rows * columns * input;
        let padded = output.next_multiple_of(kernel.channels);
        // [out][row][column][in]
        let rows_of_weights = weight.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        let mut weights = vec![0.0; padded * depth];
        for (o, column) in rows_of_weights.chunks_exact(depth).enumerate() {
            let (block, lane) = (o / kernel.channels, o % kernel.channels);
            let lanes = weights[block * depth * kernel.channels + lane..]
                .iter_mut()
                .step_by(kernel.channels);
            for (to, &from) in lanes.zip(column) {
                *to = from;
            }
        }
        let mut bias = bias.to_vec1::<f32>()?;
        bias.resize(padded, 0.0);
        Ok(Self {
            shape,
            relu,
            input,
            output,
            kernel,
            weights,
            bias,
        })
    }

    /// Shape of the output images for input images of `height` × `width`.
    pub(super) fn output_shape(&self, [height, width]: [usize; 2]) -> [usize; 3] {
        [
            self.shape.output_side(height),
            self.shape.output_side(width),
            self.output,
        ]
    }

    /// Computes all images of `input` into `output`, which takes its shape.
    pub(super) fn run(&self, input: &Plane, output: &mut Plane) {
        let [height, width, channels] = input.shape();
        assert_eq!(channels, self.input, "a plane of another layer");
        let shape = self.output_shape([height, width]);
        output.reshape(input.count(), shape);
        let depth = self.shape.kernel * self.shape.kernel * self.input;
        let blocks = self.weights.chunks_exact(depth * self.kernel.channels);
        for (index, (weights, bias)) in blocks
            .zip(self.bias.chunks_exact(self.kernel.channels))
            .enumerate()
        {
            let first = index * self.kernel.channels;
            let block = Block {
                weights,
                bias,
                valid: self.kernel.channels.min(self.output - first),
            };
            for image in 0..input.count() {
                self.run_block(block, first, image, input, output);
            }
        }
    }

    /// Computes one block of channels, `first` and following, of one image.
    fn run_block(&self, block: Block<'_>, first: usize, image: usize, input: &Plane, output: &mut Plane) {
        let Shape {
            kernel: side, stride, ..
        } = self.shape;
        // a 3×3 window starts in the border, a 1×1 window inside it
        let shift = 1 - side / 2;
        let [height, width, _] = output.shape();
        let mut window = Window {
            input: input.data(),
            starts: [0; MAX_PIXELS],
            rows: side,
            row_stride: input.row_stride(),
            run: side * self.input,
        };
        let mut targets = [0; MAX_PIXELS];
        let mut residual = [0; MAX_PIXELS];
        let (mut y, mut x) = (0, 0);
        while y < height {
            for pixel in 0..self.kernel.pixels {
                // past the end, the last pixel is repeated
                if y < height {
                    window.starts[pixel] = input.offset(image, y * stride + shift, x * stride + shift);
                    targets[pixel] = output.offset(image, y + 1, x + 1) + first;
                    residual[pixel] = input.offset(image, y + 1, x + 1) + first;
                    x += 1;
                    if x == width {
                        (y, x) = (y + 1, 0);
                    }
                } else {
                    window.starts[pixel] = window.starts[pixel - 1];
                    targets[pixel] = targets[pixel - 1];
                    residual[pixel] = residual[pixel - 1];
                }
            }
            let finish = Finish {
                residual: self.shape.residual.then_some((input.data(), residual)),
                relu: self.relu,
            };
            Tile::compute(self.kernel, window, block, finish, (output.data_mut(), targets));
        }
    }
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
        self.run(&input, &mut output);
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
