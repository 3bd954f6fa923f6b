//! The network that the settings name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::EngineError;
use crate::config::Config;
use crate::vision::{self, Bank, Builtin, CnnEmbedder, ModelDescription};

/// Loads the network that `config.model` names: nothing for `doppel-t`, one of [`Builtin::ALL`] by its name, else a file.
/// `*.toml` describes a network that people brought (see [`ModelDescription`]); `*.safetensors` is one of doppel's own,
/// which describes itself.
///
/// # Errors
/// [`EngineError::BadSetting`] when there is no such file, [`EngineError::Model`] when the network cannot be used.
pub fn network(config: &Config) -> Result<Arc<CnnEmbedder>, EngineError> {
    let Some(model) = config.model.as_deref() else {
        return Ok(vision::builtin()?);
    };
    if let Some(builtin) = Builtin::ALL.into_iter().find(|builtin| builtin.name() == model) {
        return Ok(builtin.load()?);
    }
    let path = Path::new(model);
    let network = match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => described(path)?,
        Some("safetensors") => CnnEmbedder::from_safetensors(&read(path)?).map_err(unusable(path))?,
        _ => {
            return Err(EngineError::BadSetting {
                key: "model",
                reason: format!(
                    "{model:?} is neither {} nor a file that ends in .toml or .safetensors",
                    Builtin::ALL.map(Builtin::name).join(", ")
                ),
            });
        }
    };
    Ok(Arc::new(network))
}

fn described(path: &Path) -> Result<CnnEmbedder, EngineError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let description = ModelDescription::from_toml(&text).map_err(unusable(path))?;
    // Files are named as seen from the description.
    let beside = |name: &str| -> PathBuf { path.parent().unwrap_or(Path::new("")).join(name) };
    let weights = beside(&description.weights);
    let network = CnnEmbedder::described(&description, &read(&weights)?).map_err(unusable(&weights))?;
    let Some(bank) = &description.bank else {
        return Ok(network);
    };
    let bank = beside(bank);
    let rows = Bank::from_safetensors(&read(&bank)?).map_err(unusable(&bank))?;
    network.with_bank(rows).map_err(unusable(&bank))
}

fn read(path: &Path) -> Result<Vec<u8>, EngineError> {
    fs::read(path).map_err(|error| EngineError::BadSetting {
        key: "model",
        reason: format!("{}: {error}", path.display()),
    })
}

fn unusable(path: &Path) -> impl FnOnce(vision::VisionError) -> EngineError {
    let path = path.display().to_string();
    move |reason| EngineError::Model { path, reason }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{CollectionOptions, Engine, IngestOptions, OnDuplicate, Outcome, Upload};
    use super::*;
    use crate::error::ErrorKind;
    use crate::types::{CollectionName, MatchClass};
    use crate::vision::{Embedder as _, RgbImage, thumbnail};

    const WEIGHTS: &[u8] = include_bytes!("../../models/doppel-t.safetensors");

    /// The shipped network under another identity: one digit of its metadata differs.
    fn other_network(folder: &Path) -> String {
        let mut file = WEIGHTS.to_vec();
        let at = file
            .windows(8)
            .position(|w| w == b"\"seed\":\"")
            .expect("it tells its seed")
            + 8;
        file[at] = if file[at] == b'7' { b'8' } else { b'7' };
        let path = folder.join("other.safetensors");
        fs::write(&path, file).expect("writable");
        path.display().to_string()
    }

    fn config(model: Option<&str>) -> Config {
        Config {
            model: model.map(str::to_owned),
            ..Config::default()
        }
    }

    #[test]
    fn models_are_named_or_files() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let builtin = network(&config(None)).expect("the shipped network");
        let named = network(&config(Some("doppel-t"))).expect("the shipped network");
        assert_eq!(builtin.model_hash(), named.model_hash());
        let hashes = Builtin::ALL.map(|shipped| {
            let network = network(&config(Some(shipped.name()))).expect("a shipped network");
            assert!(network.bank().is_some());
            network.model_hash()
        });
        assert_eq!(
            hashes.iter().collect::<std::collections::HashSet<_>>().len(),
            hashes.len()
        );
        let path = other_network(folder.path());
        let other = network(&config(Some(&path))).expect("a file of doppel's own");
        assert_ne!(builtin.model_hash(), other.model_hash());
        let refused = |model: &str| {
            network(&config(Some(model)))
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(refused("doppel-m").is_err_and(|r| r.contains("neither doppel-t, doppel-t-int8, doppel-s")));
        let missing = folder.path().join("none.toml").display().to_string();
        assert!(refused(&missing).is_err_and(|r| r.contains("none.toml")));
        let described = folder.path().join("brought.toml");
        fs::write(&described, "weights = \"other.safetensors\"").expect("writable");
        assert!(
            refused(&described.display().to_string()).is_err_and(|r| r.contains("missing field")),
            "{:?}",
            refused(&described.display().to_string())
        );
    }

    fn picture(seed: u32) -> Bytes {
        let image = RgbImage::from_fn(200, 150, |x, y| {
            let cell = (x / 20 + y / 15 * 16 + seed * 999).wrapping_mul(2_654_435_761) >> 24;
            [cell as u8, (255 - cell) as u8, (x + y) as u8].into()
        });
        thumbnail::encode(&image).expect("encodes").into()
    }

    async fn upload(engine: &Arc<Engine>, name: &CollectionName, seed: u32) -> Result<Outcome, EngineError> {
        let options = IngestOptions {
            on_duplicate: OnDuplicate::Store,
            level: MatchClass::Similar,
        };
        let mut ingest = engine.ingest(name, options)?;
        let upload = Upload {
            name: "a.jpg".to_owned(),
            bytes: picture(seed),
            tags: Vec::new(),
        };
        ingest.push("a.jpg".to_owned(), Ok(upload)).await;
        Ok(ingest.finish().await.remove(0).outcome)
    }

    /// What an engine that was closed leaves behind goes within moments; the data folder is then free.
    async fn opened(config: Config) -> Arc<Engine> {
        for _ in 0..200 {
            match Engine::open(config.clone()).await {
                Ok(engine) => return engine,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
        panic!("the engine does not open");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn collections_of_another_model_stay_closed_and_others_are_served() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = |model: Option<String>| Config {
            data_dir: folder.path().join("data"),
            model,
            ..Config::default()
        };
        let default = CollectionName::default_collection();
        let engine = opened(settings(None)).await;
        assert!(matches!(
            upload(&engine, &default, 1).await,
            Ok(Outcome::Created(_))
        ));
        engine.close().await;
        drop(engine);

        let other = other_network(folder.path());
        let engine = opened(settings(Some(other))).await;
        let refused = upload(&engine, &default, 2).await;
        assert!(refused.is_err_and(|e| e.kind() == ErrorKind::Conflict && e.to_string().contains("--model")));
        let name: CollectionName = "fresh".parse().expect("a name");
        engine
            .create_collection(&name, CollectionOptions::default())
            .await
            .expect("a collection of the new model");
        assert!(matches!(upload(&engine, &name, 2).await, Ok(Outcome::Created(_))));
        engine.close().await;
        drop(engine);

        let engine = opened(settings(None)).await;
        assert_eq!(
            engine.list(&default, None, 10).expect("open again").images.len(),
            1
        );
        assert!(upload(&engine, &name, 3).await.is_err());
        engine.close().await;
    }
}
