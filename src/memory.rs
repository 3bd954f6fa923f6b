//! Memory in large pages, for what is read again and again and is larger than the processor's table of pages covers.

use std::ops::Deref;

use bytes::Bytes;

/// Fewer bytes than this gain nothing from large pages.
pub(crate) const LARGE: usize = 1 << 20;

/// A copy of `bytes` in pages as large as the system offers, starting on one of them; `None` where there is no such
/// memory.
///
/// In pages of 4 KiB whoever jumps between places that are megabytes apart, or reads megabytes once, also waits for the
/// processor to look up where a page is, which costs as much as the data.
pub(crate) fn large_pages(bytes: &[u8]) -> Option<Bytes> {
    const PAGE: usize = 2 << 20;
    let mut memory = memmap2::MmapMut::map_anon(bytes.len().next_multiple_of(PAGE) + PAGE).ok()?;
    // Only advice: systems without large pages go on with small ones.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    let start = memory.as_ptr().addr().next_multiple_of(PAGE) - memory.as_ptr().addr();
    memory[start..][..bytes.len()].copy_from_slice(bytes);
    Some(Bytes::from_owner(memory).slice(start..start + bytes.len()))
}

/// Floats that do not change, in large pages where they are many.
#[derive(Debug, Clone)]
pub(crate) enum Floats {
    Few(Vec<f32>),
    Many(Bytes),
}

impl From<Vec<f32>> for Floats {
    fn from(values: Vec<f32>) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let many = (bytes.len() >= LARGE).then(|| large_pages(bytes)).flatten();
        many.map_or(Self::Few(values), Self::Many)
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Few(values) => values,
            Self::Many(bytes) => bytemuck::cast_slice(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_the_same_wherever_they_lie() {
        for count in [0, 1, LARGE / 4 - 1, LARGE / 4, LARGE] {
            let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let floats = Floats::from(values.clone());
            assert!(*floats == *values, "{count}");
            let is_large = matches!(floats, Floats::Many(_));
            assert_eq!(is_large, count >= LARGE / 4, "{count}");
        }
    }
}
