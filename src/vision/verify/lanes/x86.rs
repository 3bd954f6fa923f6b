//! Sixteen pixels at a time by AVX2.

use std::arch::x86_64::{__m128i, __m256i};

use bytemuck::cast;
use pulp::x86::V3;

use super::{Along, BLEND_BITS, LANES, Lanes, PLACE_BITS, Plane, ROUND, WHOLE};

/// Bytes of a row from which lanes are picked: two times sixteen, and the pixel after each.
const WINDOW: usize = 2 * LANES + 1;

/// The pixels of lanes, eight and eight, and how far towards the next one they lie.
struct Placed {
    pixel: __m256i,
    beyond: __m256i,
}

// Functions, not closures: those are compiled apart, for any processor.

impl Along {
    #[inline(always)]
    fn lanes(self, v3: V3) -> Placed {
        let low = self.eight(v3, [0, 1, 2, 3, 4, 5, 6, 7]);
        let high = self.eight(v3, [8, 9, 10, 11, 12, 13, 14, 15]);
        Placed {
            pixel: joined(v3, low.pixel, high.pixel),
            beyond: joined(v3, low.beyond, high.beyond),
        }
    }

    /// Eight of the lanes, in numbers of 32 bits.
    #[inline(always)]
    fn eight(self, v3: V3, lanes: [i32; 8]) -> Placed {
        const PLACE: i32 = PLACE_BITS as i32;
        let v = v3.avx2;
        let steps = v._mm256_mullo_epi32(v3.avx._mm256_set1_epi32(self.step), cast(lanes));
        let place = v._mm256_add_epi32(v3.avx._mm256_set1_epi32(self.first), steps);
        let place = v._mm256_max_epi32(place, v3.avx._mm256_setzero_si256());
        let place = v._mm256_min_epi32(place, v3.avx._mm256_set1_epi32(self.last << PLACE_BITS));
        let pixel = v._mm256_srai_epi32::<PLACE>(place);
        let pixel = v._mm256_min_epi32(pixel, v3.avx._mm256_set1_epi32(self.last - 1));
        let beyond = v._mm256_sub_epi32(place, v._mm256_slli_epi32::<PLACE>(pixel));
        let beyond = v._mm256_srai_epi32::<1>(beyond);
        Placed {
            pixel,
            beyond: v._mm256_min_epi32(beyond, v3.avx._mm256_set1_epi32(WHOLE)),
        }
    }
}

/// Eight and eight numbers of 32 bits as sixteen of 16.
#[inline(always)]
fn joined(v3: V3, low: __m256i, high: __m256i) -> __m256i {
    // Packed four by four within either half of the register.
    let packed = v3.avx2._mm256_packs_epi32(low, high);
    v3.avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
}

/// Sixteen small numbers as bytes, once in either half.
#[inline(always)]
fn bytes(v3: V3, numbers: __m256i) -> __m256i {
    let packed = v3.avx2._mm256_packus_epi16(numbers, numbers);
    v3.avx2._mm256_permute4x64_epi64::<0b10_00_10_00>(packed)
}

#[inline(always)]
fn between(v3: V3, one: __m256i, other: __m256i, beyond: __m256i) -> __m256i {
    let v = v3.avx2;
    v._mm256_add_epi16(one, v._mm256_mulhrs_epi16(v._mm256_sub_epi16(other, one), beyond))
}

/// Two rows of a plane from one column on, the upper one in the lower half; `skip` columns further.
#[inline(always)]
fn pair(v3: V3, [upper, lower]: [&[u8; WINDOW]; 2], skip: usize) -> __m256i {
    v3.avx
        ._mm256_set_m128i(sixteen(lower, skip), sixteen(upper, skip))
}

#[inline(always)]
fn sixteen(row: &[u8; WINDOW], skip: usize) -> __m128i {
    let mut sixteen = [0; LANES];
    sixteen.copy_from_slice(&row[skip..skip + LANES]);
    cast(sixteen)
}

/// Bytes of two rows, those of the upper one in the lower half.
#[inline(always)]
fn picked(v3: V3, rows: [&[u8; WINDOW]; 2], skip: usize, at: __m256i, is_long: bool) -> __m256i {
    let v = v3.avx2;
    let near = v._mm256_shuffle_epi8(pair(v3, rows, skip), at);
    if !is_long {
        return near;
    }
    let far = v._mm256_shuffle_epi8(pair(v3, rows, skip + LANES), at);
    let is_far = v._mm256_cmpgt_epi8(at, v3.avx._mm256_set1_epi8(15));
    v._mm256_blendv_epi8(near, far, is_far)
}

/// A row of a plane from a column on; behind its end whatever follows.
#[inline(always)]
fn window<'p>(plane: &'p Plane, row: usize, column: usize, spare: &'p mut [u8; WINDOW]) -> &'p [u8; WINDOW] {
    let rest = &plane.data[(row * plane.width + column).min(plane.data.len())..];
    if let Some(window) = rest.first_chunk() {
        return window;
    }
    spare[..rest.len()].copy_from_slice(rest);
    spare
}

impl Lanes for V3 {
    type Pixels = __m256i;
    type Sums = __m256i;

    #[inline(always)]
    fn pixels(self, of: &[i16; LANES]) -> __m256i {
        cast(*of)
    }

    #[inline(always)]
    fn stored(self, pixels: __m256i) -> [i16; LANES] {
        cast(pixels)
    }

    #[inline(always)]
    fn plus(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_add_epi16(a, b)
    }

    #[inline(always)]
    fn minus(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_sub_epi16(a, b)
    }

    #[inline(always)]
    fn kept(self, a: __m256i, mask: __m256i) -> __m256i {
        self.avx2._mm256_and_si256(a, mask)
    }

    #[inline(always)]
    fn half(self, a: __m256i) -> __m256i {
        self.avx2._mm256_srai_epi16::<1>(a)
    }

    #[inline(always)]
    fn none(self) -> __m256i {
        self.avx._mm256_setzero_si256()
    }

    #[inline(always)]
    fn with_products(self, sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        self.avx2
            ._mm256_add_epi32(sums, self.avx2._mm256_madd_epi16(a, b))
    }

    #[inline(always)]
    fn total(self, sums: __m256i) -> i64 {
        let [low, high]: [__m128i; 2] = cast(sums);
        let v = self.avx2;
        let four = v._mm256_add_epi64(v._mm256_cvtepi32_epi64(low), v._mm256_cvtepi32_epi64(high));
        let [one, other]: [__m128i; 2] = cast(four);
        let [one, other]: [i64; 2] = cast(self.sse2._mm_add_epi64(one, other));
        one + other
    }

    #[inline(always)]
    fn sampled(self, plane: &Plane, x: Along, y: Along) -> __m256i {
        let ((column, wide), (row, high)) = (x.span(), y.span());
        let (across, down) = (x.lanes(self), y.lanes(self));
        let mut spare = [[0; WINDOW]; 3];
        let [a, b, c, d] = if wide >= 2 * LANES || high > 1 {
            scattered(self, plane, cast(across.pixel), cast(down.pixel))
        } else {
            let [one, two, three] = &mut spare;
            let window = Window {
                rows: [
                    window(plane, row, column, one),
                    window(plane, row + 1, column, two),
                    window(plane, row + 1 + high, column, three),
                ],
                at: relative(self, across.pixel, column),
                is_long: wide >= LANES,
                is_lower: if high > 0 {
                    Some(relative(self, down.pixel, row))
                } else {
                    None
                },
            };
            let ([a, c], [b, d]) = (window.corners(self, 0), window.corners(self, 1));
            [a, b, c, d]
        };
        let top = between(self, a, b, across.beyond);
        let bottom = between(self, c, d, across.beyond);
        let level = between(self, top, bottom, down.beyond);
        let level = self
            .avx2
            ._mm256_add_epi16(level, self.avx._mm256_set1_epi16(ROUND));
        self.avx2._mm256_srai_epi16::<{ BLEND_BITS as i32 - 3 }>(level)
    }
}

/// Pixels from which lanes are picked.
struct Window<'p> {
    /// Of three rows of the plane from one column on, the last two of which are one where all lanes lie in one row.
    rows: [&'p [u8; WINDOW]; 3],
    /// The lanes' columns.
    at: __m256i,
    is_long: bool,
    /// 1 where a lane lies in the second row.
    is_lower: Option<__m256i>,
}

impl Window<'_> {
    /// The upper and the lower pixel of each lane, `skip` columns further.
    #[inline(always)]
    fn corners(&self, v3: V3, skip: usize) -> [__m256i; 2] {
        let [one, two, three] = self.rows;
        let upper = picked(v3, [one, two], skip, self.at, self.is_long);
        let both = match self.is_lower {
            None => upper,
            Some(is_lower) => {
                let lower = picked(v3, [two, three], skip, self.at, self.is_long);
                let is_lower = v3.avx2._mm256_sub_epi8(v3.none(), is_lower);
                v3.avx2._mm256_blendv_epi8(upper, lower, is_lower)
            }
        };
        let [top, bottom]: [__m128i; 2] = cast(both);
        [levels(v3, top), levels(v3, bottom)]
    }
}

/// The four pixels around places wherever they are.
#[inline(always)]
fn scattered(v3: V3, plane: &Plane, column: [i16; LANES], row: [i16; LANES]) -> [__m256i; 4] {
    let (mut upper, mut lower) = ([0u16; LANES], [0u16; LANES]);
    let above = &plane.data[..plane.data.len() - plane.width];
    let beneath = &plane.data[plane.width..];
    for lane in 0..LANES {
        let place = |number: i16| usize::from(number.cast_unsigned());
        let at = place(row[lane]) * plane.width + place(column[lane]);
        upper[lane] = u16::from_le_bytes([above[at], above[at + 1]]);
        lower[lane] = u16::from_le_bytes([beneath[at], beneath[at + 1]]);
    }
    let [a, b] = split(v3, cast(upper));
    let [c, d] = split(v3, cast(lower));
    [a, b, c, d]
}

/// The first and the second of pairs of pixels, with the bits behind the point that they are blended in.
#[inline(always)]
fn split(v3: V3, pairs: __m256i) -> [__m256i; 2] {
    const BITS: i32 = BLEND_BITS as i32;
    let v = v3.avx2;
    let first = v._mm256_and_si256(pairs, v3.avx._mm256_set1_epi16(0xff));
    [
        v._mm256_slli_epi16::<BITS>(first),
        v._mm256_slli_epi16::<BITS>(v._mm256_srli_epi16::<8>(pairs)),
    ]
}

/// Sixteen pixels, with the bits behind the point that they are blended in.
#[inline(always)]
fn levels(v3: V3, pixels: __m128i) -> __m256i {
    v3.avx2
        ._mm256_slli_epi16::<{ BLEND_BITS as i32 }>(v3.avx2._mm256_cvtepu8_epi16(pixels))
}

/// How many pixels lanes lie behind the first one, as [`bytes`].
#[inline(always)]
fn relative(v3: V3, pixel: __m256i, first: usize) -> __m256i {
    let first = v3.avx._mm256_set1_epi16(first as i16);
    bytes(v3, v3.avx2._mm256_sub_epi16(pixel, first))
}
