//! Reads matrices from NumPy's `.npy` files (format versions 1 to 3: numpy.lib.format).

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::types::Embedding;

/// The first `limit` rows of a two-dimensional `.npy` file of little-endian f32 (or f16, or f64), scaled to unit length.
///
/// # Errors
/// When the file cannot be read, holds something else, or has a row without a direction.
pub(super) fn read(path: &Path, limit: usize) -> anyhow::Result<Vec<Embedding>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes, limit).with_context(|| format!("cannot use {}", path.display()))
}

fn parse(bytes: &[u8], limit: usize) -> anyhow::Result<Vec<Embedding>> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").context("not a .npy file")?;
    let (&[version, _], rest) = rest.split_first_chunk().context("the header is cut off")?;
    let (len, rest) = if version == 1 {
        let (len, rest) = rest.split_first_chunk().context("the header is cut off")?;
        (u16::from_le_bytes(*len) as usize, rest)
    } else {
        let (len, rest) = rest.split_first_chunk().context("the header is cut off")?;
        (u32::from_le_bytes(*len) as usize, rest)
    };
    let header = rest.get(..len).context("the header is cut off")?;
    let header = std::str::from_utf8(header).context("the header is not text")?;
    let data = &rest[len..];

    ensure!(
        value(header, "fortran_order")?.starts_with("False"),
        "the matrix is stored by columns"
    );
    let shape = value(header, "shape")?
        .strip_prefix('(')
        .and_then(|text| text.split(')').next());
    let shape: Vec<usize> = shape
        .context("the header has no shape")?
        .split(',')
        .map(str::trim)
        .filter(|number| !number.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("the shape is not made of numbers")?;
    let &[rows, dim] = shape.as_slice() else {
        bail!(
            "a matrix of two dimensions is needed, this one has {}",
            shape.len()
        );
    };
    ensure!(dim > 0, "the rows are empty");
    let rows = rows.min(limit);
    let kind = value(header, "descr")?;
    if kind.starts_with("'<f4'") {
        embeddings(data, rows, dim, f32::from_le_bytes)
    } else if kind.starts_with("'<f2'") {
        embeddings(data, rows, dim, |x| half::f16::from_le_bytes(x).to_f32())
    } else if kind.starts_with("'<f8'") {
        #[expect(clippy::cast_possible_truncation, reason = "f32 is what an index works with")]
        embeddings(data, rows, dim, |x| f64::from_le_bytes(x) as f32)
    } else {
        bail!("numbers of type f2, f4 or f8 are needed, little-endian")
    }
}

/// The text after a key of the header, which is a Python dictionary.
fn value<'a>(header: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let after = header
        .split_once(&format!("'{key}':"))
        .with_context(|| format!("the header has no {key}"))?;
    Ok(after.1.trim_start())
}

fn embeddings<const N: usize>(
    data: &[u8],
    rows: usize,
    dim: usize,
    number: impl Fn([u8; N]) -> f32,
) -> anyhow::Result<Vec<Embedding>> {
    let len = rows
        .checked_mul(dim)
        .and_then(|numbers| numbers.checked_mul(N))
        .context("the shape is too large")?;
    let data = data.get(..len).context("the numbers are cut off")?;
    let numbers: Vec<f32> = data.as_chunks::<N>().0.iter().map(|&x| number(x)).collect();
    numbers
        .chunks_exact(dim)
        .enumerate()
        .map(|(row, numbers)| Embedding::normalised(numbers).with_context(|| format!("row {row}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(header.len()).expect("a short header").to_le_bytes();
        [b"\x93NUMPY\x01\x00".as_slice(), &len, header.as_bytes(), data].concat()
    }

    #[test]
    fn rows_are_read_in_order_and_normalised() {
        let numbers: Vec<u8> = [3.0f32, 4.0, 0.0, 2.0, 1.0, 0.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let file = file(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }",
            &numbers,
        );
        let rows = parse(&file, usize::MAX).expect("a good file");
        let rows: Vec<&[f32]> = rows.iter().map(Embedding::as_slice).collect();
        assert_eq!(rows, [[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]]);
        assert_eq!(parse(&file, 1).expect("a good file").len(), 1);
    }

    #[test]
    fn what_is_no_matrix_of_floats_is_refused_with_a_reason() {
        let reason =
            |header: &str, data: &[u8]| parse(&file(header, data), 9).expect_err("refused").to_string();
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        assert_eq!(reason(good, &[0; 7]), "the numbers are cut off");
        assert_eq!(reason(good, &[0; 8]), "row 0");
        assert!(reason(&good.replace("<f4", "<i4"), &[0; 8]).contains("f2, f4 or f8"));
        assert!(reason(&good.replace("False", "True"), &[0; 8]).contains("columns"));
        assert!(reason(&good.replace("(1, 2)", "(2,)"), &[0; 8]).contains("two dimensions"));
        assert_eq!(
            parse(b"PK\x03\x04", 9).expect_err("refused").to_string(),
            "not a .npy file"
        );
    }
}
