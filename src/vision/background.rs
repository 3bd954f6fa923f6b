//! The background bank of a network: embeddings of pictures that are no user's. How near an image is to them says how
//! little its likeness to another image proves.

use safetensors::SafeTensors;

use super::VisionError;

/// A bank as its file has it; `dedup` computes with it.
///
/// Written by `models/background.py`. Row `i` is `codes[i] × scales[i]`, a vector of about unit length.
#[derive(Debug, Clone, PartialEq)]
pub struct Bank {
    /// Components of a row.
    pub dim: usize,
    /// Row-major, −127 to 127.
    pub codes: Vec<i8>,
    /// One for each row.
    pub scales: Vec<f32>,
    /// How many of the nearest rows are looked at.
    pub top_k: usize,
    /// What their mean similarity weighs in the normalised score.
    pub beta: f32,
    /// SHA-256 of the weights that the rows were made with, in hexadecimal.
    pub model_sha256: String,
}

impl Bank {
    /// Reads a safetensors file with `bank` (int8, rows × dim) and `scale` (float32, rows).
    ///
    /// # Errors
    /// [`VisionError::Weights`].
    pub fn from_safetensors(file: &[u8]) -> Result<Self, VisionError> {
        let unusable = |detail: String| VisionError::Weights {
            detail: format!("background bank: {detail}"),
        };
        let (_, header) = SafeTensors::read_metadata(file).map_err(|e| unusable(e.to_string()))?;
        let tensors = SafeTensors::deserialize(file).map_err(|e| unusable(e.to_string()))?;
        let codes = tensors.tensor("bank").map_err(|e| unusable(e.to_string()))?;
        let (rows, dim) = match (codes.dtype(), codes.shape()) {
            (safetensors::Dtype::I8, &[rows, dim]) if rows > 0 && dim > 0 => (rows, dim),
            (dtype, shape) => return Err(unusable(format!("bank is {dtype:?} of shape {shape:?}"))),
        };
        let scales = tensors.tensor("scale").map_err(|e| unusable(e.to_string()))?;
        if scales.dtype() != safetensors::Dtype::F32 {
            return Err(unusable(format!("scale is {:?}", scales.dtype())));
        }
        let (four, _) = scales.data().as_chunks::<4>();
        let scales: Vec<f32> = four.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if scales.len() != rows || !scales.iter().all(|s| s.is_finite() && *s >= 0.0) {
            return Err(unusable(format!("{} scales for {rows} rows", scales.len())));
        }
        let entry = |key: &str| {
            let found = header.metadata().as_ref().and_then(|m| m.get(key));
            found.ok_or_else(|| unusable(format!("its metadata has no {key}")))
        };
        let number = |key: &str| {
            let text = entry(key)?;
            let value = text.parse::<f32>().ok().filter(|v| v.is_finite() && *v >= 0.0);
            value.ok_or_else(|| unusable(format!("{key} is {text:?} in its metadata")))
        };
        let top_k = number("top_k")? as usize;
        if !(1..=rows).contains(&top_k) {
            return Err(unusable(format!("top_k is {top_k}, of {rows} rows")));
        }
        Ok(Self {
            dim,
            codes: codes.data().iter().map(|b| b.cast_signed()).collect(),
            scales,
            top_k,
            beta: number("beta")?,
            model_sha256: entry("model_sha256")?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANK: &[u8] = include_bytes!("../../models/bank.safetensors");

    #[test]
    fn the_shipped_bank_has_rows_of_unit_length() {
        let bank = Bank::from_safetensors(BANK).expect("the shipped bank loads");
        assert_eq!(
            (bank.dim, bank.codes.len(), bank.scales.len()),
            (256, 2000 * 256, 2000)
        );
        for (row, scale) in bank.codes.chunks_exact(bank.dim).zip(&bank.scales) {
            let squares: f32 = row.iter().map(|&c| (f32::from(c) * scale).powi(2)).sum();
            assert!((squares - 1.0).abs() < 0.03, "{squares}");
        }
    }

    #[test]
    fn what_is_no_bank_is_refused_with_a_reason() {
        let refused = |file: &[u8]| {
            Bank::from_safetensors(file)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(refused(b"").is_err_and(|r| r.starts_with("unusable weights: background bank: ")));
        assert!(refused(&BANK[..BANK.len() - 1]).is_err());
        assert!(refused(include_bytes!("../../models/parity.safetensors")).is_err());
    }
}
