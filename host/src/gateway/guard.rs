//! Who may do what: bearer tokens, and what is asked of callers where none is needed.
//!
//! Without tokens the gateway listens on loopback only, and still must not be used by whatever web page is open in a
//! browser on this machine: such a page says where it comes from (`Origin`), or reaches the gateway under
//! a name of its own (`Host`). Both are refused.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{api::Api, body, problem::Problem, tokens::Scope, words::Words};

/// What the guard of a group of routes knows.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) api: Arc<Api>,
    pub(crate) scope: Scope,
    pub(crate) words: Arc<Words>,
}

/// Lets a request pass, or answers with what it lacks.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // What there is to say is told to those alone who may ask.
    let admitted = admit(&guard, request.headers()).await;
    match admitted.and_then(|()| guard.words.check(&request)) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            body::discard(request.into_body()).await;
            problem.into_response()
        }
    }
}

async fn admit(Guard { api, scope, .. }: &Guard, headers: &HeaderMap) -> Result<(), Problem> {
    if api.is_open {
        return match is_local(headers, &api.origins) {
            true => Ok(()),
            false => Err(Problem::new(
                "forbidden",
                "without tokens only programs on this machine may call: use 127.0.0.1 or localhost, and no page from elsewhere",
            )),
        };
    }
    let missing = || {
        Problem::new(
            "unauthorized",
            "send `Authorization: Bearer cel_…`; `celeriac token new` makes a token",
        )
    };
    let presented = bearer(headers).ok_or_else(missing)?;
    let token = api.tokens.verify(presented).await?.ok_or_else(|| {
        Problem::new(
            "unauthorized",
            "the token is not known: it may have been revoked or have expired",
        )
    })?;
    match token.allows(*scope) {
        true => Ok(()),
        false => Err(Problem::new(
            "forbidden",
            format!("the token `{}` has not the scope `{scope}`", token.name),
        )),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Whether the caller addressed this machine by a name that only it can have, and is no page from elsewhere.
fn is_local(headers: &HeaderMap, origins: &[String]) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let host = text(header::HOST).unwrap_or_default();
    let is_own = |origin: &str| origin.strip_prefix("http://") == Some(host);
    let from_here = text(header::ORIGIN)
        .is_none_or(|origin| is_own(origin) || origins.iter().any(|allowed| allowed == origin));
    from_here && is_loopback(host)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn pages_from_elsewhere_and_names_from_elsewhere_are_refused() {
        let allowed = ["https://app.example".to_owned()];
        let local = |host: &str, origin: Option<&str>| {
            let mut pairs = vec![(header::HOST, host)];
            pairs.extend(origin.map(|origin| (header::ORIGIN, origin)));
            is_local(&headers(&pairs), &allowed)
        };
        for host in [
            "127.0.0.1:7373",
            "localhost:7373",
            "[::1]:7373",
            "LOCALHOST",
        ] {
            assert!(local(host, None), "{host}");
        }
        for host in [
            "evil.example:7373",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1:7373",
        ] {
            assert!(!local(host, None), "{host}");
        }
        assert!(local("127.0.0.1:7373", Some("http://127.0.0.1:7373")));
        assert!(local("127.0.0.1:7373", Some("https://app.example")));
        for origin in ["https://evil.example", "null", "http://127.0.0.1:8080"] {
            assert!(!local("127.0.0.1:7373", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_bearer_is_read_as_the_standard_has_it() {
        let read =
            |value: &str| bearer(&headers(&[(header::AUTHORIZATION, value)])).map(str::to_owned);
        assert_eq!(read("Bearer cel_x"), Some("cel_x".to_owned()));
        assert_eq!(read("bearer cel_x"), Some("cel_x".to_owned()));
        assert_eq!(read("Basic cel_x"), None);
        assert_eq!(read("cel_x"), None);
    }
}
