//! Files of configuration that the gateway applies to itself: where they are, what is pruned, and when they are applied again.

use std::path::PathBuf;

use cli::settings::setting::{APPLY, APPLY_PRUNE, ENABLE_HOT_RELOAD};
use cli::settings::{Label, ServeMode, WrongConfig, boolean};

use super::Given;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedFiles {
    /// A file, or a folder.
    pub path: PathBuf,
    /// Live resources with this label that no file has are deleted.
    pub prune: Option<Label>,
    /// Whether a changed file is noticed, without a signal.
    pub hot_reload: bool,
}

/// The name that other gateways have for it. It counts where files are applied and nothing else is said.
const HOT_RELOAD_ELSEWHERE: &str = "ENABLE_HOT_RELOAD";

/// Reads the settings; `None` if no files are applied.
pub(super) fn read(
    &Given { args, flags, variable, .. }: &Given<'_>,
    mode: ServeMode,
) -> Result<Option<AppliedFiles>, WrongConfig> {
    let hot_reload = flags.check(ENABLE_HOT_RELOAD, boolean(&args.enable_hot_reload))?;
    let prune = args
        .apply_prune
        .as_deref()
        .map(|text| flags.check(APPLY_PRUNE, text.parse::<Label>().map_err(|error| error.to_string())));
    let prune = prune.transpose()?;
    let Some(path) = &args.apply else {
        let needless = [(hot_reload, ENABLE_HOT_RELOAD), (prune.is_some(), APPLY_PRUNE)];
        return match needless.into_iter().find(|(is_set, _)| *is_set) {
            Some((_, setting)) => {
                Err(flags.wrong(setting, format!("is set without {}, which names the files", APPLY.variable)))
            }
            None => Ok(None),
        };
    };
    if !mode.serves_requests() {
        let problem = "is set for a process that serves no requests: only one that does can apply files";
        return Err(flags.wrong(APPLY, problem));
    }
    if !path.exists() {
        return Err(flags.wrong(APPLY, format!("is {}, where there is nothing", path.display())));
    }
    let is_said = flags.has(ENABLE_HOT_RELOAD) || variable(ENABLE_HOT_RELOAD.variable).is_some();
    let elsewhere = variable(HOT_RELOAD_ELSEWHERE).filter(|_| !is_said);
    let is_on_elsewhere = elsewhere.is_some_and(|text| boolean(&text.trim().to_ascii_lowercase()) == Ok(true));
    Ok(Some(AppliedFiles { path: path.clone(), prune, hot_reload: hot_reload || is_on_elsewhere }))
}

#[cfg(test)]
mod tests {
    use cli::arguments::ServeArgs;
    use cli::settings::Flags;

    use super::super::tests::args;
    use super::*;

    fn read_at(
        args: &ServeArgs,
        mode: ServeMode,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<AppliedFiles>, String> {
        let given = Given { args, flags: &Flags::default(), database: None, variable };
        read(&given, mode).map_err(|wrong| wrong.name)
    }

    fn read_as(
        path: Option<&str>,
        prune: Option<&str>,
        hot_reload: &str,
        mode: ServeMode,
    ) -> Result<Option<AppliedFiles>, String> {
        let args = ServeArgs {
            apply: path.map(PathBuf::from),
            apply_prune: prune.map(str::to_owned),
            enable_hot_reload: hot_reload.to_owned(),
            ..args()
        };
        read_at(&args, mode, &|_| None)
    }

    #[test]
    fn the_name_of_other_gateways_counts_where_nothing_else_is_said() {
        let is_hot = |path: Option<&str>, variables: &[(&str, &str)]| {
            let args = ServeArgs { apply: path.map(PathBuf::from), ..args() };
            let variable =
                |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, text)| (*text).to_owned());
            read_at(&args, ServeMode::All, &variable).map(|files| files.map(|files| files.hot_reload))
        };
        assert_eq!(is_hot(Some("/"), &[("ENABLE_HOT_RELOAD", "True")]), Ok(Some(true)));
        assert_eq!(is_hot(Some("/"), &[("ENABLE_HOT_RELOAD", "perhaps")]), Ok(Some(false)));
        assert_eq!(is_hot(None, &[("ENABLE_HOT_RELOAD", "true")]), Ok(None));
        let both = [("ENABLE_HOT_RELOAD", "true"), ("LEDGERWAY_ENABLE_HOT_RELOAD", "false")];
        assert_eq!(is_hot(Some("/"), &both), Ok(Some(false)));
    }

    #[test]
    fn files_are_applied_where_requests_are_served_and_the_rest_needs_files() {
        let wrong = |setting: cli::settings::Setting| Err(setting.variable.to_owned());
        let folder = AppliedFiles {
            path: "/".into(),
            prune: Some("managed-by=git".parse().expect("a label")),
            hot_reload: true,
        };
        assert_eq!(read_as(Some("/"), Some("managed-by=git"), "true", ServeMode::All), Ok(Some(folder)));
        assert_eq!(read_as(None, None, "false", ServeMode::Worker), Ok(None));
        assert_eq!(read_as(None, None, "true", ServeMode::All), wrong(ENABLE_HOT_RELOAD));
        assert_eq!(read_as(None, Some("a=b"), "false", ServeMode::All), wrong(APPLY_PRUNE));
        assert_eq!(read_as(Some("/"), Some("a"), "false", ServeMode::All), wrong(APPLY_PRUNE));
        assert_eq!(read_as(Some("/"), None, "perhaps", ServeMode::All), wrong(ENABLE_HOT_RELOAD));
        assert_eq!(read_as(Some("/"), None, "false", ServeMode::Worker), wrong(APPLY));
        assert_eq!(read_as(Some("/no/such/place"), None, "false", ServeMode::All), wrong(APPLY));
    }
}
