//! The segments of a JPEG file: what decides its pixels, and its colour profile.

/// Marker of the segment that holds (a part of) a colour profile, and the words in front of it.
const APP2: u8 = 0xe2;
const PROFILE: &[u8] = b"ICC_PROFILE\0";

/// A segment with its marker: `ff`, the marker, two bytes of length, and the payload.
type Segment<'a> = (u8, &'a [u8]);

/// The segments in front of the first scan, then everything from that scan on. `None` where they cannot be walked.
fn walk(bytes: &[u8]) -> Option<(Vec<Segment<'_>>, &[u8])> {
    const START_OF_SCAN: u8 = 0xda;
    let mut segments = Vec::new();
    let mut rest = &bytes[bytes.len().min(2)..];
    loop {
        match *rest {
            // fill bytes may stand in front of a marker
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, START_OF_SCAN, ..] => return Some((segments, rest)),
            [0xff, marker, high, low, ..] if marker >= 0xc0 => {
                let length = 2 + usize::from(u16::from_be_bytes([high, low]));
                let (segment, after) = rest.split_at_checked(length)?;
                segments.push((marker, segment));
                rest = after;
            }
            _ => return None,
        }
    }
}

/// The segments in front of the first scan that are not metadata, then everything from that scan on.
///
/// A file whose segments cannot be walked is taken whole.
pub(super) fn essential(bytes: &[u8]) -> Vec<&[u8]> {
    const APPLICATION: std::ops::RangeInclusive<u8> = 0xe0..=0xef;
    /// Adobe's segment tells RGB from YCbCr and CMYK from YCCK.
    const ADOBE: u8 = 0xee;
    const COMMENT: u8 = 0xfe;
    let Some((segments, scans)) = walk(bytes) else {
        return vec![bytes];
    };
    segments
        .into_iter()
        .filter(|(marker, _)| *marker == ADOBE || !(APPLICATION.contains(marker) || *marker == COMMENT))
        .map(|(_, segment)| segment)
        .chain([scans])
        .collect()
}

/// The ICC profile, put together from its numbered parts; `None` without one, or when a part is missing.
pub(super) fn icc_profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let (segments, _) = walk(bytes)?;
    let mut parts: Vec<(u8, u8, &[u8])> = segments
        .into_iter()
        .filter(|(marker, _)| *marker == APP2)
        .filter_map(|(_, segment)| match segment.get(4..)?.strip_prefix(PROFILE)? {
            [number, count, part @ ..] => Some((*number, *count, part)),
            _ => None,
        })
        .collect();
    parts.sort_by_key(|(number, ..)| *number);
    let count = parts.first()?.1;
    let whole = parts
        .iter()
        .map(|(number, of, _)| (*number, *of))
        .eq((1..=count).map(|number| (number, count)));
    whole.then(|| parts.into_iter().flat_map(|(.., part)| part).copied().collect())
}

/// Where the n-th coefficient of a quantisation table stands in its 8×8 block (ITU-T T.81, figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The quantisation table of the first component, row by row; `None` where the file does not define one before its first scan.
pub(super) fn luma_steps(bytes: &[u8]) -> Option<[u16; 64]> {
    const TABLES: u8 = 0xdb;
    let (segments, _) = walk(bytes)?;
    // Baseline, extended and progressive frames; their first component names its table.
    let frame = segments.iter().find(|(marker, _)| matches!(marker, 0xc0..=0xc2));
    let wanted = *frame?.1.get(12)?;
    let mut found = None;
    for (_, segment) in segments.iter().filter(|(marker, _)| *marker == TABLES) {
        let mut rest = segment.get(4..)?;
        while let [head, after @ ..] = rest {
            let wide = head >> 4 != 0;
            let (table, after) = after.split_at_checked(if wide { 128 } else { 64 })?;
            if head & 15 == wanted {
                let mut steps = [0; 64];
                for (n, &place) in ZIGZAG.iter().enumerate() {
                    steps[usize::from(place)] = if wide {
                        u16::from_be_bytes([table[2 * n], table[2 * n + 1]])
                    } else {
                        u16::from(table[n])
                    };
                }
                found = Some(steps);
            }
            rest = after;
        }
    }
    found.filter(|steps| !steps.contains(&0))
}
