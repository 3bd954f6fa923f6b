//! Settings from the environment.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

/// Start of the environment variables that are settings: `DOPPEL_LISTEN`, `DOPPEL_LIMITS__MAX_K`.
const ENVIRONMENT_PREFIX: &str = "DOPPEL_";

/// Start of the variables that tell tests where their tools are.
const TEST_PREFIX: &str = "DOPPEL_TEST_";

/// Environment variables with that prefix that are no settings: the file itself, and the choice of SIMD kernels.
const NOT_SETTINGS: [&str; 2] = ["DOPPEL_CONFIG", "DOPPEL_SIMD"];

/// The environment's variables as nested settings. (figment's own provider reads the process's environment, which a test
/// cannot change safely.)
pub(super) struct Environment(Dict);

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut settings = Dict::new();
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            if NOT_SETTINGS.contains(&name.as_str()) || name.starts_with(TEST_PREFIX) {
                continue;
            }
            let value: Value = text
                .parse()
                .expect("figment takes what is no literal as a string");
            insert(&mut settings, &key.to_lowercase(), value);
        }
        Self(settings)
    }
}

/// Puts `value` at `table__key`.
fn insert(settings: &mut Dict, key: &str, value: Value) {
    let Some((table, rest)) = key.split_once("__") else {
        settings.insert(key.to_owned(), value);
        return;
    };
    let entry = settings
        .entry(table.to_owned())
        .or_insert_with(|| Value::from(Dict::new()));
    if !matches!(entry, Value::Dict(..)) {
        *entry = Value::from(Dict::new());
    }
    if let Value::Dict(_, inner) = entry {
        insert(inner, rest, value);
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment (DOPPEL_…)")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}
