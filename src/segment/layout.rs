//! The file: an Arrow IPC file with doppel's blocks between its last batch and its footer, where Arrow readers, who
//! start from the footer, do not look.
//!
//! ```text
//! Arrow: magic, schema, one record batch, end of stream
//! blocks, each padded to 64 bytes: rows by falling creation time (u32 each), rows by pixel hash (u32 each), vector index
//! trailer, 320 bytes: magic "DPLSEG\r\n" · version u32 · metric u32 (1 cosine) · dim u32 · blocks u32 · rows u64
//!     · model hash [32] · Arrow part {length u64, crc32 u32, 0 u32} · 8 × block {kind u32, crc32 u32, offset u64, length u64}
//!     · crc32 of the Arrow footer u32 · 0 … · crc32 of the trailer u32
//! Arrow: footer, its length, magic
//! ```
//! Every byte of the file is under one of the checksums.

use bytes::Bytes;

use super::SegmentError;
use crate::types::ModelHash;

const MAGIC: [u8; 8] = *b"DPLSEG\r\n";
const VERSION: u32 = 1;
const METRIC_COSINE: u32 = 1;
pub(super) const TRAILER: usize = 320;
const MAX_BLOCKS: usize = 8;
const ALIGNMENT: usize = 64;
/// Length of the footer (i32), magic.
const ARROW_TAIL: usize = 10;
const ARROW_MAGIC: &[u8] = b"ARROW1";

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Rows by falling creation time, then falling id; u32 each.
    CreatedOrder,
    /// Rows by rising pixel hash; u32 each.
    PixelOrder,
    /// Vector index as `vector::frozen` writes it.
    VectorIndex,
}

impl BlockKind {
    const fn code(self) -> u32 {
        match self {
            Self::CreatedOrder => 1,
            Self::PixelOrder => 2,
            Self::VectorIndex => 3,
        }
    }
}

/// What the trailer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) dim: usize,
    pub(super) rows: u64,
    pub(super) model: ModelHash,
    /// Checksum of the trailer, and by it of the whole file.
    pub(super) crc: u32,
    arrow: (usize, u32),
    blocks: Vec<(u32, u32, usize, usize)>,
    footer_crc: u32,
}

/// Start of the Arrow footer of a whole Arrow IPC file (with or without our blocks).
fn footer_start(file: &[u8]) -> Result<usize, SegmentError> {
    let short = || SegmentError::corrupt("cut short");
    let at = file.len().checked_sub(ARROW_TAIL).ok_or_else(short)?;
    let (len, magic) = file[at..].split_first_chunk::<4>().ok_or_else(short)?;
    if magic != ARROW_MAGIC {
        return Err(SegmentError::corrupt(
            "it does not end as an Arrow file (cut short?)",
        ));
    }
    let len = usize::try_from(i32::from_le_bytes(*len)).map_err(|_| short())?;
    at.checked_sub(len).ok_or_else(short)
}

/// Puts blocks and trailer into an Arrow file; returns the whole and its checksum.
pub(super) fn assemble(
    arrow: &[u8],
    blocks: &[(BlockKind, Vec<u8>)],
    dim: usize,
    rows: u64,
    model: ModelHash,
) -> Result<(Bytes, u32), SegmentError> {
    let cut = footer_start(arrow)?;
    let (body, footer) = arrow.split_at(cut);
    let total: usize = blocks.iter().map(|(_, block)| block.len() + ALIGNMENT).sum();
    let mut file = Vec::with_capacity(arrow.len() + total + TRAILER + ALIGNMENT);
    file.extend_from_slice(body);
    pad(&mut file);
    let dim = u32::try_from(dim).map_err(SegmentError::corrupt)?;
    let count = u32::try_from(blocks.len()).map_err(SegmentError::corrupt)?;
    let mut trailer = Vec::with_capacity(TRAILER);
    trailer.extend_from_slice(&MAGIC);
    for number in [VERSION, METRIC_COSINE, dim, count] {
        trailer.extend_from_slice(&number.to_le_bytes());
    }
    trailer.extend_from_slice(&rows.to_le_bytes());
    trailer.extend_from_slice(model.as_bytes());
    trailer.extend_from_slice(&(file.len() as u64).to_le_bytes());
    trailer.extend_from_slice(&crc32fast::hash(&file).to_le_bytes());
    trailer.extend_from_slice(&[0; 4]);
    for (kind, block) in blocks {
        let offset = file.len();
        file.extend_from_slice(block);
        pad(&mut file);
        trailer.extend_from_slice(&kind.code().to_le_bytes());
        trailer.extend_from_slice(&crc32fast::hash(&file[offset..]).to_le_bytes());
        trailer.extend_from_slice(&(offset as u64).to_le_bytes());
        trailer.extend_from_slice(&(block.len() as u64).to_le_bytes());
    }
    trailer.resize(TRAILER - 40, 0);
    trailer.extend_from_slice(&crc32fast::hash(footer).to_le_bytes());
    trailer.resize(TRAILER - 4, 0);
    let crc = crc32fast::hash(&trailer);
    trailer.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(&trailer);
    file.extend_from_slice(footer);
    Ok((file.into(), crc))
}

fn pad(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn usize_at(bytes: &[u8], at: usize) -> Result<usize, SegmentError> {
    usize::try_from(u64_at(bytes, at)).map_err(SegmentError::corrupt)
}

impl Trailer {
    /// Reads and checks the trailer of a file.
    pub(super) fn read(file: &[u8]) -> Result<Self, SegmentError> {
        let end = footer_start(file)?;
        let start = end
            .checked_sub(TRAILER)
            .ok_or_else(|| SegmentError::corrupt("cut short"))?;
        let trailer = &file[start..end];
        if trailer[..8] != MAGIC {
            return Err(SegmentError::corrupt("it has no trailer"));
        }
        let crc = u32_at(trailer, TRAILER - 4);
        if crc32fast::hash(&trailer[..TRAILER - 4]) != crc {
            return Err(SegmentError::corrupt("wrong checksum of the trailer"));
        }
        match (u32_at(trailer, 8), u32_at(trailer, 12)) {
            (VERSION, METRIC_COSINE) => {}
            (VERSION, metric) => return Err(SegmentError::corrupt(format!("unknown metric {metric}"))),
            (version, _) => return Err(SegmentError::NewerVersion { version }),
        }
        let mut model = [0; 32];
        model.copy_from_slice(&trailer[32..64]);
        let count = u32_at(trailer, 20) as usize;
        if count > MAX_BLOCKS {
            return Err(SegmentError::corrupt("too many blocks"));
        }
        let blocks = (0..count)
            .map(|i| {
                let at = 80 + 24 * i;
                let offset = usize_at(trailer, at + 8)?;
                let len = usize_at(trailer, at + 16)?;
                let inside = offset.checked_add(len).is_some_and(|end| end <= start);
                if !inside || !offset.is_multiple_of(ALIGNMENT) {
                    return Err(SegmentError::corrupt("a block lies outside the file"));
                }
                Ok((u32_at(trailer, at), u32_at(trailer, at + 4), offset, len))
            })
            .collect::<Result<_, _>>()?;
        let arrow = usize_at(trailer, 64)?;
        if arrow > start {
            return Err(SegmentError::corrupt("the rows lie outside the file"));
        }
        Ok(Self {
            dim: u32_at(trailer, 16) as usize,
            rows: u64_at(trailer, 24),
            model: ModelHash::from_bytes(model),
            crc,
            arrow: (arrow, u32_at(trailer, 72)),
            blocks,
            footer_crc: u32_at(trailer, TRAILER - 40),
        })
    }

    /// Computes all checksums of the file.
    pub(super) fn verify(&self, file: &[u8]) -> Result<(), SegmentError> {
        let check = |what: &str, bytes: Option<&[u8]>, crc: u32| match bytes {
            Some(bytes) if crc32fast::hash(bytes) == crc => Ok(()),
            _ => Err(SegmentError::corrupt(format!("wrong checksum of {what}"))),
        };
        check("the footer", file.get(footer_start(file)?..), self.footer_crc)?;
        let parts = self.blocks.iter().map(|&(kind, crc, offset, len)| {
            let what = match kind {
                1 => "the order by time",
                2 => "the order by pixels",
                3 => "the vector index",
                _ => "an unknown block",
            };
            (what, offset, offset + len.next_multiple_of(ALIGNMENT), crc)
        });
        let parts: Vec<_> = std::iter::once(("the rows", 0, self.arrow.0, self.arrow.1))
            .chain(parts)
            .collect();
        rayon::iter::ParallelIterator::try_for_each(
            rayon::iter::IntoParallelIterator::into_par_iter(parts),
            |(what, from, to, crc)| check(what, file.get(from..to), crc),
        )
    }

    /// The bytes of a block.
    pub(super) fn block(&self, file: &Bytes, kind: BlockKind) -> Option<Bytes> {
        let &(_, _, offset, len) = self.blocks.iter().find(|block| block.0 == kind.code())?;
        Some(file.slice(offset..offset + len))
    }

    /// The bytes of the Arrow footer.
    pub(super) fn footer(file: &Bytes) -> Result<Bytes, SegmentError> {
        Ok(file.slice(footer_start(file)?..file.len() - ARROW_TAIL))
    }
}
