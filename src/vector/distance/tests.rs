//! One runner drives every kernel of every table that this processor supports against f64 (or exact integers).

use half::{bf16, f16};

use super::{Kernels, PANEL_CODES, pack_panel};
use crate::vector::tests::Numbers;

/// Lengths around every block size of the kernels.
const LENGTHS: std::ops::RangeInclusive<usize> = 0..=257;

/// Query components within the contract's −127..=127.
fn query_code(numbers: &mut Numbers, len: usize) -> Vec<i8> {
    (0..len)
        .map(|_| ((numbers.next() % 255) as i16 - 127) as i8)
        .collect()
}

/// Pairs of float vectors of one length: random, one zero, identical, opposite, and all ones.
fn float_pairs(numbers: &mut Numbers, len: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
    let a: Vec<f32> = (0..len).map(|_| numbers.float()).collect();
    let b: Vec<f32> = (0..len).map(|_| numbers.float()).collect();
    let opposite = a.iter().map(|x| -x).collect();
    vec![
        (a.clone(), b),
        (a.clone(), vec![0.0; len]),
        (a.clone(), a.clone()),
        (a, opposite),
        (vec![1.0; len], vec![1.0; len]),
    ]
}

fn exact(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>) -> (f64, f64) {
    a.zip(b).fold((0.0, 0.0), |(sum, size), (x, y)| {
        (sum + x * y, size + (x * y).abs())
    })
}

/// Accumulating `n` products in f32 loses at most `n · 2⁻²⁴` of the sum of their sizes.
fn assert_close(got: f32, want: f64, size: f64, len: usize, what: &str) {
    let tolerance = size * len as f64 * 2f64.powi(-24) + 1e-12;
    assert!(
        (f64::from(got) - want).abs() <= tolerance,
        "{what}, length {len}: {got} is not {want} ± {tolerance}"
    );
}

#[test]
fn the_best_table_comes_first_and_scalar_last() {
    let supported = Kernels::supported();
    assert_eq!(supported.last().map(|k| k.name()), Some("scalar"));
    assert_eq!(Kernels::scalar().name(), "scalar");
    assert!(supported.iter().any(|k| k.name() == Kernels::active().name()));
}

#[test]
fn float_kernels_agree_with_f64_at_every_length_and_alignment() {
    for kernels in Kernels::supported() {
        let mut numbers = Numbers(1);
        for len in LENGTHS {
            for (a, b) in float_pairs(&mut numbers, len) {
                for shift in [0, 1, 3] {
                    // The same numbers at another alignment.
                    let a32 = [vec![9.0; shift], a.clone()].concat();
                    let b32 = [vec![7.0; shift], b.clone()].concat();
                    let (a32, b32) = (&a32[shift..], &b32[shift..]);
                    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                    let (want, size) = exact(wide(a32).into_iter(), wide(b32).into_iter());
                    assert_close(
                        kernels.dot_f32(a32, b32),
                        want,
                        size,
                        len,
                        &format!("{kernels:?} f32"),
                    );

                    let half: Vec<f16> = vec![f16::ONE; shift]
                        .into_iter()
                        .chain(a.iter().map(|&x| f16::from_f32(x)))
                        .collect();
                    let half = &half[shift..];
                    let (want, size) = exact(half.iter().map(|x| x.to_f64()), wide(b32).into_iter());
                    assert_close(
                        kernels.dot_f16(half, b32),
                        want,
                        size,
                        len,
                        &format!("{kernels:?} f16"),
                    );

                    let whole = |x: f32| (x * 32_767.0) as i16;
                    let fixed: Vec<i16> = vec![7; shift]
                        .into_iter()
                        .chain(a.iter().copied().map(whole))
                        .collect();
                    let fixed = &fixed[shift..];
                    let (want, size) = exact(fixed.iter().map(|&x| f64::from(x)), wide(b32).into_iter());
                    assert_close(
                        kernels.dot_i16(fixed, b32),
                        want,
                        size,
                        len,
                        &format!("{kernels:?} i16"),
                    );

                    let brain = |v: &[f32]| -> Vec<bf16> {
                        vec![bf16::ONE; shift]
                            .into_iter()
                            .chain(v.iter().map(|&x| bf16::from_f32(x)))
                            .collect()
                    };
                    let (x, y) = (brain(&a), brain(&b));
                    let (x, y) = (&x[shift..], &y[shift..]);
                    let (want, size) = exact(x.iter().map(|x| x.to_f64()), y.iter().map(|x| x.to_f64()));
                    assert_close(
                        kernels.dot_bf16(x, y),
                        want,
                        size,
                        len,
                        &format!("{kernels:?} bf16"),
                    );
                }
            }
        }
    }
}

#[test]
fn tiny_halves_count() {
    // Subnormal half-precision numbers: a widening by bit tricks must not lose them.
    let small = vec![f16::from_bits(3); 100];
    let query = vec![1.0f32; 100];
    let want = f64::from(100) * f16::from_bits(3).to_f64();
    for kernels in Kernels::supported() {
        assert_close(
            kernels.dot_f16(&small, &query),
            want,
            want,
            100,
            &format!("{kernels:?}"),
        );
    }
}

fn exact_code(stored: &[u8], query: &[i8]) -> i32 {
    stored
        .iter()
        .zip(query)
        .map(|(&s, &q)| (i32::from(s) - 128) * i32::from(q))
        .sum()
}

#[test]
fn code_kernels_are_exact_at_every_length_and_alignment() {
    for kernels in Kernels::supported() {
        let mut numbers = Numbers(2);
        for len in LENGTHS {
            let random: Vec<u8> = (0..len + 3).map(|_| numbers.next() as u8).collect();
            let query = query_code(&mut numbers, len + 3);
            for shift in [0, 1, 3] {
                let (s, q) = (&random[shift..shift + len], &query[shift..shift + len]);
                assert_eq!(
                    kernels.dot_code(s, q),
                    exact_code(s, q),
                    "{kernels:?}, length {len}, shift {shift}"
                );
            }
            // The ends of both ranges, where 16-bit sums could saturate, and codes that are zero.
            for s in [0u8, 1, 127, 128, 129, 255] {
                for q in [-127i8, -1, 0, 1, 127] {
                    let (s, q) = (vec![s; len], vec![q; len]);
                    assert_eq!(
                        kernels.dot_code(&s, &q),
                        exact_code(&s, &q),
                        "{kernels:?}, length {len}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_are_gathered_in_the_order_asked_for() {
    for kernels in Kernels::supported() {
        let mut numbers = Numbers(3);
        for dim in [1, 4, 63, 64, 65, 128, 200, 256] {
            let matrix: Vec<u8> = (0..dim * 23).map(|_| numbers.next() as u8).collect();
            let query = query_code(&mut numbers, dim);
            for count in 0..12 {
                let rows: Vec<u32> = (0..count).map(|_| (numbers.next() % 23) as u32).collect();
                let mut out = vec![7; count];
                kernels.dot_code_rows(&matrix, &rows, &query, &mut out);
                let want: Vec<i32> = rows
                    .iter()
                    .map(|&row| exact_code(&matrix[row as usize * dim..(row as usize + 1) * dim], &query))
                    .collect();
                assert_eq!(out, want, "{kernels:?}, dimension {dim}, {count} rows");
            }
        }
    }
}

#[test]
#[should_panic(expected = "row of the matrix")]
fn a_row_outside_the_matrix_is_refused() {
    Kernels::active().dot_code_rows(&[128; 64], &[1], &[0; 64], &mut [0]);
}

#[test]
fn panels_hold_the_products_of_their_codes() {
    for kernels in Kernels::supported() {
        let mut numbers = Numbers(4);
        for dim in [4, 8, 60, 64, 68, 128, 256, 260] {
            for codes in [1, 15, 16] {
                let matrix: Vec<u8> = (0..dim * codes).map(|_| numbers.next() as u8).collect();
                let mut panel = vec![0; dim * PANEL_CODES];
                pack_panel(&matrix, dim, &mut panel);
                for count in [0, 1, 7, 8, 9, 17] {
                    let queries = query_code(&mut numbers, dim * count);
                    let mut out = vec![[7; PANEL_CODES]; count];
                    kernels.dot_panel(&panel, &queries, &mut out);
                    for (q, row) in out.iter().enumerate() {
                        for (c, &got) in row.iter().enumerate() {
                            let want = if c < codes {
                                exact_code(&matrix[c * dim..(c + 1) * dim], &queries[q * dim..(q + 1) * dim])
                            } else {
                                0
                            };
                            assert_eq!(got, want, "{kernels:?}, dimension {dim}, query {q}, code {c}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn hamming_counts_differing_bits() {
    let mut numbers = Numbers(5);
    let mut hash = || std::array::from_fn::<u8, 32, _>(|_| numbers.next() as u8);
    let query = hash();
    let mut hashes: Vec<[u8; 32]> = (0..50).map(|_| hash()).collect();
    hashes.push(query);
    hashes.push(query.map(|b| !b));
    hashes.push([0; 32]);
    let want: Vec<u16> = hashes
        .iter()
        .map(|h| {
            h.iter()
                .zip(&query)
                .map(|(a, b)| (a ^ b).count_ones() as u16)
                .sum()
        })
        .collect();
    for kernels in Kernels::supported() {
        let mut out = vec![0; hashes.len()];
        kernels.hamming_each(&query, &hashes, &mut out);
        assert_eq!(out, want, "{kernels:?}");
        assert_eq!(
            u16::try_from(kernels.hamming(&query, &hashes[3])),
            Ok(want[3]),
            "{kernels:?}"
        );
    }
    assert_eq!(want[50..52], [0, 256]);
}
