//! Everything that is known of an image from its bytes alone.

use std::sync::Arc;

use bytes::Bytes;
use image::RgbImage;
use rayon::prelude::*;

use super::decode::{self, Demand, PixelBudget, sample};
use super::profile::Part;
use super::{DecodeLimits, Embedder, VisionError, fingerprint, parts, resize, thumbnail};
use crate::types::{Beyond, Embedding, ExifSummary, Fingerprint, ImageFormat, PdqHash, PixelHash};

/// Images embedded at once: enough for the network's speed, few enough to keep every core busy.
const BATCH: usize = 8;

/// What analysing a file gives.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Everything that matching compares.
    pub fingerprint: Fingerprint,
    /// PDQ of the eight rotations and mirrors, the original first, as [`fingerprint::pdq_dihedral`] orders them.
    pub pdq_variants: [PdqHash; 8],
    /// Size of the file in bytes.
    pub size: u64,
    /// Format told by the content.
    pub format: ImageFormat,
    /// What the file holds beyond the picture that was analysed.
    pub beyond: Beyond,
    /// The preview as JPEG.
    pub thumbnail: Bytes,
    /// The image shrunk to at most [`thumbnail::THUMBNAIL_SIDE`] a side, before it was encoded.
    pub preview: RgbImage,
}

/// Decodes, hashes and embeds. Safe to use from many threads; they share one bound on decoded pixels.
pub struct Analyser {
    embedder: Arc<dyn Embedder>,
    limits: DecodeLimits,
    budget: PixelBudget,
}

/// Decoded pixels in memory for each thread of the pool.
const PIXELS_PER_THREAD: u64 = 40_000_000;

/// An analysis that waits for its embedding.
struct Prepared {
    pixel_hash: PixelHash,
    pdq_variants: [PdqHash; 8],
    pdq_quality: u8,
    dimensions: (u32, u32),
    exif: ExifSummary,
    format: ImageFormat,
    beyond: Beyond,
    thumbnail: Bytes,
    preview: RgbImage,
    input: RgbImage,
}

impl Analyser {
    /// Takes the model and the limits on what is read.
    #[must_use]
    pub fn new(embedder: Arc<dyn Embedder>, limits: DecodeLimits) -> Self {
        let threads = rayon::current_num_threads() as u64;
        Self {
            embedder,
            limits,
            budget: PixelBudget::new(PIXELS_PER_THREAD * threads),
        }
    }

    /// The model.
    #[must_use]
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// Analyses one file on the calling thread.
    ///
    /// # Errors
    /// Any [`VisionError`].
    pub fn analyse(&self, bytes: &[u8]) -> Result<Analysis, VisionError> {
        let mut prepared = self.prepare(bytes)?;
        let inputs = [std::mem::take(&mut prepared.input)];
        let embedding = self.embedder.embed(&inputs)?.pop().ok_or_else(no_answer)?;
        Ok(prepared.finish(bytes, embedding))
    }

    /// Analyses many files on the rayon pool; answers in the files' order. A file that fails does not touch the others.
    #[must_use]
    pub fn analyse_batch(&self, files: &[Bytes]) -> Vec<Result<Analysis, VisionError>> {
        files
            .par_chunks(BATCH)
            .flat_map_iter(|chunk| self.analyse_chunk(chunk))
            .collect()
    }

    /// Embeddings of the [`parts`] of an image, of which `preview` is that of its analysis.
    ///
    /// # Errors
    /// [`VisionError::Embedding`].
    pub fn embed_parts(&self, preview: &RgbImage) -> Result<Vec<Embedding>, VisionError> {
        self.embedder.embed(&parts(preview))
    }

    /// Analyses a few files on the calling thread; as [`Self::analyse_batch`].
    #[must_use]
    pub fn analyse_together(&self, files: &[Bytes]) -> Vec<Result<Analysis, VisionError>> {
        self.embed_prepared(files.iter().map(|file| self.prepare(file)).collect(), files)
    }

    fn analyse_chunk(&self, files: &[Bytes]) -> Vec<Result<Analysis, VisionError>> {
        self.embed_prepared(files.par_iter().map(|file| self.prepare(file)).collect(), files)
    }

    fn embed_prepared(
        &self,
        mut prepared: Vec<Result<Prepared, VisionError>>,
        files: &[Bytes],
    ) -> Vec<Result<Analysis, VisionError>> {
        let inputs: Vec<RgbImage> = prepared
            .iter_mut()
            .flatten()
            .map(|p| std::mem::take(&mut p.input))
            .collect();
        let mut embeddings = match self.embedder.embed(&inputs) {
            Ok(embeddings) => embeddings.into_iter(),
            Err(error) => {
                return prepared.into_iter().map(|p| p.and(Err(error.clone()))).collect();
            }
        };
        prepared
            .into_iter()
            .zip(files)
            .map(|(prepared, file)| {
                let prepared = prepared?;
                Ok(prepared.finish(file, embeddings.next().ok_or_else(no_answer)?))
            })
            .collect()
    }

    fn prepare(&self, bytes: &[u8]) -> Result<Prepared, VisionError> {
        let side = self.embedder.input_size();
        let demand = Demand::AtLeast {
            long: thumbnail::THUMBNAIL_SIDE,
            short: side,
        };
        let sampled = sample(bytes, &self.limits, demand, &self.budget)?;
        let decoded = sampled.decoded;
        let (preview, input) = Part::Resize.count(|| {
            let preview = resize::fitted(decoded.pixels.dimensions(), thumbnail::THUMBNAIL_SIDE);
            let [preview, input] = resize::squash_both(&decoded.pixels, [preview, (side, side)]);
            (preview, input)
        });
        decode::keep(decoded.pixels);
        let (pdq_variants, pdq_quality) = Part::Pdq.count(|| fingerprint::pdq_dihedral(&preview));
        let thumbnail = Part::Thumbnail.count(|| thumbnail::encode(&preview))?;
        Ok(Prepared {
            pixel_hash: sampled.pixel_hash,
            pdq_variants,
            pdq_quality,
            dimensions: (decoded.width, decoded.height),
            exif: decoded.exif,
            format: decoded.format,
            beyond: sampled.beyond,
            thumbnail: thumbnail.into(),
            input,
            preview,
        })
    }
}

impl Prepared {
    fn finish(self, bytes: &[u8], embedding: Embedding) -> Analysis {
        let [pdq, ..] = self.pdq_variants;
        Analysis {
            fingerprint: Fingerprint {
                content_hash: Part::Hash.count(|| fingerprint::content_hash(bytes)),
                pixel_hash: self.pixel_hash,
                pdq,
                pdq_quality: self.pdq_quality,
                embedding,
                width: self.dimensions.0,
                height: self.dimensions.1,
                exif: self.exif,
            },
            pdq_variants: self.pdq_variants,
            size: bytes.len() as u64,
            format: self.format,
            beyond: self.beyond,
            thumbnail: self.thumbnail,
            preview: self.preview,
        }
    }
}

fn no_answer() -> VisionError {
    VisionError::Embedding {
        detail: "the embedder answered with fewer vectors than images".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::builtin;

    fn analyser() -> Analyser {
        Analyser::new(
            builtin().expect("the shipped weights load"),
            DecodeLimits::default(),
        )
    }

    fn scene(seed: u32, width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let mut cell = (x * 9 / width + 16 * (y * 7 / height) + 256 * seed).wrapping_mul(2_654_435_761);
            cell = (cell ^ (cell >> 15)).wrapping_mul(2_246_822_519) >> 24;
            image::Rgb([cell as u8, (255 - cell) as u8, (cell / 2 + x * 100 / width) as u8])
        })
    }

    fn png(image: &RgbImage) -> Bytes {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image
            .write_to(&mut bytes, image::ImageFormat::Png)
            .expect("encodes");
        bytes.into_inner().into()
    }

    #[test]
    fn a_copy_is_near_and_another_image_is_not() {
        let analyser = analyser();
        let original = analyser.analyse(&png(&scene(1, 900, 700))).expect("analyses");
        let copy = resize::squash(&scene(1, 900, 700), 450, 350);
        let copy = analyser
            .analyse(&thumbnail::encode(&copy).expect("encodes"))
            .expect("analyses");
        let other = analyser.analyse(&png(&scene(2, 900, 700))).expect("analyses");
        let distance = |a: &Analysis, b: &Analysis| a.fingerprint.pdq.hamming(&b.fingerprint.pdq);
        assert!(
            distance(&original, &copy) < 20 && distance(&original, &other) > 60,
            "{} {}",
            distance(&original, &copy),
            distance(&original, &other)
        );
        let similarity =
            |a: &Analysis, b: &Analysis| a.fingerprint.embedding.similarity(&b.fingerprint.embedding);
        assert!(similarity(&original, &copy) > similarity(&original, &other));
        assert_eq!(
            (original.fingerprint.width, original.fingerprint.height),
            (900, 700)
        );
        assert_eq!(original.preview.dimensions(), (400, 311));
        assert_eq!(original.pdq_variants[0], original.fingerprint.pdq);
        assert_eq!(
            thumbnail::decode(&original.thumbnail)
                .expect("decodes")
                .dimensions(),
            (400, 311)
        );
    }

    #[test]
    fn containers_change_the_bytes_but_not_the_pixels() {
        let image = scene(3, 120, 80);
        let mut bmp = std::io::Cursor::new(Vec::new());
        image
            .write_to(&mut bmp, image::ImageFormat::Bmp)
            .expect("encodes");
        let analyser = analyser();
        let a = analyser.analyse(&png(&image)).expect("analyses").fingerprint;
        let b = analyser.analyse(&bmp.into_inner()).expect("analyses").fingerprint;
        assert_eq!(
            (a.pixel_hash, &a.embedding, a.pdq),
            (b.pixel_hash, &b.embedding, b.pdq)
        );
        assert_ne!(a.content_hash, b.content_hash);
    }

    #[test]
    fn a_batch_answers_in_order_and_survives_bad_files() {
        let analyser = analyser();
        let files: Vec<Bytes> = (0..19)
            .map(|i| {
                if i % 5 == 2 {
                    Bytes::from_static(b"no image")
                } else {
                    png(&scene(i, 60 + i, 50))
                }
            })
            .collect();
        let answers = analyser.analyse_batch(&files);
        assert_eq!(answers.len(), files.len());
        for (i, (file, answer)) in files.iter().zip(&answers).enumerate() {
            match answer {
                Ok(analysis) => {
                    assert_eq!(analysis.fingerprint.content_hash, fingerprint::content_hash(file));
                    assert_eq!(analysis.fingerprint.width as usize, 60 + i);
                }
                Err(error) => assert!(i % 5 == 2 && matches!(error, VisionError::NotAnImage { .. })),
            }
        }
    }
}
