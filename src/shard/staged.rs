//! Segments in the making: files that go away unless they become objects.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use super::objects::upload_file;
use super::{ShardError, ShardOptions, Stores};
use crate::types::SegmentId;
use crate::vector::frozen::{self, MapOptions};

/// Bytes that are handed to the disk at a time, so that an acknowledgement meanwhile waits for a piece and not for all.
const PIECE: usize = 1 << 20;

/// A segment that is being written.
pub(crate) struct Staged {
    file: File,
    /// Where the store is a folder: on its disk, under a name that is swept after a crash, so that the file can become the
    /// object. Elsewhere the file has no name, and its bytes are sent.
    path: Option<PathBuf>,
    unsynced: usize,
}

impl Staged {
    /// An empty file.
    ///
    /// # Errors
    /// As the file system fails.
    pub(crate) fn new(stores: &Stores, options: &ShardOptions, id: SegmentId) -> io::Result<Self> {
        let path = stores
            .blobs
            .local_path(&format!("{id}.seg#{}", rand::random::<u64>()));
        let file = match (&path, &options.cache_dir) {
            (Some(path), _) => File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)?,
            (None, Some(cache)) => {
                std::fs::create_dir_all(cache)?;
                tempfile::tempfile_in(cache)?
            }
            (None, None) => tempfile::tempfile()?,
        };
        Ok(Self {
            file,
            path,
            unsynced: 0,
        })
    }

    /// Makes it an object.
    ///
    /// # Errors
    /// As the store fails.
    pub(crate) async fn upload(self, stores: &Stores, name: &str) -> Result<(), ShardError> {
        // Nobody writes to it any more, and whoever removes it leaves the mapping valid.
        let data = frozen::map(&self.file, MapOptions::default()).map_err(|e| ShardError::Unavailable {
            reason: format!("{name}: {e}"),
        })?;
        upload_file(stores, name, data, self.path.as_deref()).await
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(&bytes[..bytes.len().min(PIECE)])?;
        self.unsynced += written;
        if self.unsynced >= PIECE && self.path.is_some() {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is swept when the folder is opened next.
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
