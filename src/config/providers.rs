//! The providers that are made from the environment, and the catalogue that says what they offer.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use built_in_catalogue::{InForce, UnreadableCatalogue};
use cli::settings::{Advice, WrongConfig, boolean, setting};
use command::environment::{DetectionSettings, EnvironmentFault, NamedProviders};

use super::values::boolean_or_on;
use super::{Given, address};

/// The providers that the environment names; `None` if that is turned off.
pub(super) fn providers(
    &Given { args, flags, database, variable }: &Given<'_>,
    own_port: u16,
) -> Result<Option<Arc<NamedProviders>>, WrongConfig> {
    let is_on = flags.check(setting::PROVIDERS_FROM_ENV, boolean_or_on(&args.providers_from_env))?;
    let bedrock = flags.check(setting::BEDROCK, boolean(&args.bedrock))?;
    if !is_on {
        return Ok(None);
    }
    let settings = DetectionSettings {
        bedrock,
        own_port: Some(own_port).filter(|port| *port != 0),
        resolve: Some(address::resolve_now),
    };
    // What was imported into a database is read once that is open.
    let catalogue = database.map_or_else(|| catalogue(&args.data.dir), |_| InForce::shipped());
    let named = NamedProviders::detect(catalogue, settings, variable);
    named.map(|named| Some(Arc::new(named))).map_err(|EnvironmentFault { variable, problem, example }| {
        let advice = Advice::Example(format!("{variable}={example}"));
        WrongConfig { name: variable, problem, advice }
    })
}

/// The catalogue in the data folder, or the shipped one.
fn catalogue(data: &Path) -> InForce {
    let in_force = built_in_catalogue::in_force(data);
    match &in_force.unusable {
        // It is the folder that is wrong, which is found where it is opened.
        Some(UnreadableCatalogue::Read { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotADirectory | ErrorKind::InvalidInput | ErrorKind::InvalidFilename
            ) =>
        {
            InForce { unusable: None, ..in_force }
        }
        Some(_) | None => in_force,
    }
}
