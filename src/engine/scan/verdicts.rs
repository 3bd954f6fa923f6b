//! What people said about pairs of files, for scans: JSON lines beside the cache, and not part of it, because a cache may
//! be thrown away and a person's word may not. Keyed by content, so it survives moves, copies and new models.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::types::{ContentHash, ImagePair, Judgement, Verdict};

/// The verdicts that stand.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    pairs: BTreeMap<ImagePair, Verdict>,
    contents: BTreeSet<ContentHash>,
}

/// The file of verdicts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// It cannot be read or written.
    #[error("the verdicts in {path} cannot be used")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A line, not the last, is none of ours.
    #[error("line {line} of {path} is no verdict: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// Why not.
        reason: String,
    },
}

impl VerdictError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Corrupt,
        }
    }
}

/// One line.
#[derive(Serialize, Deserialize)]
struct Line {
    a: String,
    b: String,
    verdict: String,
    at: DateTime<Utc>,
}

impl Line {
    fn of(judgement: &Judgement) -> Self {
        Self {
            a: judgement.pair.low().to_string(),
            b: judgement.pair.high().to_string(),
            verdict: judgement.verdict.to_string(),
            at: judgement.at,
        }
    }

    fn parse(text: &str) -> Result<(ImagePair, Verdict), String> {
        let line: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let hash = |text: &str| text.parse::<ContentHash>().map_err(|e| e.to_string());
        let pair = ImagePair::new(hash(&line.a)?, hash(&line.b)?).ok_or("both sides are one content")?;
        let verdict = line.verdict.parse::<Verdict>().map_err(|e| e.to_string())?;
        Ok((pair, verdict))
    }
}

impl Verdicts {
    /// Reads the file; without one there are no verdicts. A last line that was cut off (the process died while
    /// writing it) is left out: its writer never said that it was kept.
    ///
    /// # Errors
    /// [`VerdictError`].
    pub fn read(path: &Path) -> Result<Self, VerdictError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(VerdictError::Io {
                    path: path.display().to_string(),
                    source,
                });
            }
        };
        let mut verdicts = Self::default();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            match Line::parse(line) {
                Ok((pair, verdict)) => verdicts.take(pair, verdict),
                Err(_) if !line.ends_with('\n') => {}
                Err(reason) => {
                    return Err(VerdictError::Damaged {
                        path: path.display().to_string(),
                        line: number + 1,
                        reason,
                    });
                }
            }
        }
        verdicts.contents = verdicts.pairs.keys().flat_map(|p| [p.low(), p.high()]).collect();
        Ok(verdicts)
    }

    fn take(&mut self, pair: ImagePair, verdict: Verdict) {
        match verdict {
            Verdict::NotDuplicate | Verdict::KeepBoth => self.pairs.insert(pair, verdict),
            Verdict::Withdrawn => self.pairs.remove(&pair),
        };
    }

    /// Adds judgements to the file, made with its folder if it is missing; on disk when this returns.
    ///
    /// # Errors
    /// [`VerdictError`], also when the file holds something else.
    pub fn record(path: &Path, judgements: &[Judgement]) -> Result<(), VerdictError> {
        // Nothing is added to a file that could not be read again.
        Self::read(path)?;
        Self::append(path, judgements).map_err(|source| VerdictError::Io {
            path: path.display().to_string(),
            source,
        })
    }

    fn append(path: &Path, judgements: &[Judgement]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // A line that was cut off is finished off, or it would swallow the next one.
        let whole = match fs::read(path) {
            Ok(bytes) => bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)?;
        file.set_len(whole as u64)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        let mut text = Vec::new();
        for judgement in judgements {
            serde_json::to_writer(&mut text, &Line::of(judgement))?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_all()
    }

    /// Pairs that must not be in one group.
    pub fn pairs(&self) -> impl Iterator<Item = ImagePair> {
        self.pairs.keys().copied()
    }

    /// Whether a verdict names this content.
    #[must_use]
    pub fn names(&self, content: &ContentHash) -> bool {
        self.contents.contains(content)
    }

    /// Contents of which a person said that they stay.
    pub fn staying(&self) -> impl Iterator<Item = ContentHash> {
        self.pairs
            .iter()
            .filter(|(_, verdict)| **verdict == Verdict::KeepBoth)
            .flat_map(|(pair, _)| [pair.low(), pair.high()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(a: u8, b: u8, verdict: Verdict) -> Judgement {
        let hash = |n| ContentHash::from_bytes([n; 32]);
        Judgement {
            pair: ImagePair::new(hash(a), hash(b)).expect("two contents"),
            verdict,
            at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_last_word_on_a_pair_counts_and_survives_a_cut_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/verdicts.jsonl");
        assert_eq!(Verdicts::read(&path).expect("none yet").pairs().count(), 0);
        let said = [
            judgement(1, 2, Verdict::NotDuplicate),
            judgement(3, 4, Verdict::KeepBoth),
            judgement(2, 1, Verdict::Withdrawn),
        ];
        Verdicts::record(&path, &said).expect("written");
        let read = Verdicts::read(&path).expect("readable");
        assert_eq!(read.pairs().collect::<Vec<_>>(), [said[1].pair]);
        assert_eq!(read.staying().count(), 2);

        let whole = fs::read(&path).expect("readable");
        fs::write(&path, &whole[..whole.len() - 5]).expect("written");
        let cut = Verdicts::read(&path).expect("readable");
        assert_eq!(cut.pairs().count(), 2, "the last word was cut off");
        Verdicts::record(&path, &said[2..]).expect("written");
        assert_eq!(Verdicts::read(&path).expect("readable").pairs().count(), 1);

        fs::write(&path, "no verdict\n").expect("written");
        assert!(matches!(
            Verdicts::read(&path),
            Err(VerdictError::Damaged { line: 1, .. })
        ));
        assert!(
            Verdicts::record(&path, &said).is_err(),
            "somebody else's file is left alone"
        );
    }
}
