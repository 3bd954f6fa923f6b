//! What the metadata store holds about a shard. JSON, each value with its version.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ShardError;
use super::wal::Position;
use crate::store::metadata::KeyValue;
use crate::types::{Epoch, Seq};

/// Version of all values here.
const VERSION: u32 = 1;

/// `assign/{c}/{s}`: who owns a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    v: u32,
    /// The owning node.
    pub owner: String,
    /// Its fencing number.
    pub epoch: u64,
    /// Random; tells one opening of the shard from another by the same node.
    pub claim: String,
    /// Nodes that follow.
    #[serde(default)]
    pub replicas: Vec<String>,
}

impl Assignment {
    /// A fresh claim.
    pub(crate) fn claim(owner: String, epoch: Epoch, replicas: Vec<String>) -> Self {
        Self {
            v: VERSION,
            owner,
            epoch: epoch.get(),
            claim: uuid::Uuid::new_v4().to_string(),
            replicas,
        }
    }
}

/// One writer's time in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochState {
    pub(crate) id: u64,
    /// Place of the fence: data stands before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<u64>,
}

/// `head/{c}/{s}`: epochs and WAL floor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    v: u32,
    /// Epochs that hold data at or above the floor, in order; the last is the owner's.
    pub(crate) epochs: Vec<EpochState>,
    pub(crate) floor_epoch: u64,
    pub(crate) floor_seq: u64,
    /// Number of commits.
    pub(crate) generation: u64,
    /// Random; tells whether a commit whose answer was lost is the one that stands.
    pub(crate) commit: String,
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            v: VERSION,
            epochs: Vec::new(),
            floor_epoch: 0,
            floor_seq: 0,
            generation: 0,
            commit: String::new(),
        }
    }

    /// Where replay starts.
    pub(crate) fn floor(&self) -> Position {
        Position {
            epoch: Epoch::new(self.floor_epoch),
            seq: Seq::new(self.floor_seq),
        }
    }

    /// Raises the floor and forgets epochs wholly below it.
    pub(crate) fn raise_floor(&mut self, floor: Position) {
        self.floor_epoch = floor.epoch.get();
        self.floor_seq = floor.seq.get();
        self.epochs.retain(|epoch| epoch.id >= floor.epoch.get());
    }

    /// Makes this the next commit.
    pub(crate) fn advance(&mut self) {
        self.generation += 1;
        self.commit = uuid::Uuid::new_v4().to_string();
    }
}

/// `seg/{c}/{s}/{id}`: a published segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentState {
    v: u32,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
    /// Version of the tombstone object; 0 when none is stored.
    pub(crate) tombstones: u32,
    /// Dead rows in that object.
    pub(crate) dead: u64,
}

impl SegmentState {
    pub(crate) fn new(rows: u64, bytes: u64, crc: u32) -> Self {
        Self {
            v: VERSION,
            rows,
            bytes,
            crc,
            tombstones: 0,
            dead: 0,
        }
    }

    /// The same segment with nothing dead in it.
    pub(crate) fn without_tombstones(&self) -> Self {
        Self {
            tombstones: 0,
            dead: 0,
            ..self.clone()
        }
    }
}

/// A value as stored.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("plain values always serialise")
        .into()
}

/// Reads a stored value; newer versions are refused.
pub(crate) fn from_json<T: DeserializeOwned>(entry: &KeyValue) -> Result<T, ShardError> {
    let corrupt = |what: String| ShardError::Corrupt {
        name: entry.key.clone(),
        what,
    };
    let value: serde_json::Value =
        serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(v) if v <= u64::from(VERSION) => {}
        other => return Err(corrupt(format!("version {other:?} is not known"))),
    }
    serde_json::from_value(value).map_err(|e| corrupt(e.to_string()))
}
