//! The byte block of a frozen index: what stands where, and the checks that a block must pass to be opened.
//!
//! All numbers are little-endian. The header is [`HEADER_LEN`] bytes:
//!
//! | at | type | what |
//! |---|---|---|
//! | 0 | 8 bytes | magic, `DOPPELFZ` |
//! | 8 | u32 | version of the format, 2; in version 1 the originals are half-precision floats |
//! | 12 | u32 | length of the header |
//! | 16 | u32 | dimension |
//! | 20 | u32 | metric, 1 = cosine of unit vectors |
//! | 24 | u32 × 3 | rows, distinct vectors, nodes (distinct codes) |
//! | 36 | u32 × 2 | links of a node in the lowest layer, in an upper layer |
//! | 44 | u32 | upper layers |
//! | 48 | u32 × 8 | nodes of each upper layer, lowest first |
//! | 80 | f32 × 2 | step of the codes, largest norm of a code's error |
//! | 88 | u32 | nodes whose reachability was repaired |
//! | 92 | u32 | length of a code |
//! | 96 | u64 | length of the whole block |
//! | 104 | 24 bytes × 8 | blocks, in the order of [`Section`]: u64 offset, u64 length, u32 CRC-32, u32 zero |
//! | 508 | u32 | CRC-32 of the 508 bytes before |
//!
//! Sections follow in order, each at a multiple of 64 bytes (the originals at a multiple of 4096). A section's
//! checksum covers it and the zeros after it up to the next section, so every byte of the block is covered.

use std::io::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use rayon::prelude::*;

use super::FrozenError;
use super::resident::Resident;

#[cfg(target_endian = "big")]
compile_error!("the frozen index is read in place and needs a little-endian processor");

pub(super) const MAGIC: [u8; 8] = *b"DOPPELFZ";
pub(super) const VERSION: u32 = 2;
pub(super) const HEADER_LEN: usize = 512;
pub(super) const MAX_LEVELS: usize = 8;
const METRIC_COSINE: u32 = 1;
const TABLE_AT: usize = 104;
const ENTRY_LEN: usize = 24;
const HEADER_CRC_AT: usize = HEADER_LEN - 4;

/// Every offset is a multiple of this: a cache line.
const ALIGN: usize = 64;
/// Originals start on a page of their own, so that they can stay cold.
const PAGE: usize = 4096;
/// What stands between sections.
const ZEROS: [u8; PAGE] = [0; PAGE];

/// Parts of the block, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Lowest layer: u32, `[nodes, degree]`; a place without a link holds the node itself.
    Links,
    /// u32: nodes of the first upper layer in their order there, then the links of each upper layer, lowest layer
    /// first, `[layer's nodes, upper degree]`, as positions in that order. A layer's nodes are the first of the
    /// layer's below.
    Upper,
    /// u8, `[nodes, code length]`.
    Codes,
    /// u32, `[nodes + 1]`: a node's vectors are those from its entry to the next one.
    VectorStarts,
    /// u32, `[vectors + 1]`: a vector's rows are those from its entry to the next one.
    RowStarts,
    /// u32, `[rows]`.
    Rows,
    /// f32, `[vectors]`: one over the norm of the original as stored.
    Norms,
    /// i16, `[vectors, dimension]`: see [`rounded`](super::originals::rounded). In version 1 f16.
    Originals,
}

pub(super) const SECTIONS: [Section; 8] = [
    Section::Links,
    Section::Upper,
    Section::Codes,
    Section::VectorStarts,
    Section::RowStarts,
    Section::Rows,
    Section::Norms,
    Section::Originals,
];

/// The numbers of the header.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) dim: usize,
    pub(super) rows: usize,
    pub(super) vectors: usize,
    pub(super) nodes: usize,
    pub(super) degree: usize,
    pub(super) upper_degree: usize,
    /// Nodes of each upper layer, lowest first.
    pub(super) levels: Vec<usize>,
    pub(super) step: f32,
    pub(super) error: f32,
    pub(super) repaired: usize,
    pub(super) code_len: usize,
}

impl Shape {
    /// Length of a section in bytes.
    fn section_len(&self, section: Section) -> Option<usize> {
        let words = match section {
            Section::Links => self.nodes.checked_mul(self.degree)?,
            Section::Upper => {
                let links = self.levels.iter().sum::<usize>().checked_mul(self.upper_degree)?;
                links.checked_add(self.levels.first().copied().unwrap_or(0))?
            }
            Section::Codes => return self.nodes.checked_mul(self.code_len),
            Section::VectorStarts => self.nodes + 1,
            Section::RowStarts => self.vectors + 1,
            Section::Rows => self.rows,
            Section::Norms => self.vectors,
            Section::Originals => return self.vectors.checked_mul(self.dim)?.checked_mul(2),
        };
        words.checked_mul(4)
    }
}

/// Where each section lies.
#[derive(Debug)]
pub(super) struct Layout {
    ranges: [Range<usize>; SECTIONS.len()],
    len: usize,
}

impl Layout {
    /// That of a block of this shape; `None` when it would be too large.
    pub(super) fn of(shape: &Shape) -> Option<Self> {
        let mut end = HEADER_LEN;
        let mut ranges: [Range<usize>; SECTIONS.len()] = std::array::from_fn(|_| 0..0);
        for (range, section) in ranges.iter_mut().zip(SECTIONS) {
            let align = if section == Section::Originals {
                PAGE
            } else {
                ALIGN
            };
            let start = end.checked_next_multiple_of(align)?;
            end = start.checked_add(shape.section_len(section)?)?;
            *range = start..end;
        }
        let len = end.checked_next_multiple_of(ALIGN)?;
        Some(Self { ranges, len })
    }

    /// Length of the block.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The header of a block of `shape` with these sections.
    pub(super) fn header(
        &self,
        shape: &Shape,
        sections: [&[u8]; SECTIONS.len()],
    ) -> Result<Vec<u8>, FrozenError> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend(MAGIC);
        let levels = (0..MAX_LEVELS).map(|i| shape.levels.get(i).copied().unwrap_or(0));
        let numbers = [
            VERSION as usize,
            HEADER_LEN,
            shape.dim,
            METRIC_COSINE as usize,
            shape.rows,
            shape.vectors,
            shape.nodes,
            shape.degree,
            shape.upper_degree,
            shape.levels.len(),
        ];
        for number in numbers.into_iter().chain(levels) {
            header.extend(
                u32::try_from(number)
                    .map_err(|_| FrozenError::TooLarge)?
                    .to_le_bytes(),
            );
        }
        header.extend(shape.step.to_le_bytes());
        header.extend(shape.error.to_le_bytes());
        for number in [shape.repaired, shape.code_len] {
            header.extend(
                u32::try_from(number)
                    .map_err(|_| FrozenError::TooLarge)?
                    .to_le_bytes(),
            );
        }
        header.extend((self.len as u64).to_le_bytes());
        for ((range, covered), bytes) in self.ranges.iter().zip(covered(self)).zip(sections) {
            let mut sum = crc32fast::Hasher::new();
            sum.update(&ZEROS[..range.start - covered.start]);
            sum.combine(&summed(bytes));
            sum.update(&ZEROS[..covered.end - range.end]);
            header.extend((range.start as u64).to_le_bytes());
            header.extend((range.len() as u64).to_le_bytes());
            header.extend(sum.finalize().to_le_bytes());
            header.extend(0u32.to_le_bytes());
        }
        header.resize(HEADER_CRC_AT, 0);
        header.extend(checksum(&header).to_le_bytes());
        Ok(header)
    }

    /// Writes a block: its header, and the sections' bytes as given, each in its place.
    pub(super) fn write(
        &self,
        header: &[u8],
        sections: [&[u8]; SECTIONS.len()],
        out: &mut (impl Write + ?Sized),
    ) -> io::Result<()> {
        out.write_all(header)?;
        for ((range, covered), bytes) in self.ranges.iter().zip(covered(self)).zip(sections) {
            out.write_all(&ZEROS[..range.start - covered.start])?;
            out.write_all(bytes)?;
            out.write_all(&ZEROS[..covered.end - range.end])?;
        }
        Ok(())
    }
}

/// What each section's checksum covers: from the end of what stands before to the section's own end; the last one
/// also the zeros at the end.
fn covered(Layout { ranges, len }: &Layout) -> [Range<usize>; SECTIONS.len()] {
    std::array::from_fn(|i| {
        let start = if i == 0 { HEADER_LEN } else { ranges[i - 1].end };
        let end = if i + 1 == SECTIONS.len() {
            *len
        } else {
            ranges[i].end
        };
        start..end
    })
}

/// CRC-32, computed by all threads of the pool.
fn checksum(bytes: &[u8]) -> u32 {
    summed(bytes).finalize()
}

fn summed(bytes: &[u8]) -> crc32fast::Hasher {
    const CHUNK: usize = 1 << 22;
    let part = |bytes: &[u8]| {
        let mut part = crc32fast::Hasher::new();
        part.update(bytes);
        part
    };
    if bytes.len() <= CHUNK {
        return part(bytes);
    }
    let parts: Vec<crc32fast::Hasher> = bytes.par_chunks(CHUNK).map(part).collect();
    let mut whole = crc32fast::Hasher::new();
    parts.iter().for_each(|part| whole.combine(part));
    whole
}

/// A block whose header and checksums are right.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) version: usize,
    pub(super) shape: Shape,
    /// All that stands before the originals.
    pub(super) hot: Resident,
    /// The originals.
    cold: Bytes,
    layout: Layout,
}

impl Block {
    /// Checks a block. It is copied when it does not start at a multiple of 64 bytes in memory.
    pub(super) fn read(bytes: Bytes) -> Result<Self, FrozenError> {
        let header = bytes
            .get(..HEADER_LEN)
            .ok_or(FrozenError::Truncated { len: bytes.len() })?;
        let mut fields = Fields { bytes: header, at: 0 };
        if fields.take() != MAGIC {
            return Err(FrozenError::NotAnIndex);
        }
        let version = fields.number();
        if !(1..=VERSION as usize).contains(&version) {
            return Err(FrozenError::UnknownVersion { version });
        }
        let want = u32::from_le_bytes(header_bytes(header, HEADER_CRC_AT));
        if checksum(&header[..HEADER_CRC_AT]) != want {
            return Err(FrozenError::Damaged { part: "header" });
        }
        let malformed = |what| FrozenError::Malformed { what };
        if fields.number() != HEADER_LEN {
            return Err(malformed("length of the header"));
        }
        let dim = fields.number();
        if fields.number() != METRIC_COSINE as usize {
            return Err(malformed("metric"));
        }
        let [rows, vectors, nodes, degree, upper_degree, levels] = std::array::from_fn(|_| fields.number());
        let level_nodes: [usize; MAX_LEVELS] = std::array::from_fn(|_| fields.number());
        let levels = level_nodes
            .get(..levels)
            .ok_or(malformed("number of layers"))?
            .to_vec();
        let (step, error) = (fields.float(), fields.float());
        let (repaired, code_len) = (fields.number(), fields.number());
        let shape = Shape {
            dim,
            rows,
            vectors,
            nodes,
            degree,
            upper_degree,
            levels,
            step,
            error,
            repaired,
            code_len,
        };
        let layout = Layout::of(&shape).ok_or(malformed("sizes"))?;
        let (ranges, len) = (&layout.ranges, layout.len);
        if fields.long() != len as u64 {
            return Err(malformed("length of the block"));
        }
        if bytes.len() < len {
            return Err(FrozenError::Truncated { len: bytes.len() });
        }
        if bytes.len() > len {
            return Err(malformed("bytes after the end"));
        }
        debug_assert_eq!(fields.at, TABLE_AT);
        for (i, covered) in covered(&layout).into_iter().enumerate() {
            let mut entry = Fields {
                bytes: header,
                at: TABLE_AT + i * ENTRY_LEN,
            };
            if (entry.long(), entry.long()) != (ranges[i].start as u64, ranges[i].len() as u64) {
                return Err(malformed("table of sections"));
            }
            if entry.number() != checksum(&bytes[covered]) as usize {
                return Err(FrozenError::Damaged {
                    part: SECTIONS[i].name(),
                });
            }
        }
        let originals = ranges[Section::Originals as usize].clone();
        let whole = if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            bytes
        } else {
            aligned(&bytes)
        };
        let hot = Resident::new(whole.slice(..originals.start));
        let cold = whole.slice(originals);
        Ok(Self {
            version,
            shape,
            hot,
            cold,
            layout,
        })
    }

    /// The numbers of a section. `T` is the section's type as documented there.
    pub(super) fn section<T: bytemuck::AnyBitPattern>(&self, section: Section) -> &[T] {
        bytemuck::cast_slice(match section {
            Section::Originals => &self.cold,
            _ => &self.hot.bytes()[self.layout.ranges[section as usize].clone()],
        })
    }

    /// Length of a section in bytes.
    pub(super) fn len_of(&self, section: Section) -> usize {
        self.layout.ranges[section as usize].len()
    }
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Upper => "upper layers",
            Self::Codes => "codes",
            Self::VectorStarts => "vectors of nodes",
            Self::RowStarts => "rows of vectors",
            Self::Rows => "rows",
            Self::Norms => "norms",
            Self::Originals => "originals",
        }
    }
}

/// Reads fields one after the other from a header that is long enough.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.at += N;
        header_bytes(self.bytes, self.at - N)
    }

    fn number(&mut self) -> usize {
        u32::from_le_bytes(self.take()) as usize
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn float(&mut self) -> f32 {
        f32::from_le_bytes(self.take())
    }
}

fn header_bytes<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

/// One cache line, for memory that starts at one.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// The same bytes; their number is a multiple of 64.
    pub(super) fn copy_of(bytes: &[u8]) -> Self {
        let mut lines = vec![Line([0; ALIGN]); bytes.len() / ALIGN];
        bytemuck::cast_slice_mut(&mut lines).copy_from_slice(bytes);
        Self(lines)
    }
}

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// The same bytes at a multiple of 64 bytes in memory. Their number is one, too.
fn aligned(bytes: &[u8]) -> Bytes {
    Bytes::from_owner(Lines::copy_of(bytes))
}
