//! Floor 0: the vocabulary every other module speaks. Plain values, no I/O.

mod beyond;
mod collection;
mod embedding;
mod hash;
mod ids;
mod matching;
mod record;
mod transform;
mod verdict;

pub use beyond::Beyond;
pub use collection::{CollectionName, InvalidCollectionName};
pub use embedding::{Embedding, InvalidEmbedding, Similarity};
pub use hash::{ContentHash, InvalidHash, ModelHash, PdqHash, PixelHash};
pub use ids::{Epoch, ImageId, InvalidId, NodeId, SegmentId, Seq, ShardId};
pub use matching::{MatchClass, Stage, UnknownMatchClass};
pub use record::{ExifSummary, Fingerprint, ImageFormat, ImageRecord, UnknownFormat};
pub use transform::{Region, Transform};
pub use verdict::{ImagePair, Judgement, UnknownVerdict, Verdict};
