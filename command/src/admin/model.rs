//! A frontend model: a name that clients ask for and the backends that can serve it. That its name is unique among what
//! a key can see is kept by the log, beside the facts.

use std::convert::Infallible;

use events::event::admin::{Model, Strategy, Target};

use crate::admin::fields::Patched;
use crate::admin::lifecycle::{LifecycleError, Rules};

/// `None` and [`Patched::Kept`] keep what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeModel {
    pub name: Option<String>,
    pub strategy: Option<Strategy>,
    pub targets: Option<Vec<Target>>,
    pub system_prefix: Patched<String>,
}

/// Why a command to a model is refused. Indexes are places in `targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("must name at least one target")]
    NoTargets,
    #[error("names the same provider and model as a target before it")]
    TargetRepeated { index: usize },
    #[error("must not be above max_output_tokens")]
    DefaultAboveMaximum { index: usize },
    #[error("must give at least one target a weight above 0 where the strategy is weighted")]
    NoWeight,
}

impl ChangeModel {
    fn over(self, current: &Model) -> Model {
        Model {
            model_id: current.model_id,
            name: self.name.unwrap_or_else(|| current.name.clone()),
            strategy: self.strategy.unwrap_or(current.strategy),
            targets: self.targets.unwrap_or_else(|| current.targets.clone()),
            system_prefix: self.system_prefix.over(current.system_prefix.clone()),
            tenant_id: current.tenant_id,
        }
    }
}

impl Rules for Model {
    type State = Self;
    type Change = ChangeModel;
    type Special = Infallible;
    type Error = ModelError;

    fn made(self) -> Result<Self, ModelError> {
        sound(self)
    }

    fn changed(&self, change: ChangeModel) -> Result<Self, ModelError> {
        sound(change.over(self))
    }
}

/// Rules over the targets, which hold after every command.
fn sound(model: Model) -> Result<Model, ModelError> {
    if model.targets.is_empty() {
        return Err(ModelError::NoTargets);
    }
    if model.strategy == Strategy::Weighted && model.targets.iter().all(|target| target.weight == 0) {
        return Err(ModelError::NoWeight);
    }
    for (index, target) in model.targets.iter().enumerate() {
        let same = |before: &Target| before.provider_id == target.provider_id && before.model == target.model;
        if model.targets[..index].iter().any(same) {
            return Err(ModelError::TargetRepeated { index });
        }
        if let (Some(default), Some(maximum)) = (target.default_max_output_tokens, target.max_output_tokens)
            && default > maximum
        {
            return Err(ModelError::DefaultAboveMaximum { index });
        }
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use events::event::Resource;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Model> {
        spec::given(facts)
    }

    fn target(provider: u128) -> Target {
        Target {
            provider_id: id(provider),
            model: "echo".into(),
            priority: 0,
            weight: 1,
            context_window: None,
            max_output_tokens: Some(10),
            default_max_output_tokens: None,
            tokenizer: None,
        }
    }

    fn model(targets: &[Target]) -> Model {
        Model {
            model_id: id(1),
            name: "acme/small".into(),
            strategy: Strategy::Priority,
            targets: targets.to_vec(),
            system_prefix: Some("Be brief.".into()),
            tenant_id: None,
        }
    }

    #[test]
    fn a_model_has_targets_and_none_of_them_twice() {
        given([]).when(Create(model(&[target(1), target(2)]))).then([created(model(&[target(1), target(2)]))]);
        given([]).when(Create(model(&[]))).then_refused(ModelError::NoTargets);
        given([])
            .when(Create(model(&[target(1), target(2), target(1)])))
            .then_refused(ModelError::TargetRepeated { index: 2 });
    }

    #[test]
    fn the_default_cap_is_not_above_the_maximum() {
        let capped = |default| Target { default_max_output_tokens: Some(default), ..target(1) };
        given([]).when(Create(model(&[capped(10)]))).then([created(model(&[capped(10)]))]);
        given([])
            .when(Create(model(&[target(2), capped(11)])))
            .then_refused(ModelError::DefaultAboveMaximum { index: 1 });
    }

    #[test]
    fn weights_that_are_all_zero_draw_nobody() {
        let weighted = |weights: [u32; 2]| Model {
            strategy: Strategy::Weighted,
            ..model(&[Target { weight: weights[0], ..target(1) }, Target { weight: weights[1], ..target(2) }])
        };
        given([]).when(Create(weighted([0, 1]))).then([created(weighted([0, 1]))]);
        given([]).when(Create(weighted([0, 0]))).then_refused(ModelError::NoWeight);
    }

    #[test]
    fn a_change_is_held_to_the_same_rules() {
        let change = |targets: Option<Vec<Target>>| {
            Change(ChangeModel { name: None, strategy: None, targets, system_prefix: Patched::Removed })
        };
        let without_prefix = Model { system_prefix: None, ..model(&[target(1)]) };
        given([created(model(&[target(1)]))]).when(change(None)).then([changed(without_prefix)]);
        given([created(model(&[target(1)]))]).when(change(Some(vec![]))).then_refused(ModelError::NoTargets);
        let ended = || ended::<Model>(id(1));
        given([created(model(&[target(1)]))]).when(End).then([ended()]);
        given([created(model(&[target(1)])), ended()])
            .when(change(None))
            .then_refused(ModelError::Lifecycle(LifecycleError::Ended));
    }
}
