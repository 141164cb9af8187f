//! Whether what a client knows of one description still holds by another: nothing it uses has gone, nothing it sends is
//! refused, nothing it is answered has another meaning. What was added breaks nobody.

mod shapes;

use serde_json::{Map, Value};

use shapes::{Direction, compare, resolved};

/// Returns the changes that would break a client that was made for `old`; none where `new` only adds.
pub fn broken(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (path, item) in fields(&old["paths"]) {
        for (method, was) in fields(item) {
            let at = format!("{} {path}", method.to_uppercase());
            match new["paths"].get(path).and_then(|item| item.get(method)) {
                None => found.push(format!("{at} is gone")),
                Some(is) => Pair { at, old, new }.operation(was, is, &mut found),
            }
        }
    }
    found
}

/// One operation in both documents.
struct Pair<'a> {
    at: String,
    old: &'a Value,
    new: &'a Value,
}

impl Pair<'_> {
    fn operation(&self, was: &Value, is: &Value, found: &mut Vec<String>) {
        if was.get("security").is_none() && is.get("security").is_some() {
            found.push(format!("{}: needs a key now", self.at));
        }
        self.parameters(was, is, found);
        self.body(&was["requestBody"], &is["requestBody"], found);
        for (status, answer) in fields(&was["responses"]) {
            match is["responses"].get(status) {
                None => found.push(format!("{}: the answer {status} is gone", self.at)),
                Some(now) => self.answer(status, answer, now, found),
            }
        }
    }

    fn parameters(&self, was: &Value, is: &Value, found: &mut Vec<String>) {
        for parameter in items(&was["parameters"]) {
            let at = format!("{}: parameter {}", self.at, parameter["name"]);
            match same_parameter(parameter, is) {
                None => found.push(format!("{at} is gone")),
                Some(now) => {
                    if now["required"] == true && parameter["required"] != true {
                        found.push(format!("{at} is required now"));
                    }
                    self.compare(&at, &parameter["schema"], &now["schema"], Direction::Sent, found);
                }
            }
        }
        for parameter in items(&is["parameters"]).iter().filter(|parameter| parameter["required"] == true) {
            if same_parameter(parameter, was).is_none() {
                found.push(format!("{}: parameter {} is new and required", self.at, parameter["name"]));
            }
        }
    }

    fn body(&self, was: &Value, is: &Value, found: &mut Vec<String>) {
        let at = format!("{}: body", self.at);
        if is["required"] == true && was["required"] != true {
            found.push(format!("{at} is required now"));
        }
        self.contents(&at, was, is, Direction::Sent, found);
    }

    fn answer(&self, status: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
        let at = format!("{}: {status}", self.at);
        let (was, is) = (resolved(was, self.old), resolved(is, self.new));
        self.contents(&at, was, is, Direction::Answered, found);
        for (name, header) in fields(&was["headers"]) {
            match is["headers"].get(name) {
                None => found.push(format!("{at}: header {name} is gone")),
                Some(now) => {
                    let at = format!("{at}: header {name}");
                    self.compare(&at, &header["schema"], &now["schema"], Direction::Answered, found);
                }
            }
        }
    }

    fn contents(&self, at: &str, was: &Value, is: &Value, direction: Direction, found: &mut Vec<String>) {
        for (media, content) in fields(&was["content"]) {
            match is["content"].get(media) {
                None => found.push(format!("{at}: {media} is gone")),
                Some(now) => self.compare(at, &content["schema"], &now["schema"], direction, found),
            }
        }
    }

    fn compare(&self, at: &str, was: &Value, is: &Value, direction: Direction, found: &mut Vec<String>) {
        found.extend(compare(at, (was, self.old), (is, self.new), direction));
    }
}

fn same_parameter<'a>(parameter: &Value, operation: &'a Value) -> Option<&'a Value> {
    let is_same = |other: &&Value| other["name"] == parameter["name"] && other["in"] == parameter["in"];
    items(&operation["parameters"]).iter().find(is_same)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
