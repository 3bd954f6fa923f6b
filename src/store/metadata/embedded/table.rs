//! The tables of the redb file: keys, history, counters. Blocking; every commit is synced before it returns.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    WriteTransaction,
};

use super::super::{Compare, KeyValue, LeaseId, MetadataError, Op, Snapshot, TxnOutcome};

/// key → `create_revision, mod_revision, lease (0: none), value`, little-endian.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// (revision, position in it) → `kind, length of the key, key, entry as in KEYS`.
const HISTORY: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("history");
/// Counters: `format`, `revision`, `forgotten` (the last revision whose history is gone).
const COUNTERS: TableDefinition<'_, &str, i64> = TableDefinition::new("counters");

/// Version of this layout.
const FORMAT: i64 = 1;
/// Revision of a store with no keys, as in etcd.
const FIRST_REVISION: i64 = 1;
const FILE_NAME: &str = "metadata.redb";

/// One change of the history.
pub(super) enum Change {
    /// A key was set.
    Put(KeyValue),
    /// A key was removed.
    Delete { key: String, revision: i64 },
}

/// What happened after a revision.
pub(super) enum Changes {
    /// All of it, up to `revision`.
    Complete { revision: i64, changes: Vec<Change> },
    /// The history does not reach back that far: the keys as they are now.
    Forgotten(Snapshot),
}

/// The file. After a failed write redb refuses everything until it is opened again, which the next call does: a disk
/// that was full and has space again is enough to go on.
pub(super) struct Tables {
    path: PathBuf,
    history: i64,
    database: RwLock<Option<Arc<Database>>>,
}

/// Why a call failed inside redb. All its errors convert to one type.
fn failed(path: &Path, error: redb::Error, wrote: bool) -> MetadataError {
    match error {
        redb::Error::DatabaseAlreadyOpen => MetadataError::Locked {
            path: path.display().to_string(),
        },
        redb::Error::Corrupted(reason) => MetadataError::Corrupt {
            reason: format!("{}: {reason}", path.display()),
        },
        redb::Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            ) =>
        {
            MetadataError::Full
        }
        // A page that lies past the end: its number is wrong, or the file was cut off.
        redb::Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            MetadataError::Corrupt {
                reason: format!("{}: {e}", path.display()),
            }
        }
        e if wrote => MetadataError::OutcomeUnknown {
            reason: e.to_string(),
        },
        e => MetadataError::Unavailable {
            reason: e.to_string(),
        },
    }
}

impl Tables {
    pub(super) fn open(folder: &Path, history: i64) -> Result<Self, MetadataError> {
        let unavailable = |e: io::Error| MetadataError::Unavailable {
            reason: format!("{}: {e}", folder.display()),
        };
        std::fs::create_dir_all(folder).map_err(unavailable)?;
        let tables = Self {
            path: folder.join(FILE_NAME),
            history: history.max(1),
            database: RwLock::new(None),
        };
        tables.write(|txn| {
            txn.open_table(KEYS)?;
            txn.open_table(HISTORY)?;
            let mut counters = txn.open_table(COUNTERS)?;
            if counters.get("format")?.is_none() {
                counters.insert("format", FORMAT)?;
                counters.insert("revision", FIRST_REVISION)?;
                counters.insert("forgotten", 0)?;
            }
            Ok(())
        })?;
        for entry in [Some(folder), folder.parent()].into_iter().flatten() {
            std::fs::File::open(entry)
                .and_then(|dir| dir.sync_all())
                .map_err(unavailable)?;
        }
        let format = tables.read(|txn| Ok(txn.open_table(COUNTERS)?.get("format")?.map(|v| v.value())))?;
        if format == Some(FORMAT) {
            Ok(tables)
        } else {
            Err(MetadataError::Corrupt {
                reason: format!("{}: format {format:?}, not {FORMAT}", tables.path.display()),
            })
        }
    }

    fn database(&self) -> Result<Arc<Database>, MetadataError> {
        if let Some(database) = &*self.database.read() {
            return Ok(database.clone());
        }
        let mut slot = self.database.write();
        if let Some(database) = &*slot {
            return Ok(database.clone());
        }
        let opened = Builder::new()
            .set_check_integrity_on_open(true)
            .create(&self.path)
            .map_err(|e: DatabaseError| failed(&self.path, e.into(), false))?;
        let database = Arc::new(opened);
        *slot = Some(database.clone());
        Ok(database)
    }

    fn settle<T>(&self, result: Result<T, redb::Error>, wrote: bool) -> Result<T, MetadataError> {
        result.map_err(|e| {
            if matches!(
                e,
                redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::LockPoisoned(_)
            ) {
                *self.database.write() = None;
            }
            failed(&self.path, e, wrote)
        })
    }

    fn read<T>(
        &self,
        call: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, MetadataError> {
        let database = self.database()?;
        let result = database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|txn| call(&txn));
        drop(database);
        self.settle(result, false)
    }

    /// Runs `call` and commits; an error of `call` commits nothing.
    fn write<T>(
        &self,
        call: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, MetadataError> {
        let database = self.database()?;
        let prepared = database.begin_write().map_err(redb::Error::from).and_then(|txn| {
            let value = call(&txn)?;
            Ok((value, txn))
        });
        let (value, txn) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => {
                drop(database);
                return self.settle(Err(e), false);
            }
        };
        let committed = txn.commit().map_err(redb::Error::from);
        drop(database);
        self.settle(committed, true)?;
        Ok(value)
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError> {
        self.read(|txn| {
            let found = txn.open_table(KEYS)?.get(key)?;
            found.map(|value| decode(key, value.value())).transpose()
        })
    }

    pub(super) fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError> {
        self.read(|txn| snapshot(txn, prefix))
    }

    pub(super) fn commit(&self, compares: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetadataError> {
        self.write(|txn| {
            let mut keys = txn.open_table(KEYS)?;
            for compare in compares {
                let (key, holds): (&str, &dyn Fn(Option<&KeyValue>) -> bool) = match compare {
                    Compare::Absent { key } => (key, &|found| found.is_none()),
                    Compare::ModRevision { key, revision } => {
                        (key, &|found| found.is_some_and(|e| e.mod_revision == *revision))
                    }
                    Compare::CreateRevision { key, revision } => (key, &|found| {
                        found.is_some_and(|e| e.create_revision == *revision)
                    }),
                };
                let found = keys
                    .get(key)?
                    .map(|value| decode(key, value.value()))
                    .transpose()?;
                if !holds(found.as_ref()) {
                    return Ok(TxnOutcome::Refused);
                }
            }
            let mut change = Writer::begin(txn, self.history)?;
            for op in ops {
                match op {
                    Op::Put { key, value, lease } => change.put(&mut keys, key, value, *lease)?,
                    Op::Delete { key } => change.delete(&mut keys, key)?,
                }
            }
            Ok(TxnOutcome::Committed {
                revision: change.finish()?,
            })
        })
    }

    /// Removes the keys of the leases that `ended` names; returns the revision after it.
    pub(super) fn remove_leased(&self, ended: impl Fn(LeaseId) -> bool) -> Result<i64, MetadataError> {
        self.write(|txn| {
            let mut keys = txn.open_table(KEYS)?;
            let mut gone = Vec::new();
            for entry in keys.iter()? {
                let (key, value) = entry?;
                let lease = decode(key.value(), value.value())?.lease;
                if lease.is_some_and(&ended) {
                    gone.push(key.value().to_owned());
                }
            }
            let mut change = Writer::begin(txn, self.history)?;
            for key in gone {
                change.delete(&mut keys, &key)?;
            }
            change.finish()
        })
    }

    pub(super) fn changes(&self, prefix: &str, after: i64) -> Result<Changes, MetadataError> {
        self.read(|txn| {
            let counters = txn.open_table(COUNTERS)?;
            let counter = |name: &str| counters.get(name).map(|v| v.map_or(0, |v| v.value()));
            if after < counter("forgotten")? {
                return Ok(Changes::Forgotten(snapshot(txn, prefix)?));
            }
            let mut changes = Vec::new();
            let from = (Bound::Excluded((after, u32::MAX)), Bound::Unbounded);
            for entry in txn.open_table(HISTORY)?.range(from)? {
                let (at, event) = entry?;
                changes.extend(decode_change(at.value().0, event.value(), prefix)?);
            }
            Ok(Changes::Complete {
                revision: counter("revision")?,
                changes,
            })
        })
    }
}

/// One revision in the making.
struct Writer<'t> {
    history: redb::Table<'t, (i64, u32), &'static [u8]>,
    counters: redb::Table<'t, &'static str, i64>,
    revision: i64,
    changes: u32,
    keep: i64,
}

type KeyTable<'t> = redb::Table<'t, &'static str, &'static [u8]>;

impl<'t> Writer<'t> {
    fn begin(txn: &'t WriteTransaction, keep: i64) -> Result<Self, redb::Error> {
        let counters = txn.open_table(COUNTERS)?;
        let revision = counters.get("revision")?.map_or(FIRST_REVISION, |v| v.value()) + 1;
        Ok(Self {
            history: txn.open_table(HISTORY)?,
            counters,
            revision,
            changes: 0,
            keep,
        })
    }

    fn put(
        &mut self,
        keys: &mut KeyTable<'_>,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
    ) -> Result<(), redb::Error> {
        let created = match keys.get(key)? {
            Some(old) => decode(key, old.value())?.create_revision,
            None => self.revision,
        };
        let entry = encode(created, self.revision, lease, value);
        keys.insert(key, entry.as_slice())?;
        self.record(1, key, &entry)
    }

    fn delete(&mut self, keys: &mut KeyTable<'_>, key: &str) -> Result<(), redb::Error> {
        if keys.remove(key)?.is_some() {
            self.record(0, key, &[])?;
        }
        Ok(())
    }

    fn record(&mut self, kind: u8, key: &str, entry: &[u8]) -> Result<(), redb::Error> {
        let key_len = u32::try_from(key.len()).map_err(|_| corrupt("a key longer than 4 GiB"))?;
        let mut event = vec![kind];
        event.extend_from_slice(&key_len.to_le_bytes());
        event.extend_from_slice(key.as_bytes());
        event.extend_from_slice(entry);
        self.history
            .insert((self.revision, self.changes), event.as_slice())?;
        self.changes += 1;
        Ok(())
    }

    /// The store's revision after the changes; what changed nothing has no revision of its own.
    fn finish(mut self) -> Result<i64, redb::Error> {
        if self.changes == 0 {
            return Ok(self.revision - 1);
        }
        self.counters.insert("revision", self.revision)?;
        let forget = self.revision - self.keep;
        if forget > 0 {
            self.history.retain_in(..=(forget, u32::MAX), |_, _| false)?;
            self.counters.insert("forgotten", forget)?;
        }
        Ok(self.revision)
    }
}

fn snapshot(txn: &redb::ReadTransaction, prefix: &str) -> Result<Snapshot, redb::Error> {
    let revision = txn
        .open_table(COUNTERS)?
        .get("revision")?
        .map_or(FIRST_REVISION, |v| v.value());
    let mut entries = Vec::new();
    for entry in txn.open_table(KEYS)?.range(prefix..)? {
        let (key, value) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(decode(key.value(), value.value())?);
    }
    Ok(Snapshot { revision, entries })
}

fn corrupt(what: &str) -> redb::Error {
    StorageError::Corrupted(what.to_owned()).into()
}

fn encode(created: i64, modified: i64, lease: Option<LeaseId>, value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(24 + value.len());
    for number in [created, modified, lease.map_or(0, |l| l.0)] {
        entry.extend_from_slice(&number.to_le_bytes());
    }
    entry.extend_from_slice(value);
    entry
}

fn decode(key: &str, entry: &[u8]) -> Result<KeyValue, redb::Error> {
    let (numbers, value) = entry
        .split_at_checked(24)
        .ok_or_else(|| corrupt("a short entry"))?;
    let [created, modified, lease] = numbers.as_chunks::<8>().0 else {
        return Err(corrupt("a short entry"));
    };
    let lease = i64::from_le_bytes(*lease);
    Ok(KeyValue {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        create_revision: i64::from_le_bytes(*created),
        mod_revision: i64::from_le_bytes(*modified),
        lease: (lease != 0).then_some(LeaseId(lease)),
    })
}

fn decode_change(revision: i64, event: &[u8], prefix: &str) -> Result<Option<Change>, redb::Error> {
    let short = || corrupt("a short event");
    let (&kind, rest) = event.split_first().ok_or_else(short)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| short())?;
    let (key, entry) = rest.split_at_checked(len).ok_or_else(short)?;
    let key = std::str::from_utf8(key).map_err(|_| corrupt("a key that is not UTF-8"))?;
    if !key.starts_with(prefix) {
        return Ok(None);
    }
    Ok(Some(if kind == 1 {
        Change::Put(decode(key, entry)?)
    } else {
        Change::Delete {
            key: key.to_owned(),
            revision,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_a_damaged_file_makes_redb_say_is_damage_and_names_the_file() {
        let said = |kind: io::ErrorKind| {
            let error = failed(
                Path::new("here/metadata.redb"),
                redb::Error::Io(kind.into()),
                false,
            );
            (error.kind(), error.to_string().contains("metadata.redb"))
        };
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof] {
            assert_eq!(said(kind), (ErrorKind::Corrupt, true));
        }
        assert_eq!(said(io::ErrorKind::PermissionDenied).0, ErrorKind::Unavailable);
    }
}
