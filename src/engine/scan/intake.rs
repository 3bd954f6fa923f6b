//! Reading and analysing the files of a scan: one thread reads, the pool decodes and embeds, and a bounded channel
//! between them keeps the reader from running ahead.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Take};
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use rayon::prelude::*;

use super::cache::{Cache, FileEntry, NewAnalysis};
use super::walk::{Found, claims_to_be_image};
use super::{Phase, Progress, ScanError, Skipped};
use crate::types::{Beyond, ContentHash, Fingerprint, ImageFormat, PdqHash};
use crate::vision::{Analyser, Analysis, DecodeLimits, Palette, VisionError, decode, fingerprint};

/// What is kept in memory of one content: about 1.7 kB with its embedding.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) fingerprint: Fingerprint,
    pub(super) variants: [PdqHash; 8],
    pub(super) palette: Palette,
    pub(super) format: ImageFormat,
    pub(super) beyond: Beyond,
}

/// What became of the files.
pub(super) struct Intake {
    /// One entry for each different content.
    pub(super) contents: Vec<Known>,
    /// For each file, in order: its content, or nothing when it was left out.
    pub(super) content_of: Vec<Option<usize>>,
    pub(super) skipped: Vec<Skipped>,
    /// Files that turned out to be no images and did not claim to be.
    pub(super) ignored: u64,
    /// Files that were read.
    pub(super) read: u64,
    /// Contents that were decoded and embedded in this scan.
    pub(super) analysed: u64,
}

/// Files of one batch at most, and bytes after which a batch is full.
const BATCH_FILES: usize = 64;
const BATCH_BYTES: usize = 16 << 20;

/// Position of a content among those seen so far.
type Slot = usize;

/// What the reader hands on.
enum Message {
    /// A file whose content is in the cache: file, slot, analysis when the slot is new.
    Cached(usize, Slot, Option<Box<Known>>, ReadNow),
    /// A file of a content that was seen before in this scan.
    Again(usize, Slot),
    /// A file to be analysed.
    Fresh(usize, Slot, Bytes),
    Refused(usize, String),
    Ignored,
}

/// Whether the file was read (and its entry in the cache is to be renewed).
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadNow {
    Yes,
    No,
}

/// Reads and analyses `files`. Failures of single files end in `skipped`; only the cache's are errors.
pub(super) fn take_in(
    files: &[Found],
    analyser: &Analyser,
    limits: &DecodeLimits,
    cache: &Cache,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Intake, ScanError> {
    let (sender, receiver) = sync_channel::<Vec<Message>>(0);
    let mut state = State {
        files,
        cache,
        slots: Vec::new(),
        intake: Intake {
            contents: Vec::new(),
            content_of: vec![None; files.len()],
            skipped: Vec::new(),
            ignored: 0,
            read: 0,
            analysed: 0,
        },
    };
    let mut done = 0;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || Reader::new(files, limits, cache).run(&sender));
        for batch in receiver {
            done += batch.len() as u64;
            state.take(batch, analyser)?;
            progress(Progress {
                phase: Phase::Reading,
                done,
                total: files.len() as u64,
            });
        }
        reader.join().unwrap_or(Err(ScanError::Reader))
    })?;
    Ok(state.finish())
}

struct Reader<'a> {
    files: &'a [Found],
    limits: &'a DecodeLimits,
    cache: &'a Cache,
    slots: HashMap<ContentHash, Slot>,
    batch: Vec<Message>,
    bytes: usize,
}

impl<'a> Reader<'a> {
    fn new(files: &'a [Found], limits: &'a DecodeLimits, cache: &'a Cache) -> Self {
        Self {
            files,
            limits,
            cache,
            slots: HashMap::new(),
            batch: Vec::new(),
            bytes: 0,
        }
    }

    fn run(mut self, sender: &SyncSender<Vec<Message>>) -> Result<(), ScanError> {
        for index in 0..self.files.len() {
            let message = self.look_at(index)?;
            if let Message::Fresh(_, _, bytes) = &message {
                self.bytes += bytes.len();
            }
            self.batch.push(message);
            if self.batch.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
                self.bytes = 0;
                if sender.send(std::mem::take(&mut self.batch)).is_err() {
                    // The other side failed and reports why.
                    return Ok(());
                }
            }
        }
        // As above.
        let _ = sender.send(self.batch);
        Ok(())
    }

    fn look_at(&mut self, index: usize) -> Result<Message, ScanError> {
        let file = &self.files[index];
        if let Some(content) = self.cache.content_of(&file.canonical, file.size, file.modified)?
            && let Some(message) = self.known(index, content, ReadNow::No)?
        {
            return Ok(message);
        }
        if file.size > self.limits.max_file_bytes {
            let refusal = VisionError::FileTooLarge {
                bytes: file.size,
                limit: self.limits.max_file_bytes,
            };
            return Ok(Message::Refused(index, refusal.to_string()));
        }
        let bytes = match self.read(file) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Message::Ignored),
            Err(error) => return Ok(Message::Refused(index, format!("unreadable: {error}"))),
        };
        let content = fingerprint::content_hash(&bytes);
        if let Some(message) = self.known(index, content, ReadNow::Yes)? {
            return Ok(message);
        }
        let slot = self.slots.len();
        self.slots.insert(content, slot);
        Ok(Message::Fresh(index, slot, bytes))
    }

    /// A content that this scan or the cache knows.
    fn known(
        &mut self,
        index: usize,
        content: ContentHash,
        read: ReadNow,
    ) -> Result<Option<Message>, ScanError> {
        if let Some(&slot) = self.slots.get(&content) {
            return Ok(Some(match read {
                ReadNow::Yes => Message::Again(index, slot),
                ReadNow::No => Message::Cached(index, slot, None, read),
            }));
        }
        let Some(known) = self.cache.analysis(&content)? else {
            return Ok(None);
        };
        let slot = self.slots.len();
        self.slots.insert(content, slot);
        Ok(Some(Message::Cached(index, slot, Some(Box::new(known)), read)))
    }

    /// The file's bytes, at most one more than the limit; nothing for a file that is not named, neither claims to be an
    /// image nor begins like one.
    fn read(&self, file: &Found) -> std::io::Result<Option<Bytes>> {
        let mut source: Take<File> = File::open(&file.path)?.take(self.limits.max_file_bytes + 1);
        let mut bytes = Vec::with_capacity(usize::try_from(file.size).unwrap_or(0) + 1);
        if !file.named && !claims_to_be_image(&file.path) {
            source.by_ref().take(64).read_to_end(&mut bytes)?;
            if matches!(decode(&bytes, self.limits), Err(VisionError::NotAnImage { .. })) {
                return Ok(None);
            }
        }
        source.read_to_end(&mut bytes)?;
        Ok(Some(bytes.into()))
    }
}

/// A content by slot: known, or refused with the reason.
type Outcome = Result<Known, String>;

struct State<'a> {
    files: &'a [Found],
    cache: &'a Cache,
    slots: Vec<(Outcome, Vec<usize>)>,
    intake: Intake,
}

impl State<'_> {
    fn take(&mut self, batch: Vec<Message>, analyser: &Analyser) -> Result<(), ScanError> {
        let mut fresh = Vec::new();
        let mut inputs = Vec::new();
        let mut again = Vec::new();
        let mut renewed = Vec::new();
        for message in batch {
            match message {
                Message::Ignored => self.intake.ignored += 1,
                Message::Refused(file, reason) => self.skip(file, reason),
                Message::Again(file, slot) => {
                    self.intake.read += 1;
                    again.push((file, slot));
                    renewed.push((file, slot));
                }
                Message::Cached(file, slot, known, read) => {
                    if read == ReadNow::Yes {
                        self.intake.read += 1;
                        renewed.push((file, slot));
                    }
                    // Slots are numbered in the order of the messages, but fresh ones are filled at the end.
                    match known {
                        Some(known) => fresh.push((file, slot, Some(*known))),
                        None => again.push((file, slot)),
                    }
                }
                Message::Fresh(file, slot, bytes) => {
                    self.intake.read += 1;
                    inputs.push(bytes);
                    fresh.push((file, slot, None));
                }
            }
        }
        let analyses = analyser.analyse_batch(&inputs);
        drop(inputs);
        let analyses: Vec<_> = analyses
            .into_par_iter()
            .map(|analysis| analysis.map(split))
            .collect();
        let mut analyses = analyses.into_iter();
        let mut thumbnails = Vec::new();
        for (file, slot, known) in fresh {
            debug_assert_eq!(slot, self.slots.len(), "slots come in order");
            let outcome = match known {
                Some(known) => Ok(known),
                None => match analyses.next() {
                    Some(Ok((known, thumbnail))) => {
                        self.intake.analysed += 1;
                        thumbnails.push((slot, thumbnail));
                        renewed.push((file, slot));
                        Ok(known)
                    }
                    Some(Err(error)) => Err(error.to_string()),
                    None => Err("the analysis gave no answer".to_owned()),
                },
            };
            self.slots.push((outcome, vec![file]));
        }
        for (file, slot) in again {
            self.slots[slot].1.push(file);
        }
        self.store(&renewed, &thumbnails)
    }

    fn store(&self, renewed: &[(usize, Slot)], thumbnails: &[(Slot, Bytes)]) -> Result<(), ScanError> {
        if renewed.is_empty() && thumbnails.is_empty() {
            return Ok(());
        }
        let entries: Vec<FileEntry<'_>> = renewed
            .iter()
            .filter_map(|(file, slot)| {
                let found = &self.files[*file];
                Some(FileEntry {
                    path: &found.canonical,
                    size: found.size,
                    modified: found.modified,
                    content: self.slots[*slot].0.as_ref().ok()?.fingerprint.content_hash,
                })
            })
            .collect();
        let analyses: Vec<NewAnalysis<'_>> = thumbnails
            .iter()
            .filter_map(|(slot, thumbnail)| {
                Some(NewAnalysis {
                    known: self.slots[*slot].0.as_ref().ok()?,
                    thumbnail,
                })
            })
            .collect();
        self.cache.store(&entries, &analyses)?;
        Ok(())
    }

    fn skip(&mut self, file: usize, reason: String) {
        self.intake.skipped.push(Skipped {
            path: self.files[file].name.clone(),
            reason,
        });
    }

    fn finish(mut self) -> Intake {
        for (outcome, files) in std::mem::take(&mut self.slots) {
            match outcome {
                Ok(known) => {
                    let content = self.intake.contents.len();
                    self.intake.contents.push(known);
                    for file in files {
                        self.intake.content_of[file] = Some(content);
                    }
                }
                Err(reason) => {
                    for file in files {
                        self.skip(file, reason.clone());
                    }
                }
            }
        }
        self.intake
    }
}

fn split(analysis: Analysis) -> (Known, Bytes) {
    let known = Known {
        fingerprint: analysis.fingerprint,
        variants: analysis.pdq_variants,
        palette: Palette::of(&analysis.preview),
        format: analysis.format,
        beyond: analysis.beyond,
    };
    (known, analysis.thumbnail)
}
