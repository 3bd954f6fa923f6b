//! Which rows of a segment are dead. In memory a set that many threads read while one writes; on disk one object for
//! each version: magic "DPLD" · version u32 · segment id [16] · rows u64 · crc32 u32 (of everything else) · 0 u32 · bits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use super::SegmentError;
use crate::types::SegmentId;
use crate::vector::RowId;

const MAGIC: [u8; 4] = *b"DPLD";
const VERSION: u32 = 1;
const HEADER: usize = 40;
const CRC_AT: usize = 32;

/// Dead rows of one segment.
#[derive(Debug)]
pub struct Tombstones {
    rows: usize,
    words: Vec<AtomicU64>,
    dead: AtomicUsize,
}

impl Tombstones {
    /// None dead.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self {
            rows,
            words: (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            dead: AtomicUsize::new(0),
        }
    }

    /// Marks a row dead; tells whether it lived. Rows outside the segment never lived.
    pub fn kill(&self, row: RowId) -> bool {
        let row = row as usize;
        if row >= self.rows {
            return false;
        }
        let bit = 1 << (row % 64);
        let lived = self.words[row / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0;
        if lived {
            self.dead.fetch_add(1, Ordering::AcqRel);
        }
        lived
    }

    /// Whether a row is dead.
    #[must_use]
    pub fn is_dead(&self, row: RowId) -> bool {
        let row = row as usize;
        self.words
            .get(row / 64)
            .is_none_or(|word| word.load(Ordering::Acquire) & (1 << (row % 64)) != 0)
    }

    /// Number of dead rows.
    #[must_use]
    pub fn dead(&self) -> usize {
        self.dead.load(Ordering::Acquire)
    }

    /// The set as an object, and the number of dead in it.
    #[must_use]
    pub fn encode(&self, segment: SegmentId) -> (Bytes, usize) {
        let mut out = Vec::with_capacity(HEADER + self.words.len() * 8);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(segment.as_bytes());
        out.extend_from_slice(&(self.rows as u64).to_le_bytes());
        out.extend_from_slice(&[0; HEADER - CRC_AT]);
        let mut dead = 0;
        for word in &self.words {
            let word = word.load(Ordering::Acquire);
            dead += word.count_ones() as usize;
            out.extend_from_slice(&word.to_le_bytes());
        }
        let crc = checksum(&out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        (out.into(), dead)
    }

    /// Reads the set of a segment with `rows` rows.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`], [`SegmentError::NewerVersion`].
    pub fn decode(object: &[u8], segment: SegmentId, rows: usize) -> Result<Self, SegmentError> {
        let wrong = |what: &str| SegmentError::corrupt(format!("its tombstones: {what}"));
        if object.len() != HEADER + rows.div_ceil(64) * 8 {
            return Err(wrong("wrong length"));
        }
        let stored = object[CRC_AT..CRC_AT + 4]
            .try_into()
            .map_or(0, u32::from_le_bytes);
        if object[..4] != MAGIC || checksum(object) != stored {
            return Err(wrong("wrong checksum"));
        }
        let version = object[4..8].try_into().map_or(0, u32::from_le_bytes);
        if version != VERSION {
            return Err(SegmentError::NewerVersion { version });
        }
        if object[8..24] != segment.as_bytes()[..] || object[24..32] != (rows as u64).to_le_bytes() {
            return Err(wrong("another segment's"));
        }
        let words: Vec<u64> = object[HEADER..]
            .as_chunks::<8>()
            .0
            .iter()
            .map(|w| u64::from_le_bytes(*w))
            .collect();
        let dead = words.iter().map(|word| word.count_ones() as usize).sum();
        Ok(Self {
            rows,
            words: words.into_iter().map(AtomicU64::new).collect(),
            dead: AtomicUsize::new(dead),
        })
    }
}

fn checksum(object: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&object[..CRC_AT]);
    hasher.update(&object[CRC_AT + 4..]);
    hasher.finalize()
}
