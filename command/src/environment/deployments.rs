//! Azure's deployments: `model=deployment@zone`, separated by commas. A name alone is both; without a zone, a deployment may be
//! processed anywhere.

use built_in_catalogue::is_model_name;

/// A right value, for errors.
pub const EXAMPLE: &str = "gpt-4.1=my-deployment,o4-mini@eu";
const DEPLOYMENTS_MAX: usize = 200;
/// Data zones of Azure, by their names in the catalogue.
const ZONES: [&str; 4] = ["apac", "eu", "us", "us-gov"];
/// The zone of deployments that may be processed anywhere.
const ANY_ZONE: &str = "global";

/// A model, and the name under which an account has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    pub model: String,
    pub name: String,
    /// The data zone in which it is processed, with prices of its own; `None` if that may be anywhere.
    pub zone: Option<&'static str>,
}

/// Reads a list. Errors: what is wrong with it.
pub fn read(text: &str) -> Result<Vec<Deployment>, String> {
    let mut deployments: Vec<Deployment> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let deployment = read_one(item)?;
        if deployments.iter().any(|other| other.model == deployment.model) {
            return Err(format!("has the model {} twice", deployment.model));
        }
        // The price of a deployment is that of its one model.
        if let Some(other) = deployments.iter().find(|other| other.name == deployment.name) {
            let (name, one, two) = (&deployment.name, &other.model, &deployment.model);
            return Err(format!("has the deployment {name} for two models, {one} and {two}"));
        }
        if deployments.len() >= DEPLOYMENTS_MAX {
            return Err(format!("has more than {DEPLOYMENTS_MAX} deployments"));
        }
        deployments.push(deployment);
    }
    Ok(deployments)
}

fn read_one(item: &str) -> Result<Deployment, String> {
    let (item, zone) = item.rsplit_once('@').map_or((item, ANY_ZONE), |(item, zone)| (item.trim(), zone.trim()));
    let (model, name) = item.split_once('=').map_or((item, item), |(model, name)| (model.trim(), name.trim()));
    if !is_model_name(model) || !is_model_name(name) {
        return Err("must be a list of model=deployment or model=deployment@zone, separated by commas".to_owned());
    }
    let known = ZONES.into_iter().find(|known| *known == zone);
    if known.is_none() && zone != ANY_ZONE {
        let zones = ZONES.join(", ");
        return Err(format!("has a data zone, behind @, that is not one of {zones} or {ANY_ZONE}"));
    }
    Ok(Deployment { model: model.to_owned(), name: name.to_owned(), zone: known })
}
