//! The file: an Arrow IPC file with doppel's blocks between its last batch and its footer, where Arrow readers, who
//! start from the footer, do not look.
//!
//! ```text
//! Arrow: magic, schema, record batches (all but the last of one length), end of stream
//! blocks, each padded to 64 bytes: rows by falling creation time (u32 each), rows by pixel hash (u32 each), vector index
//! trailer, 320 bytes: magic "DPLSEG\r\n" · version u32 · metric u32 (1 cosine) · dim u32 · blocks u32 · rows u64
//!     · model hash [32] · Arrow part {length u64, crc32 u32, 0 u32} · 8 × block {kind u32, crc32 u32, offset u64, length u64}
//!     · crc32 of the Arrow footer u32 · 0 … · crc32 of the trailer u32
//! Arrow: footer, its length, magic
//! ```
//! Version 1 has one record batch and version 2 several; both are without the column `beyond`. Version 3 has one or several and
//! the column. Every byte of the file is under one of the checksums.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;

use super::{SegmentError, SegmentSpec};
use crate::types::ModelHash;

const MAGIC: [u8; 8] = *b"DPLSEG\r\n";
/// What is written.
const VERSION: u32 = 3;
/// What is read.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=VERSION;
const METRIC_COSINE: u32 = 1;
pub(super) const TRAILER: usize = 320;
const MAX_BLOCKS: usize = 8;
const ALIGNMENT: usize = 64;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;
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

/// What is written, counted and summed.
struct Summed<W: Write> {
    out: io::BufWriter<W>,
    len: u64,
    /// Of the part that is being written.
    crc: crc32fast::Hasher,
    /// The end of the Arrow file, which is held back until the blocks are written.
    tail: Option<Vec<u8>>,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(tail) = &mut self.tail {
            return tail.write(bytes);
        }
        let written = self.out.write(bytes)?;
        self.len += written as u64;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Summed<W> {
    /// Ends a part at the next multiple of the alignment; its checksum.
    fn end_part(&mut self) -> io::Result<u32> {
        let past = usize::try_from(self.len % ALIGNMENT as u64).unwrap_or_default();
        if past > 0 {
            self.write_all(&[0; ALIGNMENT][past..])?;
        }
        Ok(std::mem::take(&mut self.crc).finalize())
    }
}

fn not_written(error: ArrowError) -> SegmentError {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        other => SegmentError::invalid(other),
    }
}

/// A file whose rows are being written.
pub(super) struct RowsWriter<W: Write> {
    arrow: FileWriter<Summed<W>>,
}

impl<W: Write> RowsWriter<W> {
    pub(super) fn new(out: W, schema: &Schema) -> Result<Self, SegmentError> {
        let out = Summed {
            out: io::BufWriter::with_capacity(BUFFER, out),
            len: 0,
            crc: crc32fast::Hasher::new(),
            tail: None,
        };
        let arrow = FileWriter::try_new(out, schema).map_err(not_written)?;
        Ok(Self { arrow })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), SegmentError> {
        self.arrow.write(batch).map_err(not_written)
    }

    /// Ends the rows.
    pub(super) fn finish(mut self) -> Result<BlocksWriter<W>, SegmentError> {
        self.arrow.get_mut().tail = Some(Vec::new());
        let mut out = self.arrow.into_inner().map_err(not_written)?;
        let mut end_of_stream = out.tail.take().unwrap_or_default();
        let footer = end_of_stream.split_off(footer_start(&end_of_stream)?);
        out.write_all(&end_of_stream)?;
        let crc = out.end_part()?;
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&out.len.to_le_bytes());
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.extend_from_slice(&[0; 4]);
        Ok(BlocksWriter {
            out,
            footer,
            parts: trailer,
            blocks: 0,
        })
    }
}

/// A file whose rows are written and whose blocks are being written.
pub(super) struct BlocksWriter<W: Write> {
    out: Summed<W>,
    footer: Vec<u8>,
    /// What the trailer says of the rows and the blocks.
    parts: Vec<u8>,
    blocks: u32,
}

impl<W: Write> BlocksWriter<W> {
    pub(super) fn block(
        &mut self,
        kind: BlockKind,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), SegmentError> {
        let offset = self.out.len;
        write(&mut self.out)?;
        let len = self.out.len - offset;
        let crc = self.out.end_part()?;
        self.parts.extend_from_slice(&kind.code().to_le_bytes());
        self.parts.extend_from_slice(&crc.to_le_bytes());
        self.parts.extend_from_slice(&offset.to_le_bytes());
        self.parts.extend_from_slice(&len.to_le_bytes());
        self.blocks += 1;
        Ok(())
    }

    /// Writes trailer and footer. Returns the length of the file and its checksum.
    pub(super) fn finish(mut self, spec: SegmentSpec, rows: u64) -> Result<(u64, u32), SegmentError> {
        let dim = u32::try_from(spec.dim).map_err(SegmentError::invalid)?;
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&MAGIC);
        for number in [VERSION, METRIC_COSINE, dim, self.blocks] {
            trailer.extend_from_slice(&number.to_le_bytes());
        }
        trailer.extend_from_slice(&rows.to_le_bytes());
        trailer.extend_from_slice(spec.model.as_bytes());
        trailer.extend_from_slice(&self.parts);
        trailer.resize(TRAILER - 40, 0);
        trailer.extend_from_slice(&crc32fast::hash(&self.footer).to_le_bytes());
        trailer.resize(TRAILER - 4, 0);
        let crc = crc32fast::hash(&trailer);
        trailer.extend_from_slice(&crc.to_le_bytes());
        self.out.write_all(&trailer)?;
        self.out.write_all(&self.footer)?;
        self.out.flush()?;
        Ok((self.out.len, crc))
    }
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
            (version, _) if !VERSIONS.contains(&version) => {
                return Err(SegmentError::NewerVersion { version });
            }
            (_, METRIC_COSINE) => {}
            (_, metric) => return Err(SegmentError::corrupt(format!("unknown metric {metric}"))),
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
