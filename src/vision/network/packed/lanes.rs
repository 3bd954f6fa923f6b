//! Vectors of f32 of each instruction set, and the choice between them.

use std::sync::OnceLock;

use super::tile::{Kernel, Tile, TileShape, tile};
use super::winograd::{InputJob, OutputJob, Transforms, transform_input, transform_output};

/// Arithmetic on one vector register.
///
/// # Safety
/// Every function may be called only on a processor that has the instruction set, and inside a function compiled for
/// it; `load` and `store` access [`WIDTH`](Self::WIDTH) floats at the pointer, of any alignment.
pub(super) unsafe trait Lanes {
    /// The register.
    type V: Copy;
    /// Floats in it.
    const WIDTH: usize;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
}

/// An instruction set that the convolutions can run on.
#[derive(Debug)]
pub struct Isa {
    name: &'static str,
    supported: fn() -> bool,
    /// Tile shapes, the preferred one first.
    pub(super) kernels: &'static [Kernel],
    pub(super) transforms: Transforms,
}

/// Every instruction set compiled for this architecture, best first; the last one is always supported.
static ALL: &[Isa] = &[
    #[cfg(target_arch = "x86_64")]
    x86::AVX512,
    #[cfg(target_arch = "x86_64")]
    x86::AVX2,
    #[cfg(target_arch = "aarch64")]
    arm::NEON,
    portable::PORTABLE,
];

impl Isa {
    /// The instruction set in use by this process: the best one that the processor has, or the one that the environment
    /// variable `DOPPEL_SIMD` names (a name that is unknown or not supported here means `scalar`).
    #[must_use]
    pub fn active() -> &'static Self {
        static ACTIVE: OnceLock<&'static Isa> = OnceLock::new();
        ACTIVE.get_or_init(|| {
            let scalar = &ALL[ALL.len() - 1];
            let best = || Self::supported().next().unwrap_or(scalar);
            let isa = std::env::var("DOPPEL_SIMD").map_or_else(
                |_| best(),
                // variants of one set differ only for the distance kernels: `avx512-bf16`
                |named| {
                    Self::supported()
                        .find(|isa| named.split('-').next() == Some(isa.name))
                        .unwrap_or(scalar)
                },
            );
            tracing::debug!(isa = isa.name, "instruction set of the convolutions");
            isa
        })
    }

    /// Every instruction set that this processor has, best first.
    pub fn supported() -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter(|isa| (isa.supported)())
    }

    /// Name, as `DOPPEL_SIMD` spells it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    pub(super) const AVX512: Isa = Isa {
        name: "avx512",
        supported: || is_x86_feature_detected!("avx512f"),
        // 24 accumulators, 3 or 2 weights and 1 input of 32 registers
        kernels: &[
            Kernel {
                channels: 48,
                shapes: [
                    TileShape {
                        pixels: 8,
                        run: avx512_8x3,
                    },
                    TileShape {
                        pixels: 4,
                        run: avx512_4x3,
                    },
                ],
            },
            Kernel {
                channels: 32,
                shapes: [
                    TileShape {
                        pixels: 12,
                        run: avx512_12x2,
                    },
                    TileShape {
                        pixels: 6,
                        run: avx512_6x2,
                    },
                ],
            },
        ],
        transforms: Transforms {
            width: 16,
            input: avx512_input,
            output: avx512_output,
        },
    };

    pub(super) const AVX2: Isa = Isa {
        name: "avx2",
        supported: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        // 12 accumulators, 2 weights and 1 input of 16 registers
        kernels: &[Kernel {
            channels: 16,
            shapes: [
                TileShape {
                    pixels: 6,
                    run: avx2_6x2,
                },
                TileShape {
                    pixels: 3,
                    run: avx2_3x2,
                },
            ],
        }],
        transforms: Transforms {
            width: 8,
            input: avx2_input,
            output: avx2_output,
        },
    };

    struct Zmm;

    // SAFETY: the operations are the intrinsics named like them, on 16 floats, unaligned.
    unsafe impl Lanes for Zmm {
        type V = __m512;
        const WIDTH: usize = 16;
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller vouches for the pointer and the processor.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            // SAFETY: the caller vouches for the pointer and the processor.
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
    }

    struct Ymm;

    // SAFETY: the operations are the intrinsics named like them, on 8 floats, unaligned.
    unsafe impl Lanes for Ymm {
        type V = __m256;
        const WIDTH: usize = 8;
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: the caller vouches for the pointer and the processor.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m256) {
            // SAFETY: the caller vouches for the pointer and the processor.
            unsafe { _mm256_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the caller vouches for the processor.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_8x3(job: &Tile<'_>) {
        // SAFETY: this function is compiled for the instruction set; `Tile` vouches for the pointers.
        unsafe { tile::<Zmm, 8, 3>(job) }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_4x3(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<Zmm, 4, 3>(job) }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_12x2(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<Zmm, 12, 2>(job) }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_6x2(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<Zmm, 6, 2>(job) }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_input(job: &InputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_input::<Zmm>(job) }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_output(job: &OutputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_output::<Zmm>(job) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2_6x2(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<Ymm, 6, 2>(job) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2_3x2(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<Ymm, 3, 2>(job) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2_input(job: &InputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_input::<Ymm>(job) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2_output(job: &OutputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_output::<Ymm>(job) }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    pub(super) const NEON: Isa = Isa {
        name: "neon",
        supported: || std::arch::is_aarch64_feature_detected!("neon"),
        // 24 accumulators, 4 weights and 1 input of 32 registers
        kernels: &[Kernel {
            channels: 16,
            shapes: [
                TileShape {
                    pixels: 6,
                    run: neon_6x4,
                },
                TileShape {
                    pixels: 3,
                    run: neon_3x4,
                },
            ],
        }],
        transforms: Transforms {
            width: 4,
            input: neon_input,
            output: neon_output,
        },
    };

    struct Quad;

    // SAFETY: the operations are the intrinsics named like them, on 4 floats.
    unsafe impl Lanes for Quad {
        type V = float32x4_t;
        const WIDTH: usize = 4;
        #[inline(always)]
        unsafe fn load(from: *const f32) -> float32x4_t {
            // SAFETY: the caller vouches for the pointer and the processor.
            unsafe { vld1q_f32(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: float32x4_t) {
            // SAFETY: the caller vouches for the pointer and the processor.
            unsafe { vst1q_f32(to, value) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> float32x4_t {
            // SAFETY: the caller vouches for the processor.
            unsafe { vdupq_n_f32(value) }
        }
        #[inline(always)]
        unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: the caller vouches for the processor.
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: the caller vouches for the processor.
            unsafe { vmaxq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: the caller vouches for the processor.
            unsafe { vfmaq_f32(c, a, b) }
        }
    }

    #[target_feature(enable = "neon")]
    fn neon_6x4(job: &Tile<'_>) {
        // SAFETY: this function is compiled for the instruction set; `Tile` vouches for the pointers.
        unsafe { tile::<Quad, 6, 4>(job) }
    }

    #[target_feature(enable = "neon")]
    fn neon_3x4(job: &Tile<'_>) {
        // SAFETY: as above.
        unsafe { tile::<Quad, 3, 4>(job) }
    }

    #[target_feature(enable = "neon")]
    fn neon_input(job: &InputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_input::<Quad>(job) }
    }

    #[target_feature(enable = "neon")]
    fn neon_output(job: &OutputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_output::<Quad>(job) }
    }
}

mod portable {
    use super::*;

    pub(super) const PORTABLE: Isa = Isa {
        name: "scalar",
        supported: || true,
        kernels: &[Kernel {
            channels: 8,
            shapes: [
                TileShape {
                    pixels: 4,
                    run: portable_4x2,
                },
                TileShape {
                    pixels: 2,
                    run: portable_2x2,
                },
            ],
        }],
        transforms: Transforms {
            width: 4,
            input: portable_input,
            output: portable_output,
        },
    };

    /// Four floats that the compiler may keep in any register; no fused multiplication, which would be a call.
    struct Four;

    // SAFETY: plain Rust; `load` and `store` access 4 floats.
    unsafe impl Lanes for Four {
        type V = [f32; 4];
        const WIDTH: usize = 4;
        #[inline(always)]
        unsafe fn load(from: *const f32) -> [f32; 4] {
            // SAFETY: the caller vouches for the pointer; arrays of floats have the alignment of a float.
            unsafe { from.cast::<[f32; 4]>().read() }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: [f32; 4]) {
            // SAFETY: as above.
            unsafe { to.cast::<[f32; 4]>().write(value) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> [f32; 4] {
            [value; 4]
        }
        #[inline(always)]
        unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            std::array::from_fn(|i| a[i] + b[i])
        }
        #[inline(always)]
        unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            std::array::from_fn(|i| a[i].max(b[i]))
        }
        #[inline(always)]
        unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    fn portable_4x2(job: &Tile<'_>) {
        // SAFETY: nothing is asked of the processor; `Tile` vouches for the pointers.
        unsafe { tile::<Four, 4, 2>(job) }
    }

    fn portable_2x2(job: &Tile<'_>) {
        // SAFETY: nothing is asked of the processor; `Tile` vouches for the pointers.
        unsafe { tile::<Four, 2, 2>(job) }
    }

    fn portable_input(job: &InputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_input::<Four>(job) }
    }

    fn portable_output(job: &OutputJob<'_>) {
        // SAFETY: as above.
        unsafe { transform_output::<Four>(job) }
    }
}
