//! 3×3 convolutions of stride 1 by Winograd's F(5×5, 3×3): 49 products where the sum has 225.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), points 0, ±1, ±2, ½, ∞. Input tiles
//! of 7 × 7 pixels overlap by two; each becomes 49 values a channel, each of the 49 positions is a matrix product over
//! channels, and the results become 5 × 5 outputs: the sides of the network's stages, 40, 20 and 10, are multiples of five. The
//! error is some 5e-6 of the largest activation, 1.4 times that of F(4×4, 3×3).

use super::conv::Packing;
use super::lanes::{Isa, Lanes};
use super::plane::{Plane, grow};
use super::tile::{Finish, Kernel, MAX_PIXELS, Tile, Window};

/// Positions of a transformed tile.
const POSITIONS: usize = IN * IN;
/// Side of an input tile.
const IN: usize = 7;
/// Side of an output tile.
const OUT: usize = 5;
/// Tiles transformed before they are multiplied: what they become still lies in the second-level cache.
const CHUNK: usize = 24;
/// Floats of a line of the processor's cache. Positions stand an odd number of lines apart: at a multiple of many lines, all
/// positions of a tile would compete for the same few places of the cache.
const LINE: usize = 16;
/// Fewer tiles than this do not pay for reading five times as many weights. Those of the last stage of one image do: 4.
const MIN_TILES: usize = 4;

/// A convolution's weights in Winograd's domain, one matrix for each position.
#[derive(Debug, Clone)]
pub(super) struct Winograd {
    packing: Packing,
    transforms: &'static Transforms,
}

/// Buffers of a run, for the next one.
#[derive(Debug, Default)]
pub(super) struct WinogradScratch {
    /// `[position][tile][in]`, positions [`spread`] apart.
    inputs: Vec<f32>,
    /// `[position][tile][out]`, positions [`spread`] apart.
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

/// One input tile: 7 × 7 pixels of all channels to 49 vectors of channels.
#[derive(Debug)]
pub(super) struct InputJob<'a> {
    from: &'a [f32],
    row_stride: usize,
    channels: usize,
    to: *mut f32,
    position_stride: usize,
}

/// One output tile: 49 vectors of channels to up to 5 × 5 pixels.
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
            [-1.0 / 2.0, 0.0, 0.0],
            [-1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0],
            [1.0 / 9.0, -1.0 / 9.0, 1.0 / 9.0],
            [1.0 / 36.0, 1.0 / 18.0, 1.0 / 9.0],
            [-1.0 / 60.0, 1.0 / 30.0, -1.0 / 15.0],
            [32.0 / 45.0, 16.0 / 45.0, 8.0 / 45.0],
            [0.0, 0.0, 1.0],
        ];
        let mut matrices = Vec::with_capacity(POSITIONS * output * input);
        for position in 0..POSITIONS {
            let (row, column) = (G[position / IN], G[position % IN]);
            let taps: [f64; 9] = std::array::from_fn(|tap| row[tap / 3] * column[tap % 3]);
            for kernel in weights.chunks_exact(9 * input) {
                for i in 0..input {
                    let products = taps.iter().enumerate();
                    let sum: f64 = products
                        .map(|(tap, g)| g * f64::from(kernel[tap * input + i]))
                        .sum();
                    #[expect(clippy::cast_possible_truncation, reason = "back to the type of the weights")]
                    matrices.push(sum as f32);
                }
            }
        }
        Some(Self {
            packing: Packing::new(kernel, &matrices, &[], [output, input]),
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
        let position_stride = spread(places.len() * channels);
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
        let packing = &self.packing;
        let [output, input] = packing.dims();
        grow(&mut scratch.products, POSITIONS * spread(tiles * output));
        let inputs = scratch.inputs.chunks_exact(spread(tiles * input));
        let products = scratch.products.chunks_exact_mut(spread(tiles * output));
        for (position, (inputs, products)) in inputs.zip(products).take(POSITIONS).enumerate() {
            for (first, block) in packing.blocks(position) {
                let mut tile = 0;
                while tile < tiles {
                    let shape = packing.kernel().shape_for(tiles - tile);
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
                    Tile::compute(
                        packing.kernel(),
                        shape,
                        window,
                        block,
                        finish,
                        (products, targets),
                    );
                    tile += shape.pixels;
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
        let position_stride = spread(places.len() * channels);
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

/// Floats from one position to the next that hold `floats` of each.
fn spread(floats: usize) -> usize {
    let lines = floats.div_ceil(LINE);
    (lines | 1) * LINE
}

/// Transforms one input tile.
///
/// # Safety
/// The processor has `L`'s instruction set and the caller is compiled for it; `job` was checked.
#[inline(always)]
pub(super) unsafe fn transform_input<L: Lanes>(job: &InputJob<'_>) {
    // SAFETY: seven rows of seven pixels of `channels` floats, `row_stride` apart, are inside `from`; 49 runs of
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

/// The input transform along one axis: each pixel less half of the one before it, which is the factor of the point ½, then the
/// transform of F(4, 3) to the other points; and that of the pixels themselves to the point ½.
///
/// # Safety
/// The processor has `L`'s instruction set and the caller is compiled for it.
#[inline(always)]
unsafe fn input_axis<L: Lanes>([p0, p1, p2, p3, p4, p5, p6]: [L::V; IN]) -> [L::V; IN] {
    // SAFETY: registers only; the caller's promise is passed on.
    unsafe {
        let [
            minus_half,
            minus_one,
            two,
            minus_two,
            four,
            minus_four,
            minus_five,
        ] = [
            L::splat(-0.5),
            L::splat(-1.0),
            L::splat(2.0),
            L::splat(-2.0),
            L::splat(4.0),
            L::splat(-4.0),
            L::splat(-5.0),
        ];
        let d0 = L::fma(minus_half, p0, p1);
        let d1 = L::fma(minus_half, p1, p2);
        let d2 = L::fma(minus_half, p2, p3);
        let d3 = L::fma(minus_half, p3, p4);
        let d4 = L::fma(minus_half, p4, p5);
        let d5 = L::fma(minus_half, p5, p6);
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
            L::fma(four, p1, L::fma(minus_five, p3, p5)),
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
    // SAFETY: 49 runs of `channels` floats, `position_stride` apart, are inside `from`; `valid` rows and columns of
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
unsafe fn output_axis<L: Lanes>([m0, m1, m2, m3, m4, m5, m6]: [L::V; IN]) -> [L::V; OUT] {
    // SAFETY: registers only; the caller's promise is passed on.
    unsafe {
        let [minus_one, two, four, eight, sixteen] = [
            L::splat(-1.0),
            L::splat(2.0),
            L::splat(4.0),
            L::splat(8.0),
            L::splat(16.0),
        ];
        let [half, quarter, eighth, sixteenth] = [
            L::splat(1.0 / 2.0),
            L::splat(1.0 / 4.0),
            L::splat(1.0 / 8.0),
            L::splat(1.0 / 16.0),
        ];
        let (near_sum, near_gap) = (L::add(m1, m2), L::fma(minus_one, m2, m1));
        let (far_sum, far_gap) = (L::add(m3, m4), L::fma(minus_one, m4, m3));
        [
            L::add(L::add(m0, m5), L::add(near_sum, far_sum)),
            L::fma(half, m5, L::fma(two, far_gap, near_gap)),
            L::fma(quarter, m5, L::fma(four, far_sum, near_sum)),
            L::fma(eighth, m5, L::fma(eight, far_gap, near_gap)),
            L::fma(sixteenth, m5, L::fma(sixteen, far_sum, L::add(m6, near_sum))),
        ]
    }
}
