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
    /// How a cosine is normalised by the nearness of the two images.
    pub score: Score,
    /// SHA-256 of the weights that the rows were made with, in hexadecimal.
    pub model_sha256: String,
}

/// A normalised score of a pair, of its cosine and of the nearness of the image asked about and of the other: the mean
/// similarity to the nearest rows of the bank. Chosen by `models/normalisation.py`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Score {
    /// `cosine − beta × nearness of the image asked about`.
    Linear {
        /// Weight of the nearness.
        beta: f32,
    },
    /// `offset + weight × (−ln(1 − cosine) − beta × nearness of the image asked about − gamma × nearness of the other)`: what
    /// is nearly the same stays first, however ordinary it is.
    Logarithmic {
        /// Weight of the nearness of the image asked about.
        beta: f32,
        /// Weight of the nearness of the other.
        gamma: f32,
        /// Scale of the whole.
        weight: f32,
        /// Added to the whole.
        offset: f32,
    },
}

impl Bank {
    /// Reads a safetensors file with `bank` (int8, rows × dim) and `scale` (float32, rows). `format_version` 1 or none in
    /// its metadata: the score is linear in the nearness; 2: `formula` names it.
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
        let wrong = |key: &str, text: &str| unusable(format!("{key} is {text:?} in its metadata"));
        let number = |key: &str| {
            let text = entry(key)?;
            let value = text.parse::<f32>().ok().filter(|v| v.is_finite());
            value.ok_or_else(|| wrong(key, text))
        };
        let positive = |key: &str| {
            let value = number(key)?;
            let is_positive = value >= 0.0;
            is_positive
                .then_some(value)
                .ok_or_else(|| wrong(key, &value.to_string()))
        };
        let version = header.metadata().as_ref().and_then(|m| m.get("format_version"));
        let beta = positive("beta")?;
        let score = match version.map_or("1", String::as_str) {
            "1" => Score::Linear { beta },
            "2" => match entry("formula")?.as_str() {
                "linear" => Score::Linear { beta },
                "logarithmic" => Score::Logarithmic {
                    beta,
                    gamma: positive("gamma")?,
                    weight: positive("weight")?,
                    offset: number("offset")?,
                },
                other => return Err(wrong("formula", other)),
            },
            other => return Err(wrong("format_version", other)),
        };
        let top_k = positive("top_k")? as usize;
        if !(1..=rows).contains(&top_k) {
            return Err(unusable(format!("top_k is {top_k}, of {rows} rows")));
        }
        Ok(Self {
            dim,
            codes: codes.data().iter().map(|b| b.cast_signed()).collect(),
            scales,
            top_k,
            score,
            model_sha256: entry("model_sha256")?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANK: &[u8] = include_bytes!("../../models/bank.safetensors");
    const BANK_OF_S: &[u8] = include_bytes!("../../models/doppel-s/bank.safetensors");

    #[test]
    fn the_shipped_banks_have_rows_of_unit_length() {
        for file in [BANK, BANK_OF_S] {
            let rows = 6000;
            let bank = Bank::from_safetensors(file).expect("a shipped bank loads");
            assert_eq!(
                (bank.dim, bank.codes.len(), bank.scales.len()),
                (256, rows * 256, rows)
            );
            for (row, scale) in bank.codes.chunks_exact(bank.dim).zip(&bank.scales) {
                let squares: f32 = row.iter().map(|&c| (f32::from(c) * scale).powi(2)).sum();
                assert!((squares - 1.0).abs() < 0.03, "{squares}");
            }
        }
    }

    /// A bank of one row with this metadata.
    fn with(metadata: &[(&str, &str)]) -> Result<Bank, String> {
        let scale = 1.0_f32.to_le_bytes();
        let view = |dtype, shape: &[usize], data| {
            safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).expect("of that size")
        };
        let tensors = [
            ("bank", view(safetensors::Dtype::I8, &[1, 2], &[127, 0])),
            ("scale", view(safetensors::Dtype::F32, &[1], &scale)),
        ];
        let known = [("top_k", "1"), ("beta", "2.0"), ("model_sha256", "")];
        let said = known
            .iter()
            .chain(metadata)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let file = safetensors::serialize(tensors, Some(said.collect())).expect("serialises");
        Bank::from_safetensors(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn the_score_is_linear_unless_the_file_says_otherwise() {
        let linear = Ok(Score::Linear { beta: 2.0 });
        let score = |metadata: &[(&str, &str)]| with(metadata).map(|bank| bank.score);
        assert_eq!(score(&[]), linear);
        assert_eq!(
            score(&[("format_version", "1"), ("formula", "sim - beta * mean")]),
            linear
        );
        assert_eq!(score(&[("format_version", "2"), ("formula", "linear")]), linear);
        let mut logarithmic = vec![
            ("format_version", "2"),
            ("formula", "logarithmic"),
            ("gamma", "3.0"),
            ("weight", "0.5"),
            ("offset", "-0.25"),
        ];
        let expected = Score::Logarithmic {
            beta: 2.0,
            gamma: 3.0,
            weight: 0.5,
            offset: -0.25,
        };
        assert_eq!(score(&logarithmic), Ok(expected));
        logarithmic[2].1 = "-3.0";
        assert!(score(&logarithmic).is_err_and(|e| e.contains("gamma")));
        assert!(score(&logarithmic[..2]).is_err_and(|e| e.contains("no gamma")));
        assert!(score(&[("format_version", "2"), ("formula", "cubic")]).is_err_and(|e| e.contains("cubic")));
        assert!(score(&[("format_version", "3")]).is_err_and(|e| e.contains("format_version")));
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
