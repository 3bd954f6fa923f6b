//! What was done to files: JSON lines, each forced to disk before the act it announces.
//!
//! An act has two lines, `begin` and `end`. A `begin` without an `end` means that the process died in between: undo
//! then looks at the files to see how far it came.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plan::PlannedFile;

/// How a duplicate is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// To the system's trash.
    Trash,
    /// To another folder.
    Move,
    /// For good.
    Delete,
    /// Replaced by a hard link to the keeper; equal bytes only.
    Hardlink,
    /// Replaced by a symbolic link to the keeper; equal bytes only.
    Symlink,
    /// Replaced by a copy that shares the keeper's blocks where the file system can; equal bytes only.
    Reflink,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// An act is about to happen.
    Begin {
        /// Number of the act, from 0.
        number: u64,
        /// What is done.
        action: ActionKind,
        /// To which file.
        file: PlannedFile,
        /// The file that stays in its place.
        keep: PlannedFile,
        /// Where the file goes, for [`ActionKind::Move`].
        to: Option<String>,
    },
    /// The act happened, or failed with the reason.
    End {
        /// Number of the act.
        number: u64,
        /// `None` when it succeeded.
        failure: Option<String>,
    },
    /// The act was undone.
    Undone {
        /// Number of the act.
        number: u64,
    },
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    next: u64,
}

impl Journal {
    /// Starts a journal in a file that must not exist yet.
    ///
    /// # Errors
    /// Any failure to create it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        // The name has to survive a crash too.
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, next: 0 })
    }

    /// Opens a journal to append to it, and answers what it says so far. A last line that was cut off is cut away.
    ///
    /// # Errors
    /// Any failure to open it, and a damaged line that is not the last.
    pub fn resume(path: &Path) -> io::Result<(Self, Vec<Line>)> {
        let (lines, whole) = parse(&fs::read(path)?)?;
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(whole)?;
        let begun = lines.iter().filter_map(|line| match line {
            Line::Begin { number, .. } => Some(*number),
            _ => None,
        });
        let next = begun.max().map_or(0, |number| number + 1);
        Ok((Self { file, next }, lines))
    }

    /// Announces an act; on disk when this returns. Answers its number.
    pub(super) fn begin(
        &mut self,
        action: ActionKind,
        file: &PlannedFile,
        keep: &PlannedFile,
        to: Option<String>,
    ) -> io::Result<u64> {
        let number = self.next;
        self.next += 1;
        self.write(&Line::Begin {
            number,
            action,
            file: file.clone(),
            keep: keep.clone(),
            to,
        })?;
        Ok(number)
    }

    /// Reports how an act went.
    pub(super) fn end(&mut self, number: u64, failure: Option<String>) -> io::Result<()> {
        self.write(&Line::End { number, failure })
    }

    /// Reports that an act was undone.
    pub(super) fn undone(&mut self, number: u64) -> io::Result<()> {
        self.write(&Line::Undone { number })
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.file.sync_data()
    }
}

/// The lines of a journal, and the bytes they take. A last line that is cut off (the process died while writing it) is
/// left out: its act never began.
fn parse(text: &[u8]) -> io::Result<(Vec<Line>, u64)> {
    let mut lines = Vec::new();
    let mut whole = 0;
    for (number, line) in text.split_inclusive(|&b| b == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(parsed) if line.ends_with(b"\n") => lines.push(parsed),
            Err(error) if whole + line.len() < text.len() => {
                let reason = format!("line {} of the journal: {error}", number + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            _ => break,
        }
        whole += line.len();
    }
    Ok((lines, whole as u64))
}
