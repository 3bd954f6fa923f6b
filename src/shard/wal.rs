//! WAL objects: one group commit each, or the fence that ends an epoch.
//!
//! ```text
//! magic "DPLW" · version u16 · kind u16 (1 data, 2 fence) · epoch u64 · seq u64 · nonce [16]
//! entries u32 · payload bytes u32 · crc32 u32 (of everything else) · payload
//! from 16 KiB on: zeros up to a multiple of 4096 bytes
//! entry: kind u8 (1 append, 2 delete, 3 judge, 4 append of a file that holds more) · length u32 · body
//! ```
//! All numbers are little-endian. The nonce makes an object different from every other attempt at its name, so that
//! whoever reads it back knows whose it is. Version 1 had no zeros: an object of whole blocks is written to a disk as it
//! is, another one costs two more rounds. In small objects the zeros would cost more than they save. Version 3 has entries of
//! kind 4: what the file holds beyond its picture (u8) stands before the record. Without such entries it is version 2.

use bytes::Bytes;

use super::codec::{Malformed, Reader, put_judgement, put_record, read_judgement, read_record};
use crate::types::{Beyond, CollectionName, Epoch, ImageId, ImageRecord, Judgement, Seq, ShardId};

/// A newer doppel wrote the object: nothing is wrong with it, this one must not touch the shard.
pub(crate) const NEWER: Malformed = Malformed("WAL object (of a newer version of doppel)");

const MAGIC: [u8; 4] = *b"DPLW";
/// Version of objects without entries of kind 4, and with some.
const VERSIONS: [u16; 2] = [2, 3];
/// Large objects are multiples of this.
const BLOCK: usize = 4096;
/// From this length on.
const LARGE: usize = 4 * BLOCK;
const CRC_AT: usize = 48;
const HEADER: usize = 52;

/// Place of a WAL object; they are replayed in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Epoch of the writer.
    pub epoch: Epoch,
    /// Place within the epoch.
    pub seq: Seq,
}

/// One change of a shard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// An image is new.
    Append(std::sync::Arc<ImageRecord>),
    /// An image is gone.
    Delete(ImageId),
    /// A person judged a pair.
    Judge(Judgement),
}

impl Entry {
    /// Whether it brings an image.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Append(_))
    }

    /// Whether it takes an image away.
    pub(crate) fn is_deletion(&self) -> bool {
        matches!(self, Self::Delete(_))
    }

    /// About as many bytes as it takes.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Append(record) => 256 + record.fingerprint.embedding.dim() * 4 + record.name.len(),
            Self::Delete(_) => 32,
            Self::Judge(_) => 128,
        }
    }
}

/// What an object says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// Changes, in order.
    Data(Vec<Entry>),
    /// The epoch ends here: its writer must stop.
    Fence,
}

/// Folder of all WAL objects of a shard.
pub(crate) fn folder(collection: &CollectionName, shard: ShardId) -> String {
    format!("wal/{collection}/{shard}")
}

/// Folder of one epoch.
pub(crate) fn epoch_folder(collection: &CollectionName, shard: ShardId, epoch: Epoch) -> String {
    format!("{}/{:020}", folder(collection, shard), epoch.get())
}

/// Name of an object.
pub(crate) fn name(collection: &CollectionName, shard: ShardId, at: Position) -> String {
    format!(
        "{}/{:020}",
        epoch_folder(collection, shard, at.epoch),
        at.seq.get()
    )
}

/// The place that a name spells, if it is one of a WAL object.
pub(crate) fn position(name: &str) -> Option<Position> {
    let mut parts = name.rsplit('/');
    let seq = parts.next()?.parse().ok()?;
    let epoch = parts.next()?.parse().ok()?;
    Some(Position { epoch, seq })
}

/// An object as bytes, with a fresh nonce.
pub(crate) fn encode(at: Position, content: &Content) -> Bytes {
    let (kind, entries): (u16, &[Entry]) = match content {
        Content::Data(entries) => (1, entries),
        Content::Fence => (2, &[]),
    };
    let mut out = Vec::with_capacity(HEADER + BLOCK + entries.iter().map(Entry::room).sum::<usize>());
    out.resize(HEADER, 0);
    let mut version = VERSIONS[0];
    for entry in entries {
        let start = out.len();
        out.extend_from_slice(&[0; 5]);
        out[start] = match entry {
            Entry::Append(record) if record.beyond == Beyond::NOTHING => {
                put_record(&mut out, record);
                1
            }
            Entry::Append(record) => {
                out.push(record.beyond.code());
                put_record(&mut out, record);
                version = VERSIONS[1];
                4
            }
            Entry::Delete(id) => {
                out.extend_from_slice(id.as_bytes());
                2
            }
            Entry::Judge(judgement) => {
                put_judgement(&mut out, judgement);
                3
            }
        };
        let len = to_u32(out.len() - start - 5);
        out[start + 1..start + 5].copy_from_slice(&len.to_le_bytes());
    }
    let payload = to_u32(out.len() - HEADER);
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&version.to_le_bytes());
    header.extend_from_slice(&kind.to_le_bytes());
    header.extend_from_slice(&at.epoch.get().to_le_bytes());
    header.extend_from_slice(&at.seq.get().to_le_bytes());
    header.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
    header.extend_from_slice(&to_u32(entries.len()).to_le_bytes());
    header.extend_from_slice(&payload.to_le_bytes());
    out[..CRC_AT].copy_from_slice(&header);
    out.resize(filled(out.len()), 0);
    let crc = checksum(&out);
    out[CRC_AT..HEADER].copy_from_slice(&crc.to_le_bytes());
    out.into()
}

/// Length of an object whose content has `len` bytes.
fn filled(len: usize) -> usize {
    if len < LARGE {
        len
    } else {
        len.next_multiple_of(BLOCK)
    }
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a group is bounded far below 4 GiB")
}

fn checksum(object: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&object[..CRC_AT]);
    hasher.update(&object[HEADER..]);
    hasher.finalize()
}

/// Reads an object that stands at `at`.
pub(crate) fn decode(at: Position, object: &[u8]) -> Result<Content, Malformed> {
    let mut from = Reader::new(object);
    if from.array::<4>("WAL object (cut short)")? != MAGIC {
        return Err(Malformed("WAL object (no magic)"));
    }
    let version = from
        .array::<2>("WAL object (cut short)")
        .map(u16::from_le_bytes)?;
    let kind = from
        .array::<2>("WAL object (cut short)")
        .map(u16::from_le_bytes)?;
    let epoch = from.u64("WAL object (cut short)")?;
    let seq = from.u64("WAL object (cut short)")?;
    from.array::<16>("WAL object (cut short)")?;
    let entries = from.u32("WAL object (cut short)")?;
    let payload = from.u32("WAL object (cut short)")? as usize;
    let crc = from.u32("WAL object (cut short)")?;
    if object.len() < HEADER || crc != checksum(object) {
        return Err(Malformed("WAL object (wrong checksum)"));
    }
    let end = HEADER + payload;
    let length = match version {
        1 => end,
        version if VERSIONS.contains(&version) => filled(end),
        _ => return Err(NEWER),
    };
    if object.len() != length {
        return Err(Malformed("WAL object (wrong length)"));
    }
    if (epoch, seq) != (at.epoch.get(), at.seq.get()) {
        return Err(Malformed("WAL object (another one's, under the wrong name)"));
    }
    match kind {
        1 => {}
        2 => return Ok(Content::Fence),
        _ => return Err(Malformed("WAL object (of an unknown kind)")),
    }
    let mut from = Reader::new(&object[HEADER..end]);
    let mut found = Vec::with_capacity(entries.min(1 << 16) as usize);
    for _ in 0..entries {
        let kind = from.u8("WAL entry")?;
        let len = from.u32("WAL entry")? as usize;
        let mut body = Reader::new(from.take(len, "WAL entry")?);
        found.push(match kind {
            1 => Entry::Append(read_record(&mut body)?.into()),
            2 => Entry::Delete(ImageId::from_bytes(body.array("WAL entry")?)),
            3 => Entry::Judge(read_judgement(&mut body)?),
            4 => {
                let beyond = Beyond::from_code(body.u8("WAL entry")?);
                let record = read_record(&mut body)?;
                Entry::Append(ImageRecord { beyond, ..record }.into())
            }
            _ => return Err(Malformed("WAL entry (of an unknown kind)")),
        });
        if !body.is_empty() {
            return Err(Malformed("WAL entry (too long)"));
        }
    }
    if from.is_empty() {
        Ok(Content::Data(found))
    } else {
        Err(Malformed("WAL object (too long)"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::segment::fixtures::{judgement, record};

    fn at(epoch: u64, seq: u64) -> Position {
        Position {
            epoch: Epoch::new(epoch),
            seq: Seq::new(seq),
        }
    }

    fn group() -> Content {
        let records = [record(1), record(2)].map(|r| Entry::Append(Arc::new(r)));
        let mut entries = Vec::from(records);
        entries.push(Entry::Delete(record(1).id));
        entries.push(Entry::Judge(judgement(1, 2)));
        Content::Data(entries)
    }

    #[test]
    fn objects_round_trip_and_differ_by_their_nonce() {
        for content in [group(), Content::Fence, Content::Data(vec![])] {
            let [one, two] = [(); 2].map(|()| encode(at(3, 7), &content));
            assert_ne!(one, two);
            for object in [one, two] {
                assert_eq!(decode(at(3, 7), &object), Ok(content.clone()));
                assert!(decode(at(3, 8), &object).is_err(), "under another name");
            }
        }
    }

    /// So many entries that their object is a large one.
    fn large() -> Content {
        let records = (0..100).map(|n| Entry::Append(Arc::new(record(n))));
        Content::Data(records.collect())
    }

    #[test]
    fn large_objects_are_whole_blocks_and_those_of_version_1_are_read() {
        for (content, is_large) in [(group(), false), (large(), true)] {
            let object = encode(at(3, 7), &content);
            assert_eq!(object.len().is_multiple_of(BLOCK), is_large);
            assert_eq!(decode(at(3, 7), &object), Ok(content.clone()));
            let payload = u32::from_le_bytes(object[CRC_AT - 4..CRC_AT].try_into().expect("four bytes"));
            let mut first = object[..HEADER + payload as usize].to_vec();
            let as_version = |object: &mut [u8], version: u16| {
                object[4..6].copy_from_slice(&version.to_le_bytes());
                let crc = checksum(object);
                object[CRC_AT..HEADER].copy_from_slice(&crc.to_le_bytes());
            };
            as_version(&mut first, 1);
            assert_eq!(decode(at(3, 7), &first), Ok(content.clone()));
            for version in VERSIONS {
                as_version(&mut first, version);
                assert_eq!(decode(at(3, 7), &first).is_err(), is_large, "no zeros");
            }
            as_version(&mut first, VERSIONS[1] + 1);
            assert_eq!(decode(at(3, 7), &first), Err(NEWER));
        }
    }

    /// As every doppel reads it, unless there is something that an older one would lose.
    #[test]
    fn objects_without_anything_beyond_stay_of_version_2() {
        let version = |content: &Content| {
            u16::from_le_bytes([encode(at(3, 7), content)[4], encode(at(3, 7), content)[5]])
        };
        assert_eq!([version(&group()), version(&Content::Fence)], [2; 2]);
        let records = (0..9).map(|n| Entry::Append(Arc::new(record(n))));
        let content = Content::Data(records.collect());
        assert_eq!(version(&content), 3);
        assert_eq!(decode(at(3, 7), &encode(at(3, 7), &content)), Ok(content));
    }

    #[test]
    fn an_object_of_before_is_read() {
        let golden = include_bytes!("testdata/v2.wal");
        assert_eq!(decode(at(3, 7), golden), Ok(group()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let Content::Data(mut entries) = group() else {
            unreachable!("it is data")
        };
        entries.push(Entry::Append(Arc::new(record(4))));
        let object = encode(at(1, 2), &Content::Data(entries));
        for byte in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[byte] ^= 1 << (byte % 8);
            // The nonce is covered by the checksum as well.
            assert!(decode(at(1, 2), &damaged).is_err(), "byte {byte}");
        }
        for len in 0..object.len() {
            assert!(decode(at(1, 2), &object[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn names_sort_as_positions_and_parse_back() {
        let collection = CollectionName::default_collection();
        let [a, b] = [at(9, 10), at(10, 9)].map(|p| name(&collection, ShardId::new(0), p));
        assert!(a < b);
        assert_eq!(position(&b), Some(at(10, 9)));
        assert_eq!(position("wal/default/0/x/y"), None);
    }
}
