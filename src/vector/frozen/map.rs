//! Maps a file into memory: the one `mmap` of the crate.
#![expect(unsafe_code, reason = "a mapping is only as constant as its file; see `map`")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::MmapOptions;

/// How a file is mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapOptions {
    /// Read the whole file in at once instead of page by page as it is touched.
    pub prefault: bool,
    /// Tell the kernel that accesses are random, so that it does not read ahead. Ignored where there is no such advice.
    pub random: bool,
}

/// Maps a whole file, read-only. The mapping lives as long as the answer and its slices.
///
/// The file must not be changed or cut while it is mapped. Sealed segments are never changed: they are written under a
/// fresh name, then renamed into place, and deleting one leaves the mapping whole.
///
/// # Errors
/// What the operating system answers.
pub fn map(file: &File, options: MapOptions) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    let mut mapping = MmapOptions::new();
    if options.prefault {
        mapping.populate();
    }
    // SAFETY: nobody writes to the file while it is mapped, by the function's contract; doppel itself never changes a
    // sealed segment.
    let mapped = unsafe { mapping.map(file)? };
    #[cfg(unix)]
    if options.random {
        mapped.advise(memmap2::Advice::Random)?;
    }
    Ok(Bytes::from_owner(mapped))
}

/// Fewer bytes than this gain nothing from large pages.
pub(super) const LARGE: usize = 1 << 20;

/// A copy of `bytes` in pages as large as the system offers, starting on one of them; `None` where there is no such
/// memory.
///
/// A search jumps between places that are megabytes apart. In pages of 4 KiB nearly every jump also misses the
/// processor's table of pages, which costs as much as the vector itself.
pub(super) fn large_pages(bytes: &[u8]) -> Option<Bytes> {
    const PAGE: usize = 2 << 20;
    let mut memory = memmap2::MmapMut::map_anon(bytes.len().next_multiple_of(PAGE) + PAGE).ok()?;
    // Only advice: systems without large pages go on with small ones.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    let start = memory.as_ptr().addr().next_multiple_of(PAGE) - memory.as_ptr().addr();
    memory[start..][..bytes.len()].copy_from_slice(bytes);
    Some(Bytes::from_owner(memory).slice(start..start + bytes.len()))
}
