//! Where an answer sends its reader, and what of the request goes along.

use celeriac_guest::Failure;
use celeriac_guest::http::Response;

/// One request of a chain of redirects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hop {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Headers that say who is asking: they are for the server that they were written for.
const PERSONAL: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// The next request, if the answer is a redirect.
pub(crate) fn hop(from: &Hop, response: &Response) -> Result<Option<Hop>, Failure> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.header("location") else {
        return Ok(None);
    };
    let url = join(&from.url, location)
        .ok_or_else(|| Failure::new("bad-redirect", format!("redirected to `{location}`")))?;
    let mut next = Hop {
        url,
        ..from.clone()
    };
    // As browsers do: what was posted is not posted again, except where the status says so.
    if response.status == 303 && from.method != "HEAD"
        || matches!(response.status, 301 | 302) && from.method == "POST"
    {
        "GET".clone_into(&mut next.method);
        next.body.clear();
        next.headers
            .retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
    }
    if origin(&next.url) != origin(&from.url) {
        next.headers
            .retain(|(name, _)| !PERSONAL.contains(&name.to_ascii_lowercase().as_str()));
    }
    Ok(Some(next))
}

/// Scheme and authority.
fn origin(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url.get(start..)?.find(['/', '?', '#']);
    url.get(..end.map_or(url.len(), |end| start + end))
}

/// A reference, seen from a URL.
fn join(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next()?;
    if reference.contains("://") {
        return Some(reference.to_owned());
    }
    let origin = origin(base)?;
    if reference.starts_with("//") {
        let (scheme, _) = base.split_once(':')?;
        return Some(format!("{scheme}:{reference}"));
    }
    if reference.starts_with('/') {
        return Some(format!("{origin}{reference}"));
    }
    let path = base.strip_prefix(origin)?.split(['?', '#']).next()?;
    if reference.starts_with('?') {
        return Some(format!("{origin}{path}{reference}"));
    }
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(format!("{origin}{directory}/{reference}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_as_a_browser_does() {
        for (base, reference, expected) in [
            ("http://a/b/c?q", "https://d/e", "https://d/e"),
            ("https://a/b", "//d/e", "https://d/e"),
            ("http://a:8080/b/c", "/d#x", "http://a:8080/d"),
            ("http://a/b/c?q", "d", "http://a/b/d"),
            ("http://a", "d", "http://a/d"),
            ("http://a/b?q", "?r", "http://a/b?r"),
        ] {
            assert_eq!(join(base, reference).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_personal_stays_with_its_server() {
        let from = Hop {
            method: "POST".to_owned(),
            url: "https://a/".to_owned(),
            headers: [
                ("Authorization", "x"),
                ("Accept", "y"),
                ("Content-Type", "z"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            body: b"body".into(),
        };
        let mut response = Response::new(302, "");
        response.headers = vec![("location".to_owned(), "https://b/".to_owned())];
        let next = hop(&from, &response).unwrap().unwrap();
        assert_eq!((next.method.as_str(), next.body.len()), ("GET", 0));
        assert_eq!(next.headers, [("Accept".to_owned(), "y".to_owned())]);
        response.status = 307;
        response.headers = vec![("location".to_owned(), "/there".to_owned())];
        let next = hop(&from, &response).unwrap().unwrap();
        assert_eq!((next.method.as_str(), next.headers.len()), ("POST", 3));
    }
}
