//! The innermost loops on codes of eight bits: some pixels × some channels of one convolution.

use crate::vision::network::packed::conv::Places;
use crate::vision::network::packed::lanes::Isa;

/// Codes multiplied at once for each channel.
pub(super) const QUAD: usize = 4;

/// A compiled shape of tile. All of them give the same codes.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Output pixels computed at once, at most [`MAX_PIXELS`](super::super::tile::MAX_PIXELS).
    pub(super) pixels: usize,
    /// Output channels computed at once.
    pub(super) channels: usize,
    /// # Safety
    /// Only on a processor that has the instruction set, and with a checked [`Tile`].
    run: unsafe fn(&Tile<'_>),
}

/// The kernels that go with an instruction set, the preferred one first.
pub(super) fn kernels(isa: &Isa) -> &'static [Kernel] {
    match isa.name() {
        #[cfg(target_arch = "x86_64")]
        "avx512" if vnni::supported() => &vnni::KERNELS,
        #[cfg(target_arch = "x86_64")]
        "avx512" | "avx2" if avx2::supported() => &avx2::KERNELS,
        _ => &PORTABLE,
    }
}

/// Whether an instruction set has kernels of its own.
pub(super) fn is_fast(isa: &Isa) -> bool {
    !std::ptr::eq(kernels(isa), &PORTABLE)
}

/// Weights of one block of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[rows × run / QUAD][channels of the kernel][QUAD]`, zero where the layer has no such channel.
    pub(super) weights: &'a [i8],
    /// From a sum of products to an output code, `[channels of the kernel]`.
    pub(super) scales: &'a [f32],
    /// In output codes, with the half that makes rounding of truncation, `[channels of the kernel]`.
    pub(super) bias: &'a [f32],
    /// Channels that the layer has, from 1 to those of the kernel.
    pub(super) valid: usize,
}

/// Input of one tile. A pixel's window is `rows` runs of `run` consecutive codes, `row_stride` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    /// The plane.
    pub(super) input: &'a [u8],
    /// Where each pixel stands.
    pub(super) places: Places,
    /// Rows of the kernel.
    pub(super) rows: usize,
    /// Codes from one row of the plane to the next.
    pub(super) row_stride: usize,
    /// Codes in a row of the window, a multiple of [`QUAD`].
    pub(super) run: usize,
    /// Where the input is added: output codes to an input code.
    pub(super) residual: Option<f32>,
}

/// One tile with every bound checked: [`Tile::compute`] is the only way to make it.
#[derive(Debug)]
pub(super) struct Tile<'a> {
    window: Window<'a>,
    block: Block<'a>,
    output: *mut u8,
}

impl<'a> Tile<'a> {
    /// Computes a tile into `output`. Pixels that repeat another's position write the same codes again.
    pub(super) fn compute(kernel: &Kernel, window: Window<'a>, block: Block<'a>, output: &mut [u8]) {
        let Places {
            windows,
            targets,
            residual,
            pixels: _,
        } = &window.places;
        let fits = |starts: &[usize], codes: usize, length: usize| {
            starts[..kernel.pixels]
                .iter()
                .all(|start| start + codes <= length)
        };
        let reach = (window.rows - 1) * window.row_stride + window.run;
        assert!(window.run.is_multiple_of(QUAD) && block.valid <= kernel.channels);
        assert!(block.weights.len() >= window.rows * window.run * kernel.channels);
        assert!(block.scales.len() >= kernel.channels && block.bias.len() >= kernel.channels);
        assert!(fits(windows, reach, window.input.len()));
        assert!(fits(targets, block.valid, output.len()));
        assert!(window.residual.is_none() || fits(residual, block.valid, window.input.len()));
        let tile = Self {
            window,
            block,
            output: output.as_mut_ptr(),
        };
        // SAFETY: `kernels` gives supported ones only, and every slice was just found long enough for what the tile
        // reads and writes; `output` is borrowed mutably for the call.
        unsafe { (kernel.run)(&tile) }
    }
}

static PORTABLE: [Kernel; 1] = [Kernel {
    pixels: 1,
    channels: LANES,
    run: portable,
}];

/// Channels of the portable kernel.
const LANES: usize = 16;

/// One pixel in plain Rust.
fn portable(tile: &Tile<'_>) {
    let Tile { window, block, .. } = tile;
    let mut sums = [0_i32; LANES];
    let mut weights = block.weights.as_chunks::<QUAD>().0.chunks_exact(LANES);
    for row in 0..window.rows {
        let start = window.places.windows[0] + row * window.row_stride;
        let codes = window.input[start..start + window.run].as_chunks::<QUAD>().0;
        for (code, weights) in codes.iter().zip(&mut weights) {
            let code = code.map(i32::from);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                let [a, b, c, d] = weight.map(i32::from);
                *sum += code[0] * a + code[1] * b + code[2] * c + code[3] * d;
            }
        }
    }
    for (channel, sum) in sums[..block.valid].iter().enumerate() {
        #[expect(
            clippy::cast_precision_loss,
            reason = "rounded as the vector instructions round"
        )]
        let mut value = *sum as f32 * block.scales[channel] + block.bias[channel];
        if let Some(ratio) = window.residual {
            value += f32::from(window.input[window.places.residual[0] + channel]) * ratio;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "codes saturate: below zero is ReLU"
        )]
        let code = value as u8;
        // SAFETY: `Tile::compute` checked that `valid` codes are inside the output from each target on.
        unsafe { tile.output.add(window.places.targets[0] + channel).write(code) };
    }
}

/// AVX-512 VNNI: sixteen channels a register, four products each in one instruction.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::*;

    use super::{Kernel, QUAD, Tile};

    /// Channels of a register.
    const WIDTH: usize = 16;

    // 24 sums, 3 or 2 weights and 1 input of 32 registers
    pub(super) static KERNELS: [Kernel; 2] = [
        Kernel {
            pixels: 8,
            channels: 3 * WIDTH,
            run: eight_by_three,
        },
        Kernel {
            pixels: 12,
            channels: 2 * WIDTH,
            run: twelve_by_two,
        },
    ];

    pub(super) fn supported() -> bool {
        is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }

    #[target_feature(enable = "avx512f,avx512vnni,avx512bw,avx512vl")]
    fn eight_by_three(job: &Tile<'_>) {
        // SAFETY: this function is compiled for the instruction set; `Tile` vouches for the pointers.
        unsafe { tile::<8, 3>(job) }
    }

    #[target_feature(enable = "avx512f,avx512vnni,avx512bw,avx512vl")]
    fn twelve_by_two(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<12, 2>(job) }
    }

    /// # Safety
    /// The processor has AVX-512 VNNI, BW and VL and the caller is compiled for them; `job` was checked for a kernel of
    /// these dimensions.
    #[inline(always)]
    unsafe fn tile<const PIXELS: usize, const REGISTERS: usize>(job: &Tile<'_>) {
        let Tile { window, block, .. } = job;
        let places = &window.places;
        // SAFETY: `Tile::compute` checked that each window of `rows` runs is inside the input, that there are
        // rows × run × channels weights and as many scales and biases as channels, and that `valid` codes from each
        // target and residual on exist; no others are read or written, because masked lanes are not accessed.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); REGISTERS]; PIXELS];
            let mut weights = block.weights.as_ptr();
            for row in 0..window.rows {
                let mut from = [window.input.as_ptr(); PIXELS];
                for p in 0..PIXELS {
                    from[p] = from[p].add(places.windows[p] + row * window.row_stride);
                }
                for quad in 0..window.run / QUAD {
                    let mut column = [_mm512_setzero_si512(); REGISTERS];
                    for r in 0..REGISTERS {
                        column[r] = _mm512_loadu_si512(weights.add(r * WIDTH * QUAD).cast());
                    }
                    for p in 0..PIXELS {
                        let codes = from[p].add(quad * QUAD).cast::<i32>().read_unaligned();
                        let codes = _mm512_set1_epi32(codes);
                        for r in 0..REGISTERS {
                            sums[p][r] = _mm512_dpbusd_epi32(sums[p][r], codes, column[r]);
                        }
                    }
                    weights = weights.add(REGISTERS * WIDTH * QUAD);
                }
            }
            // Into another array: the compiler would keep `sums` in memory for loops that it does not unroll.
            let mut values = [[_mm512_setzero_ps(); PIXELS]; REGISTERS];
            for r in 0..REGISTERS {
                let scale = _mm512_loadu_ps(block.scales.as_ptr().add(r * WIDTH));
                let bias = _mm512_loadu_ps(block.bias.as_ptr().add(r * WIDTH));
                for p in 0..PIXELS {
                    values[r][p] = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[p][r]), scale), bias);
                }
            }
            for (r, values) in values.iter().enumerate() {
                let valid = block.valid.saturating_sub(r * WIDTH).min(WIDTH);
                let mask = 0xffff_u16.unbounded_shr((WIDTH - valid) as u32);
                for (p, &value) in values.iter().enumerate() {
                    let mut value = value;
                    if let Some(ratio) = window.residual {
                        let at = window.input.as_ptr().wrapping_add(places.residual[p] + r * WIDTH);
                        let code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, at.cast()));
                        let added = _mm512_mul_ps(_mm512_cvtepi32_ps(code), _mm512_set1_ps(ratio));
                        value = _mm512_add_ps(value, added);
                    }
                    // a value that is no number becomes zero, as it does in a cast
                    let value = _mm512_max_ps(value, _mm512_setzero_ps());
                    let code = _mm512_cvttps_epi32(_mm512_min_ps(value, _mm512_set1_ps(255.0)));
                    let to = job.output.wrapping_add(places.targets[p] + r * WIDTH);
                    _mm512_mask_cvtepi32_storeu_epi8(to.cast(), mask, code);
                }
            }
        }
    }
}

/// AVX2: eight channels a register, two products each in one instruction.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Kernel, QUAD, Tile};

    /// Channels of a register.
    const WIDTH: usize = 8;
    const PIXELS: usize = 4;
    const REGISTERS: usize = 2;

    // 8 sums, 4 halves of weights, 2 halves of codes and a product of 16 registers
    pub(super) static KERNELS: [Kernel; 1] = [Kernel {
        pixels: PIXELS,
        channels: REGISTERS * WIDTH,
        run: four_by_two,
    }];

    pub(super) fn supported() -> bool {
        is_x86_feature_detected!("avx2")
    }

    #[target_feature(enable = "avx2")]
    fn four_by_two(job: &Tile<'_>) {
        let Tile { window, block, .. } = job;
        let places = &window.places;
        let low_bytes = _mm256_set1_epi16(0x00ff);
        let mut sums = [[_mm256_setzero_si256(); REGISTERS]; PIXELS];
        // SAFETY: `Tile::compute` checked that each window of `rows` runs is inside the input and that there are
        // rows × run × channels weights; `run` is a multiple of four.
        unsafe {
            let mut weights = block.weights.as_ptr();
            for row in 0..window.rows {
                let mut from = [window.input.as_ptr(); PIXELS];
                for p in 0..PIXELS {
                    from[p] = from[p].add(places.windows[p] + row * window.row_stride);
                }
                for quad in 0..window.run / QUAD {
                    // Of four weights or codes, the first and third in one register of words, the others in another: a
                    // product of a byte and a signed byte fits, and so does the sum of two in 32 bits.
                    let mut columns = [[_mm256_setzero_si256(); 2]; REGISTERS];
                    for r in 0..REGISTERS {
                        let four = _mm256_loadu_si256(weights.add(r * WIDTH * QUAD).cast());
                        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
                        columns[r] = [even, _mm256_srai_epi16::<8>(four)];
                    }
                    for p in 0..PIXELS {
                        let codes = from[p].add(quad * QUAD).cast::<i32>().read_unaligned();
                        let codes = _mm256_set1_epi32(codes);
                        let even = _mm256_and_si256(codes, low_bytes);
                        let odd = _mm256_srli_epi16::<8>(codes);
                        for r in 0..REGISTERS {
                            let [first, second] = columns[r];
                            let sum = _mm256_add_epi32(sums[p][r], _mm256_madd_epi16(even, first));
                            sums[p][r] = _mm256_add_epi32(sum, _mm256_madd_epi16(odd, second));
                        }
                    }
                    weights = weights.add(REGISTERS * WIDTH * QUAD);
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (r, &sums) in sums.iter().enumerate() {
                store(job, sums, p, r);
            }
        }
    }

    /// Makes codes of the sums of one pixel and one register.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(job: &Tile<'_>, sums: __m256i, pixel: usize, register: usize) {
        let Tile { window, block, .. } = job;
        let first = register * WIDTH;
        let valid = block.valid.saturating_sub(first).min(WIDTH);
        // SAFETY: `Tile::compute` checked that there are as many scales and biases as channels, and that `valid` codes from
        // each target and residual on exist; no others are read or written.
        unsafe {
            let scale = _mm256_loadu_ps(block.scales.as_ptr().add(first));
            let bias = _mm256_loadu_ps(block.bias.as_ptr().add(first));
            let mut value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale), bias);
            if let Some(ratio) = window.residual {
                let mut codes = [0_u8; WIDTH];
                let at = window
                    .input
                    .as_ptr()
                    .wrapping_add(window.places.residual[pixel] + first);
                copy(at, codes.as_mut_ptr(), valid);
                let codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(codes.as_ptr().cast()));
                let added = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(ratio));
                value = _mm256_add_ps(value, added);
            }
            // a value that is no number becomes zero, as it does in a cast
            let value = _mm256_max_ps(value, _mm256_setzero_ps());
            let value = _mm256_cvttps_epi32(_mm256_min_ps(value, _mm256_set1_ps(255.0)));
            let [low, high] = [
                _mm256_castsi256_si128(value),
                _mm256_extracti128_si256::<1>(value),
            ];
            let words = _mm_packus_epi32(low, high);
            let mut codes = [0_u8; WIDTH];
            _mm_storel_epi64(codes.as_mut_ptr().cast(), _mm_packus_epi16(words, words));
            let to = job.output.wrapping_add(window.places.targets[pixel] + first);
            copy(codes.as_ptr(), to, valid);
        }
    }

    /// Copies `count` codes, nearly always as many as a register has.
    ///
    /// # Safety
    /// As [`std::ptr::copy_nonoverlapping`].
    #[inline(always)]
    unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller's promise is passed on.
        unsafe {
            if count == WIDTH {
                from.copy_to_nonoverlapping(to, WIDTH);
            } else {
                from.copy_to_nonoverlapping(to, count);
            }
        }
    }
}
