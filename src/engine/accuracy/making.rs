//! From the plan to pictures: decoded, cut, attacked, stored as JPEG, and analysed like any file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rayon::prelude::*;

use super::AccuracyOptions;
use super::plan::{Plan, Query, Source};
use crate::types::Embedding;
use crate::vision::attack::{self, Dice, SOURCE_SIDE};
use crate::vision::verify::close_up;
use crate::vision::{
    Analyser, Analysis, DecodeLimits, Demand, Embedder, RgbImage, decode, decode_to, thumbnail,
};

/// A picture and the file it was stored as.
pub(super) type Made = Option<(Analysis, Bytes)>;

/// Makes pictures.
pub(super) struct Maker<'a> {
    plan: &'a Plan,
    limits: DecodeLimits,
    analyser: Analyser,
    lent: Vec<RgbImage>,
    unreadable: AtomicU64,
}

impl<'a> Maker<'a> {
    pub(super) fn new(options: &AccuracyOptions, plan: &'a Plan, embedder: Arc<dyn Embedder>) -> Self {
        let mut maker = Self {
            plan,
            limits: options.limits,
            analyser: Analyser::new(embedder, options.limits),
            lent: Vec::new(),
            unreadable: AtomicU64::new(0),
        };
        maker.lent = plan
            .lenders
            .par_iter()
            .filter_map(|&file| maker.picture(Source { file, part: None }))
            .collect();
        if maker.lent.is_empty() {
            // No lender can be read: a grey picture stands in.
            maker.lent.push(RgbImage::from_pixel(320, 240, [128; 3].into()));
        }
        maker
    }

    /// Files that could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// References, in their order.
    pub(super) fn references(&self, sources: &[Source]) -> Vec<Made> {
        let files = sources.par_iter().map(|source| match source.part {
            // A whole reference is the user's file as it is.
            None => self.read(source.file),
            Some(_) => self.stored(&self.picture(*source)?),
        });
        self.analysed(files.collect())
    }

    /// Queries, in their order.
    pub(super) fn queries(&self, queries: &[Query]) -> Vec<Made> {
        let files = queries.par_iter().map(|query| {
            let mut picture = self.picture(query.source)?;
            let mut dice = Dice::new(query.seed);
            for edit in &query.edits {
                picture = attack::attack(&picture, &self.lent, *edit, &mut dice);
            }
            self.stored(&picture)
        });
        self.analysed(files.collect())
    }

    /// Embeddings of the parts of an image; none where that fails.
    pub(super) fn parts(&self, analysis: &Analysis) -> Vec<Embedding> {
        self.analyser.embed_parts(&analysis.preview).unwrap_or_default()
    }

    /// Name of a file.
    pub(super) fn name(&self, file: usize) -> String {
        self.plan.files[file].1.clone()
    }

    /// Name of a reference's file.
    pub(super) fn reference_name(&self, reference: usize) -> String {
        self.name(self.plan.references[reference].file)
    }

    /// A file as large as verification can use it.
    pub(super) fn close_up(&self, file: &[u8]) -> Option<RgbImage> {
        let decoded = decode(file, &self.limits).ok()?;
        Some(close_up(&decoded.pixels))
    }

    /// The same of a reference.
    pub(super) fn reference_close_up(&self, reference: usize) -> Option<RgbImage> {
        let source = self.plan.references[reference];
        match source.part {
            None => self.close_up(&self.read(source.file)?),
            // A half is stored at the size that pictures are edited at.
            Some(_) => self.picture(source),
        }
    }

    fn analysed(&self, files: Vec<Option<Bytes>>) -> Vec<Made> {
        let present: Vec<Bytes> = files.iter().flatten().cloned().collect();
        let mut analyses = self.analyser.analyse_batch(&present).into_iter();
        files
            .into_iter()
            .map(|file| {
                let made = file.and_then(|file| Some((analyses.next()?.ok()?, file)));
                if made.is_none() {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                }
                made
            })
            .collect()
    }

    fn read(&self, file: usize) -> Option<Bytes> {
        let (path, _) = &self.plan.files[file];
        let size = std::fs::metadata(path).ok()?.len();
        let fits = size <= self.limits.max_file_bytes;
        fits.then(|| std::fs::read(path).ok())?.map(Bytes::from)
    }

    fn picture(&self, source: Source) -> Option<RgbImage> {
        let demand = Demand::AtLeast {
            long: SOURCE_SIDE,
            short: 1,
        };
        let decoded = decode_to(&self.read(source.file)?, &self.limits, demand).ok()?;
        let picture = attack::source(&decoded.pixels);
        Some(match source.part {
            None => picture,
            Some(half) => attack::half(&picture, half),
        })
    }

    fn stored(&self, picture: &RgbImage) -> Option<Bytes> {
        thumbnail::encode(picture).ok().map(Bytes::from)
    }
}
