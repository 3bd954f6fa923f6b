//! Settings as plain data: defaults, then `doppel.toml`, then the environment (`DOPPEL_*`), then flags. Later wins;
//! a key nobody knows is refused by its name. Units stand in names (`_bytes`, `_pixels`) or in the value (`"30s"`).

mod environment;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use environment::Environment;

/// Name of the settings file looked for in the working directory.
pub const FILE_NAME: &str = "doppel.toml";

/// All settings. `doppel config` prints the effective ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address the HTTP service listens on.
    pub listen: SocketAddr,
    /// Names by which requests may ask for the service, besides addresses and `localhost`, and whose pages may change things; `*`
    /// for all. None: on a loopback address no others, elsewhere all.
    pub allowed_hosts: Vec<String>,
    /// Folder of the metadata store and, without `storage`, of all objects.
    pub data_dir: PathBuf,
    /// Name of the cluster; the first part of every metadata key.
    pub cluster: String,
    /// Name of this node within the cluster.
    pub node: String,
    /// Addresses of etcd; none means the embedded metadata store in `data_dir`.
    pub etcd: Vec<String>,
    /// Address of the object store (`s3://bucket/prefix`); absent means folders in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// The network that embeds images: `doppel-t` when absent; `doppel-t-int8`, `doppel-s` and `doppel-s-int8` are
    /// inside the binary too; else a `.toml` that describes one, or a `.safetensors` of doppel's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is written to standard error.
    pub log: Log,
    /// What is accepted from outside.
    pub limits: Limits,
    /// How uploads are processed.
    pub ingest: Ingest,
    /// How duplicates are looked for.
    pub search: Search,
    /// Options of collections created without saying otherwise.
    pub collections: Collections,
}

/// What is written to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Which events, in the syntax of `tracing`'s `EnvFilter`: `info`, `doppel=debug,warn`.
    pub filter: String,
    /// In which form.
    pub format: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is accepted from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest image, width times height; more is refused from the header, before allocation.
    pub max_pixels: u64,
    /// Longest side of an image in pixels.
    pub max_side_pixels: u32,
    /// Largest file.
    pub max_file_bytes: u64,
    /// Largest request body.
    pub max_request_bytes: u64,
    /// Most files in one request.
    pub max_files: usize,
    /// Most connections at a time; more wait.
    pub max_connections: usize,
    /// Longest time that a connection waits for a whole request header, idle ones between two requests included.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Longest time that an answer stands still because its reader takes nothing of it.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
    /// Longest time from the first byte of a request to its answer.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Longest time a stopping service waits for requests to end.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Most answers of one search.
    pub max_k: usize,
    /// Most bytes of write-ahead log of one shard that are not sealed; beyond that uploads are answered 429.
    pub max_unsealed_bytes: u64,
}

/// How uploads are processed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Most images that one thread decodes and embeds together.
    pub batch_images: usize,
    /// Most images waiting for their turn; more are answered 429.
    pub queue_images: usize,
    /// Most bytes of uploads held in memory; more wait.
    pub queue_bytes: u64,
    /// Longest time an image waits for room in the queue before it is answered 429.
    #[serde(with = "humantime_serde")]
    pub queue_timeout: Duration,
}

/// How duplicates are looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// Nearest neighbours fetched as candidates.
    pub candidates: usize,
    /// Most candidates of one image that are verified by geometry.
    pub verified: usize,
    /// Memory for keypoints of stored images, kept between verifications.
    pub feature_cache_bytes: u64,
}

/// Options of collections created without saying otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collections {
    /// Number of shards.
    pub shards: u16,
    /// Whether uploaded files themselves are kept, not only their thumbnails.
    pub keep_originals: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allowed_hosts: Vec::new(),
            data_dir: default_data_dir(),
            cluster: "local".to_owned(),
            node: "local".to_owned(),
            etcd: Vec::new(),
            storage: None,
            model: None,
            log: Log::default(),
            limits: Limits::default(),
            ingest: Ingest::default(),
            search: Search::default(),
            collections: Collections::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info,hnsw_rs=warn".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_side_pixels: 30_000,
            max_file_bytes: 256 << 20,
            max_request_bytes: 1 << 30,
            max_files: 1000,
            // Half of the files that most systems let a process open.
            max_connections: 512,
            header_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(600),
            shutdown_timeout: Duration::from_secs(20),
            max_k: 1000,
            max_unsealed_bytes: 512 << 20,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            batch_images: 4,
            queue_images: 256,
            queue_bytes: 512 << 20,
            queue_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self {
            candidates: 50,
            verified: 24,
            feature_cache_bytes: 256 << 20,
        }
    }
}

impl Default for Collections {
    fn default() -> Self {
        Self {
            shards: 1,
            keep_originals: false,
        }
    }
}

/// Settings given as flags; what is absent is left as the other sources have it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    /// See [`Config::listen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// See [`Config::allowed_hosts`]; empty means not given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// See [`Config::data_dir`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// See [`Config::etcd`]; empty means not given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd: Vec<String>,
    /// See [`Config::storage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// See [`Config::model`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Why the settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file named does not exist.
    #[error("there is no settings file {path}")]
    NoFile {
        /// The file.
        path: String,
    },
    /// A key that no setting has.
    #[error("unknown setting {key:?} in {place}; known there: {known}")]
    UnknownKey {
        /// The key with its tables, `limits.max_pixel`.
        key: String,
        /// The file, or the environment.
        place: String,
        /// The keys that exist beside it.
        known: String,
    },
    /// A value that its setting cannot take.
    #[error("setting {key:?} in {place}: {reason}")]
    Value {
        /// The key with its tables.
        key: String,
        /// The file, or the environment.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{place} cannot be read: {reason}")]
    Syntax {
        /// The file.
        place: String,
        /// What is wrong, with the line.
        reason: String,
    },
}

impl ConfigError {
    /// What the caller can do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFile { .. } | Self::UnknownKey { .. } | Self::Value { .. } | Self::Syntax { .. } => {
                ErrorKind::Invalid
            }
        }
    }
}

impl Config {
    /// The effective settings of this process: [`Config::load_with`] over its environment.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and the place it came from.
    pub fn load(file: Option<&Path>, flags: &Overrides) -> Result<Self, ConfigError> {
        // Names or values that are not UTF-8 can be no setting.
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::load_with(file, std::env::vars_os().filter_map(utf8), flags)
    }

    /// The effective settings. `file` must exist when it is given; otherwise `doppel.toml` of the working directory is
    /// read if there is one. Of `environment` those variables count whose names start with `DOPPEL_`; a double
    /// underscore separates a table from its key.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and the place it came from.
    pub fn load_with(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Overrides,
    ) -> Result<Self, ConfigError> {
        if let Some(path) = file.filter(|path| !path.is_file()) {
            return Err(ConfigError::NoFile {
                path: path.display().to_string(),
            });
        }
        let path = file.unwrap_or(Path::new(FILE_NAME));
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if path.is_file() {
            figment = figment.merge(Toml::file_exact(path));
        }
        let config: Self = figment
            .merge(Environment::new(environment))
            .merge(Serialized::globals(flags))
            .extract()
            .map_err(|error| explain(&error))?;
        config.check()?;
        Ok(config)
    }

    /// The settings as TOML that [`Config::load`] reads back to the same value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] when a value has no TOML form (a path that is not UTF-8, a number beyond 63 bits).
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| ConfigError::Value {
            key: String::new(),
            place: "the effective settings".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Refuses values that type-check and make no sense.
    fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("limits.max_pixels", self.limits.max_pixels),
            ("limits.max_side_pixels", u64::from(self.limits.max_side_pixels)),
            ("limits.max_file_bytes", self.limits.max_file_bytes),
            ("limits.max_request_bytes", self.limits.max_request_bytes),
            ("limits.max_files", self.limits.max_files as u64),
            ("limits.max_connections", self.limits.max_connections as u64),
            ("limits.max_k", self.limits.max_k as u64),
            ("limits.max_unsealed_bytes", self.limits.max_unsealed_bytes),
            ("ingest.batch_images", self.ingest.batch_images as u64),
            ("ingest.queue_images", self.ingest.queue_images as u64),
            ("ingest.queue_bytes", self.ingest.queue_bytes),
            ("search.candidates", self.search.candidates as u64),
            ("collections.shards", u64::from(self.collections.shards)),
        ];
        let refuse = |key: &str, reason: String| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                place: "the effective settings".to_owned(),
                reason,
            })
        };
        if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return refuse(key, "must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// Turns figment's error into one that names key and place.
fn explain(error: &figment::Error) -> ConfigError {
    use figment::error::Kind;
    // One error may hold several; the last is the one raised first.
    let place = error.metadata.as_ref().map_or_else(
        || "the settings".to_owned(),
        |metadata| match &metadata.source {
            Some(figment::Source::Code(_)) | None => metadata.name.to_string(),
            Some(source) => source.to_string(),
        },
    );
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let key = match error.path.last() {
                None => field.clone(),
                Some(last) if last == field => path,
                Some(_) => format!("{path}.{field}"),
            };
            ConfigError::UnknownKey {
                key,
                place,
                known: known.join(", "),
            }
        }
        Kind::Message(reason) if path.is_empty() => ConfigError::Syntax {
            place,
            reason: reason.clone(),
        },
        kind => ConfigError::Value {
            key: path,
            place,
            reason: kind.to_string(),
        },
    }
}

/// The platform's folder for a program's data, or `doppel-data` in the working directory when there is no home.
fn default_data_dir() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = if cfg!(target_os = "windows") {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Application Support"))
    } else {
        set("XDG_DATA_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
    };
    base.map_or_else(|| PathBuf::from("doppel-data"), |base| base.join("doppel"))
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests;
