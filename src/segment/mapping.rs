//! Segment files as memory.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::vector::frozen::{self, MapOptions};

/// Alignment of segments in memory, so that their columns can be read where they lie.
const ALIGNMENT: usize = 64;

/// Maps a whole file, read-only. The bytes stay valid when the file is unlinked.
///
/// # Errors
/// As the file system fails.
pub fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    // Segment files are immutable: written under a temporary name, linked when whole, never opened for writing again, and
    // removed only by unlinking, which leaves the mapping valid.
    frozen::map(&file, MapOptions::default())
}

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

struct Lines {
    lines: Vec<Line>,
    len: usize,
}

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

/// The same bytes at an address that is a multiple of 64; copied only where they are not there already.
#[must_use]
pub fn to_aligned(bytes: Bytes) -> Bytes {
    if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        return bytes;
    }
    let len = bytes.len();
    let mut lines = vec![Line([0; ALIGNMENT]); len.div_ceil(ALIGNMENT)];
    bytemuck::cast_slice_mut(&mut lines)[..len].copy_from_slice(&bytes);
    Bytes::from_owner(Lines { lines, len })
}
