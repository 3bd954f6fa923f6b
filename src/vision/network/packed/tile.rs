//! The innermost loops: some pixels × some channels of one convolution, held in registers.

use super::lanes::Lanes;

/// Most pixels of a tile, over all kernels.
pub(super) const MAX_PIXELS: usize = 12;
/// Most channels of a tile, over all kernels.
const MAX_CHANNELS: usize = 48;

/// The compiled shapes of tile for one packing of weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    /// Output channels computed at once, at most [`MAX_CHANNELS`].
    pub(super) channels: usize,
    /// The whole tile, and the smaller one for what is left at the end.
    pub(super) shapes: [TileShape; 2],
}

/// A compiled shape of tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileShape {
    /// Output pixels computed at once, at most [`MAX_PIXELS`].
    pub(super) pixels: usize,
    /// # Safety
    /// Only on a processor that has the instruction set, and with a checked [`Tile`].
    pub(super) run: unsafe fn(&Tile<'_>),
}

impl Kernel {
    /// The shape that computes the first of `pixels` that are left.
    pub(super) fn shape_for(&self, pixels: usize) -> TileShape {
        let [whole, smaller] = self.shapes;
        if pixels > smaller.pixels { whole } else { smaller }
    }
}

/// What lies between the sum of products and the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a> {
    /// Added to the sums before the ReLU: a slice and where each pixel's first channel stands in it.
    pub(super) residual: Option<(&'a [f32], [usize; MAX_PIXELS])>,
    /// Whether negative sums become zero.
    pub(super) relu: bool,
}

/// Input of one tile. A pixel's window is `rows` runs of `run` consecutive floats, `row_stride` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    /// The plane.
    pub(super) input: &'a [f32],
    /// Where each pixel's window starts.
    pub(super) starts: [usize; MAX_PIXELS],
    /// Rows of the kernel.
    pub(super) rows: usize,
    /// Floats from one row of the plane to the next.
    pub(super) row_stride: usize,
    /// Floats in a row of the window: kernel width × channels.
    pub(super) run: usize,
}

/// Weights of one block of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[rows × run][channels of the kernel]`, zero where the layer has no such channel.
    pub(super) weights: &'a [f32],
    /// `[channels of the kernel]`.
    pub(super) bias: &'a [f32],
    /// Channels that the layer has, from 1 to those of the kernel.
    pub(super) valid: usize,
}

/// One tile with every bound checked: [`Tile::compute`] is the only way to make it.
#[derive(Debug)]
pub(super) struct Tile<'a> {
    window: Window<'a>,
    block: Block<'a>,
    finish: Finish<'a>,
    output: *mut f32,
    /// Where each pixel's first channel of this block goes.
    targets: [usize; MAX_PIXELS],
}

impl<'a> Tile<'a> {
    /// Computes a tile into `output`. Pixels that repeat another's position write the same values again.
    pub(super) fn compute(
        kernel: &Kernel,
        shape: TileShape,
        window: Window<'a>,
        block: Block<'a>,
        finish: Finish<'a>,
        (output, targets): (&mut [f32], [usize; MAX_PIXELS]),
    ) {
        let reach = (window.rows - 1) * window.row_stride + window.run;
        let fits = |starts: &[usize; MAX_PIXELS], floats: usize, length: usize| {
            starts[..shape.pixels]
                .iter()
                .all(|start| start + floats <= length)
        };
        assert!(
            shape.pixels <= MAX_PIXELS && kernel.channels <= MAX_CHANNELS && block.valid <= kernel.channels
        );
        assert!(block.weights.len() >= window.rows * window.run * kernel.channels);
        assert!(block.bias.len() >= kernel.channels);
        assert!(fits(&window.starts, reach, window.input.len()));
        assert!(fits(&targets, block.valid, output.len()));
        if let Some((residual, starts)) = &finish.residual {
            assert!(fits(starts, block.valid, residual.len()));
        }
        let tile = Self {
            window,
            block,
            finish,
            output: output.as_mut_ptr(),
            targets,
        };
        // SAFETY: kernels come from supported instruction sets only, and every slice was just found long enough for
        // what the tile reads and writes; `output` is borrowed mutably for the call.
        unsafe { (shape.run)(&tile) }
    }
}

/// Multiplies, adds and stores one tile of `PIXELS` × (`REGISTERS` · width) outputs.
///
/// # Safety
/// The processor has `L`'s instruction set and the caller is compiled for it; `tile` was checked for a kernel of these
/// dimensions.
#[inline(always)]
pub(super) unsafe fn tile<L: Lanes, const PIXELS: usize, const REGISTERS: usize>(tile: &Tile<'_>) {
    let Tile { window, block, .. } = tile;
    // SAFETY: `Tile::compute` checked that each window of `rows` runs is inside the input, that there are
    // rows × run × channels weights and as many biases as channels.
    let sums = unsafe {
        let mut sums = [[L::splat(0.0); REGISTERS]; PIXELS];
        // Loops over registers count: with iterators over arrays the compiler keeps the arrays in memory.
        for r in 0..REGISTERS {
            let bias = L::load(block.bias.as_ptr().add(r * L::WIDTH));
            for p in 0..PIXELS {
                sums[p][r] = bias;
            }
        }
        let mut weights = block.weights.as_ptr();
        for row in 0..window.rows {
            let mut from = [window.input.as_ptr(); PIXELS];
            for p in 0..PIXELS {
                from[p] = from[p].add(window.starts[p] + row * window.row_stride);
            }
            for k in 0..window.run {
                // no closures here: without optimisation they would not be compiled for the instruction set
                let mut column = [L::splat(0.0); REGISTERS];
                for r in 0..REGISTERS {
                    column[r] = L::load(weights.add(r * L::WIDTH));
                }
                for p in 0..PIXELS {
                    let x = L::splat(*from[p].add(k));
                    for r in 0..REGISTERS {
                        sums[p][r] = L::fma(x, column[r], sums[p][r]);
                    }
                }
                weights = weights.add(REGISTERS * L::WIDTH);
            }
        }
        sums
    };
    // SAFETY: the caller's promise is passed on.
    unsafe {
        if block.valid == REGISTERS * L::WIDTH {
            store_whole::<L, PIXELS, REGISTERS>(tile, &sums);
        } else {
            store_part::<L, PIXELS, REGISTERS>(tile, &sums);
        }
    }
}

/// Finishes and stores a tile whose channels all exist.
///
/// # Safety
/// As [`tile`], and `block.valid` is `REGISTERS` · width.
#[inline(always)]
unsafe fn store_whole<L: Lanes, const PIXELS: usize, const REGISTERS: usize>(
    tile: &Tile<'_>,
    sums: &[[L::V; REGISTERS]; PIXELS],
) {
    // SAFETY: `Tile::compute` checked that `valid` floats are inside output and residual from each start on.
    unsafe {
        let floor = if tile.finish.relu {
            L::splat(0.0)
        } else {
            L::splat(f32::NEG_INFINITY)
        };
        match &tile.finish.residual {
            Some((residual, starts)) => {
                for p in 0..PIXELS {
                    let to = tile.output.add(tile.targets[p]);
                    let residual = residual.as_ptr().add(starts[p]);
                    for r in 0..REGISTERS {
                        let sum = L::add(sums[p][r], L::load(residual.add(r * L::WIDTH)));
                        L::store(to.add(r * L::WIDTH), L::max(sum, floor));
                    }
                }
            }
            None => {
                for p in 0..PIXELS {
                    let to = tile.output.add(tile.targets[p]);
                    for r in 0..REGISTERS {
                        L::store(to.add(r * L::WIDTH), L::max(sums[p][r], floor));
                    }
                }
            }
        }
    }
}

/// Finishes and stores the first `block.valid` channels of a tile.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn store_part<L: Lanes, const PIXELS: usize, const REGISTERS: usize>(
    tile: &Tile<'_>,
    sums: &[[L::V; REGISTERS]; PIXELS],
) {
    let mut values = [0.0; MAX_CHANNELS];
    for (p, pixel) in sums.iter().enumerate() {
        for (r, &sum) in pixel.iter().enumerate() {
            // SAFETY: `MAX_CHANNELS` floats hold a tile's channels.
            unsafe { L::store(values.as_mut_ptr().add(r * L::WIDTH), sum) };
        }
        for (c, &value) in values[..tile.block.valid].iter().enumerate() {
            let value = match &tile.finish.residual {
                Some((residual, starts)) => value + residual[starts[p] + c],
                None => value,
            };
            let value = if tile.finish.relu { value.max(0.0) } else { value };
            // SAFETY: `Tile::compute` checked that `valid` floats are inside the output from each target on.
            unsafe { tile.output.add(tile.targets[p] + c).write(value) };
        }
    }
}
