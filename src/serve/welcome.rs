//! The lines that `serve` prints when it is ready: the line that scripts wait for, then where things are and what to do next. It prints
//! paths, never keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cli::printable;
use cli::table::aligned;
use command::environment::RegisteredProvider;
use events_log::DatabaseAddress;
use secrets::{node_key, operator_key};

/// The settings that make models appear.
const HINT: &str = "set OPENAI_API_KEY, or another variable of docs/environment.md, and start again; or ";

/// The data of the lines.
pub struct Welcome<'a> {
    pub listening: SocketAddr,
    /// An address at which this machine reaches the gateway.
    pub reachable: SocketAddr,
    pub data: &'a Path,
    /// False if this process does other work.
    pub serves_requests: bool,
    /// The database that has the ledger, if it is not in the data folder.
    pub database: Option<&'a DatabaseAddress>,
    /// The place of the published log, which is within the data folder if it is relative; `None` if the log is not published.
    pub published: Option<String>,
    /// The file with the operator's key; `None` if the key is in its variable.
    pub operator_key_file: Option<PathBuf>,
    /// True if the data folder has an app key for developers.
    pub dev: bool,
    /// True if there is a model for clients.
    pub has_models: bool,
    /// One that answers chats and can be named in a shell.
    pub first_model: Option<&'a str>,
    /// The providers whose models appear by themselves.
    pub providers: &'a [RegisteredProvider],
    /// Variables of the environment that seem to mean something and have no effect.
    pub notes: &'a [String],
    /// True if providers are made from the environment.
    pub from_environment: bool,
}

impl Welcome<'_> {
    /// The lines. The first one means ready, and scripts rely on it.
    pub fn lines(&self) -> Vec<String> {
        let (address, data) = (self.reachable, self.data);
        let variable = operator_key::VARIABLE;
        let (operator, key_place) = match self.operator_key_file.as_deref().map(quoted) {
            None => (format!("${variable}"), format!("in {variable}")),
            Some(file) => (format!("$(cat {file})"), file),
        };
        let mut lines = vec![format!("ledgerway listening on http://{}", self.listening), self.places()];
        if !self.serves_requests {
            return lines;
        }
        lines.push(format!("operator's key: {key_place}"));
        if self.published.is_some() {
            lines.push(format!(
                "published log: its public key is at http://{address}/v1/log/key; keep a copy elsewhere (docs/transparency.md)"
            ));
        }
        if self.dev {
            let key = data.join("dev.key");
            lines.push(format!("app key: {}", key.display()));
            lines.push(format!("try it: {}", chat(address, &key)));
        } else if !self.has_models {
            let hint = if self.from_environment { HINT } else { "" };
            lines.push(format!(
                "next: {hint}create a provider, its price and a model, as docs/provider.md shows; or start with --dev to try a \
                 simulated one"
            ));
        }
        lines.extend(self.found());
        if let Some(model) = self.first_model.filter(|_| !self.dev && !self.providers.is_empty()) {
            lines.push(format!("try it: ledgerway models try {model} --data {}", quoted(data)));
        }
        lines.push(format!("who you are: curl -s http://{address}/v1/me -H \"authorization: Bearer {operator}\""));
        lines
    }

    /// Where the ledger and the data are, and what to back up of them.
    fn places(&self) -> String {
        let data = self.data.display();
        match self.database {
            None => match &self.published {
                None => format!("data: {data} (back up ledger.db and node.key)"),
                Some(published) => format!("data: {data} (back up ledger.db, node.key and {published})"),
            },
            Some(database) => {
                format!("ledger: {database} (back it up, and {}); data: {data}", node_key::VARIABLE)
            }
        }
    }

    /// A table of the providers whose models appear by themselves, and a line for each note.
    fn found(&self) -> impl Iterator<Item = String> {
        let notes = self.notes.iter().map(|note| format!("note: {note}"));
        self.table().into_iter().chain(notes)
    }

    /// Empty without a provider. Addresses can be long, so only the column that few rows fill comes after them.
    fn table(&self) -> Vec<String> {
        if self.providers.is_empty() {
            return Vec::new();
        }
        let head = ["provider", "from", "models", "address", "prices"].map(str::to_owned).to_vec();
        let rows = self.providers.iter().map(|provider| {
            let vendor = provider.at_list_prices_of.as_ref().filter(|_| provider.models > 0);
            let prices = vendor.map(|vendor| format!("at list prices of {vendor}")).unwrap_or_default();
            let (source, address) = (source(provider).to_owned(), provider.base_url.clone());
            vec![printable(&provider.name), source, provider.models.to_string(), address, prices]
        });
        let table = aligned(std::iter::once(head).chain(rows).collect());
        table.lines().map(str::to_owned).collect()
    }
}

/// Where a provider comes from.
fn source(provider: &RegisteredProvider) -> &str {
    provider.key_variable.as_deref().unwrap_or("local server")
}

/// A first request with the app key.
fn chat(address: SocketAddr, key: &Path) -> String {
    format!(
        "curl -s http://{address}/v1/chat/completions -H \"authorization: Bearer $(cat {})\" \
         -H 'content-type: application/json' \
         -d '{{\"model\":\"sim-small\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'",
        quoted(key)
    )
}

/// A path for a shell, quoted if needed.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(data: &'static str) -> Welcome<'static> {
        Welcome {
            listening: SocketAddr::from(([127, 0, 0, 1], 8080)),
            reachable: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data: Path::new(data),
            serves_requests: true,
            database: None,
            published: None,
            operator_key_file: Some(Path::new(data).join(operator_key::FILE)),
            dev: false,
            has_models: false,
            first_model: None,
            providers: &[],
            notes: &[],
            from_environment: true,
        }
    }

    /// Holds: bin.ready-line
    #[test]
    fn the_first_line_means_ready_and_the_others_say_what_comes_next() {
        let lines = welcome("./d").lines();
        assert_eq!(lines[0], "ledgerway listening on http://127.0.0.1:8080");
        let rest = lines[1..].join("\n");
        for said in ["data: ./d ", "operator's key: ./d/admin.key", "docs/provider.md", "Bearer $(cat ./d/admin.key)"] {
            assert!(rest.contains(said), "{said} is not in {rest}");
        }
        let served = Welcome { has_models: true, ..welcome("./d") }.lines().join("\n");
        assert!(!served.contains("docs/provider.md"), "{served}");
        let dev = Welcome { dev: true, has_models: true, operator_key_file: None, ..welcome("./d") }.lines().join("\n");
        assert!(dev.contains("try it: curl") && dev.contains("cat ./d/dev.key"), "{dev}");
        assert!(dev.contains("Bearer $LEDGERWAY_ADMIN_KEY") && !dev.contains("admin.key"), "{dev}");
    }

    #[test]
    fn providers_that_were_found_are_listed_and_how_to_have_some_is_said_otherwise() {
        let lines = |welcome: Welcome<'_>| welcome.lines().join("\n");
        assert!(lines(welcome("./d")).contains("next: set OPENAI_API_KEY, or another variable of docs/environment.md"));
        let off = lines(Welcome { from_environment: false, ..welcome("./d") });
        assert!(off.contains("next: create a provider") && !off.contains("OPENAI_API_KEY"), "{off}");
        let found = |name: &str, key_variable: Option<&str>, base_url: &str, models| RegisteredProvider {
            name: name.to_owned(),
            key_variable: key_variable.map(str::to_owned),
            base_url: base_url.to_owned(),
            models,
            at_list_prices_of: None,
        };
        let elsewhere = |vendor: &str| RegisteredProvider {
            at_list_prices_of: Some(vendor.to_owned()),
            ..found("groq", Some("GROQ_API_KEY"), "http://10.0.0.1:8000/v1", 3)
        };
        let providers = [
            elsewhere("groq"),
            found("ollama", None, "http://127.0.0.1:11434", 1),
            found("openai", Some("OPENAI_API_KEY"), "https://api.openai.com/v1", 80),
        ];
        let notes = ["AZURE_OPENAI_API_KEY is set, but AZURE_OPENAI_ENDPOINT is not".to_owned()];
        let shown = lines(Welcome {
            providers: &providers,
            notes: &notes,
            has_models: true,
            first_model: Some("gpt-4o"),
            ..welcome("./d")
        });
        for line in [
            "provider  from            models  address                    prices",
            "ollama    local server    1       http://127.0.0.1:11434",
            "openai    OPENAI_API_KEY  80      https://api.openai.com/v1",
            "groq      GROQ_API_KEY    3       http://10.0.0.1:8000/v1    at list prices of groq",
            "note: AZURE_OPENAI_API_KEY is set, but AZURE_OPENAI_ENDPOINT is not",
            "try it: ledgerway models try gpt-4o --data ./d",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{shown}");
        }
    }

    #[test]
    fn the_place_of_the_public_key_is_said_and_what_to_back_up_of_the_published_log() {
        let lines = Welcome { published: Some("objects/tlog".to_owned()), ..welcome("./d") }.lines();
        assert_eq!(lines[1], "data: ./d (back up ledger.db, node.key and objects/tlog)");
        let key = "published log: its public key is at http://127.0.0.1:8080/v1/log/key; keep a copy elsewhere";
        assert!(lines.iter().any(|line| line.starts_with(key)), "{lines:?}");
        let off = welcome("./d").lines().join("\n");
        assert!(!off.contains("published log"), "{off}");
    }

    #[test]
    fn a_database_is_shown_without_its_password() {
        let database = "postgres://ledgerway:hunter2@db.internal/accounts".parse().expect("an address");
        let lines = Welcome { database: Some(&database), ..welcome("./d") }.lines();
        let ledger =
            "ledger: postgres://ledgerway@db.internal:5432/accounts (back it up, and LEDGERWAY_NODE_KEY); data: ./d";
        assert_eq!(lines[1], ledger);
    }

    #[test]
    fn a_path_can_be_pasted_whatever_it_is() {
        let lines = Welcome { dev: true, ..welcome("/my data/it's") }.lines().join("\n");
        assert!(lines.contains(r"$(cat '/my data/it'\''s/dev.key')"), "{lines}");
    }
}
