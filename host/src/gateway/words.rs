//! The words that queries may have: one that is misspelt is refused, as it would otherwise do nothing and not say so.

use std::collections::{BTreeMap, HashMap};

use axum::{
    extract::{MatchedPath, Query, Request},
    http::Method,
};
use serde_json::Value;

use super::problem::Problem;

/// What the document says of each request: the words of its query, by path and method.
#[derive(Debug)]
pub(crate) struct Words(HashMap<String, BTreeMap<String, Vec<String>>>);

impl Words {
    /// Reads them from the document, so that what is described is what is taken.
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object();
        let each = paths.into_iter().flatten().map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            let methods = methods.map(|(method, operation)| (method.clone(), words(operation)));
            (path.clone(), methods.collect())
        });
        Self(each.collect())
    }

    /// Refuses a query with a word that the request has not.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Problem> {
        if request.uri().query().is_none_or(str::is_empty) {
            return Ok(());
        }
        // Without a route there is another answer.
        let Some(path) = request.extensions().get::<MatchedPath>() else {
            return Ok(());
        };
        let method = match *request.method() {
            Method::HEAD => "get".to_owned(),
            ref method => method.as_str().to_ascii_lowercase(),
        };
        let known = self.0.get(path.as_str());
        let Some(known) = known.and_then(|methods| methods.get(&method)) else {
            return Ok(());
        };
        let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|error| Problem::new("malformed", error.body_text()))?;
        let unknown = given.iter().find(|(word, _)| !known.contains(word));
        unknown.map_or(Ok(()), |(word, _)| Err(no_word(word, known)))
    }
}

fn words(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let of_query = parameters.filter(|parameter| parameter["in"] == "query");
    let names = of_query.filter_map(|parameter| parameter["name"].as_str());
    names.map(str::to_owned).collect()
}

fn no_word(word: &str, known: &[String]) -> Problem {
    let there_is = match known {
        [] => "there is none here".to_owned(),
        known => format!("there is `{}`", known.join("`, `")),
    };
    let word: String = word.chars().take(80).collect();
    Problem::new(
        "malformed",
        format!("the query has no `{word}`: {there_is}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_document_is_read() {
        let Words(paths) = Words::of(&crate::gateway::openapi());
        let words = |path: &str, method: &str| paths[path][method].clone();
        assert_eq!(words("/v1/invocations", "post"), ["wait"]);
        assert_eq!(
            words("/v1/invocations/{id}/events", "get"),
            ["after", "kinds"]
        );
        assert!(words("/v1/invocations/batch", "post").is_empty());
        assert!(words("/v1/invocations", "get").contains(&"older_than_ms".to_owned()));
    }

    #[test]
    fn a_refusal_names_the_word_and_what_there_is() {
        let known = ["after".to_owned(), "kinds".to_owned()];
        let told = |known: &[String]| {
            let document = serde_json::to_value(no_word("kind", known).into_document()).unwrap();
            document["detail"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            told(&known),
            "the query has no `kind`: there is `after`, `kinds`"
        );
        assert_eq!(told(&[]), "the query has no `kind`: there is none here");
    }
}
