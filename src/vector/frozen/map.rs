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
