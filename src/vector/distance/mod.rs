//! Distance kernels: one module per instruction set, one table of functions, chosen once per process.
//!
//! | table | needs |
//! |---|---|
//! | `scalar` | nothing; plain Rust that the compiler may vectorise for the baseline target |
//! | `avx2` | AVX2, FMA, F16C |
//! | `avx512` | AVX-512 F, BW, VL, DQ, VNNI, VPOPCNTDQ |
//! | `avx512-bf16` | the same and AVX-512 BF16 |
//! | `neon` | aarch64 |
//!
//! [`Kernels::active`] picks the best table that the processor has. The environment variable `DOPPEL_SIMD` names
//! another one (`DOPPEL_SIMD=scalar`); a name that is unknown or not supported here falls back to `scalar`, so it
//! can only make things slower. Nearly all `unsafe` code of the crate is in the modules below this one; the
//! methods of [`Kernels`] check lengths and are safe.
#![expect(unsafe_code, reason = "intrinsics; every block states why it is sound")]

use std::sync::OnceLock;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

/// Codes in one panel of [`Kernels::dot_panel`].
pub const PANEL_CODES: usize = 16;

/// Components of one code that stand together in a panel.
pub const PANEL_GROUP: usize = 4;

/// Matrix of stored codes, rows chosen, query, products.
type DotRows = unsafe fn(&[u8], &[u32], &[i8], &mut [i32]);

/// One instruction set's functions.
///
/// # Safety
/// Every function may be called only on a processor that has the table's instruction set, and with slices whose
/// lengths fit each other as the method of the same name in [`Kernels`] checks.
struct Table {
    name: &'static str,
    supported: fn() -> bool,
    dot_f32: unsafe fn(&[f32], &[f32]) -> f32,
    dot_f16: unsafe fn(&[f16], &[f32]) -> f32,
    dot_i16: unsafe fn(&[i16], &[f32]) -> f32,
    dot_bf16: unsafe fn(&[bf16], &[bf16]) -> f32,
    dot_code: unsafe fn(&[u8], &[i8]) -> i32,
    dot_code_rows: DotRows,
    dot_panel: unsafe fn(&[u8], &[i8], &mut [[i32; PANEL_CODES]]),
    hamming: unsafe fn(&[u8; 32], &[u8; 32]) -> u32,
    hamming_each: unsafe fn(&[u8; 32], &[[u8; 32]], &mut [u16]),
}

/// Every table compiled for this architecture, best first; the last one is always supported.
static TABLES: &[&Table] = &[
    #[cfg(target_arch = "x86_64")]
    &avx512::TABLE_BF16,
    #[cfg(target_arch = "x86_64")]
    &avx512::TABLE,
    #[cfg(target_arch = "x86_64")]
    &avx2::TABLE,
    #[cfg(target_arch = "aarch64")]
    &neon::TABLE,
    &scalar::TABLE,
];

/// Distance functions of one instruction set, known to be supported by this processor. Cheap to copy.
///
/// **Codes** are vectors of 8-bit components. A stored code is `u8` with 128 standing for zero; a query code is `i8`
/// within −127..=127. This pairing is what VNNI multiplies. The products below return `Σ (stored − 128) · query`,
/// exactly, for up to 65,536 components.
#[derive(Clone, Copy)]
pub struct Kernels {
    table: &'static Table,
}

impl Kernels {
    /// The table in use by this process: the best one supported, or the one that `DOPPEL_SIMD` names.
    #[must_use]
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Kernels> = OnceLock::new();
        *ACTIVE.get_or_init(|| match std::env::var("DOPPEL_SIMD") {
            Ok(name) => Self::supported()
                .into_iter()
                .find(|k| k.name() == name)
                .unwrap_or_else(Self::scalar),
            Err(_) => Self::supported().first().copied().unwrap_or_else(Self::scalar),
        })
    }

    /// The portable table.
    #[must_use]
    pub fn scalar() -> Self {
        Self {
            table: &scalar::TABLE,
        }
    }

    /// Every table that this processor supports, best first; the last one is `scalar`.
    #[must_use]
    pub fn supported() -> Vec<Self> {
        TABLES
            .iter()
            .filter(|table| (table.supported)())
            .map(|&table| Self { table })
            .collect()
    }

    /// Name of the table, for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.table.name
    }

    /// `Σ a·b` in f32. Error below 1e-6 for unit vectors of up to 4,096 components.
    ///
    /// # Panics
    /// When the lengths differ; so do the other methods.
    #[must_use]
    pub fn dot_f32(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of one length");
        // SAFETY: the table is supported (invariant of `Kernels`), the lengths are equal.
        unsafe { (self.table.dot_f32)(a, b) }
    }

    /// `Σ a·b` of a stored half-precision vector and an f32 query, accumulated in f32.
    #[must_use]
    pub fn dot_f16(self, a: &[f16], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of one length");
        // SAFETY: the table is supported, the lengths are equal.
        unsafe { (self.table.dot_f16)(a, b) }
    }

    /// `Σ a·b` of a stored vector of whole numbers and an f32 query, accumulated in f32.
    #[must_use]
    pub fn dot_i16(self, a: &[i16], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of one length");
        // SAFETY: the table is supported, the lengths are equal.
        unsafe { (self.table.dot_i16)(a, b) }
    }

    /// `Σ a·b` of two bfloat16 vectors, accumulated in f32.
    #[must_use]
    pub fn dot_bf16(self, a: &[bf16], b: &[bf16]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of one length");
        // SAFETY: the table is supported, the lengths are equal.
        unsafe { (self.table.dot_bf16)(a, b) }
    }

    /// `Σ (stored − 128) · query`, exact. `query` is within −127..=127.
    #[must_use]
    pub fn dot_code(self, stored: &[u8], query: &[i8]) -> i32 {
        assert_eq!(stored.len(), query.len(), "codes of one length");
        // SAFETY: the table is supported, the lengths are equal.
        unsafe { (self.table.dot_code)(stored, query) }
    }

    /// [`Self::dot_code`] of the chosen `rows` of a matrix of codes: `out[i]` belongs to `rows[i]`.
    ///
    /// `stored` is row-major, `query.len()` bytes a row.
    ///
    /// # Panics
    /// When a row lies outside `stored`, or `out` is shorter than `rows`.
    pub fn dot_code_rows(self, stored: &[u8], rows: &[u32], query: &[i8], out: &mut [i32]) {
        let stride = query.len();
        let count = stored.len().checked_div(stride).unwrap_or(0);
        assert!(
            rows.iter().all(|&row| (row as usize) < count),
            "row of the matrix"
        );
        // SAFETY: the table is supported; every row is within `stored`; `out` has a place for every row.
        unsafe { (self.table.dot_code_rows)(stored, rows, query, &mut out[..rows.len()]) }
    }

    /// Products of one panel with several queries: `out[q][c]` is [`Self::dot_code`] of query `q` and code `c`.
    ///
    /// A panel holds [`PANEL_CODES`] codes, interleaved: first the components 0..4 of each code, then the
    /// components 4..8 of each, and so on (see [`pack_panel`]). `queries` holds `out.len()` rows of
    /// `panel.len() / PANEL_CODES` components.
    ///
    /// # Panics
    /// When the lengths do not fit each other, or the dimension is not a multiple of [`PANEL_GROUP`].
    pub fn dot_panel(self, panel: &[u8], queries: &[i8], out: &mut [[i32; PANEL_CODES]]) {
        assert_eq!(
            panel.len() % (PANEL_CODES * PANEL_GROUP),
            0,
            "whole groups in a panel"
        );
        assert_eq!(
            queries.len(),
            panel.len() / PANEL_CODES * out.len(),
            "queries of the panel's dimension"
        );
        // SAFETY: the table is supported, the lengths fit.
        unsafe { (self.table.dot_panel)(panel, queries, out) }
    }

    /// Number of differing bits of two 256-bit hashes.
    #[must_use]
    pub fn hamming(self, a: &[u8; 32], b: &[u8; 32]) -> u32 {
        // SAFETY: the table is supported.
        unsafe { (self.table.hamming)(a, b) }
    }

    /// [`Self::hamming`] of one hash with each of many: `out[i]` belongs to `hashes[i]`.
    ///
    /// # Panics
    /// When `out` is shorter than `hashes`.
    pub fn hamming_each(self, query: &[u8; 32], hashes: &[[u8; 32]], out: &mut [u16]) {
        // SAFETY: the table is supported, `out` has a place for every hash.
        unsafe { (self.table.hamming_each)(query, hashes, &mut out[..hashes.len()]) }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name())
    }
}

/// Interleaves up to [`PANEL_CODES`] stored codes for [`Kernels::dot_panel`]; codes that are missing read as zero.
///
/// `codes` is row-major with `dim` bytes a row, `dim` a multiple of [`PANEL_GROUP`]; `panel` holds
/// `dim * PANEL_CODES` bytes.
pub fn pack_panel(codes: &[u8], dim: usize, panel: &mut [u8]) {
    debug_assert_eq!(dim % PANEL_GROUP, 0);
    debug_assert_eq!(panel.len(), dim * PANEL_CODES);
    panel.fill(128);
    for (lane, code) in codes.chunks_exact(dim).take(PANEL_CODES).enumerate() {
        for (group, four) in code.chunks_exact(PANEL_GROUP).enumerate() {
            let at = (group * PANEL_CODES + lane) * PANEL_GROUP;
            panel[at..at + PANEL_GROUP].copy_from_slice(four);
        }
    }
}

/// Asks the processor to load `items` into its second-level cache; a hint without any effect on results.
///
/// Not into the first: what several searches ask for would drive out what they work with (with a million vectors an
/// eighth slower, with 100,000 the same).
#[inline(always)]
pub fn prefetch<T>(items: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let start = items.as_ptr().cast::<i8>();
        let mut offset = 0;
        while offset < size_of_val(items) {
            // SAFETY: prefetching never faults, and the address is within `items`.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(start.add(offset)) };
            offset += 64;
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let start = items.as_ptr().cast::<u8>();
        let mut offset = 0;
        while offset < size_of_val(items) {
            // SAFETY: a prefetch never faults and changes no state; the address is within `items`.
            unsafe {
                std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) start.add(offset), options(nostack, preserves_flags, readonly));
            }
            offset += 64;
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = items;
}
