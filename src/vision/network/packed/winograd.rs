//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): 36 products where the sum has 144.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), points 0, ±1, ±2, ∞. Input tiles
//! of 6 × 6 pixels overlap by two; each becomes 36 values a channel, each of the 36 positions is a matrix product over
//! channels, and the results become 4 × 4 outputs. The error is some 1e-6 of the largest activation.

use super::conv::Packing;
use super::lanes::{Isa, Lanes};
use super::plane::{Plane, grow};
use super::tile::{Finish, Kernel, MAX_PIXELS, Tile, Window};

/// Positions of a transformed tile.
const POSITIONS: usize = 36;
/// Side of an input tile.
const IN: usize = 6;
/// Side of an output tile.
const OUT: usize = 4;
/// Tiles transformed before they are multiplied: what they become still lies in the second-level cache.
const CHUNK: usize = 40;
/// Fewer tiles than this do not pay for reading four times as many weights. Those of the last stage of one image do: 9.
const MIN_TILES: usize = 8;

/// A convolution's weights in Winograd's domain, one matrix for each position.
#[derive(Debug, Clone)]
pub(super) struct Winograd {
    positions: Vec<Packing>,
    transforms: &'static Transforms,
}

/// Buffers of a run, for the next one.
#[derive(Debug, Default)]
pub(super) struct WinogradScratch {
    /// `[position][tile][in]`.
    inputs: Vec<f32>,
    /// `[position][tile][out]`.
    products: Vec<f32>,
    /// An input tile that reaches over the plane's edge.
    patch: Vec<f32>,
}

/// The transforms compiled for an instruction set.
#[derive(Debug)]
pub(super) struct Transforms {
    /// Channels must be a multiple of this.
    pub(super) width: usize,
    /// # Safety
    /// Only on a processor that has the instruction set, with a checked job.
    pub(super) input: unsafe fn(&InputJob<'_>),
    /// # Safety
    /// As `input`.
    pub(super) output: unsafe fn(&OutputJob<'_>),
}

/// One input tile: 6 × 6 pixels of all channels to 36 vectors of channels.
#[derive(Debug)]
pub(super) struct InputJob<'a> {
    from: &'a [f32],
    row_stride: usize,
    channels: usize,
    to: *mut f32,
    position_stride: usize,
}

/// One output tile: 36 vectors of channels to up to 4 × 4 pixels.
#[derive(Debug)]
pub(super) struct OutputJob<'a> {
    from: &'a [f32],
    position_stride: usize,
    channels: usize,
    bias: &'a [f32],
    residual: Option<&'a [f32]>,
    relu: bool,
    /// Output rows and columns that exist.
    valid: [usize; 2],
    to: *mut f32,
    row_stride: usize,
}

/// Where a tile of outputs stands: image, first row, first column.
type Place = (usize, usize, usize);

impl Winograd {
    /// Transforms weights `[out][row][column][in]`; `None` where the channels do not fill the registers.
    pub(super) fn new(
        isa: &'static Isa,
        kernel: &'static Kernel,
        weights: &[f32],
        [output, input]: [usize; 2],
    ) -> Option<Self> {
        let transforms = &isa.transforms;
        if input % transforms.width != 0 || output % transforms.width != 0 {
            return None;
        }
        /// Rows of the matrix that transforms a kernel along one axis.
        const G: [[f64; 3]; IN] = [
            [1.0 / 4.0, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        let positions = (0..POSITIONS)
            .map(|position| {
                let (row, column) = (G[position / IN], G[position % IN]);
                let mut matrix = Vec::with_capacity(output * input);
                for kernel in weights.chunks_exact(9 * input) {
                    for i in 0..input {
                        let mut sum = 0.0;
                        for (tap, g) in (0..9).map(|tap| (tap, row[tap / 3] * column[tap % 3])) {
                            sum += g * f64::from(kernel[tap * input + i]);
                        }
                        #[expect(
                            clippy::cast_possible_truncation,
                            reason = "back to the type of the weights"
                        )]
                        matrix.push(sum as f32);
                    }
                }
                Packing::new(kernel, &matrix, &[], [output, input])
            })
            .collect();
        Some(Self {
            positions,
            transforms,
        })
    }

    /// Whether this way is the faster one for `count` images of such outputs.
    pub(super) fn pays(count: usize, [height, width]: [usize; 2]) -> bool {
        count * height.div_ceil(OUT) * width.div_ceil(OUT) >= MIN_TILES
    }

    /// Computes all images of `input` into `output`, which has its shape already.
    pub(super) fn run(
        &self,
        scratch: &mut WinogradScratch,
        input: &Plane,
        (output, bias): (&mut Plane, &[f32]),
        (residual, relu): (bool, bool),
    ) {
        let [height, width, _] = output.shape();
        let places: Vec<Place> = (0..input.count())
            .flat_map(|image| (0..height).step_by(OUT).map(move |y| (image, y)))
            .flat_map(|(image, y)| (0..width).step_by(OUT).map(move |x| (image, y, x)))
            .collect();
        for places in places.chunks(CHUNK) {
            self.transform_inputs(scratch, input, places);
            self.multiply(scratch, places.len());
            self.transform_outputs(scratch, input, (output, bias), (residual, relu), places);
        }
    }

    fn transform_inputs(&self, scratch: &mut WinogradScratch, input: &Plane, places: &[Place]) {
        let [height, width, channels] = input.shape();
        let position_stride = places.len() * channels;
        grow(&mut scratch.inputs, POSITIONS * position_stride);
        grow(&mut scratch.patch, IN * IN * channels);
        for (tile, &(image, y, x)) in places.iter().enumerate() {
            let start = input.offset(image, y, x);
            // rows and columns of the padded plane that are left from here on
            let (rows, columns) = ((height + 2 - y).min(IN), (width + 2 - x).min(IN));
            let (from, row_stride) = if (rows, columns) == (IN, IN) {
                (&input.data()[start..], input.row_stride())
            } else {
                scratch.patch[..IN * IN * channels].fill(0.0);
                let lines = input.data()[start..].chunks(input.row_stride()).take(rows);
                for (to, from) in scratch.patch.chunks_exact_mut(IN * channels).zip(lines) {
                    to[..columns * channels].copy_from_slice(&from[..columns * channels]);
                }
                (scratch.patch.as_slice(), IN * channels)
            };
            assert!(from.len() >= (IN - 1) * row_stride + IN * channels);
            let to = &mut scratch.inputs[tile * channels..];
            assert!(to.len() >= (POSITIONS - 1) * position_stride + channels);
            let job = InputJob {
                from,
                row_stride,
                channels,
                to: to.as_mut_ptr(),
                position_stride,
            };
            // SAFETY: the instruction set is a supported one, `channels` is a multiple of its width (checked in `new`),
            // and both slices were just found long enough; `to` is borrowed mutably for the call.
            unsafe { (self.transforms.input)(&job) }
        }
    }

    fn multiply(&self, scratch: &mut WinogradScratch, tiles: usize) {
        let [output, input] = self.positions[0].dims();
        grow(&mut scratch.products, POSITIONS * tiles * output);
        let inputs = scratch.inputs.chunks_exact(tiles * input);
        let products = scratch.products.chunks_exact_mut(tiles * output);
        for ((packing, inputs), products) in self.positions.iter().zip(inputs).zip(products) {
            for (first, block) in packing.blocks() {
                for tile in (0..tiles).step_by(packing.kernel().pixels) {
                    // past the end, the last tile is repeated
                    let row: [usize; MAX_PIXELS] = std::array::from_fn(|pixel| (tile + pixel).min(tiles - 1));
                    let window = Window {
                        input: inputs,
                        starts: row.map(|row| row * input),
                        rows: 1,
                        row_stride: 0,
                        run: input,
                    };
                    let finish = Finish {
                        residual: None,
                        relu: false,
                    };
                    let targets = row.map(|row| row * output + first);
                    Tile::compute(packing.kernel(), window, block, finish, (products, targets));
                }
            }
        }
    }

    fn transform_outputs(
        &self,
        scratch: &WinogradScratch,
        input: &Plane,
        (output, bias): (&mut Plane, &[f32]),
        (residual, relu): (bool, bool),
        places: &[Place],
    ) {
        let [height, width, channels] = output.shape();
        let row_stride = output.row_stride();
        let position_stride = places.len() * channels;
        for (tile, &(image, y, x)) in places.iter().enumerate() {
            let valid @ [rows, columns] = [(height - y).min(OUT), (width - x).min(OUT)];
            let start = output.offset(image, y + 1, x + 1);
            let reach = (rows - 1) * row_stride + columns * channels;
            let from = &scratch.products[tile * channels..];
            let to = &mut output.data_mut()[start..];
            // input and output are planes of one shape when there is a residual
            let residual = residual.then(|| &input.data()[start..]);
            assert!(from.len() >= (POSITIONS - 1) * position_stride + channels);
            assert!(to.len() >= reach && residual.is_none_or(|r| r.len() >= reach) && bias.len() >= channels);
            let job = OutputJob {
                from,
                position_stride,
                channels,
                bias,
                residual,
                relu,
                valid,
                to: to.as_mut_ptr(),
                row_stride,
            };
            // SAFETY: as in `transform_inputs`.
            unsafe { (self.transforms.output)(&job) }
        }
    }
}

/// Transforms one input tile.
///
/// # Safety
/// The processor has `L`'s instruction set and the caller is compiled for it; `job` was checked.
#[inline(always)]
pub(super) unsafe fn transform_input<L: Lanes>(job: &InputJob<'_>) {
    // SAFETY: six rows of six pixels of `channels` floats, `row_stride` apart, are inside `from`; 36 runs of
    // `channels` floats, `position_stride` apart, are inside `to`; `channels` is a multiple of the width.
    unsafe {
        for channel in (0..job.channels).step_by(L::WIDTH) {
            let mut by_row = [[L::splat(0.0); IN]; IN];
            for y in 0..IN {
                let line = job.from.as_ptr().add(y * job.row_stride + channel);
                let mut pixels = [L::splat(0.0); IN];
                for x in 0..IN {
                    pixels[x] = L::load(line.add(x * job.channels));
                }
                by_row[y] = input_axis::<L>(pixels);
            }
            for x in 0..IN {
                let mut column = [L::splat(0.0); IN];
                for y in 0..IN {
                    column[y] = by_row[y][x];
                }
                let column = input_axis::<L>(column);
                for y in 0..IN {
                    L::store(
                        job.to.add((y * IN + x) * job.position_stride + channel),
                        column[y],
                    );
                }
            }
        }
    }
}

/// The input transform along one axis.
///
/// # Safety
/// The processor has `L`'s instruction set and the caller is compiled for it.
#[inline(always)]
unsafe fn input_axis<L: Lanes>([d0, d1, d2, d3, d4, d5]: [L::V; IN]) -> [L::V; IN] {
    // SAFETY: registers only; the caller's promise is passed on.
    unsafe {
        let [minus_one, two, minus_two, four, minus_four, minus_five] = [
            L::splat(-1.0),
            L::splat(2.0),
            L::splat(-2.0),
            L::splat(4.0),
            L::splat(-4.0),
            L::splat(-5.0),
        ];
        let even = L::fma(minus_four, d2, d4);
        let odd = L::fma(minus_four, d1, d3);
        let near = L::fma(minus_one, d2, d4);
        let step = L::fma(minus_one, d1, d3);
        [
            L::fma(four, d0, L::fma(minus_five, d2, d4)),
            L::add(even, odd),
            L::fma(minus_one, odd, even),
            L::fma(two, step, near),
            L::fma(minus_two, step, near),
            L::fma(four, d1, L::fma(minus_five, d3, d5)),
        ]
    }
}

/// Transforms one output tile, adds bias and residual, and stores what exists of it.
///
/// # Safety
/// As [`transform_input`].
#[inline(always)]
pub(super) unsafe fn transform_output<L: Lanes>(job: &OutputJob<'_>) {
    // SAFETY: 36 runs of `channels` floats, `position_stride` apart, are inside `from`; `valid` rows and columns of
    // pixels, `row_stride` and `channels` apart, are inside `to` and `residual`; `channels` is a multiple of the width.
    unsafe {
        let floor = if job.relu {
            L::splat(0.0)
        } else {
            L::splat(f32::NEG_INFINITY)
        };
        for channel in (0..job.channels).step_by(L::WIDTH) {
            let from = job.from.as_ptr().add(channel);
            let mut by_row = [[L::splat(0.0); OUT]; IN];
            for y in 0..IN {
                let mut values = [L::splat(0.0); IN];
                for x in 0..IN {
                    values[x] = L::load(from.add((y * IN + x) * job.position_stride));
                }
                by_row[y] = output_axis::<L>(values);
            }
            let bias = L::load(job.bias.as_ptr().add(channel));
            for x in 0..job.valid[1] {
                let mut column = [L::splat(0.0); IN];
                for y in 0..IN {
                    column[y] = by_row[y][x];
                }
                let column = output_axis::<L>(column);
                for (y, &value) in column[..job.valid[0]].iter().enumerate() {
                    let at = y * job.row_stride + x * job.channels + channel;
                    let mut value = L::add(value, bias);
                    if let Some(residual) = job.residual {
                        value = L::add(value, L::load(residual.as_ptr().add(at)));
                    }
                    L::store(job.to.add(at), L::max(value, floor));
                }
            }
        }
    }
}

/// The output transform along one axis.
///
/// # Safety
/// The processor has `L`'s instruction set and the caller is compiled for it.
#[inline(always)]
unsafe fn output_axis<L: Lanes>([m0, m1, m2, m3, m4, m5]: [L::V; IN]) -> [L::V; OUT] {
    // SAFETY: registers only; the caller's promise is passed on.
    unsafe {
        let [minus_one, two, four, eight] = [L::splat(-1.0), L::splat(2.0), L::splat(4.0), L::splat(8.0)];
        let (near_sum, near_gap) = (L::add(m1, m2), L::fma(minus_one, m2, m1));
        let (far_sum, far_gap) = (L::add(m3, m4), L::fma(minus_one, m4, m3));
        [
            L::add(m0, L::add(near_sum, far_sum)),
            L::fma(two, far_gap, near_gap),
            L::fma(four, far_sum, near_sum),
            L::add(m5, L::fma(eight, far_gap, near_gap)),
        ]
    }
}
