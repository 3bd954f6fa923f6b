//! The format of a pack: where objects stand in it, and under which names.
//!
//! ```text
//! pack:  a page that holds the header twice, at 0 and at 2048; then frames
//! frame: head [512] · the object's bytes · zeros · tail [512], in whole pages of 4096 bytes
//! header, head, tail: magic [4] · generation u64 · length of the object u32 · length of its name u16 · name · crc32 of it all
//! ```
//! All numbers are little-endian. A pack that is used again gets another generation, and frames of others are not there. Whatever
//! is damaged, the object keeps its name: head and tail say the same, and without a header the first head that is left says the
//! generation. The bytes have no checksum here: objects bring their own, and name what is wrong.

use crate::store::blob::syncer::PAGE;

/// Room of a header, a head or a tail.
const MARK: usize = 512;
/// Bytes of a mark beside the name.
const FIXED: usize = 4 + 8 + 4 + 2 + 4;
/// Longest name of an object in a pack, in bytes.
pub(super) const LONGEST_NAME: usize = MARK - FIXED;

const HEADER: [u8; 4] = *b"DPK1";
const HEAD: [u8; 4] = *b"DPKh";
const TAIL: [u8; 4] = *b"DPKt";
/// Where the header stands in its page.
const HEADER_AT: [usize; 2] = [0, PAGE / 2];

/// An object in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Number of its first page.
    pub(super) first: usize,
    /// Name of the object.
    pub(super) name: String,
    /// Bytes of the object.
    pub(super) len: usize,
}

/// Pages of the frame of an object of `len` bytes.
pub(super) fn pages(len: usize) -> usize {
    (MARK + len + MARK).div_ceil(PAGE)
}

/// Writes the header into the first page of a pack.
pub(super) fn put_header(page: &mut [u8], generation: u64) {
    page.fill(0);
    for at in HEADER_AT {
        put_mark(&mut page[at..at + MARK], HEADER, generation, "", 0);
    }
}

/// Writes a frame into its pages.
pub(super) fn put_frame(pages: &mut [u8], generation: u64, name: &str, data: &[u8]) {
    let tail = pages.len() - MARK;
    put_mark(&mut pages[..MARK], HEAD, generation, name, data.len());
    pages[MARK..MARK + data.len()].copy_from_slice(data);
    pages[MARK + data.len()..tail].fill(0);
    put_mark(&mut pages[tail..], TAIL, generation, name, data.len());
}

/// Takes the tail off the last page of a frame.
pub(super) fn erase_tail(last_page: &mut [u8]) {
    let tail = last_page.len() - MARK;
    last_page[tail..].fill(0);
}

/// The object in the pages of its frame, cut short where they are; `None` when another one stands there.
pub(super) fn object(
    pages: &[u8],
    generation: u64,
    name: &str,
    len: usize,
) -> Option<std::ops::Range<usize>> {
    let is_ours = |mark: Option<Mark<'_>>| {
        mark.is_some_and(|mark| (mark.generation, mark.name, mark.len) == (generation, name, len))
    };
    let tail = pages.len().checked_sub(MARK).map(|at| &pages[at..]);
    (is_ours(read_mark(pages, HEAD)) || is_ours(tail.and_then(|tail| read_mark(tail, TAIL))))
        .then(|| MARK.min(pages.len())..(MARK + len).min(pages.len()))
}

/// The generation of a pack, and its frames in order. A frame may be longer than what is there of the pack.
pub(super) fn scan(pack: &[u8]) -> (Option<u64>, Vec<Frame>) {
    let page = |number: usize| pack.get(number * PAGE..).unwrap_or_default();
    let header = HEADER_AT
        .iter()
        .find_map(|&at| read_mark(pack.get(at..)?, HEADER));
    let last_of_page = |number: usize| {
        pack.get(number * PAGE..(number + 1) * PAGE)
            .map(|p| &p[PAGE - MARK..])
    };
    // The first frames are of the pack's generation: every generation starts at the front.
    let first_head = || (1..pack.len().div_ceil(PAGE)).find_map(|number| read_mark(page(number), HEAD));
    let generation = header.or_else(first_head).map(|mark| mark.generation);
    let mut frames: Vec<Frame> = Vec::new();
    let Some(wanted) = generation else {
        return (None, frames);
    };
    let (mut number, mut free) = (1, 1);
    while number * PAGE < pack.len() {
        let head = read_mark(page(number), HEAD).map(|mark| (mark, number));
        let found = head.or_else(|| {
            let mark = read_mark(last_of_page(number)?, TAIL)?;
            let first = (number + 1).checked_sub(pages(mark.len))?;
            (first >= free).then_some((mark, first))
        });
        match found.filter(|(mark, _)| mark.generation == wanted) {
            Some((mark, first)) => {
                number = first + pages(mark.len);
                free = number;
                frames.push(Frame {
                    first,
                    name: mark.name.to_owned(),
                    len: mark.len,
                });
            }
            None => number += 1,
        }
    }
    (generation, frames)
}

struct Mark<'a> {
    generation: u64,
    len: usize,
    name: &'a str,
}

fn put_mark(out: &mut [u8], magic: [u8; 4], generation: u64, name: &str, len: usize) {
    let len = u32::try_from(len).expect("packs are small");
    let name_len = u16::try_from(name.len()).expect("names are short");
    out.fill(0);
    let mut end = 0;
    for part in [
        &magic[..],
        &generation.to_le_bytes(),
        &len.to_le_bytes(),
        &name_len.to_le_bytes(),
        name.as_bytes(),
    ] {
        out[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    let crc = crc32fast::hash(&out[..end]);
    out[end..end + 4].copy_from_slice(&crc.to_le_bytes());
}

fn read_mark(from: &[u8], magic: [u8; 4]) -> Option<Mark<'_>> {
    let (found, rest) = from.split_first_chunk::<4>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (name_len, rest) = rest.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
    let crc = rest.first_chunk::<4>()?;
    let sound = *found == magic
        && name.len() <= LONGEST_NAME
        && crc32fast::hash(&from[..FIXED - 4 + name.len()]) == u32::from_le_bytes(*crc);
    let name = std::str::from_utf8(name).ok().filter(|_| sound)?;
    Some(Mark {
        generation: u64::from_le_bytes(*generation),
        len: u32::from_le_bytes(*len) as usize,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    /// A pack with objects of these lengths, and as many empty pages behind them.
    fn pack(generation: u64, lens: &[usize]) -> (Vec<u8>, Vec<Frame>) {
        let (mut bytes, mut frames) = (vec![0; PAGE], Vec::new());
        put_header(&mut bytes, generation);
        for (n, &len) in lens.iter().enumerate() {
            let frame = Frame {
                first: bytes.len() / PAGE,
                name: format!("wal/c/0/{n}"),
                len,
            };
            let start = bytes.len();
            bytes.resize(start + pages(len) * PAGE, 0xaa);
            put_frame(&mut bytes[start..], generation, &frame.name, &data(len));
            frames.push(frame);
        }
        bytes.resize(bytes.len() + lens.len() * PAGE, 0);
        (bytes, frames)
    }

    #[test]
    fn objects_of_every_length_are_found_and_read() {
        let lens = [0, 1, 3071, 3072, 3073, 16_384, 77_000, 1 << 20];
        let (bytes, frames) = pack(7, &lens);
        assert_eq!(scan(&bytes), (Some(7), frames.clone()));
        for frame in &frames {
            let pages = &bytes[frame.first * PAGE..][..pages(frame.len) * PAGE];
            let object = |generation, name| object(pages, generation, name, frame.len);
            assert_eq!(pages[object(7, &frame.name).expect("there")], data(frame.len));
            assert_eq!((object(8, &frame.name), object(7, "other")), (None, None));
        }
        assert_eq!(scan(&[]), (None, vec![]));
        assert_eq!(scan(&vec![0; 3 * PAGE]), (None, vec![]), "not written yet");
    }

    #[test]
    fn frames_of_an_earlier_generation_are_not_there() {
        let (mut bytes, _) = pack(1, &[20_000, 20_000, 20_000]);
        let (newer, frames) = pack(2, &[30_000]);
        put_header(&mut bytes[..PAGE], 2);
        assert_eq!(scan(&bytes), (Some(2), vec![]), "used again, nothing written yet");
        let written = (1 + pages(30_000)) * PAGE;
        bytes[..written].copy_from_slice(&newer[..written]);
        assert_eq!(scan(&bytes), (Some(2), frames));
    }

    #[test]
    fn no_flipped_bit_and_no_lost_page_hides_an_object() {
        let (bytes, frames) = pack(7, &[5_000, 9_000, 16_400]);
        let end = frames.last().map(|f| f.first + pages(f.len)).expect("three") * PAGE;
        for at in 0..end {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(scan(&damaged), (Some(7), frames.clone()), "byte {at}");
        }
        for lost in 0..end / PAGE {
            let mut damaged = bytes.clone();
            damaged[lost * PAGE..][..PAGE].fill(0);
            assert_eq!(scan(&damaged), (Some(7), frames.clone()), "page {lost}");
        }
        let mut damaged = bytes.clone();
        damaged[..2 * PAGE].fill(0);
        assert_eq!(
            scan(&damaged),
            (Some(7), frames.clone()),
            "the header and the first head"
        );
        // Cut anywhere: what has its head is there, and known to be cut.
        for pages_left in 2..end / PAGE {
            let (_, found) = scan(&bytes[..pages_left * PAGE]);
            let heads = frames.iter().filter(|frame| frame.first < pages_left);
            assert_eq!(found, heads.cloned().collect::<Vec<_>>(), "{pages_left} pages");
        }
    }

    #[test]
    fn an_erased_frame_is_not_there_and_its_neighbours_are() {
        let (mut bytes, mut frames) = pack(7, &[5_000, 9_000, 16_400]);
        let erased = frames.remove(1);
        let last = erased.first + pages(erased.len) - 1;
        erase_tail(&mut bytes[last * PAGE..][..PAGE]);
        let object = &bytes[erased.first * PAGE..][..pages(9_000) * PAGE];
        let half_erased = super::object(object, 7, &erased.name, 9_000).expect("its head is there");
        assert_eq!(object[half_erased], data(9_000), "whole until its head goes");
        bytes[erased.first * PAGE..][..PAGE].fill(0);
        assert_eq!(scan(&bytes), (Some(7), frames));
    }
}
